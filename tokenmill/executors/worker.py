"""`run_shard`: the only place that skips, counts, times, quarantines and publishes."""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from tokenmill import __version__
from tokenmill.core.accounting import DROPPED, QUARANTINED, StageCount, check_conservation
from tokenmill.core.errors import ShardError
from tokenmill.core.phases import Phase
from tokenmill.core.schema import conform, text_bytes
from tokenmill.core.stage import InputShard, ShardWriter, Sink, SteppedSink
from tokenmill.executors.carried import Carried
from tokenmill.executors.gather import gathered
from tokenmill.executors.host import ALIVE_SECONDS, ChildHost, Host, InlineHost, Limits
from tokenmill.executors.outcomes import clean, valid
from tokenmill.executors.overlap import OverlapCount
from tokenmill.executors.runspec import RunSpec, input_entry, load_run_here
from tokenmill.executors.spans import corrected
from tokenmill.executors.steps import TASKS_JSON, StepWork, run_task
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import Attempt, RunFolder, disk_error, file_digest, flush_to_disk
from tokenmill.io.stores import shown

Progress = Callable[[Mapping[str, Any]], None]

_READ_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException)
"""What libraries raise on input that is gone, cut or damaged."""

NOT_DOCUMENTS = frozenset({"not_response"})
"""Reasons of a source that are counted but not listed in `dropped/`: requests, metadata and the like."""


SKIPS_PER_WORD = 1000
"""After so many skipped records without a document, the rows are written and the supervisor hears a word."""


@dataclass(frozen=True)
class ShardTask:
    """What a worker needs to run any shard of a phase; plain values, so it travels as JSON."""

    run: str
    phase: int
    inline: bool = False
    limits: Limits = field(default_factory=Limits)
    session: str = ""
    """Of the coordinator: what a process has read for another one is out of date, even of the same folder."""
    revision: int = 0
    """Raised when spans were found to begin elsewhere: what workers have read of the run is then out of date."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardTask:
        return cls(**{**data, "limits": Limits(**data["limits"])})


class ShardRunner:
    """Runs shards of one phase, one after another, with the same host process."""

    def __init__(
        self, task: ShardTask, alive: Callable[[], None] = lambda: None, *, spec: RunSpec | None = None
    ) -> None:
        self.alive = alive
        self.folder = RunFolder(task.run)
        self.spec = spec or RunSpec.from_json(load_run_here(self.folder))
        self.phase = self.spec.plan.phases[task.phase]
        self._task = task
        self._host: Host | None = None

    def run_shard(self, index: int, progress: Progress) -> dict[str, Any]:
        """The manifest of a shard: the committed one, or that of a new attempt. Idempotent."""
        try:
            return self._run_shard(index, progress)
        except OSError as error:  # of manifests and of publishing; a nearer place knows its path better
            raise disk_error(error, str(error.filename or self.folder.location)) from error

    def _run_shard(self, index: int, progress: Progress) -> dict[str, Any]:
        slug = self._tasks[index] if self.phase.step else self.spec.slugs[index]
        committed = self.folder.manifest(self.phase.directory, slug)
        if committed is not None and self.folder.settle(self.phase.directory, slug, committed):
            return committed
        attempt = self.folder.new_attempt(self.phase.directory, slug)
        try:
            if self.phase.step:
                manifest = run_task(self._work, self.phase, index, attempt, self.alive)
            else:
                manifest = _Attempt(self, index, attempt, progress).run()
        except OSError as error:
            self.folder.discard(attempt)
            raise disk_error(error, str(error.filename or attempt.directory)) from error
        except BaseException:
            self.folder.discard(attempt)
            raise
        with _ticking(self.alive):  # an upload may take longer than a supervisor is patient
            return self.folder.commit(self.phase.directory, attempt, manifest)

    @cached_property
    def inputs(self) -> Sequence[InputShard]:
        """The input shards, spans with the beginnings that were found by reading the spans before them."""
        return corrected(self.folder, self.spec)

    @cached_property
    def carried(self) -> Carried:
        """What this phase gets from the one before it."""
        return Carried(self.folder, self.spec, self.phase, self.inputs)

    @cached_property
    def _work(self) -> StepWork:
        return StepWork(self.folder, self.spec, self.phase)

    @cached_property
    def _tasks(self) -> list[str]:
        """The tasks of a barrier's step, as the coordinator has frozen them."""
        found: list[str] = self.folder.read_json(f"phases/{self.phase.directory}/{TASKS_JSON}")
        return found

    @property
    def host(self) -> Host:
        if self._host is None:
            plan, options = self.spec.plan, self.spec.options
            last = self.phase is plan.last
            common: dict[str, Any] = {
                "sample": options.sample_dropped,
                "seed": options.seed,
                # the pages themselves need not travel back
                "columns": plan.handed.names if last else list(self.phase.columns),
            }
            if self._task.inline or self.phase.only_barriers:
                self._host = InlineHost(self.phase, **common)
            else:
                limits, alive = self._task.limits, self.alive
                self._host = ChildHost(plan.pipeline, self.phase, limits=limits, alive=alive, **common)
        return self._host

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None


@contextmanager
def _ticking(alive: Callable[[], None]) -> Iterator[None]:
    """Give the supervisor a word now and then, from another thread, while this one is busy elsewhere."""
    done = threading.Event()

    def tick() -> None:
        while not done.wait(ALIVE_SECONDS):
            alive()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Reports:
    """What the source of a shard tells its attempt."""

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt

    def __call__(self, reason: str, **about: Any) -> None:
        self._attempt.skip(reason, **about)

    def covered(self, first: int, end: int) -> None:
        self._attempt.cover(first, end)


class _Attempt:
    """One attempt at one shard."""

    def __init__(self, runner: ShardRunner, index: int, attempt: Attempt, progress: Progress) -> None:
        self._runner = runner
        self._index = index
        self._plan = runner.spec.plan
        self._phase: Phase = runner.phase
        self._shard: InputShard = runner.inputs[index]
        self._slug = runner.spec.slugs[index]
        self._attempt = attempt
        self._progress = progress
        self._last = self._phase is self._plan.last
        self._sink: Sink = self._plan.sink if self._last else WriteParquet(compression_level=1)
        self._beside = self._sink.beside if isinstance(self._sink, SteppedSink) else {}
        self._writers: dict[str, ShardWriter] = {}
        self._rows: Counter[str] = Counter()
        self._skipped: list[dict[str, Any]] = []
        self._covered: tuple[int, int] | None = None
        first = self._phase.source
        self._source = StageCount(self._phase.labels[0] if first else "read_phase")
        self._counts = [StageCount(name) for name in self._phase.counted]
        self._write_count = StageCount(self._phase.labels[-1] if self._last else "write_phase")
        self._overlap = OverlapCount(self._plan) if self._last and self._plan.annotation is not None else None

    def run(self) -> dict[str, Any]:
        """Read, run, write, verify; returns the manifest, not yet committed."""
        self._source.bytes_in = self._shard.bytes
        if self._last:
            self._open_data(self._plan.schema)
        for batch in self._timed_batches():
            self._take(batch)
        self._flush_skipped()
        if "data" not in self._writers:
            self._open_data(pa.schema(list(self._phase.columns.items())))
        for writer in self._writers.values():
            writer.close()
        facts = getattr(self._writers["data"], "facts", None)
        counts = [self._source, *self._counts, self._write_count]
        check_conservation(counts)
        overlap = {"overlap": self._overlap.to_json()} if self._overlap is not None else {}
        return {
            "format": 1,
            "tokenmill": __version__,
            "fingerprint": self._phase.fingerprint,
            "input": input_entry(self._plan.inputs[self._index]),
            **({"covered": list(self._covered)} if self._covered is not None else {}),
            **({"origin": self._runner.carried.origin} if self._phase.source is None else {}),
            "stages": [count.to_json() for count in counts],
            "files": [*(self._verified(kind) for kind in self._writers), *self._further()],
            **({"facts": facts()} if facts is not None else {}),
            **overlap,
        }

    def _timed_batches(self) -> Iterator[pa.RecordBatch]:
        batches = self._batches()
        while True:
            started = time.perf_counter()
            try:
                batch = next(batches, None)
            except _READ_ERRORS as error:
                raise ShardError(
                    f"cannot read {shown(self._shard.path)}",
                    why=shown(f"{type(error).__name__}: {error}"),
                    fix="look at the file; the same command tries it again",
                ) from error
            self._source.seconds += time.perf_counter() - started
            if batch is None:
                return
            self._source.into += batch.num_rows
            self._source.out += batch.num_rows
            self._source.bytes_out += text_bytes(batch)
            yield batch

    def _batches(self) -> Iterator[pa.RecordBatch]:
        source = self._phase.source
        if source is not None:
            batches = source.read(self._shard, _Reports(self))
        else:
            batches = self._runner.carried.batches(self._index)
        return gathered(batches, self._phase.batch_rows)

    def cover(self, first: int, end: int) -> None:
        """The stored bytes of a span that were in fact read."""
        self._covered = (first, end)

    def skip(
        self, reason: str, *, id: str = "", url: str = "", offset: int = -1, length: int = -1, detail: str = ""
    ) -> None:
        self._source.into += 1
        self._source.dropped[reason] += 1
        if self._source.into % SKIPS_PER_WORD == 0:
            self._runner.alive()
        if reason in NOT_DOCUMENTS:
            return
        in_bytes = self._phase.source is not None and self._phase.source.offsets_are_bytes
        self._skipped.append(
            {
                "doc_id": f"{self._shard.name}#{offset}",
                "id": valid(id) or None,
                "url": valid(url) or None,
                "file_path": self._shard.name,
                "warc_offset": offset if offset >= 0 and in_bytes else None,
                "warc_length": length if length >= 0 and in_bytes else None,
                "stage": self._source.stage,
                "reason": reason,
                "detail": clean(detail) or None,
            }
        )
        if len(self._skipped) >= SKIPS_PER_WORD:
            self._flush_skipped()

    def _take(self, batch: pa.RecordBatch) -> None:
        """One batch through the host and into the writers, then a word on progress."""
        self._flush_skipped()
        seen = {f"{c.stage}.{reason}": n for c in self._counts for reason, n in c.dropped.items()}
        result = self._runner.host.run(batch, seen)
        for total, count in zip(self._counts, result.counts, strict=True):
            total.add(count)
        started = time.perf_counter()
        self._write("dropped", DROPPED, result.dropped)
        self._write("quarantine", QUARANTINED, result.quarantined)
        kept = result.kept
        count = self._write_count
        count.into += kept.num_rows
        count.bytes_in += text_bytes(kept)
        schema = self._plan.handed if self._last else pa.schema(list(self._phase.columns.items()))
        if self._overlap is not None:
            self._overlap.add(kept)
        kept = conform(kept, schema)
        if kept.num_rows:
            self._open_data(schema).write(kept)
            self._rows["data"] += kept.num_rows
        count.out += kept.num_rows
        count.bytes_out += text_bytes(kept)
        count.seconds += time.perf_counter() - started
        self._progress(
            {
                "shard": self._slug,
                "records": self._source.into,
                "documents": self._source.out,
                "kept": count.out,
                "quarantined": sum(c.quarantined.total() for c in self._counts),
            }
        )

    def _flush_skipped(self) -> None:
        if self._skipped:
            self._write("dropped", DROPPED, pa.RecordBatch.from_pylist(self._skipped, schema=DROPPED))
            self._skipped = []

    def _open_data(self, schema: pa.Schema) -> ShardWriter:
        if "data" not in self._writers:
            paths = {kind: self._attempt.path(kind) for kind in ("data", *self._beside)}
            self._writers["data"] = self._sink.open(paths, schema)
        return self._writers["data"]

    def _writer(self, kind: str, schema: pa.Schema) -> ShardWriter:
        if kind not in self._writers:
            sink = WriteParquet(content_defined_chunking=False, row_group_rows=2000)
            self._writers[kind] = sink.open({"data": self._attempt.path(kind)}, schema)
        return self._writers[kind]

    def _write(self, kind: str, schema: pa.Schema, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._writer(kind, schema).write(batch)
            self._rows[kind] += batch.num_rows

    def _further(self) -> list[dict[str, Any]]:
        """The manifest entries of what the sink has written beside the data."""
        found = []
        for kind, ending in self._beside.items():
            path = self._attempt.path(kind)
            flush_to_disk(path)
            with open(path, "rb") as stream:
                size = stream.seek(0, 2)
            place = f"phases/{self._phase.directory}/{kind}/{self._slug}{ending}"
            found.append({"kind": kind, "path": place, "rows": 0, "bytes": size, "sha256": file_digest(path)})
        return found

    def _verified(self, kind: str) -> dict[str, Any]:
        """The manifest entry of a written file, after it has been flushed, re-opened and checked."""
        path = self._attempt.path(kind)
        flush_to_disk(path)
        sink = self._sink if kind == "data" else WriteParquet()
        sink.verify(path, self._rows[kind])
        name = self._slug
        folder = kind if self._last or kind != "data" else f"phases/{self._phase.directory}/data"
        if kind != "data" and self._phase.index:
            name = f"{self._slug}~phase-{self._phase.index + 1}"  # no slug has a tilde
        extension = (self._sink.extension if kind == "data" else "") or ".parquet"
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
        return {
            "kind": kind,
            "path": f"{folder}/{name}{extension}",
            "rows": self._rows[kind],
            "bytes": size,
            "sha256": file_digest(path),
        }
