"""Batches of a view on the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.loader import TokenLoader
from tokenmill.tokens.pack import Batch
from tokenmill.tokens.views import TokenView
from tokenmill.train.check import check_batch
from tokenmill.train.config import ModelConfig
from tokenmill.train.parallel import World
from tokenmill.train.settings import TrainSettings


class Micro(NamedTuple):
    """What one forward pass takes."""

    ids: Tensor
    """(B, T) int64"""
    labels: Tensor
    """(B, T) int64, below 0 where there is none."""
    document: Tensor | None
    """(B, T) int32, for models with `document_mask`."""


def check_sizes(config: ModelConfig, settings: TrainSettings, view: TokenView, world: World) -> None:
    """ConfigError where batches cannot be made of a view: before anything is done."""
    check_batch(config, settings, world.size)
    if view.set.manifest.tokenizer.vocab_size > config.vocab_size:
        raise ConfigError(
            f"the model knows {config.vocab_size} ids, the tokens have {view.set.manifest.tokenizer.vocab_size}",
            where=str(view.set.folder),
            fix=f"vocab_size={view.set.manifest.tokenizer.vocab_size}",
        )
    if view.tokens <= settings.batch_tokens:
        raise ConfigError(
            f"the view has {view.tokens} tokens, and one step takes {settings.batch_tokens}",
            where=str(view.set.folder),
            why="every step would see the same documents",
            fix="train on more documents, or with a smaller batch_tokens",
        )


def make_loader(config: ModelConfig, settings: TrainSettings, view: TokenView, world: World, seed: int) -> TokenLoader:
    """The loader of a rank: batches without an end, in an order that depends on view, settings and seed alone."""
    return TokenLoader(
        view,
        sequence_length=config.context,
        batch_size=settings.batch_tokens // config.context // world.size,
        rank=world.rank,
        world_size=world.size,
        seed=seed,
        packing=settings.packing,
        epochs=None,
        boundaries=("document",) if config.document_mask else False,
    )


def count_labels(batch: Batch) -> int:
    """Labels that have a loss."""
    return int(np.count_nonzero(batch["labels"] >= 0))


def micro_batches(batch: Batch, rows: int, device: torch.device) -> Iterator[Micro]:
    """A rank's batch in parts of so many sequences, on the device. Copies to a GPU do not wait."""
    names = ("input_ids", "labels", "document")
    arrays = [_on(batch[name], device) if name in batch else None for name in names]
    ids, labels, document = arrays
    assert ids is not None
    assert labels is not None
    for start in range(0, len(ids), rows):
        stop = start + rows
        yield Micro(ids[start:stop], labels[start:stop], None if document is None else document[start:stop])


def _on(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
