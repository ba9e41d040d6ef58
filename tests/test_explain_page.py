# SPDX-License-Identifier: Apache-2.0
"""The page of an explanation: what stands on it, in which order, and how wide."""

import dataclasses

import pytest

from lossledger.explanation import Explanation, Note, Piece, Reported, Step
from lossledger.explanation._sections import WIDTH
from lossledger.ledger import Row

STEPS = (
    Step("values", "outputs against targets", (4, 3)),
    Step("numerator", "Σ l over every axis at once", (), 3.0),
    Step("denominator", "divided by the number of values, 4", (), 4.0),
)
PIECE = Piece("map", "bce", "'bce'", STEPS, "Σ bce / N", 0.75, 2.0, 3.0, 4.0)
ROWS = (
    Row("map", "bce", "road", count=90, own_mean=0.5, contribution=1.0, share=0.5, iou=0.9,
        support=90),
    Row("map", "bce", "void", iou=0.0, support=0),
    Row("map", "bce", "road", "negative", own_mean=0.1, contribution=0.5),
    Row("map", "bce", "person", kind="decisions", iou=0.2, support=10),
)  # fmt: skip
PAGE = Explanation(
    "a model", "a framework", (PIECE,), number=1.5, rows=ROWS, overlooked=(ROWS[3],),
    reported=(Reported("loss", "a mean of batches " * 20, "it lags behind " * 20, 1.5),),
    notes=(Note("a-rule", "Something was found.", "Change it."),),
)  # fmt: skip


def line_of(text: str, word: str) -> int:
    """Return the first line with a word in it."""
    return next(i for i, line in enumerate(text.splitlines()) if word in line)


def test_numbers_first():
    """Total, then classes, then steps, then what is reported, then notes."""
    text = str(PAGE)
    words = [
        "a model",
        "By class",
        "Hidden by the total",
        "How each number",
        "reported",
        "[a-rule]",
    ]
    places = [line_of(text, word) for word in words]
    assert places == sorted(places)
    assert "total = 2 · Σ bce / N" in text
    assert "deviation 0.0e+00" in text


def test_lowest_iou_stands_first():
    """Classes that no element has, and rows without an IoU, stand below the others."""
    text = str(PAGE).splitlines()
    start = line_of(str(PAGE), "By class")
    shown = [line.split()[2] for line in text[start + 3 : start + 7]]
    assert shown == ["person", "road", "void", "road"]


def test_unknown_contribution_is_left_out():
    """A row of decisions alone shows no contribution, on the page and in JSON."""
    text = str(PAGE).splitlines()
    person = text[line_of(str(PAGE), "person")]
    assert person.split() == ["map", "bce", "person", "10", "0.200"]
    assert [row["contribution"] for row in PAGE.to_dict()["rows"]] == [1.0, 0.0, 0.5, None]


def test_sentences_are_folded():
    """Tables with sentences are as wide as the text around them."""
    text = str(PAGE)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.count("behind") == 20


@pytest.mark.parametrize("number", [1.5, 1.6])
def test_deviation_is_measured_twin(number):
    """The broken twin: a number that the parts do not add up to shows as a deviation."""
    page = dataclasses.replace(PAGE, number=number)
    assert page.deviation == pytest.approx(abs(1.5 - number) / number)
    assert ("deviation 0.0e+00" in str(page)) == (number == 1.5)


def test_loss_left_out_is_not_in_the_formula():
    """A piece of weight 0 has its row, and is no part of the formula."""
    left_out = dataclasses.replace(PIECE, formula="Σ mae / N", loss_weight=0.0)
    page = dataclasses.replace(PAGE, pieces=(PIECE, left_out))
    assert page.formula == "2 · Σ bce / N"
    assert page.total == 1.5
    assert len(page.to_dict()["pieces"]) == 2
