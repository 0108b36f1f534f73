"""A mistyped name is answered with the nearest known names, not with all of them."""

import pytest

from scoring.names import counted, known_names, nearest

LIBRARY = ["adadelta", "adam", "adamw", "lion", "nadamw", "sgd", "self_tuning/schedule_free"]


def test_the_three_nearest_come_first_whatever_their_folder():
    assert nearest("nadam", LIBRARY) == ["nadamw", "adam", "adamw"]
    assert nearest("schedule_fre", LIBRARY)[0] == "self_tuning/schedule_free"
    assert nearest("NADAMW", LIBRARY)[0] == "nadamw"
    assert nearest("x", ["a"]) == ["a"]


def test_a_few_names_are_all_listed_and_of_many_the_nearest():
    assert known_names("zzz", ["a", "b"]) == "There are: a, b"
    assert known_names("demmo", ["demo", "mini"]) == "Did you mean 'demo'? There are: demo, mini"
    assert known_names("x", []) == "There are none"
    many = known_names("nadam", LIBRARY, "`chronograd submissions`")
    assert many == (
        "Did you mean 'nadamw'? Also near: adam, adamw; `chronograd submissions` lists all 7"
    )
    unlike = known_names("zzzzzzzz", LIBRARY)
    assert unlike.startswith("The nearest: ")
    assert unlike.endswith("; there are 7")
    assert unlike.count(",") == 2


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["run", "nadam", "-w", "digits"], "Did you mean 'nadamw'?"),
        (["run", "qqqqqq", "-w", "digits"], "The nearest: "),
        (["run", "nadamw", "-w", "digit"], "Did you mean 'digits'?"),
        (["run", "nadamw", "-w", "qqqqqq"], "The nearest: "),
        (["sweep", "nadamw", "--suite", "mimi", "--out", "o"], "Did you mean 'mini'?"),
        (["run", "nadamw", "-w", "digits", "--ruleset", "dem"], "Did you mean 'demo'?"),
    ],
)
def test_no_command_answers_a_typo_with_a_long_list(chronograd, arguments, near):
    code, _, err = chronograd(*arguments)
    assert (code, err.count("\n")) == (2, 1), err
    assert near in err
    assert err.count(",") <= 6, err


def test_a_number_has_its_noun():
    assert counted(1, "trial") == "1 trial"
    assert counted(0, "trial") == "0 trials"
    assert counted(12_000, "trial") == "12,000 trials"
