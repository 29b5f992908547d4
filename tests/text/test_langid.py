"""Language identification."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.fasttext_models import predicted, sentences
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


ODD = [
    "", " ", "\n", "\0", "\u00a0", "\u3000 \u2028", "a", "__label__en", "__label__xx foo", "the </s> sea", "\x1c\x1d a",
    "a\x01b \x02", "x" * 5000, "é" * 3000, "作者" * 3000, "tea " * 500, "ю" * 12 + " " + "ю" * 13,
    " ".join("z" * size for size in range(1, 40)), " ".join(chr(97 + i % 26) * (i % 24 + 1) for i in range(3000)),
]  # fmt: skip


def test_words_that_were_met_before_change_nothing() -> None:
    """What is kept of words is a function of their bytes, whichever texts came before."""
    path = langid.model_path(langid.BUNDLED)
    fresh = [langid.LangId(path).scores(text, ("en", "de", "ja")) for text in ODD]
    used = langid.LangId(path)
    many = [f"{word}{number}" for number in range(9000) for word in ("the", "und", "日本", "x" * 20)]
    used.top(" ".join(many))
    for text, wanted in reversed(list(zip(ODD, fresh, strict=True))):
        assert used.scores(text, ("en", "de", "ja")) == wanted
        assert used.likelihood(text.encode(), ("en", "de", "none")) == max(wanted[:2])


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_all_ways_to_a_score_agree(text: str) -> None:
    model = langid.load_langid()
    label, score = model.top(text)
    data = text.encode()
    known = (label,) if label != "und" else ("en",)
    assert model.likelihood(data, known) == model.likelihood(np.frombuffer(data, np.uint8).copy(), known) == score
    assert max(model.scores(text, tuple(model._model.labels))) == score


def test_labels_that_the_model_does_not_know() -> None:
    model = langid.load_langid()
    assert model.likelihood(b"a good day", ("none",)) == model.likelihood(b"a good day", ()) == 0.0
    assert model.scores("a good day", ("none", "en"))[0] == 0.0 < model.scores("a good day", ("none", "en"))[1]


def test_threads_have_words_of_their_own() -> None:
    model = langid.load_langid()
    texts = [" ".join(f"{word}{number % 50}" for number in range(400)) for word in ("tea", "Meer", "été", "код")]
    alone = [model.likelihood(text.encode(), ("en", "ru")) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: model.likelihood(texts[i % 4].encode(), ("en", "ru")), range(400)))
    assert together == alone * 100


@pytest.mark.parametrize("bundled", [True, False])
def test_scores_are_the_library_s(bundled: bool, fasttext_file: Callable[[str], Path]) -> None:
    fasttext = pytest.importorskip("fasttext")
    fasttext.FastText.eprint = lambda *words: None
    path = langid.model_path(langid.BUNDLED) if bundled else str(fasttext_file("hs"))
    oracle, model = fasttext.load_model(path), langid.LangId(path)
    # the library adds up in float32: after thousands of equal rows it is the one that is off
    texts = [text for text in ODD if not text.isspace() and len(text) < 2000] + [
        text for _, text in sentences(60, seed=4)
    ]
    judged = 0
    for text in texts:
        wanted = predicted(oracle, text)
        label, score = model.top(text)
        if label == "und":
            continue
        judged += 1
        assert score == pytest.approx(max(wanted.values()), abs=1e-5)
        names = tuple(model._model.labels)
        for name, found in zip(names, model.scores(text, names), strict=True):
            assert found == pytest.approx(wanted.get(name, 0.0), abs=1e-5), (name, text[:50])
    assert judged > 60
