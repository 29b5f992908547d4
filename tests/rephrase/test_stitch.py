"""Stitching: order, what is missing, and when a document is rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.rephrase.stitch import MOST_MISSING, published_text, stitch
from tokenmill.rephrase.style import Style

STYLE = Style("s", 1, "t", "rewrite", "", "{document}", "", input_tokens=40, output_tokens=40, per="document")


def style_of(missing: str) -> Style:
    return dataclasses.replace(STYLE, missing=missing)


@pytest.mark.parametrize(
    ("parts", "missing", "expected"),
    [
        (["a", " b\n", "c"], "drop_passage", "a\n\nb\n\nc"),
        (["a", None, "c"], "drop_passage", "a\n\nc"),  # a third is not more than a third
        (["a", "  ", "c"], "drop_passage", "a\n\nc"),
        (["a", None, None, "d", "e"], "drop_passage", None),
        ([None], "drop_passage", None),
        ([None, None], "keep_source", None),
        (["a", None, "c", "d"], "drop_document", None),
        (["a", "b"], "drop_document", "a\n\nb"),
        (["a", None, "c"], "keep_source", "a\n\nsource 1\n\nc"),
        ([], "drop_passage", None),
    ],
)
def test_documents(parts: Sequence[str | None], missing: str, expected: str | None) -> None:
    sources = [f" source {number} " for number in range(len(parts))]
    found = stitch(parts, style_of(missing), sources)
    assert found.text == (expected or "")
    assert found.reason == ("" if expected else "missing_passages")
    assert bool(found.detail) == (not expected)
    assert found.passages == len(parts)
    assert found.missing == sum(part is None or not part.strip() for part in parts)
    assert found.missing_share == (found.missing / len(parts) if parts else 0)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=1, max_size=30))
def test_the_boundary_is_a_third(parts: list[str | None]) -> None:
    found = stitch(parts, style_of("drop_passage"))
    lost = parts.count(None) / len(parts)
    assert bool(found.reason) == (lost > MOST_MISSING or lost == 1)
    if not found.reason:
        assert found.text == "\n\n".join(part for part in parts if part)


def test_the_source_must_be_given() -> None:
    with pytest.raises(ValueError, match="was not given"):
        stitch(["a", None, "b"], style_of("keep_source"))


def test_answers_behind_their_source() -> None:
    appending = dataclasses.replace(STYLE, format={"kind": "qa", "append": True})
    assert published_text(appending, "The page.\n", "Question: x") == "The page.\n\nQuestion: x"
    assert published_text(STYLE, "The page.", "Other words.") == "Other words."
