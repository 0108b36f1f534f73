"""score, explain and compare with a board at a fixed step, from the command line and Python."""

import csv
import json

import pandas as pd
import pyarrow.parquet
import pytest

import chronograd as cg
from tests.scoring.test_fixed_step import EXCERPT, spread, write_entries
from tests.scoring.track3 import curve, first_line, write_log

ENTRIES = {
    "<b>muon": (3000, spread(3.277, 8)),
    "kron": (3050, spread(3.2785, 8)),
    "adam": (3350, spread(3.2795, 3)),
}


@pytest.fixture
def logs(tmp_path):
    folder = write_entries(tmp_path / "LOGS", ENTRIES)
    write_log(folder / "soap.txt", curve(3.27), curve(3.271, 3325))
    return folder


def test_score_shows_the_verdict_of_every_entry_and_refuses_by_name(chronograd, logs):
    code, out, err = chronograd("score", logs, "--ruleset", "track3")
    assert code == 0, err
    rows = [line.split()[:4] for line in out.splitlines() if "valid at p" in line]
    assert rows == [["1", "<b>muon", "3,000", "3.27700"], ["2", "kron", "3,050", "3.27850"]]
    assert "not valid, p = 0.25: 61 more runs with this mean" in out  # (0.004 / 0.0005)^2 - 3
    assert "soap: not tested: its runs were planned for different numbers of steps" in out + err


def test_json_csv_parquet_and_python_say_the_same(chronograd, logs, tmp_path):
    files = ("--json", "b.json", "--csv", "b.csv", "--parquet", "tables", "--markdown", "b.md")
    assert chronograd("score", logs, "--ruleset", "track3", *files)[0] == 0
    data = json.loads((tmp_path / "b.json").read_text())
    results = cg.read(logs, ruleset="track3")
    board = cg.score(results)
    assert isinstance(board, cg.FixedStepBoard)
    assert {"schema": 1, **board.to_dict()} == data
    assert [entry["entry"] for entry in data["entries"]] == ["<b>muon", "kron", "adam", "soap"]
    first = data["entries"][0]
    assert (first["rank"], first["steps"], first["runs"], first["valid"]) == (1, 3000, 8, True)
    assert first["losses"][0]["line"] == first_line() + len(curve(3.27, 3000)) - 1
    assert first["against"]["kron"]["better"] is True
    with (tmp_path / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == list(board.verdicts.values())
    assert board.to_pandas()["steps"].tolist()[:3] == [3000, 3050, 3350]
    runs = pyarrow.parquet.read_table(tmp_path / "tables" / "runs.parquet").to_pandas()
    mean = runs[runs.entry == "kron"].loss.mean()
    assert mean == pytest.approx(3.2785, abs=1e-5)
    written = pyarrow.parquet.read_table(tmp_path / "tables" / "evaluations.parquet").to_pandas()
    pd.testing.assert_frame_equal(results.evaluations().to_pandas(), written)
    assert len(results.trials()) == len(runs) == 21
    assert board.compare("kron", "<b>muon").startswith("kron is worse than <b>muon, p = ")
    assert board.p_values().loc["<b>muon", "kron"] == first["against"]["kron"]["p"]
    assert "|" in (tmp_path / "b.md").read_text()


def test_explain_leads_to_the_line_of_each_run(chronograd, logs):
    code, out, _ = chronograd("explain", logs, "kron", "--ruleset", "track3")
    assert code == 0
    file = logs / "kron.txt"
    lines = file.read_text().splitlines()
    at = [n for n, line in enumerate(lines, 1) if line.startswith("step:3050/")]
    assert len(at) == 8
    for line in at:
        assert f"({file}:{line})" in out
    code, out, _ = chronograd("explain", logs, "kron", "--ruleset", "track3", "--json")
    because = json.loads(out)["because"]
    assert [reason["line"] for reason in because if "line" in reason] == at


def test_compare_gives_both_directions(chronograd):
    arguments = ("compare", EXCERPT, "12", "6", "--ruleset", "track3")
    code, out, err = chronograd(*arguments)
    assert code == 0
    assert "12 is better than 6, p = " in out + err
    assert "6 is worse than 12, p = " in out + err
    code, out, _ = chronograd(*arguments, "--json")
    first, second = json.loads(out)["entries"]
    assert first["against"]["6"]["statistic"] == -second["against"]["12"]["statistic"]


def test_published_results_that_differ_are_listed(chronograd, tmp_path):
    table = tmp_path / "results.csv"
    table.write_text(
        "result,steps,mean_loss,runs\n12,3325,3.2790,20\n6,3375,3.2788,20\n99,3000,3.2,1\n"
    )
    code, out, _ = chronograd(
        "score", "--curves", EXCERPT, "--ruleset", "track3", "--published", table
    )
    assert code == 0
    assert "1 of 3 published results are those of the runs" in out
    assert "mean loss 3.27893, 3.2788 published" in out
    assert "no runs of it were read" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("LOGS", "--speedup", "kron"), "--speedup is for times to target"),
        (("LOGS", "--method", "official"), "--method official is for times to target"),
        (("--published", "none.csv", "LOGS"), "none.csv: no such file"),
        (("EMPTY",), "no run was found"),
        (("nowhere",), "nowhere"),
        ((), "nothing to score"),
        (("LOGS", "LOGS"), "given twice"),
    ],
)
def test_mistakes_are_one_line(chronograd, logs, tmp_path, arguments, message):
    (tmp_path / "EMPTY").mkdir()
    code, _, err = chronograd("score", *arguments, "--ruleset", "track3")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_curves_need_a_ruleset_of_such_a_board(chronograd, logs):
    code, _, err = chronograd("score", "--curves", EXCERPT, "--ruleset", "mini")
    assert (code, "--curves needs a ruleset with tests at a fixed step" in err) == (2, True)
    code, _, err = chronograd("explain", logs, "krom", "--ruleset", "track3")
    assert (code, "no entry 'krom'. Did you mean 'kron'?" in err) == (2, True)


def test_the_page_has_all_entries_pairs_and_no_private_folder(chronograd, logs, tmp_path):
    assert chronograd("score", logs, "--ruleset", "track3", "--html", "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert str(tmp_path) not in page
    assert "<b>muon" not in page.replace("&lt;b&gt;", "").split("<script", 1)[0]
    assert "Is the row better than the column?" in page
    assert "&lt;b&gt;muon is better than kron" in page
    assert chronograd("score", logs, "--ruleset", "track3", "--plots", "plots")[0] == 0
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == ["losses.pdf", "losses.png"]


def test_strict_counts_warnings(chronograd, logs):
    assert chronograd("score", logs, "--ruleset", "track3", "--strict")[0] == 1
