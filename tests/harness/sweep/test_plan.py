"""Plans: what is run, under which rules, and what may be added later."""

import hashlib
import json
from dataclasses import replace

import pytest

import workloads
from harness.submission.loading import SubmissionError
from harness.sweep.changes import extend
from harness.sweep.plan import PlanError, needs_baseline, plan_workload
from harness.sweep.request import Request, check, resumed, single_trial
from harness.sweep.restore import remaining
from scoring import rulesets
from scoring.experiment import Experiment, PlannedSubmission
from scoring.records import Failure, RecordError, RunOptions, Status, TrialResult
from scoring.rulesets import Ruleset, WorkloadRules
from scoring.tree import write_trial
from tests.fixtures.faults import write_submission

OPTIONS = RunOptions(clock="steps")


def ask(*submissions, workload=("diabetes",), ruleset="demo", **changes):
    request = Request(
        submissions=submissions,
        workloads=list(workload),
        ruleset=rulesets.load(ruleset),
        options=replace(OPTIONS, **changes.pop("options", {})),
        **changes,
    )
    return check(request, workloads.get)


class NoExecutor:
    """Fails if a baseline is timed unnecessarily."""

    def __init__(self, **times):
        self.times = times

    def time_baseline(self, spec):
        assert self.times, "the baseline was timed"
        assert spec.submission == "nadamw"
        return self.times


def test_every_combination_is_planned_once_study_by_study(tmp_path):
    draft = ask("nadamw", "adamw", workload=("diabetes", "digits"))
    specs = list(draft.complete(tmp_path, NoExecutor()).specs())
    keys = [(s.study, s.workload, s.submission, s.trial) for s in specs]
    assert len(set(keys)) == len(keys) == 2 * 2 * 3 * 2
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    assert (
        specs[0].hyperparameters == specs[8].hyperparameters
    )  # a list of points is the same in each study


def test_budgets_in_baseline_steps_become_seconds():
    workload = workloads.get("digits")
    demo = rulesets.load("demo")
    measured = plan_workload(workload, demo, "wall", 0.001)
    assert measured.budget_seconds == pytest.approx(0.001 * workload.budget_steps)
    assert measured.eval_period_seconds == pytest.approx(0.001 * workload.eval_period_steps)
    assert plan_workload(workload, demo, "wall", 1.0).budget_seconds == 4.0
    assert plan_workload(workload, rulesets.load("mini"), "wall", 1.0).budget_seconds == 1500.0
    nominal = plan_workload(workload, demo, "steps", None)
    assert nominal.baseline_step_seconds == workload.nominal_step_sec


def test_official_seconds_need_no_baseline_and_a_ruleset_overrides():
    workload = workloads.get("mnist")
    rules = WorkloadRules(validation_target=0.5, budget_seconds=7.0, step_hint=11)
    ruleset = Ruleset(
        name="mine", studies=1, trials=1, self_tuning_budget_factor=1, r_max=4,
        workloads={"mnist": rules, "digits": rules},
    )  # fmt: skip
    assert not needs_baseline(workload, rulesets.load("demo"), "wall")
    assert plan_workload(workload, rulesets.load("demo"), "wall", None).budget_seconds == 60.0
    planned = plan_workload(workload, ruleset, "wall", None)
    assert (planned.goal.target, planned.budget_seconds, planned.step_hint) == (0.5, 7.0, 11)
    assert planned.eval_period_seconds == 10.0
    assert planned.test_goal.target == 0.97
    assert needs_baseline(workloads.get("digits"), rulesets.load("demo"), "wall")
    assert not needs_baseline(workloads.get("digits"), rulesets.load("demo"), "steps")


BY_STEPS = Ruleset(
    name="steps", studies=2, trials=1, self_tuning_budget_factor=1, r_max=4, by_steps=True,
    workloads={"digits": WorkloadRules(budget_steps=60, eval_period_steps=25, step_hint=7)},
)  # fmt: skip


@pytest.mark.parametrize(("given", "stop"), [({}, 60), ({"max_steps": 90}, 90)])
def test_by_steps_all_trials_end_at_the_same_step_on_the_step_clock(tmp_path, given, stop):
    request = Request(
        submissions=["nadamw"], workloads=["digits"], ruleset=BY_STEPS,
        options=RunOptions(**given),
    )  # fmt: skip
    specs = list(check(request, workloads.get).complete(tmp_path, NoExecutor()).specs())
    assert len(specs) == 2
    for spec in specs:
        assert (spec.clock, spec.until, spec.step_seconds) == ("steps", "budget", 1.0)
        assert (spec.max_steps, spec.step_hint, spec.eval_period_steps) == (stop, stop, 25)
        assert stop < spec.budget_seconds == spec.max_allowed_runtime_sec < stop + 2


def test_by_steps_needs_a_budget_in_steps():
    with pytest.raises(PlanError, match="mnist: has no budget in steps"):
        plan_workload(workloads.get("mnist"), BY_STEPS, "steps", None)


def test_a_ruleset_can_give_a_budget_in_baseline_steps_to_a_workload_that_has_seconds():
    rules = WorkloadRules(budget_steps=100, eval_period_steps=10, step_hint=100)
    ruleset = BY_STEPS.model_copy(update={"by_steps": False, "workloads": {"mnist": rules}})
    mnist = workloads.get("mnist")
    assert needs_baseline(mnist, ruleset, "wall")
    planned = plan_workload(mnist, ruleset, "wall", 0.25)
    assert (planned.budget_seconds, planned.eval_period_seconds) == (25.0, 2.5)
    assert (planned.step_hint, planned.baseline_step_seconds) == (100, 0.25)


def test_self_tuning_has_one_trial_a_longer_budget_and_no_hyperparameters(tmp_path):
    draft = ask("nadamw", tuning="self", trials=5)
    specs = list(draft.complete(tmp_path, NoExecutor()).specs())
    assert len(specs) == 3
    spec = specs[0]
    assert spec.hyperparameters is None
    assert spec.budget_seconds == pytest.approx(1.5 * spec.max_allowed_runtime_sec)


def test_the_step_clock_charges_the_nominal_step(tmp_path):
    spec = next(ask("nadamw").complete(tmp_path, NoExecutor()).specs())
    workload = workloads.get("diabetes")
    assert spec.step_seconds == workload.nominal_step_sec
    assert spec.budget_seconds / spec.step_seconds == pytest.approx(workload.budget_steps)


def test_the_search_space_determines_the_default_tuning(tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    assert ask(str(folder)).tuning == "self"
    assert ask("nadamw").tuning == "external"
    with pytest.raises(PlanError, match=r"with a search space: nadamw; without .*: well_behaved"):
        ask("nadamw", str(folder))


def test_two_submissions_of_the_same_name_are_refused(tmp_path):
    folder = write_submission(tmp_path, "well_behaved", name="nadamw")
    with pytest.raises(PlanError, match="two submissions are called nadamw"):
        ask("self_tuning/nadamw", str(folder))


def test_steps_are_timed_once_and_node_types_must_agree(tmp_path):
    draft = ask("adamw", options={"clock": "wall"})
    with pytest.raises(PlanError, match=r"node types differ .*A: 1 ms, B: 1.2 ms"):
        draft.complete(tmp_path, NoExecutor(A=0.001, B=0.0012))
    experiment = draft.complete(tmp_path, NoExecutor(A=0.001, B=0.00105))
    assert experiment.workloads["diabetes"].baseline_step_seconds == pytest.approx(0.001025)
    experiment.write(tmp_path)
    more = ask("nadamw", options={"clock": "wall"}).complete(tmp_path, NoExecutor())
    assert more.workloads == experiment.workloads
    assert list(more.submissions) == ["nadamw", "adamw"]


def test_an_experiment_is_read_as_it_was_written(tmp_path):
    experiment = ask("nadamw").complete(tmp_path, NoExecutor())
    experiment.write(tmp_path)
    assert Experiment.read(tmp_path) == experiment
    with pytest.raises(RecordError, match="is this a results directory"):
        Experiment.read(tmp_path / "nowhere")
    (tmp_path / "experiment.json").write_text('{"schema": 1, "tuning": "self"}')
    with pytest.raises(RecordError, match=r"experiment.json: damaged \(ruleset: Field required"):
        Experiment.read(tmp_path)


def test_submissions_workloads_and_studies_can_be_added_to_a_tree(tmp_path):
    ask("nadamw", studies=1).complete(tmp_path, NoExecutor()).write(tmp_path)
    wider = ask("adamw", workload=("digits",), studies=2).complete(tmp_path, NoExecutor())
    assert set(wider.submissions) == {"nadamw", "adamw"}
    assert set(wider.workloads) == {"diabetes", "digits"}
    assert wider.studies == 2
    wider.write(tmp_path)
    assert ask("nadamw", studies=1).complete(tmp_path, NoExecutor()).studies == 2


@pytest.mark.parametrize(
    "changes", [{"options": {"seed": 1}}, {"trials": 1}, {"ruleset": "mini", "trials": 2},
                {"options": {"until": "test"}}],
)  # fmt: skip
def test_a_tree_refuses_other_rules_and_options(tmp_path, changes):
    ask("nadamw").complete(tmp_path, NoExecutor()).write(tmp_path)
    with pytest.raises(PlanError, match="choose another --out"):
        ask("nadamw", **changes).complete(tmp_path, NoExecutor())


def test_resume_refuses_changed_code_and_says_so(tmp_path):
    folder = write_submission(tmp_path / "code", "well_behaved")
    ask(str(folder)).complete(tmp_path, NoExecutor()).write(tmp_path)
    assert resumed(tmp_path, None, workloads.get).complete(tmp_path, NoExecutor())
    with (folder / "submission.py").open("a") as file:
        file.write("# a harmless change\n")
    changed = r"code of submission well_behaved has changed: submission\.py; restore"
    with pytest.raises(PlanError, match=changed):
        resumed(tmp_path, None, workloads.get).complete(tmp_path, NoExecutor())
    (folder / "submission.py").unlink()
    with pytest.raises(SubmissionError, match="no submission"):
        resumed(tmp_path, None, workloads.get)


def resume(out, *accepted):
    draft = resumed(out, None, workloads.get, trust=True, accepted=accepted)
    again = draft.complete(out, NoExecutor(), accepted)
    again.write(out)
    return again.submissions["well_behaved"]


def test_output_and_notes_in_a_submissions_folder_are_not_code(tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    out = folder / "out"
    (folder / "README.md").write_text("as it was")
    (folder / "nohup.out").write_text("begun")
    ask(str(folder)).complete(out, NoExecutor()).write(out)
    for name in (
        "README.md", "nohup.out", "slurm-17.out", "job.err", "train.log", "page.html", "plot.png",
        "losses.csv", "log.txt", "notes.txt", "._submission.py", "runs/events.out.tfevents.1.a",
        ".ipynb_checkpoints/submission-checkpoint.py", "__MACOSX/x.py",
    ):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("written later")
    assert not resume(out).accepted


@pytest.mark.parametrize("name", ["helper.py", "lib/kernel.cu", "fast.so"])
def test_code_that_appears_later_is_a_change(tmp_path, name):
    folder = write_submission(tmp_path, "well_behaved")
    ask(str(folder)).complete(tmp_path / "out", NoExecutor()).write(tmp_path / "out")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    with pytest.raises(PlanError, match=f"has changed: {name}; restore them, or choose another"):
        resume(tmp_path / "out", name)


def test_a_changed_data_file_is_named_and_can_be_accepted_once(tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    out = tmp_path / "out"
    (folder / "table.txt").write_text("1")
    (folder / "gone.json").write_text("1")
    ask(str(folder)).complete(out, NoExecutor()).write(out)
    planned = resume(out)
    (folder / "table.txt").write_text("2")
    (folder / "gone.json").unlink()
    changed = "have changed: gone.json, table.txt; .*--accept-change gone.json --accept-change tab"
    with pytest.raises(PlanError, match=changed):
        resume(out)
    with pytest.raises(PlanError, match=r"have changed: gone\.json; .*--accept-change gone.json"):
        resume(out, "table.txt")
    accepted = resume(out, "table.txt", "gone.json")
    assert [note.partition(":")[0] for note in accepted.accepted] == ["gone.json", "table.txt"]
    assert accepted.hash == planned.hash
    assert resume(out) == accepted  # it is recorded and need not be accepted again
    (folder / "submission.py").write_text((folder / "submission.py").read_text() + "\n")
    with pytest.raises(PlanError, match=r"has changed: submission\.py; restore"):
        resume(out, "submission.py")


def test_a_tree_without_digests_is_resumed_by_its_hash(tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    out = tmp_path / "out"
    (folder / "README.md").write_text("part of the hash")
    ask(str(folder)).complete(out, NoExecutor()).write(out)
    experiment = json.loads((out / "experiment.json").read_text())
    planned = experiment["submissions"]["well_behaved"]
    del planned["files"], planned["accepted"]
    digest = hashlib.sha256()  # of names, sizes and bytes of all files
    for name in ("README.md", "submission.py"):
        content = (folder / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    planned["hash"] = digest.hexdigest()
    (out / "experiment.json").write_text(json.dumps(experiment))
    assert resume(out).hash == planned["hash"]
    assert "submission.py" in resume(out).files
    (folder / "README.md").write_text("not part of the digests")
    assert resume(out).hash == planned["hash"]


def test_resume_can_add_studies(tmp_path):
    ask("nadamw", studies=1).complete(tmp_path, NoExecutor()).write(tmp_path)
    more = resumed(tmp_path, 3, workloads.get).complete(tmp_path, NoExecutor())
    assert more.studies == len(more.submissions["nadamw"].points) == 3


@pytest.mark.parametrize(
    ("status", "failure", "runs_again"),
    [
        (Status.REACHED, None, False),
        (Status.DIVERGED, None, False),
        (Status.FAILED, Failure.SUBMISSION_ERROR, False),
        (Status.FAILED, Failure.WORKER_LOST, True),
        (Status.INTERRUPTED, None, True),
    ],
)
def test_trials_without_a_result_remain(tmp_path, status, failure, runs_again):
    experiment = ask("nadamw", studies=1, trials=1).complete(tmp_path, NoExecutor())
    (spec,) = remaining(tmp_path, experiment)
    write_trial(tmp_path, spec, TrialResult(status=status, failure=failure))
    assert bool(remaining(tmp_path, experiment)) == runs_again


def test_a_single_trial_is_the_sweeps_trial(tmp_path):
    request = Request(
        submissions=["nadamw"], workloads=["diabetes"], ruleset=rulesets.load("demo"),
        options=OPTIONS,
    )  # fmt: skip
    draft = single_trial(request, 1, 2, workloads.get)
    (spec,) = draft.complete(tmp_path, NoExecutor()).specs()
    sweep = ask("nadamw").complete(tmp_path, NoExecutor())
    assert spec == sweep.spec("nadamw", "diabetes", 1, 2)
    given = {**(spec.hyperparameters or {}), "learning_rate": 1.0}
    request = replace(request, point=given)
    draft = single_trial(request, 0, 1, workloads.get)
    (spec,) = draft.complete(tmp_path, NoExecutor()).specs()
    assert spec.hyperparameters == given
    optional = {**given, "label_smoothing": 0.1}  # no search space has it, but the code reads it
    single_trial(replace(request, point=optional), 0, 1, workloads.get)
    with pytest.raises(PlanError, match="unknown: momentun; it takes learning_rate, "):
        single_trial(replace(request, point={**given, "momentun": 0.1}), 0, 1, workloads.get)


def test_extending_keeps_the_planned_points():
    def experiment(points, studies):
        planned = PlannedSubmission(path="p", hash="h", points=points)
        return Experiment(
            ruleset=rulesets.load("demo"), tuning="external", studies=studies, trials=1, seed=0,
            clock="steps", submissions={"s": planned}, workloads={},
        )  # fmt: skip

    old = experiment([[{"a": 1}]], 1)
    assert extend(old, experiment([[{"a": 1}], [{"a": 2}]], 2), "out").studies == 2
    with pytest.raises(PlanError, match="other hyperparameter points of s"):
        extend(old, experiment([[{"a": 2}]], 1), "out")


def test_no_search_space_is_needed_with_a_given_point(tmp_path):
    folder = write_submission(tmp_path, "well_behaved")
    request = Request(
        submissions=[str(folder)], workloads=["diabetes"], ruleset=rulesets.load("demo"),
        point={"learning_rate": 1.0}, options=OPTIONS,
    )  # fmt: skip
    (spec,) = single_trial(request, 0, 9, workloads.get).complete(tmp_path, NoExecutor()).specs()
    assert (spec.tuning, spec.hyperparameters) == ("external", {"learning_rate": 1.0})
