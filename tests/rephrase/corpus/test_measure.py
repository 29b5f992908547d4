from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pytest

from tests.rephrase.corpus.tables import outputs, pages, text_of
from tokenmill.rephrase.corpus.measure import measure_corpus, warnings

TEXTS = [text_of(number) for number in range(400)]
PAGES = [text_of(f"page {number}") for number in range(400)]
TEMPLATE = [
    f"In this lesson we will look at {text_of(number, 4)} It is of great interest to all." for number in range(400)
]


def tables(table: pa.Table, size: int = 1000) -> Callable[[], Iterable[pa.Table]]:
    return lambda: (table.slice(start, size) for start in range(0, len(table), size))


def measured(
    accepted: pa.Table, rejected: pa.Table, documents: pa.Table, size: int = 1000, **settings: Any
) -> dict[str, Any]:
    return measure_corpus(tables(accepted, size), tables(rejected, size), tables(documents, size), **settings)


def rejected(texts: list[str], **columns: Any) -> pa.Table:
    return outputs(texts, reason=["copied"] * len(texts), **columns)


NONE = rejected([])


def test_a_good_corpus_has_no_warnings() -> None:
    ratios = [0.5 + number / 400 for number in range(400)]
    found = measured(
        outputs(TEXTS, check_length_ratio=ratios, check_words=[60] * 400), rejected(TEXTS[:40]), pages(PAGES)
    )
    assert warnings(found) == []
    assert found["lengths"]["blog"]["words"] == [60.0] * 5
    assert found["lengths"]["blog"]["ratio"][2] == pytest.approx(1.0, abs=0.01)
    assert found["rates"][0]["share"] == pytest.approx(400 / 440, abs=1e-6)


@pytest.mark.parametrize(
    ("accepted", "rejections", "expected"),
    [
        (outputs(TEMPLATE), NONE, ["begin with", "few kinds", "distinct pairs", "compressed size"]),
        (
            outputs([*TEXTS[:200], *TEXTS[:200]]),
            NONE,
            ["distinct pairs", "compressed size", "nearly equal another output", "equal another one"],
        ),
        (outputs(PAGES), NONE, ["nearly equal their own page"]),
        (outputs([*PAGES[1:21], *TEXTS[:380]]), NONE, ["nearly equal another page"]),
        (
            outputs(TEXTS[:100]),
            rejected(TEXTS[100:]),
            ["only 25% of the outputs were accepted, most of the others for copied"],
        ),
        (
            outputs(TEXTS[:200], url=["https://one.example/"] * 200),
            rejected(TEXTS[:100], url=["https://two.example/"] * 100),
            ["hosts of accepted outputs differ"],
        ),
    ],
)
def test_what_is_wrong_is_said(accepted: pa.Table, rejections: pa.Table, expected: list[str]) -> None:
    said = warnings(measured(accepted, rejections, pages(PAGES)))
    assert len(said) == len(expected), said
    assert all(part in sentence for part, sentence in zip(expected, said, strict=True)), said


@pytest.mark.parametrize(
    ("lost", "expected"), [(20, []), (75, ["45% accepted where topic is b", "acceptance selects"])]
)
def test_a_bucket_that_is_rejected_more_is_named(lost: int, expected: list[str]) -> None:
    """Of 300 and 100 outputs, 60 of the first and `lost` of the second are rejected."""
    kept = ["a"] * 240 + ["b"] * (120 - lost)
    gone = ["a"] * 60 + ["b"] * lost if lost < 50 else ["a"] * 30 + ["b"] * 55
    accepted = outputs(TEXTS[: len(kept)], topic=kept)
    said = warnings(measured(accepted, rejected(TEXTS[: len(gone)], topic=gone), pages(PAGES), buckets=("topic",)))
    assert all(any(part in sentence for sentence in said) for part in expected), said
    assert bool(said) == bool(expected)


def test_any_order_and_any_tables_give_the_same() -> None:
    accepted = pa.concat_tables(
        [outputs(TEXTS[:300], bin=[n % 3 for n in range(300)]), outputs(TEMPLATE[:100], "story", bin=[1] * 100)]
    )
    gone = rejected(TEXTS[300:], bin=[2] * 100)
    settings: dict[str, Any] = {"buckets": ("bin",), "max_documents": 90, "seed": 4}
    found = measured(accepted, gone, pages(PAGES), **settings)
    back = [table.take(list(range(len(table)))[::-1]) for table in (accepted, gone, pages(PAGES))]
    assert measured(*back, size=37, **settings) == found
    assert json.loads(json.dumps(found)) == found
    assert found["near"]["outputs"] <= 90
    assert found["near"]["sampled"] < 1


def test_nothing_at_all() -> None:
    found = measured(outputs([]), NONE, pages([]))
    assert warnings(found) == []
    assert found["rates"] == []
    assert json.dumps(found)
    assert warnings({}) == []


def test_without_pages_nothing_is_compared_with_them() -> None:
    found = measured(outputs(TEXTS), NONE, pages([]))
    assert found["near"]["own_page_share"] is None
    assert found["collapse_of_pages"] == {"texts": 0}
    assert warnings(found) == []
