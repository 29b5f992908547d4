"""Held-out documents: by their ids alone, and any beginning of them is a sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.ablate.held_out import LARGEST, Sample, cut, limit, places

TEXTS = st.lists(st.tuples(st.integers(0, 50), st.text(max_size=40)), max_size=40)


def twin(documents: list[tuple[int, str]], size: int) -> list[str]:
    """The same by sorting everything."""
    found: list[str] = []
    left = size
    for _, text in sorted(documents, key=lambda one: one[0]):
        if left <= 0:
            break
        whole = cut(text, max(1, size // LARGEST))
        short = cut(whole, left)
        left = 0 if short != whole else left - len(short.encode())
        found += [short] if short else []
    return found


@pytest.mark.ci
@given(documents=TEXTS, size=st.integers(1, 300))
def test_the_sample_is_that_of_sorting_everything(documents: list[tuple[int, str]], size: int) -> None:
    sample = Sample(size)
    for place, text in documents:
        sample.add(place, text)
    assert sample.texts() == twin(documents, size)
    assert sum(len(text.encode()) for text in sample.texts()) <= size


@given(documents=TEXTS, size=st.integers(1, 300), parts=st.integers(1, 4))
def test_samples_of_parts_give_the_sample_of_the_whole(documents: list[tuple[int, str]], size: int, parts: int) -> None:
    whole = Sample(size)
    for number in range(parts):
        part = Sample(size)
        for place, text in documents[number::parts]:
            part.add(place, text)
        for place, text in part:
            whole.add(place, text)
    ordered = [one for number in range(parts) for one in documents[number::parts]]
    assert whole.texts() == twin(ordered, size)


@given(text=st.text(max_size=30), size=st.integers(0, 60))
def test_a_cut_text_is_a_beginning_in_whole_characters(text: str, size: int) -> None:
    short = cut(text, size)
    assert text.startswith(short)
    assert len(short.encode()) <= size
    assert short == text or len(text[: len(short) + 1].encode()) > size


@pytest.mark.parametrize("share", [0.0, 0.02, 0.25, 0.5])
def test_the_share_is_held_out_and_a_larger_one_holds_it(share: float) -> None:
    ids = [f"<urn:uuid:{n}>" for n in range(20_000)]
    held = places(ids) < limit(share)
    assert held.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 20_000) ** 0.5 + 1e-9)
    assert not (held & ~(places(ids) < limit(min(1.0, share * 2)))).any()
    assert (places(ids[::-1])[::-1] == places(ids)).all()
