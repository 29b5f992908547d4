"""Language and bad words."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill import ExtractText, Pipeline, ReadWarc, WriteParquet
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.core.rule import Drop
from tokenmill.filters import nsfw
from tokenmill.filters.language import LanguageFilter, LanguageId
from tokenmill.filters.nsfw import NsfwSignals, NsfwWords


def test_annotate() -> None:
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
    (folder / "en.txt").write_text("# words\nawful\nVile\nvery bad thing\nvery\n\n!!\n")
    (folder / "ja.txt").write_text("ひどい\nひどい言葉\n悪\nbad\n", encoding="utf-8")
    (folder / "hi.txt").write_text("\u0915\u093f\n", encoding="utf-8")
    return str(folder)


def judged(stage: NsfwSignals, text: str, language: str | None = "en") -> Drop | str | None:
    """The verdict of `NsfwWords` on the columns that `stage` adds."""
    batch = pa.record_batch({"text": pa.array([text]), "language": pa.array([language], pa.string())})
    columns = {name: array[0].as_py() for name, array in stage.annotate(batch).items()}
    return NsfwWords().judge(Doc(text=text, **columns))


@pytest.mark.parametrize(
    ("text", "settings", "share"),
    [
        ("nice words only", {}, None),
        ("awful vile", {}, None),  # two may be a quotation
        ("awful vile Awful", {}, 1.0),
        ("awful, VILE, awful", {}, 0.6),
        ("(awful) vile-awful\n", {}, 0.5),
        ("awfully vile awful", {}, None),
        ("awful vile awful " + "word " * 597, {}, None),  # 3 of 600: the threshold itself
        ("awful vile awful " + "word " * 596, {}, 3 / 599),
        ("awful", {"min_count": 1}, 1.0),
        ("awful", {"min_count": 0}, 1.0),
        ("", {"min_count": 0}, None),
        ("awful.vile.example.com", {"min_count": 1}, 1.0),  # an address is one token
        # entries of several words: the longest one counts once and covers all
        ("a very bad thing", {"min_count": 1}, 0.75),
        ("a very, bad  THING", {"min_count": 1}, 0.6),
        ("a very bad", {"min_count": 1}, 1 / 3),
        ("very bad thing very bad thing", {"min_count": 3}, None),
    ],
)
def test_nsfw(lists: str, text: str, settings: dict[str, int], share: float | None) -> None:
    drop = judged(NsfwSignals(lists=lists, **settings), text)
    assert drop == (Drop("nsfw_words", "nsfw_word_share", share, 0.005) if share else None)


@pytest.mark.parametrize(
    ("text", "count", "share"),
    [
        ("ひどい", 1, 1.0),
        ("これはひどい言葉です。", 1, 5 / 11),  # longest entry, once
        ("ひどいひどい言葉", 2, 1.0),
        ("悪人 bad", 0, 0.0),  # neither single characters nor ASCII
        ("ひど い", 0, 0.0),
        ("", 0, 0.0),
    ],
)
def test_nsfw_without_spaces(lists: str, text: str, count: int, share: float) -> None:
    assert NsfwSignals(lists=lists, min_count=1).measure(text, "ja") == (count, share)


def test_nsfw_combining_marks_are_part_of_a_word(lists: str) -> None:
    stage = NsfwSignals(lists=lists, min_count=1)
    assert stage.measure("\u0915\u093f। x", "hi")[0] == 1
    assert stage.measure("\u0915\u093f\u0928", "hi")[0] == 0


@pytest.mark.parametrize("language", ["xx", "", None, "und"])
def test_nsfw_without_a_list_is_not_measured(lists: str, language: str | None) -> None:
    stage = NsfwSignals(lists=lists)
    assert stage.measure("awful awful awful", language) == (None, None)
    assert judged(stage, "awful awful awful", language) is None


def test_nsfw_can_be_switched_off() -> None:
    assert NsfwWords(max_share=None).judge(Doc(text="", nsfw_word_share=1.0)) is None


def test_nsfw_columns(lists: str) -> None:
    stage = NsfwSignals(lists=lists)
    stage.setup()
    texts, languages = ["awful", None, "x", "awful " * 4], ["en", "en", None, "en"]
    columns = stage.annotate(pa.record_batch({"text": pa.array(texts), "language": pa.array(languages)}))
    assert {name: array.type for name, array in columns.items()} == dict(stage.adds)
    assert columns["nsfw_word_count"].to_pylist() == [1, 0, None, 4]
    assert columns["nsfw_word_share"].to_pylist() == [0.0, 0.0, None, 1.0]


def test_nsfw_lists(lists: str, tmp_path: Path) -> None:
    digest = NsfwSignals(lists=lists).digests()["lists"]
    assert len(digest) == 64
    (tmp_path / "en.txt").write_text("awful")
    assert NsfwSignals(lists=str(tmp_path)).digests()["lists"] not in (digest, NsfwSignals().digests()["lists"])
    assert NsfwSignals(lists="none").measure("awful awful awful", "en") == (None, None)
    with pytest.raises(ConfigError, match="no lists"):
        NsfwSignals(lists=str(tmp_path / "none")).setup()
    (tmp_path / "en.txt").unlink()
    with pytest.raises(ConfigError, match=r"no file <language>\.txt"):
        NsfwSignals(lists=str(tmp_path)).digests()


def test_nsfw_builtin_lists() -> None:
    """Every bundled file is used, states its licence, and finds each of its own entries."""
    folder = Path(nsfw.__file__).with_name("data") / "nsfw"
    lexicons = nsfw.load_lexicons("builtin")
    assert set(lexicons) >= {"en", "de", "fr", "es", "ru", "ja", "zh", "ar"}
    assert "CC-BY-4.0" in (folder / "en.txt").read_text(encoding="utf-8")
    for language, lexicon in lexicons.items():
        lines = (folder / f"{language}.txt").read_text(encoding="utf-8").splitlines()
        entries = [line for line in lines if not line.startswith("#")]
        assert len(entries) == len(set(entries)) >= 14
        unspaced = language in nsfw.UNSPACED
        found = sum(lexicon.find(entry.replace(" ", "") if unspaced else entry)[0] > 0 for entry in entries)
        skipped = sum(len(entry) < 2 or entry.isascii() for entry in entries) if unspaced else 0
        assert found >= len(entries) - skipped - 1, language


def test_nsfw_datatrove_list() -> None:
    pytest.importorskip("datatrove")
    assert set(nsfw.load_lexicons("datatrove")) == {"en"}


def test_the_plan_puts_the_signals_before_the_filter() -> None:
    pipeline = Pipeline("mine", [ReadWarc(), ExtractText(), LanguageId(), NsfwWords(), WriteParquet()])
    labels = make_plan(pipeline, []).pipeline.labels
    assert labels[labels.index("nsfw_words") - 1] == "nsfw_signals"


@given(st.text(), st.sampled_from(["en", "zh", "th", "hi", "ru", "xx"]))
def test_nsfw_never_raises(text: str, language: str) -> None:
    count, share = NsfwSignals(min_count=0).measure(text, language)
    assert (count is None) == (share is None) == (language == "xx")
    assert share is None or 0.0 <= share <= 1.0
