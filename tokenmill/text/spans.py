"""Spans of texts that may occur again elsewhere: lines, paragraphs, and windows of consecutive sentences.

A span is known by its number in its text, and compared by a 64-bit hash of its text in lower case with every run
of white space as one space. Digits and punctuation count: "Page 1" and "Page 2" differ. Spans without letter and
digit have the hash 0, which means that they are not to be compared. What the units are:

- line: a line of `str.splitlines` that is not blank.
- paragraph: a block of lines between blank lines. Extracted text often has one paragraph per line; so in a text
  in which no blank line stands between two others, every line that is not blank is a paragraph.
- sentences: so many consecutive sentences; each sentence but the last few begins one. Sentences are those that
  `text_sentence_count` counts, a line break ends one. C4 removed all but one of any three-sentence span
  that occurs more than once (Raffel et al. 2020, arXiv:1910.10683, section 2.2).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.text.measure import utf8

UNITS = ("line", "paragraph", "sentences")

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]


def span_hashes(texts: pa.Array, unit: str, *, sentences: int = 3, min_characters: int = 0) -> tuple[Hashes, Offsets]:
    """Hashes of the spans of every text in order, and where those of each text begin (one more than texts).

    texts: strings; a null has no spans. unit: one of `UNITS`. sentences: length of a window, for that unit.
    min_characters: spans with fewer have the hash 0. White space at the ends of a piece does not count, a run of it
    inside counts as one character; sentences without letter and digit count nothing.
    ValueError for another unit, or windows of no sentence.
    """
    from tokenmill.text.spans_kernel import hashes_batch
    from tokenmill.text.tables import tables

    number = _unit_number(unit, sentences)
    length = sentences if unit == "sentences" else 1
    hashes, offsets = hashes_batch(*text_bytes(texts), number, length, min_characters, tables(), *_cases())
    return hashes, offsets


def without_spans(
    texts: pa.Array, unit: str, removed: Numbers, offsets: Offsets, *, sentences: int = 3
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The texts without some of their spans, in the type of `texts`, and how many bytes each has lost.

    removed: numbers of spans as `span_hashes` orders them, those of text i in removed[offsets[i]:offsets[i + 1]],
    in any order. A window takes all its sentences with it. A text without removals stays byte for byte.

    A line goes with its line break. Blank lines that follow a cut go too where a blank line, or the beginning of
    the text, is before it; at the end of the text, those before the cut go. A text that did not end with a line
    break does not end with one afterwards. A sentence goes with the white space after it, or before it where no
    sentence of its line is left behind it.

    ValueError for numbers that a text does not have, and offsets that do not fit.
    """
    number = _unit_number(unit, sentences)
    removed, offsets = checked_lists(texts, removed, offsets)
    if not len(removed):
        return texts, np.zeros(len(texts), np.int64)
    from tokenmill.text.spans_kernel import removal_batch
    from tokenmill.text.tables import tables

    data, places = text_bytes(texts)
    left, left_places, wrong = removal_batch(data, places, number, sentences, removed, offsets, tables())
    if wrong >= 0:
        raise ValueError(f"text {wrong} has no span {removed[offsets[wrong] : offsets[wrong + 1]].max()} ({unit})")
    return as_strings(texts, left, left_places), np.diff(places) - np.diff(left_places)


def span_text(text: str, unit: str, number: int, *, sentences: int = 3) -> str:
    """One span as it stands in the text, line breaks inside included. IndexError where the text has none such."""
    from tokenmill.text.spans_kernel import pieces_of
    from tokenmill.text.tables import tables

    kind = _unit_number(unit, sentences)
    data = text.encode("utf-8", "replace")
    starts, stops, numbers = pieces_of(np.frombuffer(data, np.uint8), kind, tables())
    last = number + sentences - 1 if unit == "sentences" else number
    if number < 0 or last > numbers.max(initial=-1):
        raise IndexError(f"the text has no span {number} ({unit})")
    start, stop = starts[numbers == number][0], stops[numbers == last][-1]
    return data[start:stop].decode().strip()


def text_bytes(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Offsets]:
    """`utf8`, always read-only: of Arrow's buffers some are and some are not, and kernels would be compiled twice."""
    data, offsets = utf8(texts)
    data = data.view()
    data.setflags(write=False)
    return data, offsets


def checked_lists(texts: pa.Array, values: npt.ArrayLike, offsets: npt.ArrayLike) -> tuple[Numbers, Offsets]:
    """Copies of both, as kernels want them. ValueError unless `offsets` cut `values` into one list per text."""
    numbers, cuts = np.array(values, np.uint32), np.array(offsets, np.int64)  # read-only ones would be another type
    ends_fit = len(cuts) == len(texts) + 1 and cuts[0] == 0 and cuts[-1] == len(numbers)
    if not ends_fit or (np.diff(cuts) < 0).any():
        raise ValueError(f"offsets do not cut {len(numbers)} numbers into one list for each of {len(texts)} texts")
    return numbers, cuts


def as_strings(texts: pa.Array, data: npt.NDArray[np.uint8], places: Offsets) -> pa.Array:
    """Strings of the same type as `texts`, and null where those are; none may be longer than there altogether."""
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    buffers = [None, pa.py_buffer(places.astype(kind)), pa.py_buffer(data)]
    found = pa.Array.from_buffers(texts.type, len(texts), buffers)
    return pc.if_else(texts.is_valid(), found, None) if texts.null_count else found


def _unit_number(unit: str, sentences: int) -> int:
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is none of {', '.join(UNITS)}")
    if sentences < 1:
        raise ValueError(f"windows of {sentences} sentences: at least one is needed")
    return UNITS.index(unit)


@cache
def _cases() -> tuple[Codes, Codes]:
    """Upper-case letters outside ASCII, sorted, and the lower case of each, where that is one character."""
    from tokenmill.text.tables import UPPER, tables

    known = tables()
    codes = np.nonzero(known.flags[known.pages].reshape(-1) & UPPER)[0].tolist()
    pairs = [(code, chr(code).lower()) for code in codes if code >= 128]
    pairs = [pair for pair in pairs if len(pair[1]) == 1]
    return np.array([code for code, _ in pairs], np.int32), np.array([ord(char) for _, char in pairs], np.int32)
