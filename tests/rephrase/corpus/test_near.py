from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.rephrase.corpus.tables import outputs, pages, text_of
from tokenmill.rephrase.corpus.near import NearSample, near_duplicates

TEXTS = [text_of(number) for number in range(300)]
PAGES = [text_of(f"page {number}") for number in range(300)]


def sample(table: pa.Table, page: str, most: int = 10_000) -> NearSample:
    found = NearSample(most, 3)
    for start in range(0, len(table), 97):
        found.add(table.slice(start, 97), page)
    return found


def near(texts: list[str], sources: list[str], most: int = 10_000) -> dict[str, object]:
    return near_duplicates(sample(outputs(texts), "parent_id", most), sample(pages(sources), "id", most))


def altered(text: str) -> str:
    """The text with a word at its end: nearly all of its runs of words stay."""
    return text[:-1] + " indeed."


def test_texts_of_their_own_have_no_near_duplicates() -> None:
    found = near(TEXTS, PAGES)
    assert found["share"] == found["own_page_share"] == found["other_page_share"] == 0.0
    assert found["exact"] == {"texts": 300, "sampled": 1.0, "share": 0.0, "largest": 1}


def test_planted_duplicates_are_counted() -> None:
    texts = [*TEXTS[:240], *map(altered, TEXTS[:30]), *TEXTS[30:60]]  # 30 nearly and 30 exactly equal ones
    found = near(texts, PAGES)
    assert found["share"] == 120 / 300
    assert found["by_style"] == {"blog": 120 / 300}
    assert found["exact"] == {"texts": 300, "sampled": 1.0, "share": 0.1, "largest": 2}


def test_copies_of_pages_are_told_from_copies_of_other_pages() -> None:
    texts = [*map(altered, PAGES[:30]), *PAGES[31:91], *TEXTS[90:]]  # 30 of their own page, 60 of the next one
    found = near(texts, PAGES)
    assert found["own_page_share"] == 0.1
    assert found["other_page_share"] == 0.2
    assert found["share"] == 0.0


def test_a_sample_has_pages_and_what_was_made_of_them_together() -> None:
    found = near([*map(altered, PAGES)], PAGES, most=60)
    assert found["outputs"] == found["pages"] == 60
    assert found["sampled"] == 0.2
    assert found["own_page_share"] == 1.0
    assert found["other_page_share"] == 0.0


def test_short_texts_and_no_texts() -> None:
    assert near(["two words"] * 5, [])["share"] is None
    found = near(["two words"] * 5, [])
    assert found["exact"] == {"texts": 5, "sampled": 1.0, "share": 0.8, "largest": 5}
    empty = near_duplicates(NearSample(5, 0), NearSample(5, 0))
    assert empty["share"] is None
    assert empty["exact"] == {"texts": 0, "sampled": 1.0, "share": None, "largest": 0}


def test_missing_texts_are_empty_ones() -> None:
    table = outputs(["a b c d e f g", "x"]).set_column(4, "text", pa.array([None, "a b c d e f g"], pa.string()))
    assert near_duplicates(sample(table, "parent_id"), NearSample(5, 0))["outputs"] == 1
    assert np.isfinite(sample(table, "parent_id").rows.share)
