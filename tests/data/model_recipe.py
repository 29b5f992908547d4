"""Recipes with a stage that holds a model and wants a part of a GPU. Used by the tests of the executors."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill import Annotate, Doc, Filter, Pipeline
from tokenmill.core.stage import Resources
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet

DIARY = "TOKENMILL_TEST_DIARY"
"""Environment variable with a folder in which stages note what they did and when."""


def note(what: str) -> None:
    """Append a line to the diary of this process."""
    if os.environ.get(DIARY):
        with (Path(os.environ[DIARY]) / f"{os.getpid()}.txt").open("a") as stream:
            stream.write(f"{what} {time.time():.3f} {os.environ.get('CUDA_VISIBLE_DEVICES') or '-'}\n")


def wait_for_a_score(seconds: float = 20.0) -> None:
    """Where the diary holds a file `wait`, wait for the model, but not forever."""
    folder = Path(os.environ.get(DIARY, "/nonexistent"))
    until = time.monotonic() + seconds
    while (folder / "wait").exists() and time.monotonic() < until:
        if any("score" in path.read_text() for path in folder.glob("*.txt")):
            return
        time.sleep(0.05)


class SlowFilter(Filter):
    """CPU work: takes a while over every document and drops short ones; the last shard can be made to wait."""

    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        time.sleep(0.005)
        if doc.text.startswith("document 1 of 7"):
            wait_for_a_score()
        note("filter")
        return "short" if len(doc.text) < 5 else None


class LetterModel(Annotate):
    """A linear model over letter counts, loaded in `setup`."""

    reads = ("text",)
    adds = {"model_score": pa.float32()}
    resources = Resources(cpus=0.5, gpus=0.5)

    @cached_property
    def _weights(self) -> npt.NDArray[np.float32]:
        note("load")
        return np.random.default_rng(7).standard_normal(256).astype(np.float32)

    def setup(self) -> None:
        assert self._weights.shape == (256,)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        note("score")
        counts = [
            np.bincount(np.frombuffer(t.encode(), np.uint8), minlength=256) for t in batch.column("text").to_pylist()
        ]
        return {"model_score": pa.array([np.float32(c @ self._weights) for c in counts], pa.float32())}


class BehindModel(Filter):
    """CPU work behind the model."""

    reads = ("model_score",)

    def judge(self, doc: Doc) -> str | None:
        return "low_score" if doc["model_score"] < -40 else None


model = Pipeline("model", [ReadJsonl(), SlowFilter(), LetterModel(), BehindModel(), WriteParquet()])
slow = Pipeline("slow", [ReadJsonl(), SlowFilter(), WriteParquet()])
