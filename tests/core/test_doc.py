from __future__ import annotations

import pytest

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.signals import signal


@signal("test_length", unit="characters", source="this test")
def test_length_of(doc: Doc) -> int:
    """Length of the text."""
    return len(doc.text)


test_length_of.__test__ = False  # type: ignore[attr-defined]


def test_columns_text_and_url() -> None:
    doc = Doc(text="a\nb", url="http://e.org/", score=0.5)
    assert (doc.text, doc.url, doc["score"]) == ("a\nb", "http://e.org/", 0.5)
    assert "score" in doc
    assert "other" not in doc
    with pytest.raises(KeyError, match="other"):
        doc["other"]


def test_a_column_wins_over_a_signal_of_the_same_name() -> None:
    assert Doc(text="abc").value("test_length") == 3
    assert Doc(text="abc", test_length=9).value("test_length") == 9


def test_unknown_signals_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'test_length'"):
        Doc(text="x").value("test_lenght")


def test_words_are_computed_once_and_forgotten_when_the_text_changes() -> None:
    doc = Doc(text="one two")
    assert doc.words is doc.words
    assert doc.replaced({"score": 1}).words is doc.words
    changed = doc.replaced({"text": "three"})
    assert changed.words == ["three"]
    assert doc.words == ["one", "two"]


def test_values_are_fetched_lazily_and_once() -> None:
    asked = []

    def fetch(column: str) -> str:
        asked.append(column)
        return column.upper()

    doc = Doc(_fetch=fetch, _names=("text", "url"))
    assert (doc["text"], doc.text, doc["url"]) == ("TEXT", "TEXT", "URL")
    assert asked == ["text", "url"]
    assert "other" not in doc
