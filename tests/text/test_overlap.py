"""Overlap kernels against a readable twin that shares no code with them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from unicodedata import category, normalize

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.core import segment
from tokenmill.text.overlap import ANSWER_WITHIN, NGRAM, SEED_WORDS, Found, OverlapIndex, word_hashes
from tokenmill.text.overlap_kernel import ANSWER_WITHIN as KERNEL_WITHIN
from tokenmill.text.overlap_kernel import NGRAM as KERNEL_NGRAM
from tokenmill.text.overlap_kernel import SEED_WORDS as KERNEL_SEED

MASK = 2**64 - 1
APOSTROPHES = "'`´‘’‛ʼ′＇"
HYPHENS = "-\xad‐‑\ufe63\uff0d"
MARKUP = re.compile(r"<[bB][rR][ /]{0,2}>|\\[nrt]|&(?=[^;]{2,8};)(#?[A-Za-z0-9]+);")
IN_WORDS = {"#39", "#x27", "apos", "#8217", "#8216", "rsquo", "lsquo"}
UNSPACED = re.compile(f"[{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}]")
TRICKY = "aB1éÉﬁßİıΣσςǅ½²Ⅷ日本ガﾞｶ가ก็हि™℃①…\u0301\u200b\xad-‐–—'’`\"“”.,!?() \t\r\n\n\u00a0\u2028\f"
TRICKY += "\u3000\uff0d>|_\x00\ufffd😀#*/\\<&;nt"


def folded(char: str) -> str | None:
    """Letters that a character stands for; "" for one that is dropped, None for one that separates words."""
    kind = category(char)
    if char in APOSTROPHES or kind in ("Mn", "Cf"):
        return ""
    if kind[0] not in "LN" and kind not in ("Mc", "Me"):
        return None
    whole = normalize("NFKD", normalize("NFKD", char).casefold())
    return "".join(part for part in whole if category(part)[0] in "LN" or category(part) in ("Mc", "Me"))


def twin_words(text: str) -> list[str]:
    # a hyphen between letters goes, with the end of the line behind it and what a next line may begin with
    out: list[str] = []
    inside = False
    at = 0
    while at < len(text):
        char = text[at]
        markup = MARKUP.match(text, at)
        if markup:
            at = markup.end()
            inside = inside and markup[1] in IN_WORDS
            continue
        at += 1
        if char in HYPHENS:
            gap = re.compile("(?:[ \t]{0,3}(?:\r{0,2}\n|[\r\f\u2028\u2029])[ \t>#|*/\u00a0\u3000]*)?").match(text, at)
            assert gap
            after = text[gap.end() : gap.end() + 1]
            if inside and after and after not in HYPHENS and folded(after) and not UNSPACED.match(after):
                at = gap.end()
            else:
                inside = False
            continue
        letters = folded(char)
        if letters is None:
            inside = False
        elif letters and UNSPACED.match(char):
            out.append(letters[0])
            inside = False
        elif letters:
            if not inside:
                out.append("")
            out[-1] += letters
            inside = True
    return out


def mixed(x: int) -> int:
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = (x ^ x >> 33) * multiplier & MASK
    return x ^ x >> 33


def twin_hash(word: str) -> int:
    value = 0x9E3779B97F4A7C15
    for char in word:
        value = (value ^ ord(char)) * 0x100000001B3 & MASK
    return mixed(value)


def column(*texts: str | None) -> pa.Array:
    return pa.array(texts, pa.large_string())


def words_of(*texts: str | None) -> list[list[int]]:
    hashes, cuts = word_hashes(column(*texts))
    return [hashes[start:stop].tolist() for start, stop in pairwise(cuts)]


def grams(words: Sequence[str], width: int = NGRAM) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + width]) for at in range(len(words) - width + 1)]


def twin_search(
    long: Sequence[tuple[str, int]],
    short: Sequence[tuple[str, str]],
    texts: Sequence[str],
    share: float,
    runs: int,
    most: int,
) -> list[tuple[int, int, int, int, int]]:
    """(text, passage, matched, total, runs of 13 words) with sets of tuples of words."""
    owners: dict[tuple[str, ...], set[int]] = {}
    for passage, owner in long:
        for gram in grams(twin_words(passage)):
            owners.setdefault(gram, set()).add(owner)
    rows = []
    for number, text in enumerate(texts):
        words = twin_words(text)
        there = set(grams(words))
        for place, (passage, _) in enumerate(long):
            order = list(dict.fromkeys(grams(twin_words(passage))))
            rare = [gram for gram in order if len(owners[gram]) <= most]
            weak = len(rare) < 0.5 * len(order)
            counted = order if weak else rare
            matched = [gram in there for gram in counted]
            at = [grams(twin_words(passage)).index(gram) for gram in counted]
            thirteens = length = 0
            for i, hit in enumerate(matched):
                follows = i > 0 and matched[i - 1] and at[i] == at[i - 1] + 1
                length = (length + 1 if follows else 1) if hit else 0
                thirteens += length >= 6
            total = len(counted)
            enough = total > 0 and (sum(matched) / total >= share or thirteens >= runs)
            if sum(matched) and (sum(matched) == total or (enough and not weak)):
                rows.append((number, place, sum(matched), total, thirteens))
        for place, (question, answer) in enumerate(short, len(long)):
            asked, told = twin_words(question), twin_words(answer)
            for at in range(len(words) - len(asked) + 1) if len(asked) >= SEED_WORDS else ():
                behind = at + len(asked)
                near = range(behind, min(behind + ANSWER_WITHIN, len(words)))
                if words[at:behind] == asked and (not told or any(words[i : i + len(told)] == told for i in near)):
                    rows.append((number, place, 1, 1, 0))
                    break
    return rows


def as_rows(found: Found) -> list[tuple[int, ...]]:
    parts = (found.text, found.passage, found.matched, found.total, found.thirteens)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def test_the_same_constants() -> None:
    assert (NGRAM, SEED_WORDS, ANSWER_WITHIN) == (KERNEL_NGRAM, KERNEL_SEED, KERNEL_WITHIN)


@given(st.lists(st.text(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=40), max_size=4))
def test_words_equal_the_twin(texts: list[str]) -> None:
    assert words_of(*texts) == [[twin_hash(word) for word in twin_words(text)] for text in texts]


def test_every_character() -> None:
    every = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{char}b" for char in every]
    hashes, cuts = word_hashes(column(*texts))
    counts = np.diff(cuts).tolist()
    for number in range(0, len(texts), 7):  # a seventh of them keeps this short
        expected = [twin_hash(word) for word in twin_words(texts[number])]
        assert hashes[cuts[number] : cuts[number] + counts[number]].tolist() == expected, hex(ord(every[number]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Don't stop", "DON’T   STOP"),
        ("“quoted” words", "'quoted' \"words\""),
        ("a well-known know-how", "a well-\nknown know-\r\n    how"),
        ("knowledge is power", "know-\nledge is po-\n> wer"),
        ("soft hyphen", "so\xadft hy\xad\nphen"),
        ("naïve café", normalize("NFD", "NAÏVE CAFÉ")),
        ("ﬁne ｗｉｄｅ straße", "fine wide STRASSE"),
        ("a b", "a\u00a0\u2003\n\n<br>b".replace("<br>", "")),
        ("日本語", "日 本\n語"),
        ("x -- y", "x — y"),
        ("one<br>\ntwo<BR />three<br/> four", "one two three four"),
        ("it&#39;s &quot;so&quot;&nbsp;and&nbsp;so &amp; on", 'it\'s "so" and so & on'),
        ("first\\nsecond\\tthird\\r\\nfourth", "first\nsecond\tthird\nfourth"),
        ("know-\rledge know-\fledge know-\u2028ledge know-\r\r\nledge", "knowledge " * 4),
        ("know-\n\u00a0\u00a0ledge know-\n\u3000ledge", "knowledge knowledge"),
        ("know-\n# ledge know-\n  // ledge know-\n| ledge know-\n * ledge", "knowledge " * 4),
        ("well\uff0dknown well\ufe63known", "well-known well-known"),
    ],
)
def test_forms_that_are_the_same(one: str, other: str) -> None:
    first, second = words_of(one, other)
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ab", "a b"),
        ("a- b", "ab"),
        ("a\n\n-b", "ab"),
        ("ab-\n\ncd", "abcd"),
        ("1.5", "15"),
        ("a™b", "atmb"),
        ("a &b; c", "a c"),
        ("<b>x", "x"),
    ],
)
def test_forms_that_differ(one: str, other: str) -> None:
    first, second = words_of(one, other)
    assert first != second


VOCABULARY = st.sampled_from(["a", "b", "c", "d"])
SENTENCES = st.lists(VOCABULARY, max_size=30).map(" ".join)


@examples(30, 100)
@given(
    st.lists(st.tuples(SENTENCES, st.integers(0, 4)), max_size=6),
    st.lists(
        st.tuples(st.lists(VOCABULARY, max_size=6).map(" ".join), st.lists(VOCABULARY, max_size=2).map(" ".join)),
        max_size=3,
    ),
    st.lists(st.lists(VOCABULARY, max_size=80).map(" ".join), max_size=3),
    st.sampled_from([0.1, 0.5, 0.8, 1.0]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
)
def test_search_equals_the_twin(
    long: list[tuple[str, int]],
    short: list[tuple[str, str]],
    texts: list[str],
    share: float,
    runs: int,
    most: int,
    data: st.DataObject,
) -> None:
    known = [passage for passage, _ in long] + [question + " " + answer for question, answer in short]
    if known:  # else nothing would ever be found
        texts += [f"x {data.draw(st.sampled_from(known))} y {data.draw(st.sampled_from(known))}"]
    index = OverlapIndex.build(
        column(*(passage for passage, _ in long)),
        [owner for _, owner in long],
        column(*(question for question, _ in short)),
        column(*(answer for _, answer in short)),
        max_owners=most,
    )
    found = index.search(column(*texts), min_share=share, min_runs=runs)
    assert as_rows(found) == twin_search(long, short, texts, share, runs, most)


PASSAGE = "The quick brown fox jumps over the lazy dog and never looks back at it"


def test_places_are_told_in_bytes() -> None:
    index = OverlapIndex.build(column(PASSAGE), [0], column("who wrote it then"), column("somebody"))
    text = f"Größe: {PASSAGE.upper()}! Who wrote it, then? Oh — somebody did."
    found = index.search(column("nothing", None, text), spans=True)
    assert found.text.tolist() == [2, 2]
    data = text.encode()
    starts, stops = found.spans[:, 1], found.spans[:, 2]
    assert data[starts[:-1].min() : stops[:-1].max()].decode() == PASSAGE.upper()
    assert data[starts[-1] : stops[-1]].decode() == "Who wrote it, then? Oh — somebody"


def test_answers_must_be_near() -> None:
    index = OverlapIndex.build(column(), [], column("who wrote the book"), column("jane austen"))
    near, far = (f"Who wrote the book? {'word ' * n}Jane Austen." for n in (ANSWER_WITHIN - 1, ANSWER_WITHIN))
    assert index.search(column(near, far)).text.tolist() == [0]


def test_what_cannot_be_found_is_told() -> None:
    index = OverlapIndex.build(
        column(PASSAGE, "too short"), [0, 1], column("only three words", "these are four words"), column("", "")
    )
    assert index.findable.tolist() == [True, False, False, True]
    assert index.grams == 8
    assert 0 < index.bytes < 2000


def test_an_empty_index_finds_nothing() -> None:
    index = OverlapIndex.build(column(), [], column(), column())
    assert index.search(column(PASSAGE, "", None)).text.tolist() == []


def test_to_pieces_and_together() -> None:
    index = OverlapIndex.build(column(PASSAGE), [0], column("who wrote it then"), column("somebody"))
    again = OverlapIndex.of({name: array.copy() for name, array in index.arrays().items()})
    texts = column(PASSAGE, "Who wrote it then? Somebody.", "x")
    assert as_rows(again.search(texts)) == as_rows(index.search(texts)) != []
    assert again.findable.tolist() == index.findable.tolist()
    assert (again.grams, again.bytes) == (index.grams, index.bytes)


def test_slices_and_types_make_no_difference() -> None:
    index = OverlapIndex.build(column(PASSAGE), [0], column(), column())
    texts = ["x", f"before {PASSAGE} after", None, PASSAGE]
    for dtype in (pa.string(), pa.large_string()):
        found = index.search(pa.array(["y", *texts, "z"], dtype).slice(1, 4))
        assert as_rows(found) == [(1, 0, 8, 8, 3), (3, 0, 8, 8, 3)]


@examples(30, 100)
@given(st.lists(SENTENCES, min_size=1, max_size=5))
def test_batches_make_no_difference(texts: list[str]) -> None:
    index = OverlapIndex.build(column("a b c d a b c d a b", "d c b a d c b a"), [0, 1], column("a b c d"), column("d"))
    whole = as_rows(index.search(column(*texts)))
    alone = [(number, *row[1:]) for number, text in enumerate(texts) for row in as_rows(index.search(column(text)))]
    assert whole == alone


def test_a_phrase_that_fills_a_text_is_noted_a_few_times() -> None:
    phrase = "one two three four five six seven eight nine"
    index = OverlapIndex.build(column(*(f"{phrase} {n}" for n in range(40))), range(40), column(), column())
    texts = column(f"{phrase} " * 500 + f"{phrase} 7", f"{phrase} 8 {phrase}", f"{phrase} 9")
    found = index.search(texts, spans=True)
    assert [(text, passage) for text, passage, *_ in as_rows(found)] == [(0, 7), (1, 8), (2, 9)]
    assert found.matched.tolist() == found.total.tolist() == [3, 3, 3]
    places = np.bincount(found.spans[:, 0]).tolist()
    assert places[0] < 20
    assert places[1:] == [5, 3]


@pytest.mark.slow
def test_no_kernel_reads_out_of_bounds(tmp_path: Path) -> None:
    """The tests of this module once more, compiled with numba's bounds checking."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-3000:]
