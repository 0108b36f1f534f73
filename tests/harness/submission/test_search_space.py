"""Search spaces: their three forms, and points that are the same everywhere."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.submission.search_space import SearchSpace, SearchSpaceError, load

RANGES = {
    "learning_rate": {"min": 1e-4, "max": 1e-1, "scaling": "log"},
    "decay": {"min": 0.0, "max": 0.5, "scaling": "linear"},
    "beta2": {"feasible_points": [0.9, 0.99, 0.999]},
}


def space(content):
    return SearchSpace(Path("space.json"), content)


def flat(points):
    return [point for study in points for point in study]


def test_a_list_is_used_in_order_for_every_study():
    points = [{"a": 1}, {"a": 2}, {"a": 3}]
    assert space(points).points(0, studies=3, trials=2) == [[{"a": 1}, {"a": 2}]] * 3


def test_a_list_that_is_too_short_says_so():
    with pytest.raises(SearchSpaceError, match="lists 1 points, but 5 trials per study"):
        space([{"a": 1}]).points(0, studies=3, trials=5)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 6))
def test_points_are_within_their_bounds_and_studies_are_disjoint(seed, studies, trials):
    points = flat(space(RANGES).points(seed, studies, trials))
    assert len(points) == studies * trials
    for point in points:
        assert list(point) == list(RANGES)
        assert 1e-4 <= point["learning_rate"] <= 1e-1
        assert 0.0 <= point["decay"] <= 0.5
        assert point["beta2"] in (0.9, 0.99, 0.999)
    assert len({point["learning_rate"] for point in points}) == len(points)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_more_studies_keep_the_points_of_the_first(seed, studies, trials, more):
    few = space(RANGES).points(seed, studies, trials)
    assert space(RANGES).points(seed, studies + more, trials)[:studies] == few


def test_points_do_not_depend_on_the_process_or_the_order_of_keys():
    code = (
        "import json; from pathlib import Path;"
        "from harness.submission.search_space import SearchSpace;"
        f"print(json.dumps(SearchSpace(Path('x'), {dict(reversed(RANGES.items()))!r})"
        ".points(7, 2, 3)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert json.loads(other.stdout) == space(RANGES).points(7, 2, 3)


def test_seed_and_content_change_the_points():
    points = space(RANGES).points(0, 1, 3)
    assert points != space(RANGES).points(1, 1, 3)
    wider = {**RANGES, "decay": {"min": 0.0, "max": 0.6, "scaling": "linear"}}
    assert points != space(wider).points(0, 1, 3)


def test_points_fill_the_space_evenly():
    points = flat(space(RANGES).points(0, 1, 300))
    logs = np.log10([point["learning_rate"] for point in points])
    counts, _ = np.histogram(logs, bins=3, range=(-4, -1))
    assert all(abs(count - 100) < 5 for count in counts)
    betas = [point["beta2"] for point in points]
    assert all(abs(betas.count(beta) - 100) < 5 for beta in (0.9, 0.99, 0.999))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "must be a non-empty list"),
        ("{}", "must be a non-empty list"),
        ("3", "must be a non-empty list"),
        ('[{"a": 1}, {"b": 1}]', "point 1 and point 0 differ in the keys: a, b"),
        ('[{"a": [[1]]}]', "point 0: a: must be a number"),
        ('[{"a": NaN}]', "has NaN, which is not a finite number"),
        ('[{"learning rate": 1}]', "'learning rate' cannot be the name"),
        ('{"lambda": {"feasible_points": [1]}}', "'lambda' cannot be the name"),
        ('{"a": 3}', "a: must be an object"),
        ('{"a": {"feasible_points": []}}', "a: feasible_points must be a non-empty list"),
        ('{"a": {"feasible_points": 0.5}}', "a: feasible_points must be a non-empty list"),
        ('{"a": {"feasible_points": [1], "min": 0}}', "unknown key next to feasible_points: min"),
        ('{"a": {"min": 1, "max": 2}}', "must have the keys min, max and scaling"),
        ('{"a": {"min": 1, "max": 2, "scaling": "cubic"}}', "unknown scaling 'cubic'"),
        ('{"a": {"min": 2, "max": 1, "scaling": "linear"}}', "min 2 is greater than max 1"),
        ('{"a": {"min": 0, "max": 1, "scaling": "log"}}', "min must be positive on a log scale"),
        ('{"a": {"min": -1, "max": 1, "scaling": "log"}}', "min must be positive"),
        ('{"a": {"min": "x", "max": 1, "scaling": "log"}}', "min must be a finite number"),
        ('{"a": {"min": 0, "max": Infinity, "scaling": "linear"}}', "has Infinity, which is not"),
        ('{"a": {"min": NaN, "max": 1, "scaling": "linear"}}', "has NaN, which is not"),
        ('{"a": {"min": 1, "max": 1e400, "scaling": "log"}}', "has the number 1e400, more than"),
        ('{"a": {"min": 1, "max": 1%s, "scaling": "log"}}' % (400 * "0"), "number of 401 digits"),
        ('{"a": 1, "b": 2, "a": 3}', "gives the key 'a' twice"),
        ('{"a": {"min": 1, "max": 2, "max": 3, "scaling": "log"}}', "gives the key 'max' twice"),
        ('[{"a": 1, "a": 1}]', "gives the key 'a' twice"),
        ('{"µ": {"feasible_points": [1]}}', r"'\xb5' cannot be the name of a hyperparameter"),
        ('{"a.b": {"feasible_points": [1]}}', "'a.b' cannot be the name"),
        (json.dumps({10**6 * "x" + ".": 1}), "xxx' cannot be the name of a hyperparameter"),
        (5000 * "[" + 5000 * "]", "is nested more than 100 deep"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "is nested more than 100 deep"),
        ('[{"a": %s}]' % (200 * "[" + 200 * "]"), "is nested more than 100 deep"),
        (json.dumps({f"x{n}": RANGES["decay"] for n in range(20_000)}), "has 20,000 hyperpar"),
        (json.dumps([{f"x{n}": 1 for n in range(20_000)}]), "point 0: has 20,000 hyperparameters"),
        (b"\xff{}", "is not UTF-8 text"),
    ],
    ids=lambda text: str(text)[:30],
)
def test_bad_search_spaces_are_refused_in_one_line_that_names_the_file(tmp_path, content, message):
    path = tmp_path / "tuning_search_space.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SearchSpaceError) as caught:
        load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200 + len(str(path))


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(SearchSpaceError, match="pass --tuning self"):
        load(tmp_path / "tuning_search_space.json")


def test_a_byte_order_mark_is_ignored(tmp_path):
    path = tmp_path / "space.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(RANGES).encode())
    assert load(path).space == RANGES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"lr": 1, "lr": 2}', "gives the key 'lr' twice"),
        ('{"lr": 1e999}', "has the number 1e999"),
        ('{"lr": NaN}', "has NaN, which is not a finite number"),
        ("nowhere.json", "--hparams nowhere.json: No such file or directory"),
        (".", "--hparams .: is not a regular file"),
        ("list.json", "list.json: holds no JSON object; give a JSON object such as"),
        ("twice.json", "gives the key 'a' twice"),
        ('{"\u00b5": 1}', "cannot be the name of a hyperparameter"),
    ],
)
def test_bad_points_are_refused_by_name(chronograd, tmp_path, given, message):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "twice.json").write_text('{"a": 1, "a": 1}')
    code, _, err = chronograd("run", "nadamw", "--workload", "diabetes", "--hparams", given)
    assert code == 2
    assert message in " ".join(err.replace("\u2502", " ").split())
