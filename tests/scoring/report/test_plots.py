"""Figures: what is drawn is the data, and nothing is lost or covered."""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from skimage.color import deltaE_ciede2000, rgb2lab

from scoring.leaderboard import make_leaderboard
from scoring.reading.read import read
from scoring.report.plots import (
    COLORS,
    figure,
    hours,
    learning_curves,
    line_styles,
    performance_profiles,
    rank_probabilities,
    save_plots,
    score_intervals,
    time_to_target,
    with_legend,
)
from scoring.report.styles import DARK_COLORS
from scoring.report.svg import svg
from tests.scoring.trees import make_row, write_tree


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def board_of(tmp_path, trials, **plan):
    return make_leaderboard(read([write_tree(tmp_path / "tree", trials, **plan)]), resamples=100)


TRIALS = {
    ("a", "w", 0, 1): 2.0,
    ("a", "w", 0, 2): 8.0,
    ("b", "w", 0, 1): 3.0,
    ("b", "w", 0, 2): [make_row(1.0, 1.0), make_row(9.0, math.nan)],
}


def points(line):
    """What a line shows: its points without the gaps, as (x, y)."""
    return [tuple(point) for point in line.get_xydata().tolist() if not math.isnan(point[0])]


def test_profiles_draw_the_step_function(tmp_path, ax):
    performance_profiles(board_of(tmp_path, TRIALS), ax)
    lines = {line.get_gid(): line.get_xydata().tolist() for line in ax.lines}
    assert lines == {
        "submission-0": [[1.0, 1.0], [4.0, 1.0]],
        "submission-1": [[1.0, 0.0], [1.5, 1.0], [4.0, 1.0]],
    }
    assert all(line.get_drawstyle() == "steps-post" for line in ax.lines)
    assert ax.get_xlim() == (1.0, 4.0)


def test_curves_draw_every_trial_and_mark_those_that_count(tmp_path, ax):
    learning_curves(board_of(tmp_path, TRIALS), "w", ax)
    by_width = {}
    for line in ax.lines:
        by_width.setdefault(line.get_linewidth(), []).append(line)
    assert [points(line) for line in by_width[1.8]] == [[(1, 1), (2, 0.5)], [(1.5, 1), (3, 0.5)]]
    assert [points(line) for line in by_width[0.7]] == [[(4, 1), (8, 0.5)], [(1, 1)]]
    dots = [points(line) for line in ax.lines if line.get_marker() == "o"]
    assert dots == [[(2.0, 0.5)], [(3.0, 0.5)]]
    (target,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert set(target.get_ydata()) == {0.5}


def test_several_trials_of_a_submission_are_not_joined(tmp_path, ax):
    trials = {("a", "w", 0, n): float(n) for n in (1, 2, 3)}
    learning_curves(board_of(tmp_path, trials), "w", ax)
    (thin,) = [line for line in ax.lines if line.get_linewidth() == 0.7]
    assert np.isnan(thin.get_xdata()).tolist() == [False, False, True] * 2


def test_a_loss_over_decades_gets_a_log_scale_and_divergence_is_cut(tmp_path, ax):
    falling = [make_row(1.0, 2.0), make_row(2.0, 0.01)]
    rising = [make_row(1.0, 2.0), make_row(2.0, 1e30), make_row(3.0, math.inf)]
    board = board_of(tmp_path, {("a", "w", 0, 1): falling, ("a", "w", 0, 2): rising})
    learning_curves(board, "w", ax)
    assert ax.get_yscale() == "log"
    assert 2.0 < ax.get_ylim()[1] < 6.0


@pytest.mark.parametrize("curve", [[], [make_row(1.0, math.nan)], [make_row(1.0, 0.5)]])
def test_a_workload_with_hardly_any_value_is_drawn(tmp_path, ax, curve):
    learning_curves(board_of(tmp_path, {("a", "w", 0, 1): curve}), "w", ax)
    ax.figure.draw_without_rendering()
    assert ax.get_title() == "w"


def test_intervals_and_hours_are_those_of_the_board(tmp_path):
    board = board_of(tmp_path, TRIALS)
    drawn = score_intervals(board, figure(2).add_subplot())
    dots = [points(line)[0] for line in drawn.lines if line.get_marker() == "o"]
    assert dots == [(standing.score, row) for row, standing in enumerate(board.standings)]
    ends = [tuple(line.get_xdata()) for line in drawn.lines if line.get_marker() != "o"]
    assert ends == [(standing.low, standing.high) for standing in board.standings]
    bars = hours(board, figure(2).add_subplot()).patches
    assert [bar.get_width() for bar in bars] == [s.hours for s in board.standings]


def test_heat_maps_say_the_numbers_and_what_does_not_count(tmp_path):
    trials = {("a", "v", 0, 1): 1.0, ("a", "w", 0, 1): 2.0, ("b", "v", 0, 1): 5.0}
    board = board_of(tmp_path, trials)
    drawn = time_to_target(board, figure(2, 2).add_subplot())
    assert [text.get_text() for text in drawn.texts] == ["1", "2", "5†", "∞"]
    image = drawn.images[0].get_array()
    assert np.isnan(np.asarray(image.filled(np.nan))).tolist() == [[False, False], [True, True]]
    ranks = rank_probabilities(board, figure(2, 2).add_subplot())
    assert [text.get_text() for text in ranks.texts] == ["100", "", "", "100"]


def test_styles_depend_on_the_name_alone_and_differ():
    names = [f"s{n:02}" for n in range(4 * len(COLORS))]
    styles = line_styles(names)
    assert styles == line_styles(names[::-1])
    seen = {(style["color"], str(style["linestyle"])) for style in styles.values()}
    assert len(seen) == len(names)


def test_colours_stand_out_from_white():
    for color in COLORS:
        r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b)]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert 1.05 / (luminance + 0.05) >= 3, color  # WCAG 2.1, 1.4.11


def channels(color):
    """Linear RGB of a colour such as #0063a0."""
    values = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


DEUTERANOPIA = np.array(  # Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


@pytest.mark.parametrize("palette", [COLORS, DARK_COLORS], ids=["light", "dark"])
@pytest.mark.parametrize("sees", [np.eye(3), DEUTERANOPIA], ids=["all colours", "no green"])
def test_any_two_colours_are_distinguishable(palette, sees):
    """CIEDE2000 between any two, neighbours or not, as one in twelve men sees them."""
    seen = np.clip([sees @ channels(color) for color in palette], 0, 1)
    srgb = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(srgb[None])[0]
    for one in range(len(lab)):
        for other in range(one):
            assert deltaE_ciede2000(lab[one], lab[other]) >= 10, (palette[one], palette[other])


def test_neighbours_differ_in_their_dashes_too():
    styles = list(line_styles([f"s{n:02}" for n in range(12)]).values())
    for one, other in pairwise(styles):
        assert one["color"] != other["color"]
        assert str(one["linestyle"]) != str(other["linestyle"])


@pytest.mark.parametrize("count", [3, 12, 30])
def test_a_profile_has_its_name_at_its_end_and_no_name_covers_another(tmp_path, count):
    trials = {(f"s{n}", "w", 0, 1): 1.0 + n / 40 for n in range(count)}
    board = board_of(tmp_path, trials)
    drawn = figure()
    ax = performance_profiles(board, drawn.add_subplot())
    drawn.draw_without_rendering()
    heights = sorted(text.get_position()[1] for text in ax.texts)
    assert {text.get_text() for text in ax.texts} == {key[0] for key in trials}
    assert min(np.diff(heights)) > 0.02
    assert -0.01 <= heights[0] <= heights[-1] <= 1.05
    assert all(text.get_window_extent().x1 <= drawn.bbox.x1 for text in ax.texts)


def test_curves_of_trials_that_do_not_count_are_a_separate_group(tmp_path, ax):
    missed = {("c", "w", 0, 1): [make_row(1.0, 0.9)], ("c", "w", 0, 2): [make_row(1.0, 0.7)]}
    learning_curves(board_of(tmp_path, TRIALS | missed), "w", ax)
    groups = {}
    for line in ax.lines:
        groups.setdefault(line.get_gid(), []).extend(points(line))
    assert groups["submission-0-others"] == [(4, 1), (8, 0.5)]
    assert groups["submission-2-others"] == [(1, 0.9)]
    assert groups["submission-2"] == [(1, 0.7)]  # the closest of a study that missed


@pytest.mark.parametrize("name", ["$\\frac{$", "\x1b[2J\x01\u202e"])
def test_names_with_mathematics_or_escape_sequences_are_drawn_literally(tmp_path, name):
    board = board_of(tmp_path, {(name, "w$_{$\x1b", 0, 1): 1.0})
    drawn = figure()
    learning_curves(board, "w$_{$\x1b", drawn.add_subplot())
    with_legend(drawn, board).draw_without_rendering()
    performance_profiles(board, figure().add_subplot()).figure.draw_without_rendering()
    assert "\x1b" not in svg(drawn, "salt")
    score_intervals(board, figure(1).add_subplot()).figure.draw_without_rendering()
    time_to_target(board, figure(1, 1).add_subplot()).figure.draw_without_rendering()


@pytest.mark.parametrize("count", [1, 12])
def test_nothing_covers_the_axes_and_nothing_is_cut_off(tmp_path, count):
    trials = {(f"a_rather_long_name_{n}", "w", 0, 1): 1.0 + n / 8 for n in range(count)}
    board = board_of(tmp_path, trials)
    drawn = figure()
    learning_curves(board, "w", drawn.add_subplot())
    with_legend(drawn, board).draw_without_rendering()
    legend = drawn.legends[0].get_window_extent()
    axes = drawn.axes[0].get_tightbbox()
    assert legend.y1 <= axes.y0 + 1
    assert legend.x0 >= 0
    assert legend.x1 <= drawn.bbox.x1
    assert drawn.axes[0].get_window_extent().height > 100


def test_plots_are_saved_as_images_and_vectors(tmp_path):
    twice = {(s, w, k, n): trial for (s, w, _, n), trial in TRIALS.items() for k in (0, 1)}
    board = board_of(tmp_path, twice)
    paths = save_plots(board, tmp_path / "plots" / "new")
    names = ("performance_profiles", "scores", "time_to_target", "rank_probabilities", "hours")
    expected = [f"{n}{kind}" for n in (*names, "learning_curves_w") for kind in (".png", ".pdf")]
    assert [path.name for path in paths] == expected
    assert all(np.ptp(imread(path)) > 0.5 for path in paths if path.suffix == ".png")
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths if path.suffix == ".pdf")
    paths = save_plots(board_of(tmp_path / "once", TRIALS), tmp_path / "plots" / "once")
    assert [path.name for path in paths] == [n for n in expected if "probabilities" not in n]


def test_equal_boards_give_equal_figures(tmp_path):
    board = board_of(tmp_path, TRIALS)
    one, other = (save_plots(board, tmp_path / name) for name in ("1", "2"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
