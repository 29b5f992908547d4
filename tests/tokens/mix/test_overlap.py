from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.mix.support import mixture_of, random_set
from tokenmill.tokens.mix import overlap
from tokenmill.tokens.mix.measure import measure
from tokenmill.tokens.mix.overlap import Overlap, pairs_of, tail_hash

MASK = 2**64 - 1


def slow_hash(text: str) -> int:
    """The twin: two words of eight bytes from the end, what is not there being zeros in front."""
    data = text.encode()
    total = len(data)
    padded = bytes(16) + data
    for back in (8, 16):
        word = int.from_bytes(padded[len(padded) - back : len(padded) - back + 8], "little")
        total = ((total ^ word) * 0x9E3779B97F4A7C15) & MASK
        total ^= total >> 29
    return (total * 0xD6E8FEB86659FD93) & MASK


@examples(30, 100)
@given(st.lists(st.one_of(st.none(), st.text(max_size=24)), max_size=20), st.integers(0, 5))
def test_hashes_are_those_of_the_twin_whatever_stands_beside(texts: list[str | None], start: int) -> None:
    column = pa.array(texts, pa.string())[start:]
    assert tail_hash(column).tolist() == [slow_hash(text or "") for text in texts[start:]]


STAGE = {"name": "one", "tokens": 100, "weights": {"a": 1, "b": 1, "c": 0}}


def test_only_sources_that_a_stage_takes_together_are_compared(tmp_path: Path) -> None:
    mixture = mixture_of(tmp_path, {"a": "x", "b": "y", "c": "z"}, [STAGE])
    assert pairs_of(mixture, ["a", "b", "c"]) == [("a", "b")]
    assert pairs_of(mixture_of(tmp_path, {"a": "x", "b": "y"}, [{"name": "all"}]), ["b", "a"]) == [("a", "b")]


def test_within_a_set_and_between_sets(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [40, 30], seed=1)
    random_set(tmp_path / "more", [20], seed=2, first=60)  # ten documents are those of web
    sources = {
        "web": "web",
        "news": {"tokens": "web", "where": {"topic": "news"}},
        "more": "more",
    }
    measured = measure(mixture_of(tmp_path, sources, [{"name": "all"}]))
    counts = {atom.source: counted.documents for atom, counted in measured.streams.items()}
    assert measured.overlaps[:2] == [
        Overlap(("web", "news"), counts["news"], False),
        Overlap(("web", "more"), 10, False),
    ]
    assert counts["web"] == 70


@pytest.mark.ci
def test_a_sample_says_about_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "SAMPLE", 1500)
    random_set(tmp_path / "web", [1500, 1500], seed=1, longest=1)
    random_set(tmp_path / "more", [2000], seed=2, first=2000, longest=1)
    (found,) = measure(mixture_of(tmp_path, {"web": "web", "more": "more"}, [{"name": "all"}])).overlaps
    assert found.estimated
    assert abs(found.documents - 1000) < 200  # 300 are in the sample: four standard deviations are a fifth


def test_sets_that_share_nothing(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [5], seed=1)
    random_set(tmp_path / "more", [5], seed=2, first=100)
    assert measure(mixture_of(tmp_path, {"web": "web", "more": "more"}, [{"name": "all"}])).overlaps == []
