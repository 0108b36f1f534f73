"""A sweep as a TOML file: the same names as the options, which replace what the file has."""

import tomllib

import pytest

FILE = """
submissions = ["nadamw", "adamw"]
workload = ["diabetes"]
ruleset = "demo"
out = "r"
studies = 2
compile = false
max-concurrent = 1
"""


@pytest.fixture
def dry(chronograd, tmp_path):
    def call(*more, text=FILE):
        (tmp_path / "mine.toml").write_text(text)
        return chronograd("sweep", "mine.toml", *more, "--dry-run")

    return call


def test_a_file_has_the_options(dry):
    code, out, err = dry()
    assert code == 0, err
    assert "2 submissions (nadamw, adamw) x 1 workload (diabetes) x 2 studies" in out
    assert "Sweep options: --max-concurrent 1" in out


def test_the_command_line_replaces_what_the_file_has(dry):
    assert "x 1 study x" in dry("--studies", "1")[1]
    assert "x 1 study x" in dry("--studies=1")[1]
    assert "(breast_cancer, diabetes, digits)" in dry("--suite", "demo")[1]
    assert "x 1 workload (digits)" in dry("-w", "digits")[1]
    assert "x 1 workload (digits)" in dry("-w", "digits", text=FILE + 'suite = "demo"')[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("study = 1", "mine.toml: study: unknown key. Did you mean 'studies'?"),
        ("dry_run = true", "mine.toml: dry_run: unknown key. "),
        ("[studies]\na = 1", "mine.toml: studies: must be a value, or a list of values"),
        ("studies = [", "mine.toml: cannot be read as TOML ("),
        (".".join(50_000 * "a") + " = 1", "mine.toml: cannot be read as TOML (has a key of more"),
        ("out = " + 5000 * "[", "mine.toml: cannot be read as TOML (is nested more than 100 deep"),
        (r'"\u001b[2J" = 1', r"mine.toml: \x1b[2J: unknown key"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(dry, text, says):
    code, _, err = dry(text=text)
    assert (code, says in err) == (2, True)


def test_a_missing_file_is_said(chronograd):
    code, _, err = chronograd("sweep", "none.toml", "--dry-run")
    assert (code, "none.toml: no such file" in err) == (2, True)


def test_a_sweep_is_written_as_it_was_run_and_can_be_run_again(
    chronograd, dry, tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.cli.sweep._run", lambda *arguments: None)
    dry()
    assert not (tmp_path / "r").exists()
    assert chronograd("sweep", "mine.toml", "--studies", "1", "--out", "q")[0] == 0
    written = tomllib.loads((tmp_path / "q/sweep.toml").read_text())
    assert written == {
        **tomllib.loads(FILE.replace("max-", "max_")), "studies": 1, "out": "q",
    }  # fmt: skip
    assert chronograd("sweep", "q/sweep.toml")[0] == 0
    assert tomllib.loads((tmp_path / "q/sweep.toml").read_text()) == written


def test_any_characters_in_a_path_are_written_as_toml(chronograd, dry, tmp_path, monkeypatch):
    """JSON would have a surrogate pair and a bare DEL, which TOML does not allow."""
    monkeypatch.setattr("harness.cli.sweep._run", lambda *arguments: None)
    dry()
    out = 'q \U0001f600 \x7f "\u00e9\\'
    assert chronograd("sweep", "mine.toml", "--out", out)[0] == 0
    assert tomllib.loads((tmp_path / out / "sweep.toml").read_text())["out"] == out
