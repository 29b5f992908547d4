"""The kernel of all signals against its readable twin, and its values on texts that one can check by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.text import twin
from tests.text.strategies import TEXTS
from tokenmill.core import segment
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.signals import known_signals, signal
from tokenmill.text.characters import PUNCTUATION, SENTENCE_ENDS
from tokenmill.text.measure import TextSignals, measure, utf8
from tokenmill.text.signals import INTEGERS, LANGUAGE_SIGNALS, NAMES

COMMON = [name for name in NAMES if name not in LANGUAGE_SIGNALS]


def rows(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    columns = {name: column.to_pylist() for name, column in measure(pa.array(texts, pa.string()), **options).items()}
    return [{name: values[i] for name, values in columns.items()} for i in range(len(texts))]


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in COMMON:
        close = pytest.approx(wanted[name], rel=1e-12, abs=1e-12) if wanted[name] is not None else None
        assert found[name] == close, name


@examples(80, 400)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_equals_the_twin(texts: list[str]) -> None:
    for text, found in zip(texts, rows(texts, signals=COMMON), strict=True):
        assert_same(found, twin.signals(text))


EDGES = {
    "one line of 1 MB": "word " * 200_000,
    "one word of 1 MB": "x" * 1_000_000,
    "combining marks": "e\u0301\u0323" * 500 + " \u0301 a",
    "NUL": "a\x00b \x00\n\x00",
    "only breaks": "\r\n\r\u2028\x85\x0b",
    "full stops": "." * 5000,
    "hyphens between letters": "a-" * 3000,
    "Japanese": "これは日本語のテキストです。\nカタカナと漢字。" * 20,
    "Chinese": "我们的数据很好。\n他们说：“是的”。" * 20,
    "Thai": "ภาษาไทยเป็นภาษาที่มีวรรณยุกต์" * 20,
    "four bytes": "𝒳𝒴 😀😀 \U000e0001",
}


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name, marks=[pytest.mark.ci] * ("1 MB" in name)) for name, text in EDGES.items()]
)
def test_edges_equal_the_twin(text: str) -> None:
    assert_same(rows([text], signals=COMMON)[0], twin.signals(text))


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=120), st.integers(1, 3))
def test_given_words_are_used(words: list[str], times: int) -> None:
    words = words * times
    text = " ".join(words)
    ends = np.cumsum([len(word) + 1 for word in words]) - 1 if words else np.zeros(0, int)
    spans = np.stack([ends - list(map(len, words)), ends], axis=1) if words else np.zeros((0, 2), int)
    names = [name for name in NAMES if "gram" in name]
    found = rows([text], signals=names, spans=[spans])[0]
    wanted = twin.signals(text, tokens=words)
    for name in names:
        assert found[name] == pytest.approx(wanted[name])


def test_given_words_must_lie_in_the_text() -> None:
    for words in ([[0, 9]], [[-1, 2]], [[2, 3], [0, 1]]):
        with pytest.raises(ValueError, match="text 1"):
            measure(pa.array(["abc", "abcd"]), ["text_word_count"], spans=[np.array([[0, 3]]), np.array(words)])


def test_a_family_alone_gives_the_same_values() -> None:
    texts = [text[:3000] for text in EDGES.values()]
    every = rows(texts)
    for name in NAMES:
        assert [row[name] for row in rows(texts, signals=[name])] == [row[name] for row in every], name


def test_slices_nulls_and_large_strings() -> None:
    texts = ["", "one two", "three", None, "four. five"]
    whole = rows([text or "" for text in texts], signals=["text_word_count"])
    for array in (pa.array(texts), pa.array(texts, pa.large_string()), pa.array(["x y z", *texts])[1:]):
        assert measure(array, ["text_word_count"])["text_word_count"].to_pylist() == [
            r["text_word_count"] for r in whole
        ]
    assert measure(pa.array([], pa.string()))["text_word_count"].to_pylist() == []


def test_bytes_that_are_no_utf8_are_replaced_and_nothing_else_is_read() -> None:
    data = b"caf\xc3 \xff\xf0\x9f\x98 end\xe2\x82"
    array = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)], np.int32)), pa.py_buffer(data))
    found = {name: column[0].as_py() for name, column in measure(array, ["text_characters", "text_word_count"]).items()}
    # one U+FFFD for every byte that begins no character
    assert found == {"text_characters": len("caf? ????  end??") - 1, "text_word_count": 2}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("one two, three", "gopher_word_count", 3),
        ("... -- !", "gopher_word_count", 0),
        ("one three", "gopher_mean_word_length", 4.0),
        ("a, bcd.", "gopher_mean_word_length", 2.0),
        ("# a # b", "gopher_hash_ratio", 0.5),
        ("a... b…", "gopher_ellipsis_ratio", 0.5),
        ("- a\n  • b\nc\nd", "gopher_bullet_line_share", 0.5),
        ("a-b\nc", "gopher_bullet_line_share", 0.0),
        ("a...\nb… \nc\nd", "gopher_ellipsis_line_share", 0.5),
        ("a 1 b .", "gopher_alpha_word_share", 0.5),
        ("The the of and", "gopher_stop_words", 3),
        ("abc", "repetition_characters", 3),
        ("a\n\na\n\nb\n\nc", "repetition_dup_paragraph_share", 0.25),
        ("aa\n\naa\n\nb", "repetition_dup_paragraph_char_share", 2 / 9),
        ("a\na\nb\nc", "repetition_dup_line_share", 0.25),
        ("aa\naa\nb", "repetition_dup_line_char_share", 2 / 7),
        ("a b a b", "repetition_top_2gram_char_share", 6 / 7),
        ("a b c d e a b c d e", "repetition_dup_5gram_char_share", 5 / 19),
        ("ab c d e f - a bc d e f", "repetition_dup_5gram_char_share", 6 / 23),
        ("long words x", "repetition_top_2gram_char_share", 10 / 12),
        ("a\n\n \nb", "fineweb_line_count", 2),
        ("a.\nb?\nc\nd", "fineweb_line_punct_share", 0.5),
        ('a."\nb', "fineweb_line_punct_share", 0.0),
        ("a. \nb", "fineweb_line_punct_share", 0.0),
        ("a\nb", "fineweb_line_punct_share_or_one", 1.0),
        ("a.\nb", "fineweb_line_punct_share_or_one", 0.5),
        ("x" * 30 + "\n" + "x" * 31, "fineweb_short_line_share", 0.5),
        ("aa\naa\nbb\ncc", "fineweb_dup_line_char_share", 0.25),
        ("a b\nc d", "fineweb_newline_ratio", 0.25),
        ("ABC def G HI", "text_all_caps_word_share", 0.5),
        ("a b a b", "text_unique_word_share", 0.5),
        ("a b a b", "text_unigram_entropy", 0.6931471805599453),
        ("AbC 12", "text_uppercase_share", 2 / 3),
        ("ab12", "text_digit_share", 0.5),
        ("One. Two! Three?", "text_sentence_count", 3),
        ("Mr. Smith came.\nwait... what", "text_sentence_count", 2),
        ("aa bb cc. Dd ee ff.", "text_mean_sentence_length", 3.0),
        ("Lorem Ipsum and lorem ipsum", "text_lorem_ipsum_count", 2),
        ("enable JavaScript\nx", "text_javascript_line_share", 0.5),
        ("Our Privacy Policy\nx", "text_policy_line_share", 0.5),
        ("HELLO THERE you\nx", "text_uppercase_line_share", 0.5),
        ("12.3 %\nx", "text_numeric_line_share", 0.5),
        ("see http://a.org and https://b.org", "text_url_count", 2),
        ("ab \ufffd", "text_broken_share", 0.25),
        ("f() { }", "text_curly_bracket_share", 2 / 7),
        ("hello wonderful", "text_max_word_length", 9),
        ("ab日本", "text_unspaced_share", 0.5),
        ("日本語です。", "text_word_count", 5),
        ("日本語です。", "gopher_mean_word_length", None),
        ("これは。次は。", "text_sentence_count", 2),
        ("ภาษาไทย", "text_word_count", None),
        ("ภาษาไทย", "fineweb_newline_ratio", None),
        ("ภาษาไทย\nx", "fineweb_line_count", 2),
    ],
)
def test_value(text: str, name: str, value: float | None) -> None:
    found = Doc(text=text).value(name)
    assert found == (pytest.approx(value) if value is not None else None)


def test_stop_words_of_the_language() -> None:
    texts = pa.array(["der Hund und die Katze", "the dog and the cat", "whatever", "我们的数据是很好的"])
    languages = pa.array(["de", "en", "xx", "zh"])
    found = {name: column.to_pylist() for name, column in measure(texts, LANGUAGE_SIGNALS, languages=languages).items()}
    assert found["language_stop_words"][:3] == [3, 2, None]
    assert found["language_stop_words"][3] >= 1  # looked for in the running text
    assert found["language_stop_word_share"] == [pytest.approx(0.6), pytest.approx(0.6), None, None]
    assert measure(texts, LANGUAGE_SIGNALS)["language_stop_words"].null_count == 4


def test_all_signals_are_described() -> None:
    assert len(NAMES) >= 60
    for name in NAMES:
        entry = known_signals()[name]
        assert entry.meaning.endswith(".")
        assert entry.unit
        assert entry.source
        assert entry.dtype == (pa.int64() if name in INTEGERS else pa.float64())


def test_stage_adds_columns_and_own_signals() -> None:
    @signal("test_vowel_share", unit="share of characters", source="test", reads=("text", "url"))
    def vowels(doc: Doc) -> float:
        """Vowels among all characters."""
        assert doc.url
        return sum(char in "aeiou" for char in doc.text) / len(doc.text)

    stage = TextSignals(signals=("text_word_count", "test_vowel_share"), suffix="_2")
    assert stage.reads == ("text", "url")
    assert stage.columns_added() == {"text_word_count_2": pa.int64(), "test_vowel_share_2": pa.float64()}
    batch = pa.RecordBatch.from_pylist([{"text": "abcd", "url": "u"}, {"text": "a e", "url": "v"}])
    found = {name: column.to_pylist() for name, column in stage.annotate(batch).items()}
    assert found == {"text_word_count_2": [1, 2], "test_vowel_share_2": [0.25, pytest.approx(2 / 3)]}
    with pytest.raises(ConfigError, match="gopher_word_count"):
        TextSignals(signals=("gopher_wordcount",)).columns_added()


def test_texts_of_doc_may_hold_lone_surrogates() -> None:
    assert Doc(text="a \ud800").value("text_characters") == 3


def test_characters() -> None:
    assert {".", "!", "?", "。", "۔", "।"} <= SENTENCE_ENDS
    assert not {'"', "'", "…", ":"} & SENTENCE_ENDS
    assert len(SENTENCE_ENDS) == 159
    assert set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") <= PUNCTUATION
    assert not any(char.isalpha() for char in PUNCTUATION)


@given(TEXTS)
def test_words_are_those_of_segment(text: str) -> None:
    from tests.text.kernel_words import kernel_words

    assert kernel_words(text) == segment.spaced_words(text)


def test_importing_a_filter_loads_nothing_heavy() -> None:
    code = (
        "import sys, tokenmill.filters.gopher, tokenmill.filters.repetition, tokenmill.filters.url\n"
        "heavy = {'torch', 'ray', 'pandas', 'numba', 'tldextract', 'fasttext', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_no_kernel_reads_out_of_bounds(tmp_path: Path) -> None:
    """The same tests once more, compiled with numba's bounds checking."""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    here = Path(__file__).parent
    tests = [str(here / f"test_{name}.py") for name in ("measure", "c4_kernel", "minhash")]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=here.parents[1])
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("texts", [["some words"], ["", ""], [], [None]])
def test_kernels_see_one_type_of_bytes(texts: list[str | None]) -> None:
    """Another one would be compiled for once more, for a minute."""
    array = pa.array(texts, pa.string())
    with pa.ipc.new_stream(sink := pa.BufferOutputStream(), pa.schema([("text", pa.string())])) as stream:
        stream.write_batch(pa.record_batch({"text": array}))
    (sent,) = pa.ipc.open_stream(sink.getvalue())
    for one in (array, sent.column("text")):
        data, offsets = utf8(one)
        assert not data.flags.writeable
        assert data.dtype == np.uint8
        assert len(offsets) == len(texts) + 1
