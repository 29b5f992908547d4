"""Runs over files that are cut into spans give the documents of runs over whole files."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.io.archives import member, record, stored
from tokenmill import Annotate
from tokenmill.core.phases import Phase
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import InputShard, Resources
from tokenmill.dedup.exact import ExactDedup
from tokenmill.executors.base import Executor, Notice, PhaseEnd, PhaseEvent, ShardResult
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.executors.worker import ShardRunner, ShardTask, _Attempt
from tokenmill.extract.text import ExtractText
from tokenmill.io.documents import Documents
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import Attempt, RunFolder
from tokenmill.io.units import split
from tokenmill.io.warc import ReadWarc
from tokenmill.report.funnel import fold

SPAN = 64 << 10


def html(number: int) -> bytes:
    """A page of random words, now and then one that was there before."""
    generator = random.Random(number // 2 if number % 10 == 0 else -number)
    words = ["".join(generator.choices("abcdefghijklmnop", k=generator.randrange(3, 9))) for _ in range(300)]
    return f"<html><body><p>{' '.join(words)}</p></body></html>".encode()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two archives; in the middle of one lies a page that is an archive itself, and so are cuts."""
    folder = tmp_path_factory.mktemp("archives")
    inner = b"".join(member(record(5000 + n, html(5000 + n))) for n in range(180))
    pages = [member(record(n, html(n))) for n in range(60)]
    trap = stored(record(4000, inner, http="HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\n", http_length=True))
    (folder / "a.warc.gz").write_bytes(b"".join([*pages[:30], trap, *pages[30:]]))
    (folder / "b.warc.gz").write_bytes(b"".join(member(record(n, html(n))) for n in range(100, 220)))
    assert len(inner) > 2 * SPAN
    return folder


def run_over(
    inputs: Sequence[InputShard],
    source: Path,
    out: Path,
    executor: Executor | None = None,
    *,
    annotation: Annotation | None = None,
    by: str = "text",
) -> tuple[RunOutcome, list[PhaseEvent]]:
    dedup = ExactDedup(by=by)
    stages = [ReadWarc(), dedup, ExtractText()] if by == "payload" else [ReadWarc(), ExtractText(), dedup]
    spec = RunSpec.of(
        make_plan(Pipeline("spans", [*stages, WriteParquet()]), inputs, annotation), Options(), str(source)
    )
    events: list[PhaseEvent] = []

    def observe(phase: Phase, event: PhaseEvent) -> None:
        events.append(event)

    return execute(spec, RunFolder(str(out)), executor or InlineExecutor(), observer=observe), events


def published(out: Path, kind: str = "data") -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((out / kind).glob("*.parquet"))])


@pytest.mark.parametrize("by", [pytest.param("text", marks=pytest.mark.ci), "payload"])
def test_the_documents_of_whole_files(tmp_path: Path, source: Path, by: str) -> None:
    """`by="payload"` reads the archives twice: the second time from the corrected places too."""
    whole = list_inputs(str(source), (".warc.gz",))
    run_over(whole, source, tmp_path / "whole", by=by)
    spans = split(whole, SPAN)
    assert len(spans) > 5
    outcome, events = run_over(spans, source, tmp_path / "spans", by=by)
    assert outcome.failures == {}
    assert [event for event in events if isinstance(event, Notice)], "no span was misled: the test shows too little"
    assert published(tmp_path / "spans").equals(published(tmp_path / "whole"))
    dropped = published(tmp_path / "spans", "dropped").drop_columns(["text"])
    assert dropped.sort_by("doc_id").equals(
        published(tmp_path / "whole", "dropped").drop_columns(["text"]).sort_by("doc_id")
    )
    funnels = [fold(RunFolder(str(tmp_path / name))) for name in ("whole", "spans")]
    assert [(s.stage, s.into, s.out, s.dropped) for s in funnels[0].stages] == [
        (s.stage, s.into, s.out, s.dropped) for s in funnels[1].stages
    ]
    assert funnels[1].balance == 0
    assert sum(isinstance(event, PhaseEnd) for event in events) == len(funnels[1].run["phases"])


@pytest.mark.slow
def test_resumed_with_workers_to_the_same_bytes(tmp_path: Path, source: Path) -> None:
    spans = split(list_inputs(str(source), (".warc.gz",)), SPAN)
    run_over(spans, source, tmp_path / "first")
    for workers in (2,):
        run_over(spans, source, tmp_path / f"{workers}", LocalExecutor(workers))
        for path in sorted((tmp_path / "first/data").iterdir()):
            assert (tmp_path / f"{workers}/data" / path.name).read_bytes() == path.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "first/data").iterdir()}
    outcome, events = run_over(spans, source, tmp_path / "first")
    assert outcome.resumed
    assert not [event for event in events if isinstance(event, Notice)]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "first/data").iterdir()} == before


@pytest.mark.ci
def test_a_document_is_found_in_its_span(tmp_path: Path, source: Path) -> None:
    run_over(split(list_inputs(str(source), (".warc.gz",)), SPAN), source, tmp_path)
    folder = RunFolder(str(tmp_path))
    documents = Documents(folder, folder.read_json("run.json"))
    for path in sorted((tmp_path / "data").glob("*.parquet")):
        for row in pq.read_table(path, columns=["file_path", "warc_offset"]).to_pylist():
            assert documents.shard_of(f"{row['file_path']}#{row['warc_offset']}") == path.stem


class Weigh(Annotate):
    """A stage with needs of its own, so that a second phase begins with it."""

    reads = ("text",)
    adds = {"weight": pa.int64()}
    resources = Resources(cpus=0.5)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        return {"weight": pa.array([len(text) for text in batch.column("text").to_pylist()], pa.int64())}


@pytest.mark.ci
def test_a_lost_worker_that_lives_on_publishes_nothing_from_a_span_that_was_moved(tmp_path: Path, source: Path) -> None:
    """It has read the first phase before the span was moved, and commits the second one after it."""
    whole = list_inputs(str(source), (".warc.gz",))
    pipeline = Pipeline("weighed", [ReadWarc(), ExtractText(), Weigh(), WriteParquet()])
    spec = RunSpec.of(make_plan(pipeline, split(whole, SPAN)), Options(split_bytes=SPAN), str(source))
    plain = RunSpec.of(make_plan(pipeline, whole), Options(), str(source))
    execute(plain, RunFolder(str(tmp_path / "whole")), InlineExecutor())
    lost: list[tuple[int, ShardRunner, Attempt, dict[str, Any]]] = []

    def observe(phase: Phase, event: PhaseEvent) -> None:
        if isinstance(event, Notice):
            index = spec.slugs.index(event.fields["spans"][0])
            runner = ShardRunner(ShardTask(str(tmp_path / "out"), 1, inline=True), spec=spec)
            attempt = runner.folder.new_attempt(runner.phase.directory, spec.slugs[index])
            lost.append((index, runner, attempt, _Attempt(runner, index, attempt, lambda counts: None).run()))
        if isinstance(event, ShardResult) and lost and (event.phase, event.index) == (0, lost[-1][0]):
            _, runner, attempt, manifest = lost[-1]
            if attempt.directory.exists():
                runner.folder.commit(runner.phase.directory, attempt, manifest)

    outcome = execute(spec, RunFolder(str(tmp_path / "out")), InlineExecutor(), observer=observe)
    assert outcome.failures == {}
    assert lost, "no span was moved: the test shows nothing"
    assert published(tmp_path / "out").equals(published(tmp_path / "whole"))
    assert fold(RunFolder(str(tmp_path / "out"))).balance == 0
