"""MinHash: kernels against their readable twin, against datatrove's values, and against the Jaccard similarity."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text import minhash_twin as twin
from tests.text.strategies import PIECES, TEXTS
from tokenmill.core.errors import ConfigError
from tokenmill.text import minhash
from tokenmill.text.minhash import SCHEMES, MinHash, match_probability, normalised

SIMPLIFIED = [
    ("Hello,  World!", "hello world"),
    ("Version 3.14 of 1,000,000 – or 1.2.3?", "version 0 of 0 0 or 0 0"),
    ("a1b2 x. 12.x .5 7. 8 9.", "a0b0 x 0 x 0 0 0 0"),
    ("ΑΘΗΝΑΣ Καλημέρα Σ ΟΔΟΣ. ΣΑΣ'Σ ΑΣ\u0301 \u0301Σ", "αθηνας καλημερα σ οδος σασ ς ας σ"),
    ("Ça coûte 12,50 € à l’été; naïve façade", "ca coute 0 € a l ete naive facade"),
    ("İstanbul'da IŞIK ığdır", "istanbul da isik ıgdır"),
    ("١٢٫٣ و ٤٥ سلام، دنيا ١،٢", "0 و 0 سلام، دنيا 0"),
    ("한국어 문장, 각각 다르다.", "한국어 문장 각각 다르다"),
    ("Привет, Мир! Ёлка й", "привет мир елка и"),
    ("Việt Nam đẹp lắm", "viet nam đep lam"),
    ("½ ² ① Ⅷ １２．５ １ ｘ", "½ ² ① ⅷ 0 0 0 ｘ"),
    ("«quoted» „text“ … em—dash en–dash", "quoted text em dash en dash"),
    ("tab\tnew\nline\xa0nbsp\u2003em\u200bzero", "tab new line nbsp em\u200bzero"),
    ("snake_case e-mail@host.org C++ #1", "snake case e mail host org c 0"),
    ("हिन्दी १२.३४ में", "हिनदी 0 म"),
    ("❤\ufe0f ok", "❤ ok"),
    ("1\u03012 क़ ো ; Å", "00 क ো ; a"),
    ("\x00nul\x01 \x85 a\x1cb", "nul a b"),
    ("ﬁ ſ ß ẞ Ǆ ᾼ", "ﬁ ſ ß ß ǆ α"),
    ("עִבְרִית 5,5,5", "עברית 0 0"),
    ("৳৫০০ টাকা", "৳0 টাকা"),
    ("ⅷ. 3⎖5 3٫ 5 3،a", "ⅷ 0 0٫ 0 0،a"),
    ("𝟙𝟚.𝟛 𝕏 𐐀", "0 𝕏 𐐨"),
]
"""What `simplify_text` of datatrove 0.10.1 makes of texts; computed with it, in the environment of `make bench-env`."""

SIGNATURES: list[tuple[list[str], int, int, list[int]]] = [
    (
        "the quick brown fox jumps over the lazy dog and runs away".split(),
        5,
        1,
        [
            2703273997719809,
            61636257916047268,
            764700202497702480,
            353171505372987346,
            128346140442644538,
            342856794743534361,
        ],
    ),
    (
        "a b c d e".split(),
        5,
        1,
        [
            676572642980925277,
            485131532593989101,
            27860712758883477,
            562536711468711517,
            1308002201029006066,
            2156108961763719408,
        ],
    ),
    (
        ["naïve", "日本", "ééé", "x", "a" * 40, "b" * 33, "c"],
        3,
        7,
        [
            134967513919611767,
            1167871953022021798,
            269029773933339927,
            51476195595677823,
            541993533135169721,
            92017787732627327,
        ],
    ),
    (
        [str(n * n) for n in range(200)],
        5,
        1,
        [
            1532821983668935,
            1684427250591420,
            21861900602312915,
            5907232177457236,
            4488026883323225,
            2295526542099504,
        ],
    ),
    (
        ["one"],
        1,
        42,
        [
            2048928510777939143,
            1763309559392344293,
            2223405267132231831,
            1441015449331315125,
            1941184996109270135,
            546087743316125426,
        ],
    ),
]
"""Words, shingle_words and seed; the signature of 3 bands of 2 rows. Computed with datatrove 0.10.1: `get_signature` of
a `MinhashDedupSignature` on `_hash_func(" ".join(gram))` for every gram of `ngrams(words, shingle_words)`."""

NUMBERS = [
    *"0123456789.,،٫⎖१٣１ ab",
    ". ",
    "1.5",
    "1,000",
    "3\u0301",
    "Σ",
    "ΑΣ",
    "'Σ",
    "日1",
    "é",
    "한국",
    "İ",
    "\u09cb",
    "ΣΑ",
]
BROKEN = [
    b"\x80",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xe3\xa0",
]
GOOD = [*map(str.encode, [*PIECES, *NUMBERS]), b"letters and 12 words. "]
WORDY = st.lists(
    st.sampled_from(["a", "the", "Fox", "é", "日本", " ", "12.5", "supercalifragilistic", "\x00"]), max_size=80
)
MANY = st.one_of(TEXTS, st.lists(st.sampled_from([*NUMBERS, *PIECES]), max_size=40).map("".join), WORDY.map(" ".join))
BYTES = st.lists(st.sampled_from([*BROKEN, *GOOD, *BROKEN]), max_size=30).map(b"".join)
SMALL: dict[str, Any] = {"shingle_words": 2, "bands": 3, "rows": 3}


def raw(*contents: bytes) -> pa.Array:
    """Strings of any bytes."""
    return pa.array(contents, pa.binary()).view(pa.string())


def ints(values: Any) -> Any:
    return np.asarray(values).tolist()


@pytest.mark.parametrize(("text", "simple"), SIMPLIFIED)
def test_normalised_as_datatrove(text: str, simple: str) -> None:
    assert normalised(text) == simple


def test_where_it_differs_from_datatrove() -> None:
    assert normalised("a \u0301 b") == "a b"  # two spaces there
    assert normalised("東京tower 2025年") == "東 京 tower 0 年"
    assert normalised("สวัสดี") == "ส ว ส ด"


@given(MANY)
def test_normalised(text: str) -> None:
    assert normalised(text) == " ".join(twin.words(text))


@pytest.mark.parametrize("part", range(4))
@pytest.mark.ci  # sample: forms as datatrove has them, and the properties below
def test_every_character(part: int) -> None:
    """Alone, in a word, in a number and before a final sigma; of unassigned ones but one."""
    kinds = {chr(code): unicodedata.category(chr(code)) for code in range(0x110000)}
    chars = [char for char, kind in kinds.items() if kind not in ("Cn", "Co", "Cs")]
    for at in range(part * 10_000, len(chars), 40_000):
        text = "".join(f" {char}a{char}b 1{char}2.{char}3 A{char}Σ " for char in [*chars[at : at + 10_000], "\u0378"])
        found, expected = normalised(text).split(" "), twin.words(text)
        assert [pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]][:5] == []
        assert len(found) == len(expected)


@given(st.lists(BYTES, max_size=3))
def test_bytes_that_are_no_utf8(contents: list[bytes]) -> None:
    keys = MinHash(**SMALL).keys(raw(*contents))
    found = [twin.words(twin.decode(content)) for content in contents]
    assert keys.words.tolist() == list(map(len, found))
    assert [tuple(row) for row in ints(keys.digests)] == [twin.digest(content, 2) for content in contents]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(texts=st.lists(st.one_of(st.none(), MANY), max_size=4), width=st.sampled_from([1, 2, 5]), large=st.booleans())
@settings(max_examples=40)
def test_signatures_keys_and_digests(scheme: str, texts: list[str | None], width: int, large: bool) -> None:
    make = MinHash(scheme, shingle_words=width, bands=3, rows=3, seed=5)
    column = pa.array(["skipped", *texts], pa.large_string() if large else pa.string())[1:]
    signatures, words = make.signatures(column)
    keys = make.keys(column)
    assert words.dtype == np.int32
    assert ints(keys.words) == ints(words)
    for row, text in enumerate(texts):
        found = twin.words(text or "")
        expected = twin_signature(scheme, found, width)
        assert words[row] == len(found)
        assert ints(signatures[row]) == expected
        assert ints(make.signature_of_words(found)) == expected
        assert ints(keys.bands[row]) == (twin.band_keys(expected, 3) if len(found) >= width else [0] * 3)
        assert tuple(ints(keys.digests[row])) == twin.digest((text or "").encode(), width)


def twin_signature(scheme: str, words: list[str], width: int) -> list[int]:
    if scheme == "affine64-v1":
        return twin.affine_signature(words, width, 9, 5)
    state = np.random.RandomState(5)
    a = state.randint(1, 2**61 - 1, dtype=np.uint64, size=(1, 9))
    b = state.randint(0, 2**61 - 1, dtype=np.uint64, size=(1, 9))
    return twin.datatrove_signature(words, width, list(zip(ints(a[0]), ints(b[0]), strict=True)))


@pytest.mark.parametrize(("words", "width", "seed", "signature"), SIGNATURES)
def test_signatures_of_datatrove(words: list[str], width: int, seed: int, signature: list[int]) -> None:
    make = MinHash("datatrove-v1", shingle_words=width, bands=3, rows=2, seed=seed)
    assert ints(make.signature_of_words(words)) == signature


@given(st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.just("")), max_size=12))
@settings(max_examples=40)
def test_words_from_elsewhere_are_taken_as_they_are(words: list[str]) -> None:
    make = MinHash(shingle_words=3, bands=3, rows=3, seed=5)
    assert ints(make.signature_of_words(words)) == twin.affine_signature(words, 3, 9, 5)
    make = MinHash("datatrove-v1", shingle_words=3, bands=3, rows=3, seed=5)
    assert ints(make.signature_of_words(words)) == twin_signature("datatrove-v1", words, 3)


@given(st.lists(st.one_of(st.none(), MANY), max_size=4), st.sampled_from([1, 2, 5]))
def test_shingles(texts: list[str | None], width: int) -> None:
    values, offsets = MinHash(shingle_words=width).shingles(pa.array(texts, pa.string()))
    sets = [
        sorted({twin.combined(shingle) for shingle in twin.shingles(twin.words(text or ""), width)}) for text in texts
    ]
    assert ints(offsets) == [0, *np.cumsum(list(map(len, sets)), dtype=int).tolist()]
    assert ints(values) == [value for one in sets for value in one]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_of_many_chunks(scheme: str) -> None:
    words = [f"w{'ab'[n % 2]}{chr(97 + n % 23)}{chr(97 + n % 19)}" for n in range(1500)]
    make = MinHash(scheme, **SMALL, seed=5)
    signatures, counts = make.signatures(pa.array([" ".join(words[:count]) for count in (511, 513, 514, 1500)]))
    assert ints(counts) == [511, 513, 514, 1500]
    for row, count in enumerate(counts):
        assert ints(signatures[row]) == twin_signature(scheme, words[:count], 2)
    values, _ = make.shingles(pa.array([" ".join(words)]))
    assert ints(values) == sorted({twin.combined(shingle) for shingle in twin.shingles(words, 2)})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_signatures_estimate_jaccard(scheme: str) -> None:
    """With 512 permutations the standard error is at most 0.022; over 200 pairs the mean error is near none."""
    random_ = random.Random(0)
    texts, exact = [], []
    for _ in range(200):
        words = ["".join(random_.choices("abcdefgh", k=random_.randint(2, 7))) for _ in range(random_.randint(60, 300))]
        at = random_.randrange(len(words))
        changed = words[at:] + words[:at]
        for _ in range(random_.randint(0, 20)):
            changed[random_.randrange(len(words))] = "new" + random_.choice("abc")
        sets = [{tuple(shingle) for shingle in twin.shingles(one, 5)} for one in (words, changed)]
        exact.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        texts += [" ".join(words), " ".join(changed)]
    signatures, _ = MinHash(scheme, bands=64, rows=8).signatures(pa.array(texts))
    errors = (signatures[::2] == signatures[1::2]).mean(axis=1) - np.array(exact)
    assert 0.2 < np.mean(exact) < 0.8
    assert abs(errors.mean()) < 0.005
    assert np.abs(errors).mean() < 0.02
    assert np.abs(errors).max() < 0.1


def test_empty_and_short_texts_are_told_apart_by_their_bytes() -> None:
    keys = MinHash().keys(
        pa.array(["", None, "One, two.", "one two", "One two three four five!", "one TWO three four five"])
    )
    assert ints(keys.words) == [0, 0, 2, 2, 5, 5]
    same = [[bool((a == b).all()) for b in keys.digests] for a in keys.digests]
    assert [row.index(True) for row in same] == [0, 0, 2, 3, 4, 4]
    assert not keys.bands[:4].any()
    assert keys.bands[4:].all()
    assert ints(keys.bands[4]) == ints(keys.bands[5])


def test_no_texts() -> None:
    for column in (pa.array([], pa.string()), pa.array([], pa.large_string())):
        assert [part.shape for part in MinHash().keys(column)] == [(0, 14), (0, 2), (0,)]
        assert MinHash().signatures(column)[0].shape == (0, 112)
        assert ints(MinHash().shingles(column)[1]) == [0]
    assert MinHash().keys(pa.array([None], pa.string())).bands.shape == (1, 14)
    assert not MinHash().signature_of_words([]).any()


def test_a_long_text() -> None:
    text = "Many words, 12 of them new. " * 80_000
    keys = MinHash().keys(
        pa.array([text, "é" * 1_000_000, "日" * 700_000, "\u0301" * 500_000, "ab " * 3 + "가" * 300_000])
    )
    assert ints(keys.words) == [480_000, 1, 700_000, 0, 4]


def test_scheme_never_changes() -> None:
    """Stored keys are compared with new ones: these values may never be others."""
    texts = pa.array(["The quick brown fox jumps over the lazy dog.", "日本語のテキスト"])
    keys = MinHash(bands=2, rows=2).keys(texts)
    assert ints(keys.bands) == STORED_BANDS
    assert ints(keys.digests) == STORED_DIGESTS


STORED_BANDS = [[5601491802458802395, 2372700794045445863], [10691351252286900148, 1752244665454400662]]
STORED_DIGESTS = [[13648364782490227026, 10432882555720827735], [12456983106012037690, 17037355038521719779]]


def test_hashes_are_the_published_ones() -> None:
    """Values of the reference implementations."""
    assert twin.xxh64(b"") == 0xEF46DB3751D8E999
    assert twin.xxh64(b"abc") == 0x44BC2CF5AD770999
    assert twin.murmur128(b"", 0) == (0, 0)
    assert twin.murmur128(b"hello", 0) == (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheme": "affine"},
        {"shingle_words": 0},
        {"bands": 0},
        {"rows": -1},
        {"rows": 2.5},
        {"seed": -1},
        {"seed": 2**64},
        {"scheme": "datatrove-v1", "seed": 2**32},
        {"bands": 1000, "rows": 1000},
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MinHash(**wrong)


def test_match_probability() -> None:
    assert match_probability(0.8, 14, 8) == pytest.approx(0.924, abs=0.001)  # as datatrove's documentation has it
    assert match_probability(0.0, 14, 8) == 0.0
    assert match_probability(1.0, 14, 8) == 1.0


def test_import_is_light() -> None:
    code = "import sys, tokenmill.text.minhash; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_table_is_built_quickly_and_once() -> None:
    from tokenmill.text.normal_tables import normal_tables

    assert normal_tables() is normal_tables()
    assert len(minhash.SCHEMES) == 2
