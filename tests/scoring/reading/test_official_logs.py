"""Logs in AlgoPerf's layout: what is read, what is reported, and the effect on scores."""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.leaderboard import make_leaderboard
from scoring.plain import to_plain
from scoring.reading.read import read
from scoring.records import RecordError
from scoring.report.tables import to_json
from scoring.times import METHODS, OFFICIAL, RULES
from scoring.tree import EVALUATIONS_FILE
from tests.scoring.logs import PLAIN_RULES, log_folder, make_rules, write_logs, write_measurements

MISS = [(1.0, 0.9), (90.0, 0.6)]
ONE_TRIAL = make_rules(held_out={}, scored=("w",), suites={}, trials=1)


def reached(seconds):
    return [(seconds / 2, 0.9), (seconds, 0.4)]


def complete(submissions="ab", workloads="vw", studies=3, trials=2):
    """Every trial of the plan; trial 1 of `a` is the fastest, b takes twice as long."""
    return {
        (submission, workload, study, trial): reached(10.0 * place * trial + study)
        for place, submission in enumerate(submissions, 1)
        for workload in workloads
        for study in range(studies)
        for trial in range(1, trials + 1)
    }


@pytest.fixture
def logs(tmp_path):
    return write_logs(tmp_path / "logs", complete())


def read_logs(root, rules=PLAIN_RULES, tuning="external", **options):
    return read([root], rules, tuning, **options)


def board_of(root, method=RULES, **options):
    return make_leaderboard(read_logs(root, **options), method, resamples=5)


def cell(board, submission="a", workload="w"):
    (standing,) = [s for s in board.standings if s.name == submission]
    return standing.cells[workload]


def keys_of(results):
    return [(t.submission, t.workload, t.study, t.trial) for t in results.trials]


def the_warning(warnings, *parts):
    """The one warning that holds all `parts`."""
    (found,) = [line for line in warnings if all(str(part) in line for part in parts)]
    return found


def test_every_trial_is_read_in_its_place_without_warnings(logs):
    results = read_logs(logs)
    assert keys_of(results) == sorted(complete())
    trial = results.trials[0]
    assert (trial.submission_seconds, trial.evaluations, trial.status) == (10.0, 2, "reached")
    assert (trial.hit.line, trial.hit.submission_seconds, trial.hit.global_step) == (3, 10.0, 100)
    assert trial.criteria.budget_seconds == 100.0
    assert trial.read().seconds == [5.0, 10.0]
    assert trial.folder == log_folder(logs, "a", "v", 0, 1)
    assert (results.warnings, results.remarks, results.missing) == ([], [], {})
    assert list(results.submissions) == ["a", "b"]


def test_a_score_is_made_of_them(logs):
    board = board_of(logs)
    assert [(s.name, s.rank) for s in board.standings] == [("a", 1), ("b", 2)]
    assert cell(board).seconds == 11.0
    assert cell(board, "b").ratio == 21.0 / 11.0


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("tuning_folder", ["external_tuning", None, "2026/runs"])
def test_either_framework_and_any_folder_above_read_the_same(
    logs, tmp_path, framework, tuning_folder
):
    other = write_logs(tmp_path / "other", complete(), framework, tuning_folder)
    assert keys_of(read_logs(other)) == keys_of(read_logs(logs))
    assert read_logs(other).warnings == []


def test_the_tuning_folder_or_one_submission_may_be_given_itself(logs, monkeypatch):
    tuning = logs / "external_tuning"
    assert keys_of(read_logs(tuning)) == sorted(complete())
    assert keys_of(read_logs(tuning / "a")) == sorted(complete("a"))
    monkeypatch.chdir(tuning / "a")
    assert keys_of(read_logs(Path())) == sorted(complete("a"))


def test_self_tuning_has_one_trial_a_study_and_a_longer_budget(tmp_path):
    late = {("a", workload, study, 1): reached(140.0) for workload in "vw" for study in range(3)}
    write_logs(tmp_path, late, tuning_folder="self_tuning")
    write_logs(tmp_path, complete("b"))
    results = read_logs(tmp_path, tuning="self")
    assert keys_of(results) == sorted(late)  # external_tuning is scored separately
    assert (results.warnings, results.missing) == ([], {})
    assert results.trials[0].within_budget
    assert make_leaderboard(results, resamples=5).standings[0].score == 1.0


def test_a_target_met_after_the_budget_is_a_miss_by_the_rules_alone(tmp_path):
    write_logs(tmp_path, {("a", "w", study, 1): reached(100.5) for study in range(3)})
    assert read_logs(tmp_path, ONE_TRIAL).trials[0].status == "missed"
    assert cell(board_of(tmp_path, rules=ONE_TRIAL)).reason == "target missed"
    assert cell(board_of(tmp_path, OFFICIAL, rules=ONE_TRIAL)).seconds == 100.5


def test_a_missing_trial_is_named_as_a_miss(logs):
    shutil.rmtree(log_folder(logs, "a", "w", 1, 1))
    board = board_of(logs)
    assert the_warning(board.warnings, "a on w", "no study 1 trial 1", "a miss")
    assert [trial and trial.trial for trial in cell(board).counted] == [1, 2, 1]


@pytest.mark.parametrize(("method", "seconds"), [("rules", 12.0), ("official", 11.0)])
def test_a_missing_study_is_infinite_or_left_out_and_reported(logs, method, seconds):
    shutil.rmtree(log_folder(logs, "a", "w", 1, 1).parents[1])
    board = board_of(logs, METHODS[method])
    effect = {"rules": "infinite", "official": "left out of the median"}[method]
    for workload in "vw":
        line = the_warning(board.warnings, f"a on {workload}", "no study 1")
        assert line.endswith(effect)
    assert cell(board).seconds == seconds  # of 10 and 12, and by the rules infinity


def test_a_missing_workload_is_named_and_earns_nothing(logs):
    for study in range(3):
        shutil.rmtree(log_folder(logs, "a", "w", study, 1).parent)
    board = board_of(logs)
    assert the_warning(board.warnings, "a on w", "no study 0-2", "infinite")
    assert cell(board).reason == "no trial read"
    (a,) = [s for s in board.standings if s.name == "a"]
    assert a.score == 0.5


@pytest.mark.parametrize("damage", [None, b"", b"\x89PNG\r\n\x1a\n\0\xff", b"a,b\n1,2\n"])
def test_an_unreadable_file_is_named_and_its_trial_missing(logs, damage):
    path = log_folder(logs, "a", "w", 1, 2) / EVALUATIONS_FILE
    path.unlink() if damage is None else path.write_bytes(damage)
    board = board_of(logs)
    assert the_warning(board.warnings, path, "the trial counts as missing")
    assert the_warning(board.warnings, "a on w", "no study 1 trial 2", "a miss")
    assert ("a", "w", 1, 2) not in keys_of(board.results)


def test_a_truncated_file_is_reported_and_its_complete_lines_count(logs):
    path = log_folder(logs, "a", "w", 1, 1) / EVALUATIONS_FILE
    path.write_bytes(path.read_bytes()[:-4])
    board = board_of(logs)
    assert the_warning(board.warnings, path, "ends in the middle of line 3", "left out")
    assert cell(board).counted[1].trial == 2
    assert board.results.missing == {}


def test_a_duplicate_column_is_named(logs):
    path = log_folder(logs, "a", "w", 1, 1) / EVALUATIONS_FILE
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([lines[0] + ",score,validation/loss"] + [s + ",0,0" for s in lines[1:]]) + "\n"
    )
    results = read_logs(logs)
    assert the_warning(results.warnings, path, "validation/loss appears twice", "the first counts")
    assert [t.hit.line for t in results.trials] == [3] * len(results.trials)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("scratch", "scratch: contains no study_<k> folder"),
        ("external_tuning/scratch", "external_tuning/scratch: contains no study_<k> folder"),
        ("external_tuning/scratch/deep/deeper", "external_tuning/scratch: contains no study_<k>"),
        ("external_tuning/a/old", "external_tuning/a: old: no study_<k> folder"),
        ("external_tuning/a/study_00", "external_tuning/a: study_00: no study_<k> folder"),
        ("external_tuning/a/study_0/trial_1", "a/study_0: trial_1: no <workload>_<framework>"),
        ("external_tuning/a/study_0/w_keras", "a/study_0: w_keras: no <workload>_<framework>"),
        ("external_tuning/a/study_0/w_jax", "has w in two frameworks; pytorch counts, jax is left"),
        ("external_tuning/a/study_0/w_pytorch/trial_x", "w_pytorch: trial_x: no trial_<n>"),
        ("external_tuning/a/study_0/x_jax", "external_tuning/a: x_jax (1 studies) is not among"),
    ],
)
def test_a_stray_folder_is_named_and_changes_no_score(logs, place, says):
    before = to_json(board_of(logs))
    (logs / place).mkdir(parents=True)
    board = board_of(logs)
    (warning,) = board.warnings
    assert says in warning
    assert to_json(board) == {**before, "warnings": [warning]}


def test_hidden_folders_files_and_links_to_nowhere_are_passed_over(logs):
    (logs / ".git").mkdir()
    (logs / "README.md").write_text("logs")
    (logs / "external_tuning/a/study_3").write_text("a file")
    (logs / "external_tuning/loop").symlink_to("loop")
    (logs / "external_tuning/a/study_0/w_pytorch/trial_3").symlink_to("gone")
    assert board_of(logs).warnings == []


@pytest.mark.parametrize("kept", ["a", "study_1", "trial_2"])
def test_a_link_to_the_folder_beside_it_counts_once(logs, kept):
    before = to_json(board_of(logs))
    for folder in [path for path in logs.rglob(kept) if path.is_dir()]:
        (folder.parent / "study_9").symlink_to(folder.name)
        (folder.parent / "latest").symlink_to(folder.name)
    assert to_json(board_of(logs)) == before
    (logs.parent / "latest").symlink_to(logs)
    twice = read([logs, logs.parent / "latest"], PLAIN_RULES, "external")
    assert to_json(make_leaderboard(twice, RULES, resamples=5)) == before


def test_a_folder_that_cannot_be_listed_is_named(logs, monkeypatch):
    locked, iterdir = logs / "external_tuning/a/study_1", Path.iterdir

    def refuse(folder):
        if folder == locked:
            raise PermissionError(13, "Permission denied")
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    board = board_of(logs)
    assert the_warning(board.warnings, locked, "cannot be listed", "missing")
    assert the_warning(board.warnings, "a on w", "no study 1", "infinite")


def test_a_name_that_no_terminal_can_show_is_left_out_in_words_that_it_can(logs):
    (logs / "external_tuning" / os.fsdecode(b"caf\xe9")).mkdir()
    (logs / "external_tuning/two\nlines").mkdir()
    warnings = board_of(logs).warnings
    assert len(warnings) == 2
    assert the_warning(warnings, r"caf\udce9", "left out").isprintable()
    assert the_warning(warnings, r"two\nlines", "left out").isprintable()


def test_two_frameworks_of_a_workload_are_never_mixed(logs):
    write_logs(logs, {("a", "w", 0, 1): reached(1.0)}, framework="jax")
    board = board_of(logs)
    assert the_warning(
        board.warnings, "external_tuning/a", "w in two frameworks", "jax is left out"
    )
    assert cell(board).counted[0].folder == log_folder(logs, "a", "w", 0, 1)
    assert cell(board).seconds == 11.0


def test_the_framework_of_most_studies_counts(tmp_path):
    write_logs(tmp_path, {("a", "w", 0, 1): reached(1.0)})
    more = {("a", "w", study, 1): reached(20.0) for study in (0, 1, 2)}
    write_logs(tmp_path, more, framework="jax")
    board = board_of(tmp_path, rules=ONE_TRIAL)
    assert the_warning(board.warnings, "jax counts", "pytorch is left out")
    assert cell(board).seconds == 20.0


@pytest.mark.parametrize("key", [("a", "w", 3, 1), ("a", "w", 2, 3), ("a", "w", 2, 0)])
def test_a_trial_beyond_the_plan_is_named_and_counts_by_the_official_method_alone(logs, key):
    write_logs(logs, {key: [(1.0, 0.4)]})
    board = board_of(logs)
    line = the_warning(board.warnings, log_folder(logs, *key), "3 studies of 2 trials")
    assert line.endswith("only the official method counts this one")
    assert cell(board).seconds == 11.0
    assert cell(board).studies == 3
    assert cell(board_of(logs, OFFICIAL)).seconds < 11.0


def test_a_study_named_by_a_date_is_one_study_more(logs):
    write_logs(logs, {("a", "w", 20260101, 1): reached(9.0)})
    for method in (RULES, OFFICIAL):
        board = board_of(logs, method)
        assert the_warning(board.warnings, "study_20260101", "plans 3 studies")
    assert cell(board).seconds == 10.5  # the official median of 9, 10, 11 and 12
    assert len(cell(board).counted) == 4


def test_studies_may_count_from_1(logs, tmp_path):
    shifted = {(s, w, study + 1, n): curve for (s, w, study, n), curve in complete().items()}
    other = read_logs(write_logs(tmp_path / "shifted", shifted))
    assert keys_of(other) == keys_of(read_logs(logs))
    assert (other.warnings, other.missing) == ([], {})


def test_two_submissions_of_the_same_name_are_both_kept(tmp_path):
    for group, seconds in (("x", 10.0), ("y", 20.0)):
        trials = {("a", "w", study, 1): reached(seconds) for study in range(3)}
        write_logs(tmp_path, trials, tuning_folder=group)
    board = board_of(tmp_path, rules=ONE_TRIAL)
    assert [(s.name, s.cells["w"].seconds) for s in board.standings] == [("x/a", 10), ("y/a", 20)]
    assert len(board.warnings) == 2


def test_a_suite_scores_its_workloads_alone_and_nothing_is_missing(logs):
    board = board_of(logs, suite="half")
    assert board.results.scope.scored == ["v"]
    assert {trial.workload for trial in board.results.trials} == {"v"}
    assert board.warnings == []


def test_a_workload_that_the_ruleset_knows_and_does_not_score_is_named(logs):
    write_logs(logs, {("a", "w_held", study, 1): reached(20.0) for study in range(2)})
    (warning,) = board_of(logs).warnings
    assert warning.endswith("a: w_held_pytorch (2 studies) is not among the workloads scored")
    assert board_of(logs, suite="half").warnings == []


def test_a_suite_that_the_ruleset_has_not_is_refused_with_what_there_is(logs):
    with pytest.raises(RecordError, match=r"toy: has no suite 'big'\. There are: half"):
        read_logs(logs, suite="big")


def test_a_held_out_variant_that_was_not_run_is_named_and_costs_its_workload(logs):
    board = board_of(logs, rules=make_rules())
    assert the_warning(board.warnings, "a on w_held", "no study 0-2", "infinite")
    assert cell(board).reason == "held-out w_held: no trial read"


def test_logs_without_a_ruleset_say_what_to_give(logs):
    for tuning in ("external", None):
        with pytest.raises(RecordError, match=r"logs: not a results tree.*--ruleset algoperf-0.5"):
            read([logs], None, tuning)


ONE_EACH = {(name, "w", study, 1): reached(140.0) for name in "ab" for study in range(3)}


@pytest.mark.parametrize("kind", ["external", "self"])
@pytest.mark.parametrize(
    ("folder", "given"),
    [
        ("logs/{}", "logs"), ("logs/{}", "logs/{}"), ("logs/{}", "logs/{}/a"), ("logs/{}", ""),
        ("logs/{}/prior/v05", "logs/{}/prior"), ("{}/prior", "{}/prior/a"), ("a/b/{}", "a"),
    ],
)  # fmt: skip
def test_the_tuning_is_that_of_the_nearest_folder(tmp_path, monkeypatch, kind, folder, given):
    name = f"{kind}_tuning"
    write_logs(tmp_path, ONE_EACH, tuning_folder=folder.format(name))
    root = tmp_path / given.format(name)
    for asked in (None, kind):
        results = read([root], PLAIN_RULES, asked)
        assert results.scope.tuning == kind
        assert results.scope.workloads["w"].budget_seconds == {"external": 100, "self": 150}[kind]
        assert {trial.status for trial in results.trials} == {
            "missed" if kind == "external" else "reached"
        }
    other = "self" if kind == "external" else "external"
    with pytest.raises(RecordError) as error:
        read([root], PLAIN_RULES, other)
    assert str(error.value) == (
        f"{root}: contains logs of {kind} tuning, by the folder {name}; --tuning {other} "
        "contradicts that: leave it out, or give other logs"
    )
    monkeypatch.chdir(root)
    assert read([Path()], PLAIN_RULES).scope.tuning == kind
    (tmp_path / "link").symlink_to(root)
    assert read([tmp_path / "link"], PLAIN_RULES).scope.tuning == kind


@pytest.mark.parametrize(
    ("folders", "what"),
    [
        ([None], "no folder external_tuning or self_tuning shows how"),
        (["2026/runs", "external"], "no folder external_tuning or self_tuning shows how"),
        (["external_tuning", "self_tuning"], "contains logs of both kinds of tuning"),
        (["x/external_tuning", "y/self_tuning"], "contains logs of both kinds of tuning"),
    ],
)
def test_where_folders_do_not_say_one_tuning_the_user_does(tmp_path, folders, what):
    root = tmp_path / "logs"
    for number, folder in enumerate(folders):
        trials = {(f"s{number}", *key[1:]): curve for key, curve in ONE_EACH.items()}
        write_logs(root, trials, tuning_folder=folder)
    with pytest.raises(RecordError, match=f"^{root}: {what}.*--tuning external or --tuning self$"):
        read([root], PLAIN_RULES)
    for kind in ("external", "self"):
        found = set(read([root], PLAIN_RULES, kind).submissions)
        said = {number for number, f in enumerate(folders) if f and f.endswith("_tuning")}
        expected = {
            f"s{n}" for n, f in enumerate(folders) if n not in said or f.endswith(f"{kind}_tuning")
        }
        assert found == expected


def test_a_folder_far_above_or_with_another_name_is_ignored(tmp_path):
    write_logs(tmp_path, ONE_EACH, tuning_folder="self_tuning/1/2/3/4")
    root = tmp_path / "self_tuning/1/2/3/4"
    assert read([root], PLAIN_RULES, "external").scope.tuning == "external"
    with pytest.raises(RecordError, match="no folder external_tuning or self_tuning"):
        read([root], PLAIN_RULES)


def test_logs_of_two_tunings_are_not_ranked_together(tmp_path):
    for kind in ("external", "self"):
        write_logs(tmp_path / kind, ONE_EACH, tuning_folder=f"{kind}_tuning")
    with pytest.raises(RecordError, match="differ in their tuning \\(external, self\\)"):
        read([tmp_path / "external", tmp_path / "self"], PLAIN_RULES)


@pytest.mark.parametrize("content", ["nothing", "only strays", "too deep"])
def test_a_folder_without_submissions_is_an_error_that_says_what_to_give(tmp_path, content):
    if content == "only strays":
        (tmp_path / "a/trial_1").mkdir(parents=True)
    if content == "too deep":
        write_logs(tmp_path, complete(), tuning_folder="1/2/3/4")
    with pytest.raises(RecordError, match="neither a results tree") as error:
        read_logs(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}: ")
    assert "--out" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_or_nothing_in_a_folder_s_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("file", "nowhere"):
        with pytest.raises(RecordError, match=f"{name}: no such folder"):
            read_logs(tmp_path / name)


def test_an_incomplete_ruleset_is_an_error_that_names_the_workload(logs):
    rules = make_rules(held_out={}, workloads={"v": {"budget_seconds": 1}})
    with pytest.raises(RecordError, match="toy: cannot judge logs of workload v"):
        read_logs(logs, rules)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_folders_are_listed_changes_nothing(logs, monkeypatch, seed):
    (logs / "external_tuning/a/study_0/w_jax/trial_1").mkdir(parents=True)
    (logs / "external_tuning/b/old").mkdir()
    (logs / "external_tuning/b/older").mkdir()
    boards = {method: to_json(board_of(logs, method)) for method in METHODS.values()}
    results = read_logs(logs)
    order, listdir, scandir = random.Random(seed), os.listdir, os.scandir
    monkeypatch.setattr(os, "listdir", lambda path=".": _shuffled(listdir(path), order))
    monkeypatch.setattr(os, "scandir", lambda path=".": _Entries(_shuffled(scandir(path), order)))
    assert read_logs(logs) == results
    assert {method: to_json(board_of(logs, method)) for method in METHODS.values()} == boards


def _shuffled(items, order):
    return order.sample(found := list(items), len(found))


class _Entries(list):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_lost_is_named_and_no_time_gets_better(data):
    planned = complete("ab", "w", 3, 2)
    lost = data.draw(st.sets(st.sampled_from(sorted(planned)), max_size=len(planned) - 1))
    rules = make_rules(held_out={}, scored=("w",), suites={})
    with tempfile.TemporaryDirectory() as folder:
        root = write_logs(Path(folder), planned)
        whole = board_of(root, rules=rules)
        for key in lost:
            how = data.draw(st.sampled_from(["no folder", "no file", "half a file", "no column"]))
            _lose(log_folder(root, *key), how)
        board = board_of(root, rules=rules)
    results = board.results
    missing = {
        (*key, study, trial)
        for key, studies in results.missing.items()
        for study, trials in studies.items()
        for trial in trials
    }
    assert missing.isdisjoint(keys_of(results))
    assert missing | set(keys_of(results)) == set(planned)
    assert {key for key in planned if not _named(key, missing, results)} == set(planned) - lost
    for name in results.submissions:
        assert cell(board, name).seconds >= cell(whole, name).seconds


def _lose(folder, how):
    path = folder / EVALUATIONS_FILE
    if how == "no folder":
        shutil.rmtree(folder)
    elif how == "no file":
        path.unlink()
    elif how == "half a file":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_text(path.read_text().replace("validation/loss", "validation/lost"))


def _named(key, missing, results):
    place = str(log_folder(Path(), *key))
    return key in missing or any(place in warning for warning in results.warnings)


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_in_a_file_are_tolerated_and_reported(content):
    with tempfile.TemporaryDirectory() as folder:
        root = write_logs(Path(folder), complete("ab", "w", 3, 1))
        path = log_folder(root, "a", "w", 1, 1) / EVALUATIONS_FILE
        path.write_bytes(content)
        for method in METHODS.values():
            board = board_of(root, method, rules=ONE_TRIAL)
            assert the_warning(board.warnings, path)
            assert cell(board).reached == 2


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_to_a_file_still_gives_a_complete_leaderboard(data):
    """Bytes overwritten, cut out or put in: the board is made, and the damaged trial is on it."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_logs(Path(folder), complete("ab", "w", 3, 1))
        path = write_measurements(log_folder(root, "a", "w", 1, 1), MISS + reached(95.0)[1:])
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            start = data.draw(st.integers(0, len(content)))
            stop = start + data.draw(st.integers(0, 3))
            content[start:stop] = data.draw(st.binary(max_size=3) | st.sampled_from([b"9e9", b","]))
        path.write_bytes(content)
        results = read_logs(root, ONE_TRIAL)
        board = make_leaderboard(results, resamples=5)
        json.dumps(to_plain(to_json(board)), allow_nan=False)
    read_or_missing = [("a", "w", 1, 1) in keys_of(results), ("a", "w") in results.missing]
    assert read_or_missing.count(True) == 1
    assert 0 <= board.standings[-1].score <= board.standings[0].score <= 1
