"""An encoder that wants half a GPU, behind a filter: it runs on a CPU, so that a cluster with a GPU in name will do.

Environment: TOKENMILL_TEST_MODEL, the model's folder; TOKENMILL_TEST_DIARY, where stages note what they did.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tokenmill import Doc, EncoderScore, Filter, Pipeline, ScoreFilter
from tokenmill.core.stage import Resources
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet


def note(what: str) -> None:
    """Append a line to the diary of this process."""
    if os.environ.get("TOKENMILL_TEST_DIARY"):
        with (Path(os.environ["TOKENMILL_TEST_DIARY"]) / f"{os.getpid()}.txt").open("a") as stream:
            stream.write(f"{what} {time.time():.3f} {os.environ.get('CUDA_VISIBLE_DEVICES') or '-'}\n")


class SlowLength(Filter):
    """CPU work before the model; waits for the model at the last shard."""

    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        diary = Path(os.environ.get("TOKENMILL_TEST_DIARY", "/nonexistent"))
        until = time.monotonic() + 60
        while "last shard" in doc.text and (diary / "wait").exists() and time.monotonic() < until:
            if any("score" in path.read_text() for path in diary.glob("*.txt")):
                break
            time.sleep(0.05)
        note("filter")
        return "short" if len(doc.text) < 5 else None


class HalfGpuEncoder(EncoderScore):
    """Two of them share a GPU."""

    resources: ClassVar[Resources] = Resources(cpus=0.5, gpus=0.5)

    def setup(self) -> None:
        super().setup()
        note("load")

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        note("score")
        return super().score(texts)


encoder = Pipeline(
    "encoder",
    [
        ReadJsonl(),
        SlowLength(),
        HalfGpuEncoder(model=os.environ.get("TOKENMILL_TEST_MODEL", ""), column="edu_score", max_tokens=64),
        ScoreFilter(column="edu_score", min_score=0.0),
        WriteParquet(),
    ],
)
