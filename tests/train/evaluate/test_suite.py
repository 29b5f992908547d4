"""The suite: everything at once, and that what it measures moves the way it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.evaluate.support import VOCABULARY, Bigrams, ids_of, item, task, tokenizer
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.bpe import BpeSettings, train_bpe
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.train.config import ModelConfig
from tokenmill.train.evaluate.kit import load_kit
from tokenmill.train.evaluate.metrics import from_table
from tokenmill.train.evaluate.prepare import prepare_tasks, prepare_text
from tokenmill.train.evaluate.suite import Suite, make_suite
from tokenmill.train.evaluate.texts import read_text
from tokenmill.train.model import Decoder

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "ablation"
ITEMS = [item(str(n), "It is" + " of it" * n, [" the one", " one of the", " they"], n % 3) for n in range(7)]


def test_kinds_are_measured_together_as_alone() -> None:
    texts = {"text/x": ["The one of them. " * 20], "held_out/raw": ["they had it", "or not"]}
    suite = make_suite(tokenizer(), 32, tasks=[task("t", ITEMS), task("u", ITEMS[:2])], texts=texts, batch_tokens=64)
    model = Bigrams()
    found, table = suite.metrics(model)
    assert suite.names == ("text/x", "held_out/raw", "task/t", "task/u")
    assert from_table(table) == found
    assert found.keys() >= {"text/x/bpb", "held_out/raw/bpb", "task/t/acc_char", "task/u/bpb"}
    for name, part in suite.requests.items():
        alone, _ = Suite({name: part}).metrics(model)
        assert alone == pytest.approx({key: found[key] for key in alone}, rel=1e-6)
    assert suite.chance().keys() == {f"task/{t}/{m}" for t in "tu" for m in ("acc", "acc_char", "acc_byte")}
    again = make_suite(tokenizer(), 32, tasks=[task("t", ITEMS), task("u", ITEMS[:2])], texts=texts)
    assert again.sha256 == suite.sha256
    assert make_suite(tokenizer(), 32, tasks=[task("t", ITEMS)], texts=texts).sha256 != suite.sha256
    assert suite.metrics(model)[0] == found
    assert 0 < suite.forward_tokens < sum(len(part.ids) for part in suite.requests.values())


def test_what_is_no_suite() -> None:
    one = prepare_text("text/x", ["a"], tokenizer(), 8)
    with pytest.raises(ConfigError, match="nothing to measure"):
        Suite({})
    with pytest.raises(ConfigError, match="named text/x"):
        Suite({"a": one, "b": one})
    with pytest.raises(ConfigError, match=r"contexts of \[8, 9\] ids"):
        Suite({"a": one, "b": prepare_tasks([task("t", ITEMS)], tokenizer(), 9)})


def test_a_model_of_the_text_has_fewer_bits_than_one_that_knows_nothing() -> None:
    """Counts of ids and of pairs of ids, fitted on one text and measured on another of its kind."""
    sayings = ["The one that they had was not of it.", "They had one, as was that.", "It was not the one for them."]
    train, held_out = " ".join(sayings * 20), " ".join(sayings[::-1] * 9)
    ids = [tokenizer().eos_id, *ids_of(train)]
    ones, pairs = torch.ones(VOCABULARY), torch.full((VOCABULARY, VOCABULARY), 0.01)
    for before, after in pairwise(ids):
        ones[after] += 1
        pairs[before, after] += 1
    tables = {
        "nothing": torch.zeros(VOCABULARY, VOCABULARY),
        "ids": ones.log().expand(VOCABULARY, VOCABULARY),
        "pairs": pairs.log(),
    }
    suite = make_suite(tokenizer(), 32, texts={"text/x": [held_out]})
    bits = {name: suite.metrics(lambda ids, table=table: table[ids])[0]["text/x/bpb"] for name, table in tables.items()}
    scored = ids_of(held_out)
    assert bits["nothing"] == pytest.approx(len(scored) * np.log2(VOCABULARY) / len(held_out))
    counted = Counter(ids[1:])
    shares = [np.log2((counted[one] + 1) / (len(ids) - 1 + VOCABULARY)) for one in scored]
    assert bits["ids"] == pytest.approx(-sum(shares) / len(held_out), rel=1e-5)
    assert bits["pairs"] < bits["ids"] < bits["nothing"]


def test_the_example_kit_is_whole() -> None:
    tasks = load_kit(EXAMPLES / "kit")
    assert {one.name for one in tasks} == {"arc_easy", "commonsense_qa", "hellaswag", "openbookqa", "squad"}
    assert all(len(one.items) <= 120 for one in tasks)
    (text,) = read_text(EXAMPLES / "neutral.txt.gz")
    assert 60_000 < len(text.encode()) < 120_000
    assert not any(mark in text for mark in ("<unk>", "@", " ,", " .", "( ", " )", " 's", " 't"))
    suite = make_suite(tokenizer(), 128, tasks=tasks, texts={"text/neutral": [text]})
    assert len(set(suite.requests["text/neutral"].unit.tolist())) > 30
    stored = sum(path.stat().st_size for path in EXAMPLES.rglob("*.gz"))
    assert stored < 250_000


@pytest.mark.ci
def test_the_example_kit_is_what_its_tool_makes(shared: Path, tmp_path: Path) -> None:
    from tools import build_example_kit

    build_example_kit.main(shared / "eval-kit", tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(made) == 7
    for path, data in made.items():
        assert (EXAMPLES / path).read_bytes() == data, path


def trained(tokens: LoadedTokenizer, documents: list[str], steps: int) -> Iterator[tuple[int, Decoder]]:
    """A small decoder before and after some steps on documents."""
    context = 64
    shape = ModelConfig(vocab_size=tokens.vocab_size, layers=2, width=64, heads=2, hidden=160, context=context)
    model = Decoder(shape)
    model.initialise(0)
    yield 0, model
    ids, lengths = Encoder(tokens).encode(documents)
    whole = [one for part in np.split(ids, np.cumsum(lengths)[:-1]) for one in (tokens.eos_id, *part.tolist())]
    flat = torch.tensor(whole)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 20, (steps - step) / (0.3 * steps))
        at = torch.randint(len(flat) - context, (16,), generator=generator)[:, None] + torch.arange(context)
        loss = model(flat[at], flat[at + 1])
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    yield steps, model


@pytest.mark.slow
def test_training_on_english_shows_early() -> None:
    """Bits per byte of neutral text and of right answers fall with training, long before accuracy says anything."""
    (text,) = read_text(EXAMPLES / "neutral.txt.gz")
    paragraphs = text.split("\n\n")
    train, rest = [p for n, p in enumerate(paragraphs) if n % 6], paragraphs[::6]
    tokens = train_bpe(train, BpeSettings(vocab_size=1024))
    suite = make_suite(tokens, 64, tasks=load_kit(EXAMPLES / "kit", ["arc_easy", "hellaswag"]), texts={"text/x": rest})
    scores = {step: suite.metrics(model)[0] for step, model in trained(tokens, train, 300)}
    before, after = scores[0], scores[300]
    for name in ("text/x/bpb", "task/arc_easy/bpb", "task/hellaswag/bpb"):
        assert after[name] < before[name] - 0.2, name
    # an untrained model is near uniform over ids
    uniform = suite.requests["text/x"].tokens.sum() * np.log2(tokens.vocab_size) / suite.requests["text/x"].bytes.sum()
    assert before["text/x/bpb"] == pytest.approx(uniform, rel=0.02)
    level = suite.chance()
    for name, one in level.items():
        assert abs(before[name] - one.random) < 5 * one.random_sd, name


@pytest.mark.ci
@pytest.mark.parametrize("qk_norm", [True, False])
def test_transformers_say_the_same_of_the_exported_model(tmp_path: Path, qk_norm: bool) -> None:
    import transformers

    from tokenmill.train.export import export_hf

    shape = ModelConfig(
        vocab_size=VOCABULARY, layers=2, width=32, heads=2, hidden=64, context=64, qk_norm=qk_norm, tied=qk_norm
    )
    model = Decoder(shape)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    export_hf(model, tmp_path, tokenizer().canonical, tokenizer().eos_id)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    def logits(ids: Tensor) -> Tensor:
        found: Tensor = theirs(ids).logits
        return found

    suite = make_suite(tokenizer(), 64, tasks=[task("t", ITEMS)], texts={"text/x": ["The one of them. " * 30]})
    ours, table = suite.metrics(model)
    other, table_of_theirs = suite.metrics(logits)
    assert other == pytest.approx(ours, abs=1e-4)
    assert np.allclose(table["nats"].to_numpy(), table_of_theirs["nats"].to_numpy(), rtol=0, atol=1e-3)
