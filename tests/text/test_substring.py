"""The kernels of repeated runs of words against a readable twin, and what winnowing promises."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from unicodedata import category

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.text.strategies import TEXTS
from tests.text.test_spans import lists
from tokenmill.core import segment
from tokenmill.text.substring import fingerprints, run_bytes, window_text, windows, without_windows

UNSPACED = re.compile(f"[{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}]")
BREAKS = re.compile("[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
SMALL = st.lists(st.sampled_from(["a", "b", "日", "c\x00"]), max_size=40).flatmap(
    lambda words: st.sampled_from([" ", "\n", "  "]).map(lambda space: space.join(words))
)
"""Texts of few words, so that runs repeat."""
MASK = 2**64 - 1


def words_of(text: str) -> list[tuple[int, int]]:
    """The twin: first character and end of every word."""
    found: list[tuple[int, int]] = []
    inside = alone = False
    for i, char in enumerate(text):
        if char.isspace():
            inside = False
            continue
        unspaced = UNSPACED.match(char) is not None
        if inside and (category(char).startswith("M") or not (alone or unspaced)):
            found[-1] = (found[-1][0], i + 1)
        else:
            found.append((i, i + 1))
            alone = unspaced
        inside = True
    return found


def strings(text: str) -> list[str]:
    return [text[start:stop] for start, stop in words_of(text)]


def mixed(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return value ^ value >> 33


def word_hash(word: str) -> int:
    value = 0x9E3779B97F4A7C15
    for char in word:
        value = (value ^ ord(char)) * 0xD6E8FEB86659FD93 & MASK
        value ^= value >> 32
    return mixed(value)


def picked(text: str, words: int) -> list[tuple[int, int]]:
    """Hash and position of every picked gram."""
    hashes = [word_hash(word) for word in strings(text)]
    length = max(1, words // 2)
    grams = []
    for i in range(len(hashes) - length + 1):
        value = 0
        for one in hashes[i : i + length]:
            value = (value * 0x9FB21C651E98DF25 + one) & MASK
        grams.append(mixed(value))
    window = words - length + 1
    best = {min(range(i, i + window), key=lambda at: (grams[at], -at)) for i in range(max(0, len(grams) - window + 1))}
    return [(grams[at], at) for at in sorted(best)]


def per_text(offsets: npt.NDArray[np.int64], *columns: npt.NDArray[np.generic]) -> list[list[tuple[int, ...]]]:
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return [rows[start:stop] for start, stop in pairwise(offsets.tolist())]


def left(text: str, gone: set[int]) -> str:
    """The text without some words."""
    words = words_of(text)
    kept = [i for i in range(len(words)) if i not in gone]
    if not gone:
        return text
    if not kept:
        return ""
    gaps = [text[: words[0][0]]]
    gaps += [text[stop:start] for (_, stop), (start, _) in pairwise(words)]
    found = gaps[0]
    for before, i in zip([None, *kept], kept, strict=False):
        if before is not None:
            found += gaps[i] if i == before + 1 else join(found[-1], gaps[before + 1], gaps[i], text[words[i][0]])
        found += text[slice(*words[i])]
    return found + text[words[-1][1] :]


def join(before: str, one: str, other: str, after: str) -> str:
    best = max(one, other, key=lambda gap: len(BREAKS.findall(gap)))
    if BREAKS.search(best):
        return best
    glued = before.isalnum() and after.isalnum() and not UNSPACED.match(before) and not UNSPACED.match(after)
    return " " if one or other or glued else ""


def repeated(texts: list[str], words: int) -> set[tuple[int, int]]:
    """Text and first word of every window that occurs twice, as the two passes find them."""
    column = pa.array(texts, pa.string())
    hashes, positions, offsets = fingerprints(column, words)
    counts = Counter(hashes.tolist())
    anchors = [[at for value, at in rows if counts[value] > 1] for rows in per_text(offsets, hashes, positions)]
    keys, checks, starts, offsets = windows(column, words, *lists(anchors))
    times = Counter(zip(keys.tolist(), checks.tolist(), strict=True))
    rows = per_text(offsets, keys, checks, starts)
    return {(i, start) for i, some in enumerate(rows) for key, check, start in some if times[key, check] > 1}


@examples(50, 200)
@given(st.lists(st.one_of(TEXTS, SMALL), min_size=1, max_size=4), st.integers(1, 9))
def test_picks_equal_the_twin(texts: list[str], words: int) -> None:
    hashes, positions, offsets = fingerprints(pa.array(texts), words)
    assert [str(array.dtype) for array in (hashes, positions, offsets)] == ["uint64", "uint32", "int64"]
    assert per_text(offsets, hashes, positions) == [picked(text, words) for text in texts]


@examples(50, 200)
@given(st.lists(st.one_of(TEXTS, SMALL), min_size=1, max_size=4), st.integers(1, 9), st.sets(st.integers(0, 30)))
def test_windows_equal_the_twin(texts: list[str], words: int, anchors: set[int]) -> None:
    each = [sorted(anchors)] * len(texts)
    keys, checks, starts, offsets = windows(pa.array(texts), words, *lists(each))
    length = max(1, words // 2)
    found = []
    for text, rows in zip(texts, per_text(offsets, starts), strict=True):
        last = len(words_of(text)) - words
        expected = [i for i in range(last + 1) if any(i <= at <= i + words - length for at in anchors)]
        assert rows == [(i,) for i in expected]
        found += [tuple(strings(text)[i : i + words]) for i in expected]
        for i in expected:
            shown = window_text(text, words, i)
            assert strings(shown) == strings(text)[i : i + words]
            assert shown in text
    distinct = len(set(found))
    for column in (keys, checks):
        assert len(set(column.tolist())) == distinct
        assert len(set(zip(column.tolist(), found, strict=True))) == distinct


@examples(50, 200)
@given(*[st.lists(st.sampled_from("abcdefgh"), max_size=20)] * 5, st.integers(1, 20))
def test_equal_runs_share_a_pick(
    run: list[str], a: list[str], b: list[str], c: list[str], d: list[str], words: int
) -> None:
    run = (run or ["x"])[:words]
    run += ["y"] * (words - len(run))
    texts = pa.array([" ".join(a + run + b), "\n".join(c + run + d)])
    hashes, positions, offsets = fingerprints(texts, words)
    first, second = per_text(offsets, hashes, positions)
    spare = words - max(1, words // 2)
    inside = {(value, at - len(a)) for value, at in first if 0 <= at - len(a) <= spare}
    assert inside & {(value, at - len(c)) for value, at in second if 0 <= at - len(c) <= spare}


@examples(50, 200)
@given(st.lists(SMALL, min_size=1, max_size=5), st.integers(1, 8))
def test_two_passes_find_every_repeated_window(texts: list[str], words: int) -> None:
    runs = [[tuple(some[i : i + words]) for i in range(len(some) - words + 1)] for some in map(strings, texts)]
    times = Counter(run for each in runs for run in each)
    expected = {(i, at) for i, each in enumerate(runs) for at, run in enumerate(each) if times[run] > 1}
    assert repeated(texts, words) == expected


@examples(50, 200)
@given(
    st.lists(st.tuples(st.one_of(TEXTS, SMALL), st.lists(st.integers(0, 99), max_size=4)), min_size=1, max_size=4),
    st.integers(1, 5),
)
def test_removal_equals_the_twin(items: list[tuple[str, list[int]]], words: int) -> None:
    texts = [text for text, _ in items]
    counts = [len(words_of(text)) - words + 1 for text in texts]
    starts = [[n % count for n in some] if count > 0 else [] for (_, some), count in zip(items, counts, strict=True)]
    found, lost = without_windows(pa.array(texts), words, *lists(starts))
    found.validate(full=True)
    gone = [{n + k for n in some for k in range(words)} for some in starts]
    assert lost.tolist() == list(map(len, gone))
    assert found.to_pylist() == [left(text, some) for text, some in zip(texts, gone, strict=True)]


@pytest.mark.parametrize(
    ("text", "starts", "expected", "lost"),
    [
        ("a b c d", [0], "c d", 2),
        ("a b c d", [2], "a b", 2),
        ("a b c d", [1], "a d", 2),
        ("a b c d", [0, 2], "", 4),
        ("a b c d e", [0, 1], "d e", 3),
        ("a b c d e f", [3, 1], "a f", 4),
        ("a b c d\n", [2], "a b\n", 2),
        (" a b c d ", [0], " c d ", 2),
        ("a b\n", [0], "", 2),
        ("a  b c\td", [1], "a d", 2),
        ("a\nb c\nd", [1], "a\nd", 2),
        ("a b c\nd", [1], "a\nd", 2),
        ("a\nb c d", [1], "a\nd", 2),
        ("a\r\nb c\r\nd", [1], "a\r\nd", 2),
        ("a\n\nb c\nd", [1], "a\n\nd", 2),
        ("a\nb c\n\nd", [1], "a\n\nd", 2),
        ("a b\nc d", [1], "a d", 2),
        ("a\r\nb c\r\n", [1], "a\r\n", 2),
        ("我们的数", [1], "我数", 2),
        ("ab日本cd", [1], "ab cd", 2),
        ("我是 abc 的", [1], "我 的", 2),
        ("ภาษา", [0], "ษา", 2),
    ],
)
def test_what_is_left(text: str, starts: list[int], expected: str, lost: int) -> None:
    found, words = without_windows(pa.array([text, text]), 2, *lists([[], starts]))
    assert found.to_pylist() == [text, expected]
    assert words.tolist() == [0, lost]


@settings(max_examples=50)
@given(st.lists(st.one_of(TEXTS, SMALL), min_size=1, max_size=4), st.integers(1, 9))
def test_bytes_of_runs(texts: list[str], words: int) -> None:
    starts = [list(range(0, len(words_of(text)) - words + 1, 2)) for text in texts]
    numbers, offsets = lists(starts)
    found = run_bytes(pa.array(texts), numbers, np.full(len(numbers), words, np.uint32), offsets)
    shown = [window_text(text, words, at) for text, some in zip(texts, starts, strict=True) for at in some]
    assert found.tolist() == [len(text.encode()) for text in shown]


@pytest.mark.parametrize(("start", "length"), [(1, 2), (2, 1), (0, 0)])
def test_runs_that_a_text_does_not_have(start: int, length: int) -> None:
    one = np.array([start], np.uint32), np.array([length], np.uint32)
    with pytest.raises(ValueError, match="text 1 has fewer words than its runs"):
        run_bytes(pa.array(["a b c", "d e"]), *one, np.array([0, 0, 1]))


def test_short_texts_have_nothing() -> None:
    texts = pa.array(["a b", "", None, "a b c"])
    for words, count in ((3, 1), (4, 0), (2**31, 0)):
        hashes, _, offsets = fingerprints(texts, words)
        assert len(hashes) == offsets[-1] == count
        assert len(windows(texts, words, *lists([[0], [0], [0], [0]]))[0]) == count
    assert fingerprints(pa.array([], pa.string()), 3)[2].tolist() == [0]


def test_nulls_slices_and_types() -> None:
    texts = pa.array(["x y", "a b c", None, ""])
    for column in (texts, texts.cast(pa.large_string())):
        found, lost = without_windows(column[1:], 2, *lists([[0], [], []]))
        assert found.type == column.type
        assert found.to_pylist() == ["c", None, ""]
        assert lost.tolist() == [2, 0, 0]
        assert without_windows(column, 2, *lists([[]] * 4))[0] is column


def test_bytes_that_are_no_utf8_stay() -> None:
    data = b"\xef\xbf ab\xe6" + b"\xbd cd \xf0\x9f" + b"\x98\xff"
    buffers = [None, pa.py_buffer(np.array([0, 6, 13, 15], np.int32)), pa.py_buffer(data)]
    texts = pa.Array.from_buffers(pa.string(), 3, buffers)
    assert fingerprints(texts, 1)[2].tolist() == [0, 2, 5, 6]
    found, _ = without_windows(texts, 1, *lists([[1], [0], []]))
    assert found.buffers()[2].to_pybytes() == b"\xef\xbf" + b"cd \xf0\x9f" + b"\x98\xff"


def test_what_does_not_fit_is_refused() -> None:
    texts = pa.array(["a b c", "d e"])
    with pytest.raises(ValueError, match="text 1 has no 2 words from word 1 on"):
        without_windows(texts, 2, *lists([[1], [0, 1]]))
    with pytest.raises(ValueError, match="each of 2 texts"):
        windows(texts, 2, *lists([[1]]))
    with pytest.raises(ValueError, match="do not ascend"):
        windows(texts, 2, *lists([[1], [1, 0]]))
    with pytest.raises(ValueError, match="at least one"):
        fingerprints(texts, 0)
    with pytest.raises(IndexError):
        window_text("a b c", 2, 2)
