"""The layers that are known here against transformers' own, and first tokens against everything else in a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.classifiers.encoder import support
from tokenmill.classifiers.encoder.engine import Encoder
from tokenmill.classifiers.encoder.layers import FIRSTS, Layers

KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("roberta", {"pad_token_id": 1}),
    ("xlm-roberta", {}),
    ("camembert", {}),
    ("electra", {"embedding_size": 16}),
    ("distilbert", {}),
]
UNKNOWN: list[tuple[str, dict[str, Any]]] = [
    ("modernbert", {}),
    ("bert", {"hidden_act": "gelu_new"}),
    ("bert", {"hidden_size": 24}),
]
TEXTS = support.texts(3 * FIRSTS, longest=12, seed=4)


def made(folder: Path, kind: str = "bert", changes: dict[str, Any] | None = None, **settings: Any) -> Encoder:
    path = support.model_folder(folder / "model", kind, classifier=False, **(changes or {}))
    return Encoder(str(path), device="cpu", max_tokens=60, **settings)


def without(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """The same with transformers' code."""
    monkeypatch.setattr(encoder, "_layers", None)
    return encoder


@pytest.mark.parametrize(
    ("kind", "changes"),
    [pytest.param(*known, id=known[0], marks=[pytest.mark.ci] * (known is not KNOWN[0])) for known in KNOWN],
)
def test_known_layers_equal_those_of_transformers(
    tmp_path: Path, monkeypatch: Any, kind: str, changes: dict[str, Any]
) -> None:
    poolings: list[dict[str, Any]] = [{"pooling": "cls"}, {"pooling": "mean", "layers": [0, 2, 3]}]
    poolings += [{"pooling": "cls", "layers": [3, 1]}, {"pooling": "max"}]
    for settings in poolings:
        encoder = made(tmp_path, kind, changes, batch_tokens=320, **settings)
        assert isinstance(encoder._layers, Layers)
        found = encoder.embed(TEXTS)
        np.testing.assert_allclose(found, without(encoder, monkeypatch).embed(TEXTS), atol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), UNKNOWN, ids=["modernbert", "gelu_new", "width 24"])
def test_other_layers_are_left_to_transformers(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    assert made(tmp_path, kind, changes)._layers is None


def test_padded_batches_are_left_to_transformers(tmp_path: Path) -> None:
    assert made(tmp_path, attention="padded")._layers is None


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_bfloat16_is_as_near_as_that_of_transformers(tmp_path: Path, monkeypatch: Any, pooling: Any) -> None:
    exact = made(tmp_path, pooling=pooling, normalize=True).embed(TEXTS)
    encoder = made(tmp_path, pooling=pooling, normalize=True, dtype="bfloat16")
    found = np.abs(encoder.embed(TEXTS) - exact).mean()
    theirs = np.abs(without(encoder, monkeypatch).embed(TEXTS) - exact).mean()
    assert 0 < found < 1.5 * theirs


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_neighbours_change_no_bit(tmp_path: Path, pooling: Any) -> None:
    # batches hold more and fewer sequences than are taken through the last layer together
    encoder = made(tmp_path, batch_tokens=1024, pooling=pooling)
    found = encoder.embed(TEXTS)
    rows = encoder._tokenizer.rows(TEXTS)
    assert max(len(batch.members) for batch in encoder._plan(rows)) > FIRSTS
    order = np.random.default_rng(1).permutation(len(TEXTS))
    assert np.array_equal(encoder.embed([TEXTS[number] for number in order]), found[order])
    for number in (0, 17, len(TEXTS) - 1):
        assert np.array_equal(encoder.embed([TEXTS[number]])[0], found[number])
    longer = [*support.texts(9, seed=8), TEXTS[5]]
    assert np.array_equal(encoder.embed(longer)[-1], found[5])


def test_an_earlier_batch_leaves_nothing_behind(tmp_path: Path) -> None:
    import torch

    encoder = made(tmp_path, pooling="mean_max")
    wanted = encoder.embed(TEXTS[:3])
    encoder.embed(support.texts(200, seed=6))
    assert encoder._layers is not None
    assert encoder._layers._free
    with torch.inference_mode():
        for space in encoder._layers._free:  # NaN would spread
            space.triples.fill_(float("nan"))
            space.wide.fill_(float("nan"))
    assert np.array_equal(encoder.embed(TEXTS[:3]), wanted)
