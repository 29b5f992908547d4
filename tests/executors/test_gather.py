"""Stages of large batches: a phase of their own, batches joined, and patience with a batch that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import digests, recipe, rows, run
from tokenmill.core.doc import Doc
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Annotate, Filter, Resources
from tokenmill.executors import gather
from tokenmill.executors.gather import gathered
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet


class GatherBelowFive(Filter):
    """Drops texts under five characters."""

    reads = ("text",)

    def judge(self, doc: Doc) -> str | None:
        return "short" if len(doc.text) < 5 else None


class GatherWide(Annotate):
    """Notes how many documents it saw at once."""

    reads = ("text",)
    adds = {"seen_at_once": pa.int64()}
    batch_rows: ClassVar[int] = 300

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"seen_at_once": pa.array([batch.num_rows] * batch.num_rows, pa.int64())}


class GatherNarrow(GatherWide):
    """The same, with batches as they come."""

    adds = {"seen_at_once_then": pa.int64()}
    batch_rows: ClassVar[int] = 0

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"seen_at_once_then": pa.array([batch.num_rows] * batch.num_rows, pa.int64())}


class GatherGpu(GatherWide):
    """Wants as many documents, on another machine."""

    adds = {"seen_on_gpu": pa.int64()}
    resources = Resources(cpus=0.5)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"seen_on_gpu": pa.array([batch.num_rows] * batch.num_rows, pa.int64())}


def phases(*stages: object) -> list[tuple[tuple[str, ...], int]]:
    plan = make_plan(Pipeline("wide", [ReadJsonl(), *stages, WriteParquet()]), [])  # type: ignore[list-item]
    return [(phase.labels, phase.batch_rows) for phase in plan.phases]


def test_a_phase_begins_where_many_documents_are_wanted() -> None:
    assert phases(GatherBelowFive(), GatherNarrow()) == [
        (("read_jsonl", "gather_below_five", "gather_narrow", "write_parquet"), 0)
    ]
    # what comes behind stays with it
    assert phases(GatherBelowFive(), GatherWide(), GatherNarrow()) == [
        (("read_jsonl", "gather_below_five"), 0),
        (("gather_wide", "gather_narrow", "write_parquet"), 300),
    ]
    # nothing but the source before: no need for a cut
    assert phases(GatherWide()) == [(("read_jsonl", "gather_wide", "write_parquet"), 300)]
    assert [rows for _, rows in phases(GatherBelowFive(), GatherWide(), GatherGpu())] == [0, 300, 300]


@pytest.mark.ci
@pytest.mark.parametrize("filtered", [pytest.param(False, marks=pytest.mark.ci), True])
def test_the_stage_sees_large_batches(tmp_path: Path, write_jsonl: Callable[..., Path], filtered: bool) -> None:
    source = write_jsonl([f"document {n}" if n % 4 else "abc" for n in range(1000)])
    before = [GatherBelowFive()] if filtered else []
    pipeline = Pipeline("wide", [ReadJsonl(), *before, GatherWide(), GatherNarrow(), WriteParquet()])
    run(pipeline, source, tmp_path / "inline")
    run(pipeline, source, tmp_path / "child", workers=1)  # for one file
    assert digests(tmp_path / "inline") == digests(tmp_path / "child")
    found = rows(tmp_path / "inline", "data")
    assert len(found) == (750 if filtered else 1000)
    # the source gives 128 at a time, so 256 and not 300
    first = found[0]["seen_at_once"]
    assert 256 <= first <= 300
    assert [row["seen_at_once"] for row in found[:first]] == [first] * first
    assert found[0]["seen_at_once_then"] == first


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(0, 60))
def test_nothing_is_lost_and_order_stays(sizes: list[int], wanted: int) -> None:
    numbers = iter(range(10_000))
    batches = [pa.record_batch({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    found = list(gathered(batches, wanted))
    assert [n for batch in found for n in batch.column("n").to_pylist()] == list(range(sum(sizes)))
    assert [batch.num_rows for batch in found] == (greedy(sizes, wanted) if wanted else sizes)


def greedy(sizes: list[int], wanted: int) -> list[int]:
    """Whole batches are joined while they fit."""
    joined: list[list[int]] = []
    for size in sizes:
        if joined and sum(joined[-1]) + size <= wanted:
            joined[-1].append(size)
        else:
            joined.append([size])
    return [sum(group) for group in joined]


def test_bytes_bound_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "GATHERED_BYTES", 10_000)
    batches = [pa.record_batch({"text": ["x" * 3000]}) for _ in range(10)]
    assert [batch.num_rows for batch in gathered(batches, 1000)] == [3, 3, 3, 1]
    assert [batch.num_rows for batch in gathered([pa.record_batch({"text": ["x" * 90_000]})] * 2, 1000)] == [1, 1]


class GatherSlow(Annotate):
    """Takes longer over a batch than a document may."""

    reads = ("text",)
    adds = {"slow": pa.int64()}
    batch_seconds: ClassVar[float] = 30.0

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        until = time.process_time() + 1.5
        while time.process_time() < until:
            pass
        return {"slow": pa.array([batch.num_rows] * batch.num_rows, pa.int64())}


@pytest.mark.ci
def test_a_stage_says_how_long_a_batch_may_take(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["a text", "another", "abc"])
    pipeline = Pipeline("slow", [ReadJsonl(), GatherSlow(), WriteParquet()])
    outcome = run(pipeline, source, tmp_path / "out", workers=1, seconds=1.0)
    assert outcome.failures == {}
    # not done again one at a time, which takes less than the limit for each
    assert [row["slow"] for row in rows(tmp_path / "out", "data")] == [3, 3, 3]


def test_recipes_with_batches_that_spring_still_blame_one_document(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    outcome = run(recipe("batch_trap"), write_jsonl(["fine text", "raise", "good text"]), tmp_path / "out", workers=1)
    assert outcome.failures == {}
    assert [row["cause"] for row in rows(tmp_path / "out", "quarantine")] == ["ValueError"]
