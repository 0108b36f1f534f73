"""Rulesets: complete data for logs, equal to AlgoPerf's; a user's own by its path."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoring import rulesets
from scoring.leaderboard import make_leaderboard
from scoring.plain import to_plain
from scoring.reading.read import read
from scoring.rulesets import Ruleset, RulesetError
from scoring.rulesets.fixed_step import FixedStepRules
from scoring.times import METHODS
from tests.scoring.logs import log_folder, write_logs, write_measurements

OFFICIAL = ("algoperf-0.5", "algoperf-0.6")
TARGETS = Path(__file__).parents[3] / "shared/facts/targets.json"
IN_STEPS = {"budget_steps", "eval_period_steps"}  # in place of seconds
BASES = {
    "criteo1tb", "fastmri", "imagenet_resnet", "imagenet_vit", "librispeech_conformer",
    "librispeech_deepspeech", "ogbg", "wmt",
}  # fmt: skip
TOY = """
studies = 1
trials = 1
self_tuning_budget_factor = 2
r_max = 3
scored = ["w"]
[workloads.w]
metric = "loss"
direction = "min"
validation_target = 0.5
budget_seconds = 100
"""


@pytest.fixture
def toml(tmp_path):
    """Writes a ruleset and gives its path."""

    def write(text, name="toy"):
        path = tmp_path / f"{name}.toml"
        path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
        return str(path)

    return write


def test_those_that_come_with_chronograd_load_under_their_names():
    assert rulesets.names() == [
        "algoperf-0.5", "algoperf-0.6", "algoperf-0.6-a100", "demo", "mini", "sprint",
        "sprint-qualification", "track3",
    ]  # fmt: skip
    assert [rulesets.load(name).name for name in rulesets.names()] == rulesets.names()


@pytest.mark.parametrize(
    ("name", "studies", "trials", "factor"),
    [
        ("algoperf-0.5", 5, 5, 3),
        ("algoperf-0.6", 3, 5, 1.5),
        ("mini", 3, 5, 1.5),
        ("demo", 3, 2, 1.5),
    ],
)
def test_their_numbers_are_those_of_the_rules(name, studies, trials, factor):
    rules = rulesets.load(name)
    assert (rules.studies, rules.trials, rules.r_max) == (studies, trials, 4.0)
    assert rules.self_tuning_budget_factor == factor


@pytest.mark.parametrize("name", OFFICIAL)
def test_algoperf_s_say_everything_of_every_workload(name):
    rules = rulesets.load(name)
    assert set(rules.scored) == BASES
    assert len(rules.workloads) == 32
    for workload, facts in rules.workloads.items():
        stated = facts.model_dump(exclude=IN_STEPS)
        assert all(value is not None for value in stated.values()), workload
        assert any(workload.startswith(base) for base in BASES)


@pytest.mark.parametrize(
    "limits", ["budget_steps = 9", "budget_steps = 9\neval_period_steps = 3\nbudget_seconds = 5"]
)
def test_a_budget_is_in_one_unit(toml, limits):
    text = TOY.replace("budget_seconds = 100", limits)
    with pytest.raises(RulesetError, match="budget_steps and eval_period_steps"):
        rulesets.load(toml(text))


def test_six_workloads_of_0_5_have_a_held_out_variant_and_none_of_0_6():
    held_out = rulesets.load("algoperf-0.5").held_out
    assert set(held_out.values()) == BASES - {"imagenet_vit", "librispeech_deepspeech"}
    assert all(variant.startswith(f"{workload}_") for variant, workload in held_out.items())
    assert rulesets.load("algoperf-0.6").held_out == {}


@pytest.mark.skipif(not TARGETS.is_file(), reason="needs shared/facts/targets.json")
@pytest.mark.parametrize("name", OFFICIAL)
def test_algoperf_s_are_equal_to_what_was_read_off_its_code(name):
    version = f"v{name.removeprefix('algoperf-')}"
    targets = json.loads(TARGETS.read_text())
    rules = rulesets.load(name)
    keys = {
        "metric": "metric",
        "direction": "direction",
        "validation_target": "validation_target",
        "test_target": "test_target",
        "budget_seconds": "max_allowed_runtime_sec",
        "eval_period_seconds": "eval_period_time_sec",
        "step_hint": "step_hint",
    }
    assert set(rules.workloads) == set(targets[version])
    for workload, facts in targets[version].items():
        ours = rules.workloads[workload].model_dump(exclude=IN_STEPS)
        assert set(ours) == set(keys)
        for key, their_key in keys.items():
            theirs = facts[their_key]
            wanted = theirs if isinstance(theirs, str) else pytest.approx(theirs, rel=1e-12)
            assert ours[key] == wanted, (workload, key)
        assert facts["self_tuning_runtime_factor"] == rules.self_tuning_budget_factor
        base = facts["base_workload"]
        assert workload not in rules.held_out or rules.held_out[workload] == base
    meta = targets["meta"]
    assert set(rules.scored) == set(meta["base_workloads"])
    assert (rules.studies, rules.trials) == tuple(
        meta[version][key] for key in ("num_studies", "num_trials")
    )
    if version == "v0.5":
        assert set(rules.held_out) == set(meta["held_out_workloads_v0.5"])


def test_the_runs_on_a100_have_0_6_s_goals_and_a_ninth_workload():
    old, new = rulesets.load("algoperf-0.6"), rulesets.load("algoperf-0.6-a100")
    seconds = {  # budget, evaluation period
        "criteo1tb": (8915, 356), "fastmri": (2745, 110), "imagenet_resnet": (49918, 1996),
        "imagenet_vit": (64292, 2571), "librispeech_conformer": (43680, 1747),
        "librispeech_deepspeech": (36949, 1447), "ogbg": (11303, 452), "wmt": (16114, 644),
        "finewebedu_lm": (31967, 2571),
    }  # fmt: skip
    assert set(new.scored) == set(new.workloads) == set(seconds)
    assert (new.studies, new.trials, new.self_tuning_budget_factor, new.r_max) == (3, 1, 1.5, 4)
    for name, (budget, period) in seconds.items():
        rules = new.workloads[name]
        assert (rules.budget_seconds, rules.eval_period_seconds) == (budget, period)
        assert new.budget(name, "self") == 1.5 * budget
        if name != "finewebedu_lm":
            times = {"budget_seconds", "eval_period_seconds"}
            assert rules.model_dump(exclude=times) == old.workloads[name].model_dump(exclude=times)
    model = new.workloads["finewebedu_lm"]
    assert (model.metric, model.direction, model.validation_target) == ("ppl", "min", 22.2995)
    assert (model.test_target, model.step_hint) == (None, 72000)


def test_the_suite_of_a_ruleset_s_family_is_what_it_scores():
    for name, count in (("algoperf-0.5", 8), ("algoperf-0.6", 8), ("algoperf-0.6-a100", 9)):
        rules = rulesets.load(name)
        assert rules.suite("algoperf") == rules.scored
        assert len(rules.scored) == count
        assert rules.suite("qualification") == ("criteo1tb", "ogbg", "wmt")
        assert rules.suite("mini") == ()
    assert rulesets.load("mini").suite("mini") == ()  # it leaves that to the workloads


def test_a_score_is_a_mean_over_nine_even_if_a_workload_is_never_solved(tmp_path):
    rules = rulesets.load("algoperf-0.6-a100")
    curves = {("a", "criteo1tb", study, 1): [(100.0, 0.1)] for study in range(3)}
    write_logs(tmp_path, curves, tuning_folder="self_tuning")
    board = make_leaderboard(read([tmp_path], rules, "self"), resamples=5)
    assert board.standings[0].score == pytest.approx(1 / 9)


def test_a_goal_needs_metric_direction_and_target():
    whole = {"metric": "loss", "direction": "min", "validation_target": 1.0}
    rules = _with(workloads={"whole": whole, "part": {"validation_target": 1.0}})
    assert to_plain(rules.goal("whole")) == {"metric": "loss", "direction": "min", "target": 1.0}
    assert rules.goal("part") is None
    assert rules.goal("unknown") is None


def test_the_budget_of_self_tuning_is_a_multiple():
    rules = _with(workloads={"w": {"budget_seconds": 10}})
    assert (rules.budget("w", "external"), rules.budget("w", "self")) == (10.0, 20.0)
    assert rules.budget("unknown", "self") is None


def _with(**changes):
    return Ruleset(
        **{"name": "toy", "studies": 1, "trials": 1, "self_tuning_budget_factor": 2, "r_max": 4},
        **changes,
    )


def test_a_user_s_file_is_loaded_by_its_path_and_called_after_it(toml):
    rules = rulesets.load(toml(TOY, "mine"))
    assert (rules.name, rules.scored, rules.baseline) == ("mine", ("w",), "external_tuning/nadamw")
    assert rulesets.load(toml('name = "other"\n' + TOY, "mine")).name == "other"


def test_a_user_s_file_scores_logs(toml, tmp_path):
    curves = {("a", "w", 0, 1): [(10.0, 0.4)], ("b", "w", 0, 1): [(20.0, 0.4)]}
    logs = write_logs(tmp_path / "logs", curves)
    board = make_leaderboard(read([logs], rulesets.load(toml(TOY)), "external"), resamples=5)
    assert [(s.name, s.score) for s in board.standings] == [("a", 1.0), ("b", 0.5)]


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(RulesetError, match=r"no ruleset 'algoperf-0\.7'\. Did you mean") as error:
        rulesets.load("algoperf-0.7")
    assert "algoperf-0.5, algoperf-0.6-a100" in str(error.value)
    with pytest.raises(RulesetError, match=r"no ruleset 'none\.toml'"):
        rulesets.load("none.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("studies = ", "cannot be read as TOML"),
        (b"\xff{", "cannot be read as TOML"),
        ("a = " + 5000 * "[", "cannot be read as TOML"),
        (".".join(50_000 * "a") + " = 1", "has a key of more than 100 parts"),
        ("a = {" + ".".join(50_000 * ["'b'"]) + " = 1}", "has a key of more than 100 parts"),
        ("a = " + 200 * "[" + 200 * "]", "is nested more than 100 deep"),
        (TOY.replace("studies = 1", "studies = 1\nstudies = 2"), "Cannot overwrite a value"),
        (TOY.replace("= 0.5", "= 1" + 400 * "0"), "workloads.w.validation_target: "),
        (TOY.replace("= 0.5", "= 1" + 5000 * "0"), "cannot be read as TOML"),
        (TOY.replace("studies = 1", "studies = 0"), "studies: "),
        (TOY.replace("studies = 1\n", ""), "studies: "),
        (TOY.replace("studies = 1", "studies = 1000000000"), "studies: "),
        (TOY.replace("studies = 1", "studys = 1"), "studys: unknown key. Did you mean 'studies'"),
        (TOY.replace("r_max = 3", "r_max = 1"), "r_max: "),
        (TOY.replace("r_max = 3", "r_max = inf"), "r_max: "),
        (
            TOY.replace("budget_seconds = 100", "budget_seconds = -1"),
            "workloads.w.budget_seconds: ",
        ),
        (TOY.replace("= 0.5", "= nan"), "workloads.w.validation_target: "),
        (TOY.replace('"min"', '"down"'), "workloads.w.direction: "),
        (TOY.replace('direction = "min"\n', ""), "workloads.w: a metric needs its direction"),
        (TOY.replace("budget_seconds", "budget"), "workloads.w.budget: "),
        (TOY + '[held_out]\nv = "x"', "held_out.v = 'x': the workload must be in `scored`"),
        (TOY + '[held_out]\nw = "w"', "held_out.w = 'w'"),
        (TOY + "[suites]\nnone = []", "suites.none is empty"),
    ],
    ids=lambda text: str(text)[-30:],
)
def test_a_malformed_file_is_one_line_with_file_and_key(toml, text, says):
    path = toml(text)
    with pytest.raises(RulesetError) as error:
        rulesets.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(Ruleset.model_fields)), VALUES, max_size=3))
def test_any_value_of_any_key_is_a_ruleset_or_a_value_error(changes):
    known = {"name": "toy", "studies": 1, "trials": 1, "self_tuning_budget_factor": 2, "r_max": 4}
    try:
        rules = Ruleset(**{**known, **changes})
    except ValueError:
        return
    assert rules.studies > 0
    assert 1 < rules.r_max < float("inf")
    assert set(rules.held_out.values()) <= set(rules.scored)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # rewrites its file
@given(st.binary(max_size=60) | st.text(st.sampled_from('ab=[]{}"\n1.'), max_size=40))
def test_any_bytes_are_refused_by_name(toml, content):
    with pytest.raises(RulesetError, match=r"toy\.toml: "):
        rulesets.load(toml(content))


def test_the_qualification_set_scores_its_three_workloads(tmp_path):
    rules = rulesets.load("algoperf-0.6")
    for place, name in enumerate(("a", "b"), 1):
        for workload in rules.suites["qualification"]:
            goal = rules.goal(workload)
            for study in range(3):
                for trial in range(1, 6):
                    folder = log_folder(tmp_path, name, workload, study, trial)
                    write_measurements(folder, [(50.0 * place, goal.target)], goal.metric)
    whole = make_leaderboard(read([tmp_path], rules, "external"), resamples=5)
    assert whole.standings[0].score == 3 / 8
    assert len(whole.warnings) == 10  # both lack five workloads
    for method in METHODS.values():
        results = read([tmp_path], rules, "external", "qualification")
        board = make_leaderboard(results, method, resamples=5)
        assert results.scope.scored == ["criteo1tb", "ogbg", "wmt"]
        assert board.standings[0].score == 1.0
        assert board.standings[1].score == pytest.approx(2 / 3, abs=0.01)
        assert list(board.standings[0].cells) == ["criteo1tb", "ogbg", "wmt"]
        assert board.warnings == []


def test_the_qualification_set_of_0_5_has_no_held_out_variants(tmp_path):
    write_logs(tmp_path, {("a", "wmt", 0, 1): [(1.0, 31.0)]}, metric="bleu")
    rules = rulesets.load("algoperf-0.5")
    whole = read([tmp_path], rules, "external").scope
    suite = read([tmp_path], rules, "external", "qualification").scope
    assert (len(whole.workloads), len(whole.held_out)) == (14, 6)
    assert (suite.scored, suite.held_out) == (["criteo1tb", "ogbg", "wmt"], {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stud = 1", "stud: unknown key. Did you mean 'studies'?"),
        ("[workloads.w]\nbudget_secs = 1", "w.budget_secs: unknown key. Did you mean 'budget_se"),
        ("[fixed_step]\nsigmas = 1", "fixed_step.sigmas: unknown key. Did you mean 'sigma'?"),
    ],
)
def test_an_unknown_key_is_refused_with_the_file_and_the_nearest(tmp_path, text, message):
    file = tmp_path / "mine.toml"
    known = "studies = 1\ntrials = 1\nself_tuning_budget_factor = 1\nr_max = 4\n"
    file.write_text(known + text)
    with pytest.raises(RulesetError) as caught:
        rulesets.load(str(file))
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_every_key_is_documented():
    page = (Path(__file__).parents[2] / "docs/scoring.md").read_text()
    section = page.partition("## Rulesets")[2].partition("\n## ")[0]
    for kind in (rulesets.Ruleset, rulesets.WorkloadRules, FixedStepRules):
        assert all(f"`{key}`" in section or f"`{key}." in section for key in kind.model_fields), (
            kind
        )
