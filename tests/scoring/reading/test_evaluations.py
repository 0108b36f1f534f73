"""eval_measurements.csv, complete and damaged: what is read, counts and is reported."""

import math

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from scoring.reading.evaluations import SECONDS, STEP, read_evaluations
from scoring.records import Goal, RecordError
from scoring.tree import EVALUATIONS_FILE
from tests.scoring.logs import write_measurements

LOSS = Goal(metric="loss", direction="min", target=0.5)
ACCURACY = Goal(metric="loss", direction="max", target=0.5)
CURVE = [(1.0, 0.9), (2.5, 0.7), (4.0, 0.45), (5.5, 0.6), (7.0, 0.3)]
JUDGED = "validation/loss"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The text of a file that meets the goal in line 4."""
    return write_measurements(tmp_path_factory.mktemp("whole"), CURVE).read_text()


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Reads text or bytes as if they were the file."""
    path = tmp_path_factory.mktemp("trial") / EVALUATIONS_FILE

    def of(content, goal=LOSS):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_evaluations(path, goal)

    return of


def cells_of(text):
    return [line.split(",") for line in text.splitlines()]


def text_of(cells):
    return "".join(",".join(row) + "\n" for row in cells)


def columns_of(text):
    """By name the cells of each column."""
    header, *rows = cells_of(text)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def from_columns(columns):
    """The inverse of `columns_of`, for a list of (name, cells)."""
    names, cells = zip(*columns, strict=True)
    return text_of([names, *zip(*cells, strict=True)])


def test_evaluations_are_read_as_pandas_reads_them(whole, read, tmp_path):
    found = read(whole)
    table = pd.read_csv(write_measurements(tmp_path, CURVE))
    assert found.seconds == table[SECONDS].tolist()
    assert found.values == table[JUDGED].tolist()
    assert found.lines == [2, 3, 4, 5, 6]
    assert found.faults == []
    for name in table:
        assert found.column(name) == table[name].tolist()


def test_the_first_evaluation_that_meets_the_goal_counts_though_a_later_one_misses_it(whole, read):
    hit = read(whole).first_hit(LOSS)
    assert (hit.evaluation, hit.line, hit.global_step) == (2, 4, 40)
    assert (hit.submission_seconds, hit.value) == (4.0, 0.45)


def test_a_goal_to_exceed_is_met_from_above(whole, read):
    assert read(whole).first_hit(ACCURACY).line == 2


def test_a_goal_met_exactly_is_met(read, tmp_path):
    text = write_measurements(tmp_path, [(1.0, 0.6), (2.0, 0.5)]).read_text()
    assert read(text).first_hit(LOSS).line == 3


@pytest.mark.parametrize("goal", [LOSS, ACCURACY])
@pytest.mark.parametrize("cell", ["nan", "NaN", "", "-", "None"])
def test_a_value_that_is_not_a_number_never_meets_a_goal(read, goal, cell):
    assert read(f"{SECONDS},{STEP},{JUDGED}\n1,1,{cell}\n").first_hit(goal) is None


def test_columns_of_other_metrics_are_not_judged(whole, read):
    found = read(whole, Goal(metric="accuracy", direction="max", target=0.0))
    assert found.first_hit(ACCURACY) is None
    (fault,) = found.faults
    assert "validation/accuracy" in fault
    assert "not met" in fault


def test_a_column_that_is_not_there_is_nan(whole, read):
    assert all(math.isnan(value) for value in read(whole).column("test/wer"))


def test_lines_may_end_as_on_windows(whole, read):
    found = read(whole.replace("\n", "\r\n"))
    assert found == read(whole)
    assert found.rows[0][-1] == "200"


def test_cells_may_be_quoted(read):
    found = read(f'{SECONDS},{STEP},"train/a,b",{JUDGED}\n"1.0",1,"5","0.4"\n')
    assert found.column("train/a,b") == [5.0]
    assert found.first_hit(LOSS).submission_seconds == 1.0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        (b"", f"no column {SECONDS}"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a,b\n1,2\n", f"no column {SECONDS}"),
        (f"{SECONDS},{JUDGED}\n1,2\n".encode(), f"no column {STEP}"),
        (b'"' + 200_000 * b"a" + b'"\n', "cannot be read"),
    ],
)
def test_a_file_without_clock_or_step_is_an_error_that_names_it(tmp_path, content, reason):
    path = tmp_path / EVALUATIONS_FILE
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError) as error:
        read_evaluations(path, LOSS)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)


def test_a_folder_in_the_file_s_place_is_an_error_that_names_it(tmp_path):
    (tmp_path / EVALUATIONS_FILE).mkdir()
    with pytest.raises(RecordError, match=f"{EVALUATIONS_FILE}: cannot be read"):
        read_evaluations(tmp_path / EVALUATIONS_FILE, LOSS)


def test_a_file_with_only_a_header_is_reported(whole, read):
    found = read(whole.splitlines()[0] + "\n")
    assert found.faults == ["has no evaluations: the goal is not met"]
    assert found.first_hit(LOSS) is None


@pytest.mark.parametrize("name", [SECONDS, STEP, JUDGED])
def test_the_first_of_two_columns_with_the_same_name_counts_and_a_fault_reports_it(
    whole, read, name
):
    wrong = ["0"] * len(CURVE)
    found = read(from_columns([*columns_of(whole).items(), (name, wrong)]))
    assert found.faults == [f"column {name} appears twice, the first counts"]
    assert found.first_hit(LOSS) == read(whole).first_hit(LOSS)


@pytest.mark.parametrize("wrong", ["1,2", "1,2,3,4,5,6,7,8,9,10,11,12,13", ""])
def test_a_line_with_too_few_or_too_many_cells_is_left_out_by_number(whole, read, wrong):
    lines = whole.splitlines()
    lines[3] = wrong  # the one that meets the goal
    found = read("\n".join(lines) + "\n")
    (fault,) = found.faults
    assert fault.startswith("line 4 has ")
    assert fault.endswith("left out")
    assert found.lines == [2, 3, 5, 6]
    assert found.first_hit(LOSS).line == 6


@pytest.mark.parametrize("time", ["nan", "", "soon", "inf", "-1", "1e300"])
def test_a_line_without_a_time_is_left_out_by_number(whole, read, time):
    columns = columns_of(whole)
    columns[SECONDS][2] = time
    found = read(from_columns(columns.items()))
    assert found.faults == ["line 4 has no time and is left out"]
    assert found.first_hit(LOSS).line == 6


def test_a_clock_that_runs_backwards_is_named_and_the_order_of_the_file_counts(read, tmp_path):
    curve = [(5.0, 0.9), (6.0, 0.4), (2.0, 0.3)]
    found = read(write_measurements(tmp_path, curve).read_text())
    assert "backwards" in found.faults[0]
    assert found.first_hit(LOSS).submission_seconds == 6.0


@pytest.mark.parametrize("step", ["", "x", "inf", "1e300", "-4", "2.5", "1_0", "nan", "9" * 20])
def test_a_step_that_is_not_a_number_does_not_cost_the_evaluation_and_is_named(read, step):
    found = read(f"{SECONDS},{STEP},{JUDGED}\n1,{step},0.1\n2,7,0.1\n")
    hit = found.first_hit(LOSS)
    assert (hit.submission_seconds, hit.global_step) == (1.0, None)
    (fault,) = found.faults
    assert fault.startswith(f"line 2: {STEP} is {step!r}, not a whole number")


@pytest.mark.parametrize(("step", "number"), [("12", 12), ("12.0", 12), ("1e3", 1000), (" 4 ", 4)])
def test_a_step_may_be_written_as_a_float(read, step, number):
    found = read(f"{SECONDS},{STEP},{JUDGED}\n1,{step},0.1\n")
    assert (found.first_hit(LOSS).global_step, found.faults) == (number, [])


@pytest.mark.parametrize(
    "cell",
    ['"0,4"', "40%", "tensor(0.4)", "[0.4]", "4D-1", "−0.4", "0_4", "0.4 s", "0.4f", "True", "1/2"],
)
def test_a_metric_that_is_not_a_number_is_named_with_its_line_and_meets_nothing(read, cell):
    found = read(f"{SECONDS},{STEP},{JUDGED}\n1,1,0.9\n2,2,{cell}\n3,3,{cell}\n4,4,0.3\n")
    (fault,) = found.faults
    shown = cell.strip('"')
    assert fault.startswith(f"line 3 (and 1 more): {JUDGED} is {shown!r}, not a number")
    assert found.first_hit(LOSS).submission_seconds == 4.0


@pytest.mark.parametrize("cell", [*sorted(STR_NA_VALUES), " ", "-", "none", "Nan", "-nan(ind)"])
def test_a_cell_for_not_measured_is_not_a_fault(read, cell):
    found = read(f"{SECONDS},{STEP},{JUDGED}\n1,1,{cell}\n2,2,0.3\n")
    assert found.faults == []
    assert math.isnan(found.values[0])


@pytest.mark.parametrize(("goal", "best"), [(LOSS, "-inf"), (ACCURACY, "inf"), (ACCURACY, "1e999")])
def test_an_infinity_meets_no_goal_and_is_named(read, goal, best):
    column = f"validation/{goal.metric}"
    found = read(f"{SECONDS},{STEP},{column}\n1,1,{best}\n2,2,{goal.target}\n", goal)
    (fault,) = found.faults
    assert fault.startswith(f"line 2: {column} is '{float(best)}', not a measured value")
    assert found.first_hit(goal).submission_seconds == 2.0


@pytest.mark.parametrize(("goal", "worst"), [(LOSS, "inf"), (ACCURACY, "-inf")])
def test_a_loss_that_diverged_to_infinity_is_not_a_fault(read, goal, worst):
    column = f"validation/{goal.metric}"
    assert read(f"{SECONDS},{STEP},{column}\n1,1,{worst}\n", goal).faults == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_not_part_of_the_header(read, whole, encoding):
    marked = "" if encoding in ("utf-8-sig", "utf-16") else "\ufeff"
    assert read((marked + whole).encode(encoding)) == read(whole)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_cut_at_any_byte_is_named_and_never_gives_a_better_result(whole, read, end):
    text = whole.replace("\n", end).encode()
    complete = read(text).first_hit(LOSS)
    line_ends = 0
    for cut in range(len(text)):
        part = text[:cut]
        try:
            found = read(part)
        except RecordError:
            assert b"\n" not in part
            continue
        assert found.first_hit(LOSS) in (None, complete)
        assert found.rows == read(text).rows[: len(found.rows)]
        if found.rows and part.endswith(b"\n"):  # missing lines cannot be detected
            line_ends += 1
        else:
            assert found.faults, part
    assert line_ends == len(CURVE) - 1


@given(st.binary(max_size=200))
def test_any_bytes_are_evaluations_or_an_error(read, content):
    _read_or_refuse(read, content)


@given(st.lists(st.text(st.sampled_from('01.,"\n\r\0eE+-nax_ é\x0b\u2028'), max_size=20)))
def test_any_lines_under_a_right_header_are_evaluations_or_an_error(read, lines):
    _read_or_refuse(read, "\n".join([f"{SECONDS},{STEP},{JUDGED}", *lines]))


def _read_or_refuse(read, content):
    try:
        found = read(content)
    except RecordError:
        return
    count = len(found.rows)
    assert count == len(found.lines) == len(found.seconds) == len(found.values)
    assert all(len(row) == len(found.header) for row in found.rows)
    assert all(0 <= second < math.inf for second in found.seconds)
    hit = found.first_hit(LOSS)
    assert hit is None or hit.submission_seconds in found.seconds
    assert found.rows or found.faults


@given(data=st.data())
def test_the_order_of_columns_changes_nothing(whole, read, data):
    columns = data.draw(st.permutations(list(columns_of(whole).items())))
    found = read(from_columns(columns))
    assert found.first_hit(LOSS) == read(whole).first_hit(LOSS)
    assert found.faults == []


@given(dropped=st.sets(st.sampled_from([SECONDS, STEP, JUDGED, "score", "test/loss"]), min_size=1))
def test_a_dropped_column_is_named_if_the_result_needs_it(whole, read, dropped):
    kept = [(name, cells) for name, cells in columns_of(whole).items() if name not in dropped]
    if dropped & {SECONDS, STEP}:
        with pytest.raises(RecordError, match=f"has no column ({'|'.join(dropped)})"):
            read(from_columns(kept))
        return
    found = read(from_columns(kept))
    lost = JUDGED in dropped
    assert found.first_hit(LOSS) == (None if lost else read(whole).first_hit(LOSS))
    assert any(JUDGED in fault for fault in found.faults) == lost


@given(
    line=st.integers(1, len(CURVE)),
    place=st.integers(0, 11),
    junk=st.text(st.characters(exclude_categories=("Nd", "Cs"), exclude_characters=',"\r\n')),
)
def test_a_cell_overwritten_by_text_never_gives_an_earlier_result(whole, read, line, place, junk):
    cells = cells_of(whole)
    cells[line][place] = junk
    assume("inf" not in junk.lower())  # a loss of -inf is a number, and meets the goal
    hit = read(text_of(cells)).first_hit(LOSS)
    assert hit is None or hit.line >= 4
