"""Finding, loading and checking submissions."""

import json
import sys
from pathlib import Path

import pytest

from harness.submission import loading, shipping
from harness.submission.loading import SubmissionError
from scoring.tree import SEARCH_SPACE_FILE
from tests.fixtures.toy import make_spec

COMPLETE = """
import helper
VALUE = helper.VALUE
def get_batch_size(workload_name): return 4
def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng): return {}
def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state,
                   hyperparameters, global_step, rng): return next(input_queue)
def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results, global_step,
                  rng): return optimizer_state, current_param_container, model_state
"""


def write(folder, code=COMPLETE, value=1):
    folder.mkdir(parents=True)
    (folder / "submission.py").write_text(code)
    (folder / "helper.py").write_text(f"VALUE = {value}")
    return folder


def test_a_bare_name_means_external_tuning():
    assert loading.find("nadamw").parent.name == "external_tuning"
    assert loading.find("nadamw", "self").parent.name == "self_tuning"
    assert loading.find("self_tuning/nadamw").parent.name == "self_tuning"


def test_a_path_is_a_folder_or_its_file(tmp_path):
    folder = write(tmp_path / "mine")
    assert loading.find(str(folder)) == folder
    assert loading.find(str(folder / "submission.py")) == folder


@pytest.mark.parametrize(
    "given", ["./adamw", "./adamw/", "adamw/", "adamw/submission.py", "./x/../adamw", "$/adamw"]
)
def test_a_path_is_a_path_even_if_the_library_has_that_name(tmp_path, monkeypatch, given):
    folder = write(tmp_path / "adamw")
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    assert loading.find(given.replace("$", str(tmp_path))) == folder
    assert loading.find("adamw") != folder
    monkeypatch.chdir(folder)
    assert loading.find(".") == loading.find("submission.py") == folder


def test_a_path_without_a_submission_is_not_looked_up_in_the_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("./adamw", "adamw/", "adamw/submission.py", "../adamw", "adamw.py"):
        with pytest.raises(SubmissionError, match=r"no submission at .*pass the path of a folder"):
            loading.find(given)
    assert loading.find("self_tuning/nadamw").is_relative_to(loading.library())


def test_a_folder_here_takes_precedence_over_a_qualified_name(tmp_path, monkeypatch):
    folder = write(tmp_path / "self_tuning" / "nadamw")
    monkeypatch.chdir(tmp_path)
    assert loading.candidates("self_tuning/nadamw")[0] == folder
    assert len(loading.candidates("self_tuning/nadamw")) == 2


def test_a_linked_file_keeps_its_name_and_its_folder(tmp_path):
    folder = write(tmp_path / "mine")
    (tmp_path / "other").mkdir()
    link = tmp_path / "other" / "mine.py"
    link.symlink_to(folder / "submission.py")
    assert loading.find(str(link)) == link


def test_an_unknown_name_is_answered_with_similar_names():
    with pytest.raises(SubmissionError) as caught:
        loading.find("nadam")
    assert "Did you mean 'nadamw'?" in str(caught.value)
    assert "`chronograd submissions` lists all" in str(caught.value)
    assert "heavy_ball" not in str(caught.value)
    with pytest.raises(SubmissionError, match="for self tuning"):
        loading.find("nesterov", "self")


def test_helpers_of_two_submissions_are_kept_apart(tmp_path):
    first = loading.load(write(tmp_path / "first", value=1))
    second = loading.load(write(tmp_path / "second", value=2))
    assert first.update_params.__globals__["VALUE"] == 1
    assert second.update_params.__globals__["VALUE"] == 2
    assert str(tmp_path / "first") not in sys.path


def test_optional_functions_and_train_state_are_found(tmp_path):
    plain = loading.load(write(tmp_path / "plain"))
    assert plain.prepare_for_eval is None
    assert not plain.wants_train_state
    code = COMPLETE.replace("rng): return opt", "rng, train_state=None): return opt")
    assert loading.load(write(tmp_path / "v06", code)).wants_train_state
    code = COMPLETE.replace("rng): return opt", "rng, **kwargs): return opt")
    assert not loading.load(write(tmp_path / "kwargs", code)).wants_train_state


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def get_batch_size", "def batch_size", "must define get_batch_size()"),
        ("update_params(workload, ", "update_params(", "update_params must accept the keyword"),
        (
            "global_step, rng): return next",
            "rng): return next",
            "data_selection must accept the po",
        ),
        (
            "VALUE = helper",
            "VALUE = helper.",
            "import failed: SyntaxError: invalid syntax, at submission.py:3",
        ),
        ("import helper", "import no_such_module", "import failed: ModuleNotFoundError"),
        ("get_batch_size(workload_name)", "get_batch_size()", "get_batch_size must accept"),
    ],
)
def test_violations_of_the_contract_name_file_function_and_rule(tmp_path, old, new, message):
    folder = write(tmp_path / "broken", COMPLETE.replace(old, new))
    with pytest.raises(SubmissionError) as caught:
        loading.load(folder)
    assert message in str(caught.value)
    assert str(folder / "submission.py") in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def __getattr__(name): raise KeyboardInterrupt", "cannot be checked: KeyboardInterrupt"),
        (COMPLETE + "prepare_for_eval = max", "cannot be checked: ValueError: no signature found"),
        (COMPLETE + "class Odd:\n def __call__(self): 1\n __signature__ = 1\n"
         "get_batch_size = Odd()", "cannot be checked: TypeError"),
    ],
)  # fmt: skip
def test_whatever_the_check_of_a_submission_s_functions_raises_is_its_fault(
    tmp_path, code, message
):
    with pytest.raises(SubmissionError, match=message):
        loading.load(write(tmp_path / "odd", code))


@pytest.mark.parametrize(
    "code",
    ["sys.path = None", "sys.meta_path = None", "sys.meta_path.insert(0, 5)",
     "sys.meta_path.clear()"],
)  # fmt: skip
def test_an_import_system_that_a_submission_broke_is_repaired(tmp_path, code):
    finders, path = [*sys.meta_path], sys.path
    try:
        loading.load(write(tmp_path / "breaks", f"{COMPLETE}\nimport sys\n{code}"))
        assert all(hasattr(finder, "find_spec") for finder in sys.meta_path)
        loading.load(write(tmp_path / "next"))
    finally:
        loading.forget_submission()
        sys.meta_path, sys.path = finders, path


def test_the_hash_covers_names_and_bytes_but_no_caches_and_no_results(tmp_path):
    folder = write(tmp_path / "mine")
    before = loading.content_hash(folder)
    for file in ("__pycache__/x.pyc", ".git/HEAD", ".env", "out/ledger.jsonl", "out/a/trial.json"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"1")
    assert loading.content_hash(folder) == before
    (folder / "helper.py").rename(folder / "helper2.py")
    renamed = loading.content_hash(folder)
    (folder / "helper2.py").write_text("VALUE = 2")
    assert len({before, renamed, loading.content_hash(folder)}) == 3
    assert loading.content_hash(write(tmp_path / "copy")) == before


def test_a_folder_that_holds_more_than_a_submission_is_refused(tmp_path):
    folder = write(tmp_path / "mine")
    with (folder / "data.bin").open("wb") as file:
        file.truncate(loading.MAX_BYTES)
    with pytest.raises(SubmissionError, match="67 MB; move the submission to its own folder"):
        loading.content_hash(folder)


def linked(folder):
    """A submission whose helper is a link to a file, and whose package is one to a folder."""
    write(folder, COMPLETE.replace("import helper", "import helper\nfrom package import part"))
    (folder / "helper.py").rename(folder.parent / "real.py")
    (folder / "helper.py").symlink_to("../real.py")
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "__init__.py").touch()
    (folder.parent / "elsewhere" / "part.py").write_text("X = 1")
    (folder / "package").symlink_to(folder.parent / "elsewhere")
    return folder


def test_links_are_followed_hashed_and_shipped(tmp_path):
    folder = linked(tmp_path / "mine")
    before = loading.content_hash(folder)
    code, spec = shipping.pack(folder), make_spec(submission_path=str(folder))
    assert code == shipping.pack(folder)
    for file in ("real.py", "elsewhere/part.py"):
        (tmp_path / file).write_text("VALUE = 7")
        changed = loading.content_hash(folder)
        assert changed != before
        before = changed
    folder.rename(tmp_path / "away")
    here = shipping.unpack(spec, code)
    loaded = loading.load(Path(here.submission_path))
    assert loaded.update_params.__globals__["VALUE"] == 1
    assert not any(path.is_symlink() for path in Path(here.submission_path).rglob("*"))


@pytest.mark.parametrize(
    ("target", "why"), [("nothing.py", "broken"), (".", "that contains it"), ("..", "contains it")]
)
def test_links_that_cannot_be_shipped_are_refused(tmp_path, target, why):
    folder = write(tmp_path / "mine")
    (folder / "link").symlink_to(target)
    with pytest.raises(SubmissionError, match=f"{folder}/link: .*{why}"):
        loading.content_hash(folder)
    (folder / "link").rename(folder / ".#link")  # as editors lock files
    loading.content_hash(folder)


def test_every_submission_of_the_library_loads():
    names = loading.available()
    assert len(names) >= 7
    for name in names:
        loading.load(loading.find(name))


@pytest.fixture
def baselines(tmp_path, monkeypatch):
    """Two submissions as AlgoPerf's repository has its baselines: NAME/pytorch/submission.py."""
    for name in ("adamw_here", "sgd_here"):
        write(tmp_path / "baselines" / name / "pytorch", COMPLETE)
        (tmp_path / f"baselines/{name}/jax").mkdir()
        (tmp_path / f"baselines/{name}/jax/submission.py").write_text("import jax")
        (tmp_path / f"baselines/{name}/{SEARCH_SPACE_FILE}").write_text('[{"lr": 0.1}]')
    monkeypatch.chdir(tmp_path)
    return tmp_path / "baselines"


@pytest.mark.parametrize("end", ["", "/", "/pytorch", "/pytorch/submission.py"])
def test_algoperfs_layout_has_the_name_and_the_search_space_one_folder_up(baselines, end):
    place = loading.find(f"baselines/adamw_here{end}")
    assert place == baselines / "adamw_here" / "pytorch"
    assert loading.name_of(place) == loading.load(place).name == "adamw_here"
    assert loading.search_space_of(place) == place.parent / SEARCH_SPACE_FILE
    own = place / SEARCH_SPACE_FILE
    own.write_text("[]")
    assert loading.search_space_of(place) == own


def test_a_search_space_one_folder_up_is_ignored_in_other_layouts(tmp_path):
    folder = write(tmp_path / "all" / "mine")
    (tmp_path / "all" / SEARCH_SPACE_FILE).write_text("[]")
    assert loading.search_space_of(folder) == folder / SEARCH_SPACE_FILE


def test_submissions_in_algoperfs_layout_are_swept_together(baselines, chronograd):
    names = [f"baselines/{name}/pytorch" for name in ("adamw_here", "sgd_here")]
    code, out, error = chronograd(
        "sweep", *names, "-w", "digits", "--ruleset", "demo", "--out", "out", "--trials", "1",
        "--dry-run",
    )  # fmt: skip
    assert code == 0, error
    assert "external" in out
    assert all(name in out for name in ("adamw_here", "sgd_here"))


RECORDED = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "library_hashes.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", RECORDED)
def test_the_hash_of_a_library_submission_is_the_one_in_earlier_trees(name):
    assert loading.content_hash(loading.library() / name) == RECORDED[name]


def test_a_shared_module_belongs_to_the_submissions_that_import_it():
    for name in ("torch_muon", "muon_sharded"):
        assert "submissions/muon.py" in loading.digests(loading.find(name))
    assert "submissions/muon.py" not in loading.digests(loading.find("nadamw"))
