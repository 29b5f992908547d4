"""Training BPE: the same file from the same documents, samples that nest, and honest numbers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.trained import CORPUS, trained
from tokenmill.core.errors import ConfigError
from tokenmill.tokens import bpe
from tokenmill.tokens.bpe import BpeSettings, TrainedBpe, _Sample, cached_reference, train_bpe, train_on_documents
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.memo import SPLITS
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer, loaded_from

ROOT = Path(__file__).resolve().parents[2]
SMALL = BpeSettings(vocab_size=400)


def documents(count: int, seed: int = 0) -> list[dict[str, str | None]]:
    draw = random.Random(seed)
    return [
        {"text": " ".join(draw.choices(CORPUS, k=3)), "doc_id": f"a#{n}", "language": ("en", "fr", None)[n % 3]}
        for n in range(count)
    ]


def batches(rows: Sequence[dict[str, str | None]], size: int = 7) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([(name, pa.string()) for name in ("text", "doc_id", "language")])
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema)


def train(rows: Sequence[dict[str, str | None]], settings: BpeSettings = SMALL, size: int = 7) -> TrainedBpe:
    return train_on_documents(batches(rows, size), settings)


@pytest.mark.parametrize("pretokenizer", bpe.PRETOKENIZERS)
def test_the_same_texts_give_the_same_file(pretokenizer: str) -> None:
    settings = BpeSettings(vocab_size=420, pretokenizer=pretokenizer)
    first = train_bpe(CORPUS, settings)
    assert train_bpe(CORPUS[::-1], settings).canonical == first.canonical
    assert (first.eos_id, first.eos_token) == (0, "<|endoftext|>")
    assert 350 < first.vocab_size < 420  # the sample gives no more


def test_threads_and_processes_do_not_matter() -> None:
    """In a process of its own: there the library's hash tables have other seeds, and its threads may stay."""
    code = (
        "from tests.tokens.trained import CORPUS\n"
        "from tokenmill.tokens.bpe import BpeSettings, train_bpe\n"
        "print(train_bpe(CORPUS, BpeSettings(vocab_size=400), parallel=True).sha256)"
    )
    environment = {**os.environ, "RAYON_NUM_THREADS": "3", "TOKENIZERS_PARALLELISM": "true"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    assert done.stdout.strip() == train_bpe(CORPUS, SMALL).sha256


@examples(10, 30)
@pytest.mark.parametrize("pretokenizer", bpe.PRETOKENIZERS)
@given(st.text())
def test_all_texts_come_back(pretokenizer: str, text: str) -> None:
    encoder = ENCODERS.setdefault(
        pretokenizer, Encoder(train_bpe(CORPUS, BpeSettings(vocab_size=420, pretokenizer=pretokenizer)))
    )
    assert encoder.decode(encoder.encode([text])[0]) == text


ENCODERS: dict[str, Encoder] = {}


def test_the_encoder_knows_their_words() -> None:
    assert set(bpe.PRETOKENIZERS.values()) <= SPLITS


def test_special_tokens_and_long_runs_are_not_learned() -> None:
    texts = ["<|endoftext|> a" * 100, "b" + "xyz" * 4000 + "b c"]
    found = json.loads(train_bpe(texts, SMALL).canonical)
    assert [token["content"] for token in found["added_tokens"]] == ["<|endoftext|>"]
    learned = [token for token in found["model"]["vocab"] if len(token) > 1 and token != "<|endoftext|>"]
    assert not [token for token in learned if "xy" in token or "|" in token or "end" in token]


def test_a_trained_tokenizer_is_read_back(tmp_path: Path) -> None:
    made = train_bpe(CORPUS, BpeSettings(vocab_size=300, special_tokens=("<|end_of_text|>", "<|pad|>")))
    (tmp_path / "tokenizer.json").write_bytes(made.canonical)
    again = load_tokenizer(str(tmp_path))
    assert (again.canonical, again.eos_id) == (made.canonical, 0)


def test_the_order_of_documents_and_batches_does_not_matter() -> None:
    rows = documents(60)
    first = train(rows)
    for other in (train(rows[::-1]), train(rows, size=50)):
        assert other.tokenizer.canonical == first.tokenizer.canonical
        assert other.report == first.report


def test_the_report() -> None:
    rows = documents(200)
    reference = load_tokenizer_of("digits")
    found = train_on_documents(batches(rows), SMALL, reference=reference)
    held = found.report["held_out"]
    drawn = [row for row in rows if bpe._hash(str(row["doc_id"]), b"held-out", 0) % bpe.HELD_OUT == 0]
    texts = [str(row["text"]) for row in drawn]
    assert 3 < len(texts) < 25
    assert held["documents"] == len(texts)
    assert held["bytes"] == sum(len(text.encode()) for text in texts)
    for key, loaded in (("", found.tokenizer), ("reference_", reference)):
        tokens = Encoder(loaded).encode(texts)[1].sum()
        assert held[f"{key}tokens"] == tokens
        assert held[f"{key}bytes_per_token"] == round(held["bytes"] / tokens, 4)
    assert set(held["languages"]) == {row["language"] for row in drawn} - {None}
    assert sum(one["documents"] for one in held["languages"].values()) <= held["documents"]
    assert found.report["trained_on"]["documents"] == 200 - len(texts)
    assert json.loads(json.dumps(found.report)) == found.report


def load_tokenizer_of(kind: str) -> LoadedTokenizer:
    return loaded_from(json.loads(trained(kind)), kind, eos="<|end_of_text|>")


def test_a_corpus_without_anything_held_out() -> None:
    rows = [row for row in documents(40) if bpe._hash(str(row["doc_id"]), b"held-out", 0) % bpe.HELD_OUT][:5]
    held = train(rows).report["held_out"]
    assert held == {"documents": 0, "bytes": 0, "languages": {}}


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 3000), st.integers(0, 3000))
def test_samples_are_the_smallest_hashes_and_nest(order: list[int], small: int, large: int) -> None:
    small, large = sorted((small, large))
    texts = {bpe._hash(str(n), b"order", 0): "x" * (1 + n * 7 % 100) for n in range(40)}
    found = {}
    for limit in (small, large):
        sample = _Sample(limit)
        for number in order:
            place = bpe._hash(str(number), b"order", 0)
            sample.add(place, texts[place], None)
        wanted: list[str] = []
        fitting = [place for place in sorted(texts) if len(texts[place]) <= limit]
        for place in fitting:
            if sum(map(len, wanted)) + len(texts[place]) > limit:
                break
            wanted.append(texts[place])
        found[limit] = list(sample.texts())
        assert found[limit] == wanted
        assert sample.bytes == sum(map(len, wanted))
        assert sample.too_large == 40 - len(fitting)
    kept = [text for text in found[large] if len(text) <= small]
    both = min(len(kept), len(found[small]))
    assert kept[:both] == found[small][:both]
    if small >= max(map(len, texts.values())):
        assert found[large][: len(found[small])] == found[small]


def test_a_text_larger_than_the_sample_does_not_empty_it() -> None:
    rows = documents(60)
    orders = {n: bpe._hash(f"large{n}", b"order", 0) for n in range(300)}
    names = [f"large{n}" for n in sorted(orders, key=orders.__getitem__)]
    held = [bpe._hash(name, b"held-out", 0) % bpe.HELD_OUT == 0 for name in names]
    large = [names[held.index(False)], names[held.index(True)]]  # one to train on, one held out, before all others
    huge: list[dict[str, str | None]] = [{"text": "y z " * 50_000, "doc_id": name, "language": None} for name in large]
    some = BpeSettings(vocab_size=400, sample_bytes=100_000, held_out_bytes=100_000)
    wanted = train(rows, some)
    assert wanted.report["too_large"] == {"sample": 0, "held_out": 0}
    for mixed in ([*rows, *huge], [*huge, *rows], [*rows[:30], *huge, *rows[30:]]):
        found = train(mixed, some)
        assert found.tokenizer.canonical == wanted.tokenizer.canonical
        assert found.report["trained_on"] == wanted.report["trained_on"]
        assert found.report["held_out"] == wanted.report["held_out"]
        assert found.report["too_large"] == {"sample": 1, "held_out": 1}
    with pytest.raises(ConfigError, match="no text to train on") as caught:
        train(huge, some)
    assert "1 larger than the sample of 100,000 bytes" in caught.value.why


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 200}, "too small"),
        ({"pretokenizer": "gpt3"}, "'gpt2'"),
        ({"special_tokens": ()}, "at least one"),
        ({"special_tokens": ("<a>", "<a>")}, "must be different"),
        ({"sample_bytes": 0}, "at least 1"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BpeSettings(**settings)  # type: ignore[arg-type]


def test_nothing_to_train_on() -> None:
    with pytest.raises(ConfigError, match="no text to train on"):
        train([{"text": None, "doc_id": "a", "language": None}])
    with pytest.raises(ConfigError, match="documents without text or id"):
        train_on_documents([pa.record_batch({"text": ["a"]})], SMALL)


def test_gpt2_is_taken_from_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    file_download = pytest.importorskip("huggingface_hub.file_download")
    for module in (constants, file_download):
        if hasattr(module, "HF_HUB_CACHE"):
            monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path))
    assert cached_reference() is None
    repository = tmp_path / "models--gpt2"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(trained("gpt2"), encoding="utf-8")
    found = cached_reference()
    assert found is not None
    assert found.eos_token == "<|endoftext|>"
