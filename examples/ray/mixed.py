"""Filters on CPUs and a classifier on a part of a GPU, in one recipe.

    tokenmill run fineweb --mode annotate --enforce language_filter --input examples/data --output out/annotated
    python examples/ray/train_model.py out/annotated examples/ray/page_score.npz
    tokenmill run examples/ray/mixed.py:mixed --input examples/data --output out/mixed

The stages before and behind `PageScore` want a CPU, it wants a part of a GPU too: three phases. There is no barrier
between them, so a shard goes on as soon as it is ready, and CPUs filter while GPUs score (docs/ray.md shows how to see
that). `mixed_cpu` is the same work for clusters without GPUs, in one phase.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from io import BytesIO
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from tokenmill import ExtractText, Filter, GopherRepetition, LanguageFilter, Pipeline, ReadWarc, UrlFilter, WriteParquet
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Rule
from tokenmill.core.scorer import Scorer
from tokenmill.core.stage import Resources

BUCKETS = 2048
_WORD = re.compile(r"\w+|[^\w\s]")


def features(texts: Sequence[str]) -> np.ndarray:
    """A row per text: how often words of each hash bucket occur, square roots, of length 1."""
    rows = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        buckets = [zlib.crc32(word.encode()) % BUCKETS for word in _WORD.findall(text.lower())]
        row[:] = np.sqrt(np.bincount(buckets, minlength=BUCKETS))
        row /= max(float(np.linalg.norm(row)), 1.0)
    return rows


class PageScore(Scorer):
    """How likely the rules of FineWeb keep a page, by a small network over its words (train_model.py)."""

    adds = {"page_score": pa.float32()}
    # Four of them share a GPU. Ray counts fractions, it does not enforce them: four models must fit into its memory.
    resources = Resources(cpus=1, gpus=0.25)
    model: str = "examples/ray/page_score.npz"
    """File of the model, a path or URL that every machine can open; relative to the folder where the run is started."""

    def model_digest(self) -> str:
        return hashlib.sha256(self._file).hexdigest()

    def setup(self) -> None:
        self.score(["The first call loads libraries; here that counts as set-up, later it would look like a leak."])

    def score(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        return {"page_score": self._forward(features(texts))}

    @cached_property
    def _file(self) -> bytes:
        try:
            with fsspec.open(self.model) as stream:
                content: bytes = stream.read()
        except FileNotFoundError as error:
            raise ConfigError(f"no model at {self.model}", fix="train it: see the top of mixed.py") from error
        return content

    @cached_property
    def _forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """The network: torch where it is installed and sees a GPU, else numpy. Their scores agree to about 1e-5."""
        weights = np.load(BytesIO(self._file))
        hidden, bias, out = weights["hidden"], weights["bias"], weights["out"]
        try:
            import torch  # here and not above: the coordinator, and machines without the stage, load no torch
        except ImportError:
            torch = None
        if torch is None or not torch.cuda.is_available():
            return lambda x: 1 / (1 + np.exp(-(np.tanh(x @ hidden + bias) @ out)))
        on_gpu = [torch.from_numpy(array).cuda() for array in (hidden, bias, out)]

        def forward(x: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                found: Any = torch.sigmoid(torch.tanh(torch.from_numpy(x).cuda() @ on_gpu[0] + on_gpu[1]) @ on_gpu[2])
            return np.asarray(found.cpu())

        return forward


class PageScoreCpu(PageScore):
    """The same on a CPU: resources are equal to those of its neighbours, so it runs in their phase."""

    resources = Resources(cpus=1)


class LowScore(Filter):
    """Drops pages that FineWeb's rules would probably drop."""

    min_score: float = 0.5
    """Smallest score that is kept."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("page_score", "<", self.min_score, "low_page_score"),)


def _recipe(name: str, scorer: Scorer) -> Pipeline:
    filters = [UrlFilter(), ExtractText(), LanguageFilter(languages=("en",)), GopherRepetition()]
    return Pipeline(name, [ReadWarc(), *filters, scorer, LowScore(), WriteParquet()])


mixed = _recipe("mixed", PageScore())
mixed_cpu = _recipe("mixed_cpu", PageScoreCpu())
