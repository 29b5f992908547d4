"""Tokens: counted exactly with a tokenizer, and else estimated so that few texts are estimated too low."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.counting import Counter


@pytest.fixture
def neox(shared: Path) -> Counter:
    return Counter(str(shared / "tokenizers/gpt-neox-olmo"))


@given(st.text(max_size=200), st.data())
@settings(max_examples=80, deadline=None)
def test_sizes_add_up(text: str, data: st.DataObject) -> None:
    counter = Counter()
    sizes = counter.sizes(text)
    assert len(sizes.ends) == len(text) + 1
    assert sizes.of(0, len(text)) == counter.count(text)
    start = data.draw(st.integers(0, len(text)))
    budget = data.draw(st.integers(0, 60))
    end = sizes.furthest(start, budget)
    assert start <= end <= len(text)
    assert sizes.of(start, end) <= budget
    assert end == len(text) or sizes.of(start, end + 1) > budget
    assert counter.count(text[start:end]) <= budget + 1, "a stretch by itself has hardly more than as a part"


def test_the_tokenizer_counts_exactly(neox: Counter, shared: Path) -> None:
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(shared / "tokenizers/gpt-neox-olmo/tokenizer.json"))
    for text in (
        "",
        "Hello world",
        "Grüße aus Köln",
        "日本語のテキスト",
        "👩\u200d👩\u200d👧 family",
        "a  b\n\n\nc",
        "x" * 500,
    ):
        expected = len(library.encode(text, add_special_tokens=False).ids)
        assert neox.count(text) == expected == neox.sizes(text).of(0, len(text))
    assert neox.exact
    assert not Counter().exact


def test_what_a_page_spells_is_no_control_token(neox: Counter) -> None:
    assert neox.count("<|endoftext|>") > 3


def test_long_texts_are_counted_in_pieces(neox: Counter) -> None:
    text = "All work and no play. " * 4_000
    assert abs(neox.count(text) - 4_000 * neox.count(" All work and no play.")) < 20
    assert neox.sizes(text).of(0, len(text)) == neox.count(text)


def test_the_estimate_is_seldom_too_low(neox: Counter, shared: Path) -> None:
    rows = pq.read_table(shared / "pool/pool-002.parquet", columns=["main_text", "language"]).slice(0, 600).to_pylist()
    texts = [row["main_text"][:2000] for row in rows if row["main_text"] and len(row["main_text"]) > 300][:150]
    shares = sorted(Counter().count(text) / neox.count(text) for text in texts)
    assert len(shares) > 100
    assert shares[len(shares) // 20] > 0.95
    assert 1.0 < shares[len(shares) // 2] < 1.4, "and not far too high either"


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("The cat sat on the mat.", 6, 9),
        ("Donaudampfschifffahrtsgesellschaftskapitän", 9, 25),
        ("日本語のテキスト", 8, 14),
        ("1234567890", 4, 13),
        (" " * 100, 1, 8),
        ("Привет, мир", 5, 9),
    ],
)
def test_estimates(text: str, least: int, most: int) -> None:
    assert least <= Counter().count(text) <= most


def test_digests_tell_counters_apart(neox: Counter) -> None:
    assert Counter().digest == "estimate-1"
    assert len(neox.digest) == 64
    neox.count("loads the library")
    again = pickle.loads(pickle.dumps(neox))
    assert again.digest == neox.digest
    assert again.count("Hello world") == 2


@pytest.mark.parametrize("text", ["{}", "no json"])
def test_no_tokenizer(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="there is no tokenizer"):
        Counter(str(tmp_path / "none.json"))
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        Counter(str(tmp_path)).count("x")
