"""The kernels of lines, paragraphs and sentences against a readable twin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.text import twin
from tests.text.strategies import TEXTS
from tokenmill.core import segment
from tokenmill.text.characters import SENTENCE_ENDS
from tokenmill.text.spans import UNITS, span_hashes, span_text, without_spans

OPENERS = "([{“‘„«¿¡（［｛「『【《〈〔"
SENTENCES = st.lists(
    st.sampled_from(
        ["A bb. ", "A bb.", "No! ", "“Go.” (I see) ", "\n", "\n\n", " \r\n", "これは。", "「次は。」", "...", "3.5"]
    )
).map("".join)
"""Texts of whole sentences."""


class Line(NamedTuple):
    pieces: list[tuple[int, str]]
    """Number and text of each piece; none in a blank line."""
    content: str
    end: str


def cut(text: str, unit: str) -> list[Line]:
    """The twin: lines of a text, and in each what may be removed."""
    contents = text.splitlines()
    ends = [raw[len(line) :] for raw, line in zip(text.splitlines(keepends=True), contents, strict=True)]
    full = [bool(line.strip()) for line in contents]
    blocks = False in full[full.index(True) : len(full) - full[::-1].index(True)] if True in full else False
    found: list[Line] = []
    number = -1
    for i, (line, end) in enumerate(zip(contents, ends, strict=True)):
        pieces = []
        if full[i] and unit == "sentences":
            pieces = [(number + k, part) for k, part in enumerate(line_sentences(line, segment.word_unit(text)), 1)]
            number += len(pieces)
        elif full[i]:
            number += unit == "line" or not blocks or i == 0 or not full[i - 1]
            pieces = [(number, line)]
        found.append(Line(pieces, line, end))
    return found


def line_sentences(line: str, unit: int) -> list[str]:
    starts, at, mark = [0], 0, -1
    for token in twin.tokens_of(line, unit):
        at = line.index(token, at)
        if token in SENTENCE_ENDS:
            mark = at + len(token)
        elif mark >= 0 and not all(category(char).startswith("P") for char in token):
            between = line[mark:at]
            gap = re.search(r"\s+", between)
            starts.append(mark + (gap.end() if gap else len(between.rstrip(OPENERS))))
            mark = -1
        at += len(token)
    return [line[start:stop] for start, stop in pairwise([*starts, len(line)])]


def spans(text: str, unit: str, sentences: int) -> list[list[str]]:
    """Pieces of every span, in order."""
    groups: dict[int, list[str]] = {}
    for line in cut(text, unit):
        for number, piece in line.pieces:
            groups.setdefault(number, []).append(piece)
    pieces = ["\n".join(group) for group in groups.values()]
    length = sentences if unit == "sentences" else 1
    return [pieces[i : i + length] for i in range(len(pieces) - length + 1)]


def compared(span: list[str]) -> tuple[str, ...] | None:
    """What of a span is compared; None where nothing is."""
    if not any(map(str.isalnum, "".join(span))):
        return None
    return tuple(" ".join("".join(map(lower, piece)).split()) for piece in span)


def lower(char: str) -> str:
    return char.lower() if char.isupper() and len(char.lower()) == 1 else char


def left(text: str, unit: str, removed: set[int]) -> str:
    """The text without some pieces."""
    if not removed:
        return text
    kept: list[Line] = []
    gone = False
    for line in cut(text, unit):
        stays = [piece for piece in line.pieces if piece[0] not in removed]
        if not line.pieces:
            if gone and (not kept or not kept[-1].pieces):
                continue
            kept.append(line)
            gone = False
        elif stays:
            content = "".join(piece for _, piece in stays)
            kept.append(Line(stays, content if stays[-1] is line.pieces[-1] else content.rstrip(), line.end))
            gone = False
        else:
            gone = True
    while gone and kept and not kept[-1].pieces:
        kept.pop()
    if gone and kept and not line.end:
        kept[-1] = kept[-1]._replace(end="")
    return "".join(line.content + line.end for line in kept)


def lists(numbers: list[list[int]]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    flat = [number for each in numbers for number in each]
    return np.array(flat, np.uint32), np.cumsum([0, *map(len, numbers)]).astype(np.int64)


@examples(75, 300)
@given(st.lists(st.one_of(TEXTS, SENTENCES), min_size=1, max_size=5), st.sampled_from(UNITS), st.integers(1, 4))
def test_hashes_are_equal_where_the_twin_is(texts: list[str], unit: str, sentences: int) -> None:
    hashes, offsets = span_hashes(pa.array(texts, pa.string()), unit, sentences=sentences)
    assert hashes.dtype == np.uint64
    assert offsets.dtype == np.int64
    found = [spans(text, unit, sentences) for text in texts]
    assert np.diff(offsets).tolist() == list(map(len, found))
    if (unit, sentences) == ("sentences", 1):
        kinds = [segment.word_unit(text) for text in texts]
        lines = [(line, kind) for text, kind in zip(texts, kinds, strict=True) for line in text.splitlines()]
        assert len(hashes) == sum(twin.sentences(twin.tokens_of(line, kind)) for line, kind in lines)
    keys = [compared(span) for each in found for span in each]
    assert [value == 0 for value in hashes.tolist()] == [key is None for key in keys]
    pairs = set(zip(keys, hashes.tolist(), strict=True))
    assert len(pairs) == len(set(keys)) == len(set(hashes.tolist()))


@examples(75, 300)
@given(
    st.lists(st.tuples(st.one_of(TEXTS, SENTENCES), st.lists(st.integers(0, 99), max_size=5)), min_size=1, max_size=5),
    st.sampled_from(UNITS),
    st.integers(1, 3),
)
def test_removal_equals_the_twin(items: list[tuple[str, list[int]]], unit: str, sentences: int) -> None:
    texts = [text for text, _ in items]
    counts = [len(spans(text, unit, sentences)) for text in texts]
    removed = [[n % count for n in some] if count else [] for (_, some), count in zip(items, counts, strict=True)]
    found, lost = without_spans(pa.array(texts), unit, *lists(removed), sentences=sentences)
    found.validate(full=True)
    reach = sentences if unit == "sentences" else 1
    expected = [
        left(text, unit, {n + k for n in some for k in range(reach)}) for text, some in zip(texts, removed, strict=True)
    ]
    assert found.to_pylist() == expected
    assert lost.tolist() == [len(text.encode()) - len(new.encode()) for text, new in zip(texts, expected, strict=True)]


@settings(max_examples=100)
@given(st.one_of(TEXTS, SENTENCES), st.sampled_from(UNITS), st.integers(1, 3))
def test_a_span_can_be_shown(text: str, unit: str, sentences: int) -> None:
    found = spans(text, unit, sentences)
    for number in range(len(found)):
        shown = span_text(text, unit, number, sentences=sentences)
        assert shown.split() == " ".join(found[number]).split() or unit == "sentences"
        assert "".join(shown.split()) == "".join("".join(found[number]).split())
        assert shown in text
    with pytest.raises(IndexError):
        span_text(text, unit, len(found), sentences=sentences)


LINES = [
    ("a\nb\nc", [0], "b\nc"),
    ("a\nb\nc", [1], "a\nc"),
    ("a\nb\nc", [2], "a\nb"),
    ("a\nb\nc\n", [2], "a\nb\n"),
    ("a\nb\nc", [0, 1, 2], ""),
    ("a\nb\nc", [2, 1, 1], "a"),
    ("a\r\nb\r\nc", [1], "a\r\nc"),
    ("a\r\nb\r\n", [1], "a\r\n"),
    ("a\r\nb", [1], "a"),
    ("a\n\nb\n\nc", [1], "a\n\nc"),
    ("a\n\nb\nc", [1], "a\n\nc"),
    ("a\nb\n\nc", [1], "a\n\nc"),
    ("a\n\nb\n \n\nc", [1], "a\n\nc"),
    ("a\nb\n\n\nc", [1], "a\n\n\nc"),
    ("a\n\nb", [1], "a"),
    ("a\n\nb\n", [1], "a\n"),
    ("a\n\nb\n\nc\n", [1, 2], "a\n"),
    ("a\n\nb", [0], "b"),
    ("\n\na\nb", [0], "\n\nb"),
    ("\n\na\n\n", [0], ""),
    ("a", [0], ""),
    ("\n \n--\nb", [0], "\n \nb"),
    ("a\u2028b\x85c", [1], "a\u2028c"),
]
PARAGRAPHS = [
    ("a\nb\n\nc\nd", [0], "c\nd"),
    ("a\nb\n\nc\nd", [1], "a\nb"),
    ("a\n\nb\nc\n\nd\n", [1], "a\n\nd\n"),
    ("a\r\n\r\nb\r\nc\r\n\r\nd", [1], "a\r\n\r\nd"),
    ("a\nb\nc", [1], "a\nc"),
    ("\na\nb\n\n", [0], "\nb\n\n"),
]
SENTENCE = [
    ("A bb. C dd. E ff.", [0], "C dd. E ff."),
    ("A bb. C dd. E ff.", [1], "A bb. E ff."),
    ("A bb. C dd. E ff.", [2], "A bb. C dd."),
    ("A bb. C dd.\nE ff.", [1], "A bb.\nE ff."),
    ("A bb. C dd.\nE ff.", [2], "A bb. C dd."),
    ("A bb.\nC dd.\nE ff.\n", [1], "A bb.\nE ff.\n"),
    ("A bb.\r\n\r\nC dd. E ff.\r\n\r\nG.", [1, 2], "A bb.\r\n\r\nG."),
    ("Mr. A (he) left. “Go!” he said.", [0], "“Go!” he said."),
    ("これは。「次は。」はい。", [1], "これは。はい。"),
]


@pytest.mark.parametrize(
    ("unit", "text", "removed", "expected"),
    [
        *(("line", *row) for row in LINES),
        *(("paragraph", *row) for row in PARAGRAPHS),
        *(("sentences", *row) for row in SENTENCE),
    ],
)
def test_what_is_left(unit: str, text: str, removed: list[int], expected: str) -> None:
    found, lost = without_spans(pa.array([text, text]), unit, *lists([[], removed]), sentences=1)
    assert found.to_pylist() == [text, expected]
    assert lost.tolist() == [0, len(text.encode()) - len(expected.encode())]


def test_a_window_takes_its_sentences() -> None:
    text = "A bb. C dd. E ff.\nG hh. I jj."
    assert len(span_hashes(pa.array([text]), "sentences")[0]) == 3
    assert without_spans(pa.array([text]), "sentences", *lists([[1]]))[0].to_pylist() == ["A bb.\nI jj."]
    assert without_spans(pa.array([text]), "sentences", *lists([[0, 2]]))[0].to_pylist() == [""]
    assert span_text(text, "sentences", 1) == "C dd. E ff.\nG hh."


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Read  More ", "\tread more", True),
        ("ÄÖ ДЖ Σ", "äö дж σ", True),
        ("Page 1", "Page 2", False),
        ("Stop.", "Stop!", False),
        ("ab c", "a bc", False),
        ("a\u00a0b", "a b", True),
    ],
)
def test_what_is_compared(one: str, other: str, equal: bool) -> None:
    first, second = span_hashes(pa.array([one, other]), "line")[0].tolist()
    assert (first == second) == equal


@pytest.mark.parametrize(
    ("unit", "text", "characters"),
    [
        ("line", " ab  c\t", 4),
        ("line", "日本 語", 4),
        ("paragraph", "ab\n  c\n\n--", 4),
        ("sentences", "Ab cd.  Ef.\n--", 9),
    ],
)
def test_short_spans_are_not_compared(unit: str, text: str, characters: int) -> None:
    every = span_hashes(pa.array([text]), unit)[0]
    assert every[0] != 0
    for least, found in ((characters, every[0]), (characters + 1, 0)):
        hashes, offsets = span_hashes(pa.array([text]), unit, min_characters=least)
        assert hashes[0] == found
        assert offsets.tolist() == [0, len(every)]


def test_nulls_slices_and_types() -> None:
    texts = pa.array(["x\ny", "a\nb", None, "--", ""])
    for column in (texts, texts.cast(pa.large_string())):
        hashes, offsets = span_hashes(column[1:], "line")
        assert offsets.tolist() == [0, 2, 2, 3, 3]
        assert hashes[2] == 0
        found, lost = without_spans(column[1:], "line", *lists([[0], [], [], []]))
        assert found.type == column.type
        assert found.to_pylist() == ["b", None, "--", ""]
        assert lost.tolist() == [2, 0, 0, 0]
        assert without_spans(column, "line", *lists([[]] * 5))[0] is column
    assert span_hashes(pa.array([], pa.string()), "sentences")[1].tolist() == [0]


def test_bytes_that_are_no_utf8_stay() -> None:
    data = b"\xef\xbf\nab\xe6" + b"\xbd\ncd\n\xf0\x9f" + b"\x98\xff"
    places = np.array([0, 6, 13, 15], np.int32)
    buffers = [None, pa.py_buffer(places), pa.py_buffer(data)]
    texts = pa.Array.from_buffers(pa.string(), 3, buffers)
    for unit in UNITS:
        hashes, offsets = span_hashes(texts, unit, sentences=1)
        assert offsets.tolist() == [0, 2, 5, 6]
        assert (hashes == 0).tolist() == [True, False, True, False, True, True]
        found, _ = without_spans(texts, unit, *lists([[1], [0], []]), sentences=1)
        assert found.buffers()[2].to_pybytes() == b"\xef\xbf" + b"cd\n\xf0\x9f" + b"\x98\xff"


def test_what_does_not_fit_is_refused() -> None:
    texts = pa.array(["a\nb", "c"])
    with pytest.raises(ValueError, match="text 1 has no span 1"):
        without_spans(texts, "line", *lists([[1], [1]]))
    with pytest.raises(ValueError, match="each of 2 texts"):
        without_spans(texts, "line", *lists([[1]]))
    with pytest.raises(ValueError, match="none of line, paragraph"):
        span_hashes(texts, "word")
    with pytest.raises(ValueError, match="at least one"):
        span_hashes(texts, "sentences", sentences=0)


@pytest.mark.slow
def test_no_kernel_reads_out_of_bounds(tmp_path: Path) -> None:
    """The tests of both modules once more, compiled with numba's bounds checking."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    here = Path(__file__).parent
    tests = [str(here / "test_spans.py"), str(here / "test_substring.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=here.parents[1])
    assert done.returncode == 0, done.stdout[-3000:]
