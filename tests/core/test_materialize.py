"""`Materialize`: a phase begins with it, and nothing of the data changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.support import rows, run
from tokenmill.core.materialize import Materialize
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Stage
from tokenmill.dedup.exact import ExactDedup
from tokenmill.filters.gopher import GopherQuality
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet

WORK: list[Stage] = [GopherQuality(min_words=3), ExactDedup(by="text")]


def pipeline(*places: int) -> Pipeline:
    """Reading, two stages of work, writing; with `Materialize` before the work of these numbers (2: the sink)."""
    stages: list[Stage] = [ReadJsonl()]
    for number, stage in enumerate([*WORK, WriteParquet()]):
        stages += [Materialize(), stage] if number in places else [stage]
    return Pipeline("p", stages)


@pytest.fixture
def source(write_jsonl: Callable[..., Path]) -> Path:
    texts = [f"the library of number{n % 7} and further chapters to be written with that" for n in range(40)] + [
        "too short"
    ] * 3
    write_jsonl([{"id": str(n), "text": text} for n, text in enumerate(texts)], "a.jsonl")
    return write_jsonl([{"id": f"b{n}", "text": text} for n, text in enumerate(texts[::2])], "b.jsonl")


@pytest.mark.parametrize(
    ("places", "begins"),
    [
        pytest.param((), ["read_jsonl", "exact_dedup"], marks=pytest.mark.ci),
        pytest.param((0,), ["read_jsonl", "materialize", "exact_dedup"], marks=pytest.mark.ci),
        ((1,), ["read_jsonl", "materialize", "exact_dedup"]),
        pytest.param((2,), ["read_jsonl", "exact_dedup", "materialize"], marks=pytest.mark.ci),
        ((0, 1, 2), ["read_jsonl", "materialize", "materialize_2", "exact_dedup", "materialize_3"]),
    ],
)
def test_a_phase_begins_with_it_and_the_data_are_the_same(
    tmp_path: Path, source: Path, places: tuple[int, ...], begins: list[str]
) -> None:
    plan = make_plan(pipeline(*places), [])
    phases = [phase for phase in plan.phases if not phase.step]
    assert [phase.labels[0] for phase in phases] == begins
    assert [phase.prepares for phase in phases].count(True) == 1
    assert [phase.applies for phase in phases] == [label == "exact_dedup" for label in begins]
    assert run(pipeline(), source, tmp_path / "plain", seconds=8).failures == {}
    assert run(pipeline(*places), source, tmp_path / "cut", seconds=8).failures == {}
    assert len(rows(tmp_path / "plain", "data")) == 7
    for name in ("a.parquet", "b.parquet"):
        assert (tmp_path / "cut/data" / name).read_bytes() == (tmp_path / "plain/data" / name).read_bytes()


def test_what_stands_before_it_has_one_fingerprint_whatever_comes_after() -> None:
    one = make_plan(pipeline(1), []).phases[0]
    other = make_plan(Pipeline("q", [ReadJsonl(), WORK[0], Materialize(), WriteParquet()]), []).phases[0]
    assert (one.fingerprint, one.directory, one.columns) == (other.fingerprint, other.directory, other.columns)
    assert json.dumps(list(one.labels)) == json.dumps(["read_jsonl", "text_signals", "gopher_quality"])
