"""What the tests of evaluation share: a small tokenizer, items, and models whose likelihoods are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.tokens.bpe_tokenizer import save_bpe
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from tokenmill.train.evaluate.kit import GOLD, MULTIPLE_CHOICE, Item, Task
from tokenmill.train.evaluate.requests import Requests

VOCABULARY = 320


@cache
def tokenizer() -> LoadedTokenizer:
    """A byte-level BPE: any text has ids, and they say every byte of it."""
    with TemporaryDirectory() as folder:
        return load_tokenizer(str(save_bpe(Path(folder), vocab_size=VOCABULARY)))


@cache
def encoder() -> Encoder:
    return Encoder(tokenizer())


def ids_of(text: str) -> list[int]:
    """Ids of a text by itself, without EOS."""
    return encoder().encode([text])[0].tolist()


class Bigrams:
    """A model that looks at one id only: its log-likelihoods can be added up by hand."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(VOCABULARY, VOCABULARY, generator=generator)
        self.passes = 0
        self.largest = 0

    def __call__(self, ids: Tensor) -> Tensor:
        self.passes += 1
        self.largest = max(self.largest, ids.numel())
        return self.table[ids]

    def nats(self, before: int, ids: Sequence[int]) -> float:
        """Of ids that follow the id `before`, in float64."""
        logs = torch.log_softmax(self.table.double(), dim=1)
        return -sum(float(logs[a, b]) for a, b in pairwise([before, *ids]))


def item(name: str, context: str, choices: Sequence[str], gold: int = 0, unit: str | None = None) -> Item:
    return Item(name, name if unit is None else unit, (context,) * len(choices), tuple(choices), gold)


def task(name: str, items: Sequence[Item]) -> Task:
    return Task(name, MULTIPLE_CHOICE if items[0].choices > 1 else GOLD, tuple(items), f"{name}.jsonl")


def write_kit(folder: Path, files: Mapping[str, Sequence[Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def sequences(requests: Requests) -> list[list[int]]:
    """The ids of each request."""
    bounds = requests.offsets.tolist()
    return [requests.ids[a:b].tolist() for a, b in pairwise(bounds)]


def scored_ids(requests: Requests, answer: int) -> list[int]:
    """The ids of an answer that are scored, over all its requests in order."""
    found: list[int] = []
    for number in np.flatnonzero(requests.answer == answer).tolist():
        found += sequences(requests)[number][-int(requests.scored[number]) :]
    return found
