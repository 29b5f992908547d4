"""Exact runs of words that occur more than once in a corpus, found in two passes over the texts.

Words are runs of characters without white space, as they stand: case and punctuation count, white space between
does not. In scripts without spaces every character is a word, and combining marks stay with what they follow.

The first pass picks a few short runs (grams) of every text such that any two equal runs of N words share one, in the
same place (winnowing: Schleimer, Wilkerson, Aiken 2003, doi:10.1145/872757.872770). Grams have N // 2 words; of all
grams of each N words the one with the least hash is picked, the last of equals. Grams whose hash was
picked once in the corpus cannot be part of a repeated run. The second pass hashes every window of N words that contains
one of the others, with 128 bits: windows with equal `key` and `check` are equal. A longer repeated run is the union of
its windows. Texts with fewer than N words have none.

    hashes, positions, offsets = fingerprints(texts, 50)
    ... keep the positions whose hash was picked at least twice, in all texts together ...
    key, check, start, offsets = windows(texts, 50, positions, offsets)
    ... keep the starts whose (key, check) occurs again, all but one of each ...
    texts, words = without_windows(texts, 50, start, offsets)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.text.spans import Hashes, Numbers, Offsets, as_strings, checked_lists, text_bytes


def fingerprints(texts: pa.Array, words: int) -> tuple[Hashes, Numbers, Offsets]:
    """The picked grams: their hashes, the numbers of their first words, and where those of each text begin.

    texts: strings; a null counts as "". words: N, the shortest repeated run that is to be found. ValueError below 1.
    """
    from tokenmill.text.substring_kernel import fingerprints_batch
    from tokenmill.text.tables import tables

    hashes, positions, offsets = fingerprints_batch(*text_bytes(texts), _checked(words), tables())
    return hashes, positions, offsets


def windows(
    texts: pa.Array, words: int, anchors: Numbers, anchor_offsets: Offsets
) -> tuple[Hashes, Hashes, Numbers, Offsets]:
    """Every window of `words` words that contains an anchored gram: two hashes, its first word, offsets per text.

    anchors: positions from `fingerprints` with the same `words`, of text i in
    anchors[anchor_offsets[i]:anchor_offsets[i + 1]], ascending. The windows of a text ascend, each occurs once. The
    hashes are independent of each other. ValueError for anchors that do not ascend, and offsets that do not fit.
    """
    from tokenmill.text.substring_kernel import windows_batch
    from tokenmill.text.tables import tables

    anchors, anchor_offsets = checked_lists(texts, anchors, anchor_offsets)
    falls = np.diff(anchors.astype(np.int64)) < 0
    begins = anchor_offsets[(anchor_offsets > 0) & (anchor_offsets < len(anchors))]
    falls[begins - 1] = False
    if falls.any():
        raise ValueError("the anchors of a text do not ascend")
    key, check, start, offsets = windows_batch(*text_bytes(texts), _checked(words), anchors, anchor_offsets, tables())
    return key, check, start, offsets


def without_windows(
    texts: pa.Array, words: int, starts: Numbers, offsets: Offsets
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The texts without the words that some windows cover, in the type of `texts`, and how many words each has lost.

    starts: first words of windows, of text i in starts[offsets[i]:offsets[i + 1]], in any order. A text without
    removals stays byte for byte.

    White space at the beginning and at the end of a text stays, and all between words that were neighbours before.
    Where words are gone, what stood before or after them stays: what has more line breaks, the first of equals. Without
    a line break it is one space; nothing, if no white space was at either side, unless two letters or digits of
    scripts with spaces would meet. A text of which no word is left is "".

    ValueError for windows that a text does not have, and offsets that do not fit.
    """
    _checked(words)
    starts, offsets = checked_lists(texts, starts, offsets)
    if not len(starts):
        return texts, np.zeros(len(texts), np.int64)
    from tokenmill.text.substring_kernel import removal_batch
    from tokenmill.text.tables import tables

    left, places, gone, wrong = removal_batch(*text_bytes(texts), words, starts, offsets, tables())
    if wrong >= 0:
        start = starts[offsets[wrong] : offsets[wrong + 1]].max()
        raise ValueError(f"text {wrong} has no {words} words from word {start} on")
    return as_strings(texts, left, places), gone


def run_bytes(texts: pa.Array, starts: Numbers, lengths: Numbers, offsets: Offsets) -> npt.NDArray[np.int64]:
    """Bytes of runs of words, from the first of the first word to the last of the last.

    starts, lengths: first word of each run and how many it has, of text i in starts[offsets[i]:offsets[i + 1]].
    ValueError for runs that a text does not have, and offsets that do not fit.
    """
    from tokenmill.text.substring_kernel import run_bytes_batch
    from tokenmill.text.tables import tables

    starts, offsets = checked_lists(texts, starts, offsets)
    lengths, _ = checked_lists(texts, lengths, offsets)
    sizes: npt.NDArray[np.int64]
    sizes, wrong = run_bytes_batch(*text_bytes(texts), starts, lengths, offsets, tables())
    if wrong >= 0:
        raise ValueError(f"text {wrong} has fewer words than its runs, or a run has none")
    return sizes


def window_text(text: str, words: int, start: int) -> str:
    """`words` words of a text as they stand in it, from word `start` on. IndexError where the text has fewer."""
    from tokenmill.text.substring_kernel import words_of
    from tokenmill.text.tables import tables

    data = text.encode("utf-8", "replace")
    starts, ends = words_of(np.frombuffer(data, np.uint8), tables())
    if start < 0 or start + _checked(words) > len(starts):
        raise IndexError(f"the text has no {words} words from word {start} on")
    return data[starts[start] : ends[start + words - 1]].decode()


def _checked(words: int) -> int:
    if words < 1:
        raise ValueError(f"runs of {words} words: at least one is needed")
    return words
