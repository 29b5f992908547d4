"""Edit programs that are executed passage by passage on their document: exact diffs, and what is rejected."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.rule import Drop
from tokenmill.rephrase.assemble import Outcome
from tokenmill.rephrase.editing import edited
from tokenmill.rephrase.formats import Read
from tokenmill.rephrase.programs.execute import Edit, apply_diff
from tokenmill.rephrase.styles import load_style

_WORDS = ("river", "garden", "market", "baker", "window", "lantern", "meadow", "village", "bridge", "candle", "valley")


def sentences(count: int, seed: object) -> list[str]:
    draw = random.Random(f"{seed}")
    return [f"{' '.join(draw.choice(_WORDS) for _ in range(9)).capitalize()}." for _ in range(count)]


def outcome(text: str, piece: str, number: int, read: Read | Drop) -> Outcome:
    start = text.index(piece)
    told = {"key": "k", "failure": None, "finish_reason": "stop", "tokens_in": 1.0, "tokens_out": 1.0, "leaf": 0}
    row = {"doc_id": "d", "text": piece, "gap": "", "start": start, "end": start + len(piece), "number": number}
    return Outcome([{**told, **row}], [read])


KEEP = '{"op":"keep"}'
FIRST = '{"op":"remove_lines","first":1,"last":1}'
ALL = '{"op":"remove_lines","first":1,"last":4}'
DROPPED = '{"op":"drop","reason":"menu"}'
A, B, C = ("\n".join(sentences(4, name)) for name in "abc")
TEXT = f"\n  {A}\n\n{B}\n \n{C}\n \n"


def edited_by(text: str, pieces: Sequence[str], answers: Sequence[str | None]) -> Any:
    reads = [Drop("parse") if answer is None else Read(answer) for answer in answers]
    parts = [outcome(text, piece, at, read) for at, (piece, read) in enumerate(zip(pieces, reads, strict=True))]
    return edited(load_style("prox_lines"), {"text": text, "language": "en"}, parts, 0)


def diff_of(program: str) -> list[Edit]:
    return [Edit(**edit) for told in json.loads(program) for edit in told["diff"]]


@given(st.lists(st.sampled_from([KEEP, FIRST, ALL, DROPPED]), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_the_diffs_of_an_edit_give_what_is_published(answers: list[str]) -> None:
    found = edited_by(TEXT, (A, B, C), answers)
    assert apply_diff(TEXT, diff_of(found.program)) == found.text == found.text.strip()
    assert not found.synthetic
    for piece, answer in zip((A, B, C), answers, strict=True):
        assert (piece in found.text) is (answer == KEEP)
        assert (piece.split("\n")[1] in found.text) is (answer in (KEEP, FIRST))


def test_white_space_that_a_replacement_leaves_at_the_end_goes_too() -> None:
    text = f"xy\n{A}\n zz "
    answers = [
        '{"op":"replace","line":1,"find":"xy","with":" "}',
        KEEP,
        '{"op":"replace","line":1,"find":"zz","with":""}',
    ]
    found = edited_by(text, ("xy", A, "zz"), answers)
    assert apply_diff(text, diff_of(found.program)) == found.text == found.text.strip()
    assert A in found.text


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((KEEP, KEEP, KEEP), None),
        ((KEEP, None, KEEP), None),  # a third is not more than a third
        ((None, None, KEEP), "missing_passages"),
        ((None, None, None), "parse"),
        ((DROPPED, DROPPED, DROPPED), "dropped_by_program"),
        ((DROPPED, DROPPED, None), None),
    ],
)
def test_an_edit_of_which_too_much_is_unanswered(answers: Sequence[str | None], reason: str | None) -> None:
    found = edited_by(TEXT, (A, B, C), answers)
    assert (found.drop.reason if found.drop else None) == reason
    assert found.missing == answers.count(None)
