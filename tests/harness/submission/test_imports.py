"""Submissions written for AlgoPerf run unmodified, from their own folders."""

import sys
from multiprocessing import forkserver

import pytest

from harness.submission import loading
from harness.submission.loading import SubmissionError
from scoring import rulesets
from scoring.tree import read_trial
from tests.fixtures.algoperf import write

POINTS = {
    "v05/external_tuning/cyclic": None,
    "v05/external_tuning/lawa": None,
    "v05/external_tuning/shampoo_submission": '{"learning_rate": 0.1}',
    "v06/external_tuning/shampoo": None,
    "v05/self_tuning/closures": None,
    "submissions/self_tuning/muon_here": None,
    "submissions/self_tuning/lion_here": None,
    "algorithms/archived/momentum_here": (
        '{"learning_rate": 0.05, "warmup_factor": 0.1, "end_factor": 0.1, '
        '"decay_steps_factor": 0.9, "grad_clip": 1.0}'
    ),
    "algorithms/target_setting_algorithms/pytorch_momentum.py": (
        '{"learning_rate": 0.05, "beta1": 0.9}'
    ),
    "algorithms/target_setting_algorithms/pytorch_adamw.py": '{"learning_rate": 0.01}',
    "algorithms/development/mnist_here": '{"learning_rate": 0.1}',
}
RULES = """
studies = 1
trials = 2
self_tuning_budget_factor = 1.5
r_max = 4.0
[workloads.digits]
budget_seconds = 0.1005
eval_period_seconds = 0.0199
step_hint = 60
"""


@pytest.fixture(scope="module", autouse=True)
def loaded_before(tmp_path_factory):
    """The first submission of a process imports what all share, such as installed packages."""
    place = write(tmp_path_factory.mktemp("first") / "algoperf", "v05/external_tuning/cyclic")
    loading.load(loading.find(str(place)))
    loading.load(loading.find("nadamw"))


@pytest.fixture(params=POINTS)
def name(request):
    return request.param


@pytest.fixture
def run(chronograd, tmp_path):
    """Runs a submission with `chronograd run`; returns the recorded spec and result."""
    (tmp_path / "rules.toml").write_text(RULES)

    def call(place, *options, workload="digits", ruleset="rules.toml"):
        fixed = ("--clock", "steps", "--device", "cpu", "--out", "out")
        code, out, error = chronograd(
            "run", place, "--workload", workload, "--ruleset", ruleset, *fixed, *options
        )
        assert code == 0, out + error
        (trial,) = (tmp_path / "out").rglob("trial.json")
        return read_trial(trial.parent)

    return call


def test_runs_as_it_is_and_learns(run, tmp_path, name):
    place = write(tmp_path / "algoperf", name)
    file = place if place.suffix == ".py" else place / "submission.py"
    options = () if POINTS[name] is None else ("--hparams", POINTS[name])
    spec, result = run(file, *options)
    assert result.status in ("out_of_time", "reached", "training_complete"), result.traceback
    assert spec.submission == name.rpartition("/")[2].removesuffix(".py")
    assert result.batch_size == 32
    losses = [row.metrics["train/loss"] for row in result.rows]
    assert losses[-1] < losses[0]


def test_runs_wherever_its_folder_is(tmp_path, name):
    place = write(tmp_path / "algoperf", name)
    folder = place.parent if place.suffix == ".py" else place
    moved = folder.rename(tmp_path / "renamed")
    loaded = loading.load(moved / place.name if place.suffix == ".py" else moved)
    assert loaded.folder.is_relative_to(moved)


def test_its_modules_are_hidden_from_the_harness_and_from_the_next(tmp_path, name):
    modules, path = set(sys.modules), list(sys.path)
    loaded = loading.load(loading.find(str(write(tmp_path / "algoperf", name))))
    seen = {m for m in set(sys.modules) - modules if not m.startswith(("_submission", "harness."))}
    roots = {m.partition(".")[0] for m in seen}
    strangers = {"algoperf", "algorithmic_efficiency", "absl", "optax", "jax", "flax", "utils"}
    strangers |= {"optimizers", "shampoo_types", "algorithms", "submissions_algorithms"}
    assert not roots & strangers
    assert not hasattr(sys.modules["submissions"], "submissions_algorithms_v0_5")
    with pytest.raises(ModuleNotFoundError):
        import algoperf  # noqa: F401 - not for the harness
    assert loaded.update_params.__module__.startswith("_submission.")
    loading.load(loading.find("nadamw"))
    files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
    assert not [file for file in files if file.startswith(str(tmp_path))]
    assert sys.path == path


PLAIN = """
from algoperf import spec
{imports}
def get_batch_size(workload_name): return 4
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng): return {{}}
def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state,
                   hyperparameters, global_step, rng): return next(input_queue)
def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step,
                  rng):
    {body}
"""


def load(folder, files, imports="", body="pass"):
    """Loads a submission that is in `folder` next to `files`."""
    for path, text in {**files, "submission.py": PLAIN.format(imports=imports, body=body)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return loading.load(folder).update_params.__globals__


@pytest.mark.parametrize(
    "other",
    [
        "from helper import Thing",
        "import submissions.self_tuning.mine.helper as h; Thing = h.Thing",
        "import algorithms.anything.mine.helper; Thing = algorithms.anything.mine.helper.Thing",
        "from submissions_algorithms.leaderboard.other_name.helper import Thing",
        "from mine.helper import Thing",
        "from mine import helper; Thing = helper.Thing",
        "import importlib; Thing = importlib.import_module('helper').Thing",
        "import sys, os; sys.path.insert(0, os.path.dirname(__file__)); from helper import Thing",
        "import sys, os; sys.path.append(os.path.dirname(os.path.dirname(__file__)));"
        "from mine.helper import Thing",
        "from submission_parts import Thing",
    ],
)
def test_a_file_is_one_module_however_it_is_named(tmp_path, other):
    files = {"helper.py": "class Thing: pass", "submission_parts.py": "from .helper import Thing"}
    body = f"{other}; return Thing"
    found = load(tmp_path / "mine", files, f"from .helper import Thing as First\n{other}", body)
    assert found["Thing"] is found["First"]
    later = found["update_params"](*[None] * 11)
    assert later is found["First"]


def test_files_in_folders_on_the_import_path_are_one_module_too(tmp_path):
    files = {"vendor/tools/__init__.py": "", "vendor/tools/wheel.py": "class Wheel: pass"}
    imports = (
        "import os, sys\nfrom vendor.tools.wheel import Wheel\n"
        "sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'vendor'))\n"
        "from tools.wheel import Wheel as Same\nimport tools"
    )
    before = list(sys.path)
    found = load(tmp_path / "mine", files, imports)
    assert found["Same"] is found["Wheel"]
    loading.load(loading.find("nadamw"))
    assert sys.path == before


def test_own_files_take_precedence_over_those_of_the_library(tmp_path):
    """The library has a folder schedule_free_adamw with a submission.py too."""
    own = "submissions.self_tuning.schedule_free_adamw"
    imports = f"from {own}.submission_parts import A\nimport submissions.recipe"
    body = f"from {own}.submission import A; return A"
    found = load(tmp_path / "schedule_free_adamw", {"submission_parts.py": "A = 7"}, imports, body)
    assert found["update_params"](*[None] * 11) == found["A"] == 7
    assert hasattr(found["submissions"].recipe, "submission")


def test_installed_packages_and_the_standard_library_precede_folders(tmp_path):
    files = {"tools/schedulefree.py": "", "random.py": "raise ValueError", "wandb/run.txt": ""}
    imports = "import random, schedulefree\nfrom schedulefree import AdamWScheduleFree"
    found = load(tmp_path / "schedulefree", files, imports)
    assert "site-packages" in found["schedulefree"].__file__
    assert found["random"].random() < 1


@pytest.mark.parametrize(
    "name", ["no_such", "apex.optimizers", "torch.no_such", "submissions.recipe.no_such"]
)
def test_a_module_that_does_not_exist_stays_missing(tmp_path, name):
    imports = f"try:\n    import {name}\nexcept ImportError:\n    MISSING = True"
    assert load(tmp_path / "mine", {"optimizers/__init__.py": ""}, imports)["MISSING"]


def test_algoperf_spec_is_the_contract_of_this_project(tmp_path):
    from harness.spec import TrainingCompleteError

    imports = "import algorithmic_efficiency.spec as old, algoperf\nfrom absl import logging"
    found = load(tmp_path / "mine", {}, imports)
    assert found["old"] is found["spec"] is found["algoperf"].spec
    assert found["spec"].TrainingCompleteError is TrainingCompleteError
    assert found["spec"].ForwardPassMode.EVAL.value == 1
    names = (
        "Workload ParameterContainer ParameterTypeTree ModelAuxiliaryState Hyperparameters "
        "RandomState OptimizerState UpdateReturn Tensor LossType ForwardPassMode ParameterType"
    )
    assert all(hasattr(found["spec"], name) for name in names.split())
    found["logging"].info("%d", 1)


@pytest.mark.parametrize(("rank", "expected"), [(None, (False, 0)), ("3", (True, 3))])
def test_processes_train_together_if_local_rank_is_set(tmp_path, monkeypatch, rank, expected):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    imports = "from algoperf.pytorch_utils import pytorch_setup\nSETUP = pytorch_setup()"
    found = load(tmp_path / "mine", {}, imports)
    assert found["SETUP"][:2] == expected


def test_a_jax_submission_is_refused_and_a_jax_helper_must_not_compute(tmp_path):
    with pytest.raises(SubmissionError, match="jax is not installed, and JAX submissions"):
        load(tmp_path / "jax", {}, "import jax.numpy as jnp")
    files = {"helper.py": "import jax\n@jax.jit\ndef f(x): return x\ndef g(x): return jax.grad(x)"}
    found = load(tmp_path / "mine", files, "import helper")
    with pytest.raises(ModuleNotFoundError, match=r"jax.grad was called, and jax is not install"):
        found["helper"].g(1)


def test_schedules_of_optax_are_linear_and_polynomial(tmp_path):
    optax = load(tmp_path / "mine", {}, "import optax")["optax"]
    line = optax.linear_schedule(0.0, 0.5, 10)
    assert [line(step).item() for step in (-1, 0, 5, 10, 99)] == [0.0, 0.0, 0.25, 0.5, 0.5]
    square = optax.polynomial_schedule(
        init_value=1.0, end_value=0.2, power=2, transition_steps=4, transition_begin=2
    )
    values = [square(step).item() for step in (0, 2, 4, 6)]
    assert values == pytest.approx([1.0, 1.0, 0.2 + 0.8 * 0.25, 0.2])
    joined = optax.join_schedules([line, square], [10])
    assert joined(9).item() == pytest.approx(0.45)
    assert [joined(step).item() for step in (10, 14)] == pytest.approx([1.0, 0.4])
    assert optax.linear_schedule(0.3, 0.5, 0)(7).item() == pytest.approx(0.3)


def test_dropout_comes_from_the_hyperparameters_if_the_ruleset_says_so(run, tmp_path):
    place = write(tmp_path / "algoperf", "v05/external_tuning/cyclic")
    assert rulesets.load("algoperf-0.5").dropout_at_init
    assert not rulesets.load("algoperf-0.6").dropout_at_init
    (tmp_path / "rules.toml").write_text("dropout_at_init = true\n" + RULES)
    assert run(place)[0].dropout == {"dropout_rate": 0.5}


def test_a_search_space_may_be_elsewhere(run, tmp_path):
    place = write(tmp_path / "algoperf", "algorithms/development/mnist_here")
    (tmp_path / "space.json").write_text('[{"learning_rate": 0.25}, {"learning_rate": 0.5}]')
    spec, _ = run(place, "--search-space", "space.json", "--trial", 2)
    assert (spec.tuning, spec.hyperparameters) == ("external", {"learning_rate": 0.5})


def test_a_batch_size_given_as_an_option_is_used_and_recorded(run, tmp_path):
    place = write(tmp_path / "algoperf", "v06/external_tuning/shampoo")
    spec, result = run(place, "--batch-size", 64, "--max-steps", 2)
    assert (spec.batch_size, result.batch_size) == (64, 64)


SPAWNS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from torch import multiprocessing as torch_multiprocessing
from helper import add

def double(number):
    return 2 * number

def train_rank(rank, results):
    results.put((rank, add(rank)))

def results_of_children(method):
    context = torch_multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        doubled = pool.submit(double, 21).result(timeout=120)
    results = context.SimpleQueue()
    torch_multiprocessing.start_processes(train_rank, (results,), nprocs=2, start_method=method)
    return doubled, sorted(results.get() for _ in range(2))
"""


@pytest.mark.parametrize("method", [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
def test_processes_that_a_submission_starts_find_it(tmp_path, method):
    forkserver._forkserver._stop()  # one that was started before this submission was loaded
    files = {"helper.py": "def add(number): return number + 40"}
    found = load(tmp_path / "mine", files, SPAWNS)["results_of_children"](method)
    assert found == (42, [(0, 40), (1, 41)])
