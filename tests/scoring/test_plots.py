"""Figures: what is drawn is the data, and nothing is lost or covered."""

import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from scoring.leaderboard import make_leaderboard
from scoring.plots import (
    curves_figure,
    learning_curves,
    line_styles,
    performance_profiles,
    profiles_figure,
    save_plots,
)
from scoring.read import read_tree
from tests.scoring.trees import make_row, write_tree


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def read(tmp_path, trials):
    results = read_tree(write_tree(tmp_path / "tree", trials))
    return results, make_leaderboard(results)


TRIALS = {
    ("a", "w", 0, 1): 2.0,
    ("a", "w", 0, 2): 8.0,
    ("b", "w", 0, 1): 3.0,
    ("b", "w", 0, 2): [make_row(1.0, 1.0), make_row(9.0, math.nan)],
}


def test_profiles_draw_the_step_function(tmp_path, ax):
    _, board = read(tmp_path, TRIALS)
    performance_profiles(board, ax)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines == {"a": [[1.0, 1.0], [4.0, 1.0]], "b": [[1.0, 0.0], [1.5, 1.0], [4.0, 1.0]]}
    assert all(line.get_drawstyle() == "steps-post" for line in ax.lines)
    assert ax.get_xlim() == (1.0, 4.0)


def test_curves_draw_every_trial_and_mark_those_that_count(tmp_path, ax):
    results, _ = read(tmp_path, TRIALS)
    learning_curves(results, "w", ax)
    curves = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_zorder() != 4]
    dots = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    target = [line for line in curves if line.get_linestyle() == ":"][-1]
    assert target.get_ydata() == [0.5, 0.5]
    assert dots == [[[2.0, 0.5]], [[3.0, 0.5]]]
    bold = [line.get_xdata().tolist() for line in curves if line.get_linewidth() == 2.0]
    assert bold == [[1.0, 2.0], [1.5, 3.0]]
    assert len(curves) == 4 + 1


def test_a_loss_over_decades_gets_a_log_scale_and_divergence_is_cut(tmp_path, ax):
    falling = [make_row(1.0, 2.0), make_row(2.0, 0.01)]
    rising = [make_row(1.0, 2.0), make_row(2.0, 1e30), make_row(3.0, math.inf)]
    results, _ = read(tmp_path, {("a", "w", 0, 1): falling, ("a", "w", 0, 2): rising})
    learning_curves(results, "w", ax)
    assert ax.get_yscale() == "log"
    assert 2.0 < ax.get_ylim()[1] < 6.0
    assert 0.001 < ax.get_ylim()[0] < 0.01


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan])
def test_values_without_a_logarithm_are_drawn(tmp_path, ax, value):
    rows = [make_row(1.0, 2.0), make_row(2.0, value)]
    results, _ = read(tmp_path, {("a", "w", 0, 1): rows})
    learning_curves(results, "w", ax)
    assert ax.get_yscale() == "linear"


def test_a_workload_without_a_single_evaluation_is_drawn_empty(tmp_path):
    results, _ = read(tmp_path, {("a", "w", 0, 1): [], ("a", "v", 0, 1): 1.0})
    assert curves_figure(results, "w").axes[0].get_title() == "w"


def test_up_to_28_submissions_look_different_and_keep_their_look():
    names = [f"s{number:02}" for number in range(28)]
    looks = {tuple(map(str, style.values())) for style in line_styles(names).values()}
    assert len(looks) == 28
    assert line_styles(reversed(names)) == line_styles(names)


def test_odd_names_are_shown_as_they_are(tmp_path):
    """Neither mathtext nor matplotlib's rule that a leading underscore hides a label."""
    names = ["_hidden", "$\\bad{$", "<script>"]
    results, board = read(tmp_path, {(name, "w", 0, 1): 1.0 for name in names})
    for figure in (profiles_figure(board), curves_figure(results, "w")):
        figure.draw_without_rendering()
        texts = {text.get_text() for text in figure.legends[0].get_texts()}
        assert texts >= set(names)


@pytest.mark.parametrize("count", [1, 12])
def test_nothing_covers_the_axes_and_nothing_is_cut_off(tmp_path, count):
    trials = {(f"a_rather_long_name_{n}", "w", 0, 1): 1.0 + n / 8 for n in range(count)}
    figure = curves_figure(read(tmp_path, trials)[0], "w")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    axes = figure.axes[0].get_tightbbox()
    assert legend.y1 <= axes.y0 + 1
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().height > 100


def test_plots_are_saved_as_images(tmp_path):
    results, board = read(tmp_path, TRIALS)
    paths = save_plots(results, board, tmp_path / "plots" / "new")
    assert [path.name for path in paths] == ["performance_profiles.png", "learning_curves_w.png"]
    assert all(np.ptp(imread(path)) > 0.5 for path in paths)
