"""Verdicts: what the numbers of a recovery say in a word, and in one sentence per teacher."""

import subprocess
import sys

import pytest
from tables import joined
from weightspace.recovery.figures.verdicts import verdicts_page
from weightspace.recovery.verdict import VERDICTS, sentences, verdict_metrics
from weightspace.table import Source

EXACT = {
    "rmse_held_out": 2e-15, "output_deviation": 2.0, "rmse_student_best": 2e-12, "from_students": 0.0, "size_recovered": 7.0,
    "reached": 0.9, "teacher_learned": 1.0,
}  # fmt: skip
KNOWN = EXACT | {"solved": 1.0, "activation_right": 1.0}
OFF = {"rmse_held_out": 0.2}


@pytest.mark.parametrize(
    ("measures", "word"),
    [
        (EXACT, "recovered"),
        (EXACT | {"from_students": 1.0}, "same answers, not unique"),
        (EXACT | OFF, "not recovered"),
        (EXACT | {"rmse_held_out": float("nan")}, "not recovered"),
        (EXACT | {"rmse_held_out": 0.0, "output_deviation": 0.0}, "not recovered"),  # a constant network of a constant teacher
        (KNOWN, "recovered"),
        (KNOWN | {"from_students": 1.0}, "recovered"),
        (KNOWN | {"solved": 0.0}, "same answers, not unique"),
        (KNOWN | OFF | {"solved": 0.0}, "not recovered"),
        (KNOWN | OFF | {"solved": 0.0, "activation_right": 0.0}, "not representable by these layers"),
        ({name: value for name, value in KNOWN.items() if name != "activation_right"} | OFF | {"solved": 0.0}, VERDICTS[3]),
    ],
)
def test_the_word_follows_from_answers_and_units(measures, word):
    assert VERDICTS[int(verdict_metrics(measures, 1e-8)["verdict"])] == word


def test_answers_are_the_same_up_to_the_precision_of_the_teacher():
    coarse = EXACT | {"rmse_held_out": 2e-5}
    assert [verdict_metrics(coarse, precision)["verdict"] for precision in (1e-8, 2e-5)] == [2.0, 0.0]


@pytest.mark.parametrize(
    ("error", "student", "better"),
    [(1e-3, 1e-4, 1), (1e-3, 0.9e-3, 0), (1e-3, 1e-2, 0), (1e-9, 1e-12, 0), (float("nan"), 1.0, 1)],
)
def test_the_best_student_is_better_where_it_errs_much_less_and_the_network_is_not_exact(error, student, better):
    measures = EXACT | {"rmse_held_out": error, "rmse_student_best": student}
    assert verdict_metrics(measures, 1e-8)["best_student_better"] == better


def rows_of(cells):
    """Rows as a table of metrics gives them."""
    for subject, measures in enumerate(cells):
        judged = measures | verdict_metrics(measures, 1e-8)
        yield from ({"subject": str(subject), "metric": name, "value": value} for name, value in judged.items())


def test_each_teacher_has_a_sentence_and_the_last_one_sums_up():
    skip = EXACT | {"rmse_held_out": 8.6e-4, "rmse_student_best": 1.4e-6, "reached": 0.0}
    said = sentences(rows_of([EXACT, skip, KNOWN | {"solved": 0.0}, skip | {"teacher_learned": 0.0}]))
    assert said[0] == (
        "teacher 0: recovered: 7 units, error on held-out inputs 1e-15 of the answers' deviation, 90% of the students exact"
    )
    assert said[1] == (
        "teacher 1: not recovered: 7 units, error on held-out inputs 0.00043 of the answers' deviation, "
        "0% of the students exact; the best student answers better (7e-07)"
    )
    assert said[3].endswith("; the teacher has not learned")
    assert said[4:] == ["1 of 4 teachers recovered; same answers, not unique: 2; not recovered: 1, 3; have not learned: 3"]


def test_a_network_that_is_no_number_is_said_to_be():
    assert sentences(rows_of([EXACT | {"rmse_held_out": float("nan")}]))[0].endswith("the network's answers are not finite")


def test_the_sentences_need_no_torch():
    code = "import sys, weightspace.recovery.verdict; assert not {'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_the_page_of_recoveries_counts_the_recovered_and_tells_of_the_others():
    source = Source("planted", "recovery", "box", 0)
    measures = {"verdict": 0.0, "size_recovered": 3.0, "held_out_error_relative": 1e-9}
    measures |= {"reached": 1.0, "best_student_better": 0.0}
    failed = measures | {"verdict": 2.0, "held_out_error_relative": 0.3}
    rows = [
        source.row(name, value, subject=n)
        for n, own in enumerate((measures, failed))
        for name, value in (own | {"teacher_learned": 1.0}).items()
    ]
    page = verdicts_page(joined(rows), "planted")
    ((cell, seed, summary, others),) = page.rows
    assert (cell, seed) == ("box", "0")
    assert summary.startswith("1 of 2 teachers recovered; not recovered: 1")
    assert others.startswith("teacher 1: not recovered: 3 units, error on held-out inputs 0.3")
