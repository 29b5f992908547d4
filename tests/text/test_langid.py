"""Language identification."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError
from tokenmill.text import langid


def test_top_and_score() -> None:
    model = langid.load_langid()
    label, score = model.top("The quick brown fox\njumps over the lazy dog.")
    assert label == "en"
    assert score > 0.65
    assert model.score("The quick brown fox\njumps over the lazy dog.", "en") == score
    assert model.top("Der schnelle braune Fuchs springt über den faulen Hund.")[0] == "de"
    assert model.score("Der schnelle braune Fuchs.", "no such label") == 0.0


def test_newlines_are_spaces() -> None:
    model = langid.load_langid()
    assert model.top("one day\nwe went") == model.top("one day we went")


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0"])
def test_no_words(text: str) -> None:
    assert langid.load_langid().top(text) == ("und", 0.0)
    assert langid.load_langid().score(text, "en") == 0.0


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x00\ud800\u2028\n\r"))))
def test_never_raises(text: str) -> None:
    label, score = langid.load_langid().top(text)
    assert label
    assert 0.0 <= score < 1.01


def test_one_model_per_process() -> None:
    assert langid.load_langid() is langid.load_langid()


def test_digest_is_of_the_file() -> None:
    path = langid.model_path(langid.BUNDLED)
    assert langid.model_digest() == langid.model_digest(path)
    assert len(langid.model_digest()) == 64


def test_missing_and_broken_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no language model"):
        langid.load_langid(str(tmp_path / "none.bin"))
    broken = tmp_path / "broken.bin"
    broken.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="no fastText classifier"):
        langid.load_langid(str(broken))


def test_lone_surrogates_become_question_marks() -> None:
    model = langid.load_langid()
    assert model.top("a good\ud800 day\nb") == model.top("a good? day b")


@given(st.lists(st.text(max_size=30), max_size=6))
def test_a_text_gets_the_same_answer_whatever_stands_beside_it(texts: list[str]) -> None:
    model = langid.load_langid()
    labels, scores = model.tops(pa.array(texts, pa.string()))
    assert list(zip(labels.to_pylist(), scores.to_pylist(), strict=True)) == [model.top(text) for text in texts]


def test_the_languages_of_sentences() -> None:
    sentences = {
        "ja": "これは日本語の文章です。", "ru": "Это предложение на русском языке.", "el": "Αυτή είναι μια πρόταση.",
        "fr": "Ceci est une phrase en français.", "ar": "هذه جملة باللغة العربية.", "zh": "这是一个中文句子。",
    }  # fmt: skip
    labels, scores = langid.load_langid().tops(pa.array([*sentences.values(), None]))
    assert labels.to_pylist() == [*sentences, "und"]
    assert min(scores.to_pylist()[:-1]) > 0.8
