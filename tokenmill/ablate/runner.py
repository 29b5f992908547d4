"""Training one job after the other in one process, and leaving for each what the statistics read.

All runs of one shape share a model object, which is initialised anew from each seed: it is compiled once. A run that is
finished is not made again; one that was stopped goes on from its newest checkpoint (`tokenmill.train.loop`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.ablate.measure import Measures, other_questions
from tokenmill.ablate.protocol import Protocol
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.views import TokenView
from tokenmill.train.config import ModelConfig
from tokenmill.train.create import make_model
from tokenmill.train.results import RUN_JSON, differences, finished

if TYPE_CHECKING:
    from tokenmill.train.loop import Progress, StepLog, TrainResult
    from tokenmill.train.model import Decoder

ASKED_JSON = "asked.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run to be made."""

    arm: str
    seed: int
    protocol: Protocol
    view: Callable[[], TokenView]
    """What is trained on; made when the run begins."""
    role: str = "main"
    folder: str = ""
    """Below the folder of the study; "": `runs/<role>/<arm>/seed-<seed>`."""
    start: tuple[str, int, str] | None = None
    """(place of another job, a step that it keeps, "continue" or "new"): where it begins, as of `Start`."""
    keep_steps: tuple[int, ...] = ()
    """Steps whose checkpoints later jobs begin from."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More for its line in the record."""

    @property
    def place(self) -> str:
        return self.folder or f"runs/{self.role}/{self.arm}/seed-{self.seed}"

    def entry(self) -> dict[str, Any]:
        """Its line in the record."""
        about = {"arm": self.arm, "seed": self.seed, "role": self.role, "folder": self.place}
        return {**about, "settings": self.protocol.settings.digest, **self.facts}

    @property
    def steps(self) -> int:
        """Steps that it makes itself, without those of the run it begins from."""
        return self.protocol.settings.steps - (self.start[1] if self.start else 0)

    @property
    def tokens(self) -> int:
        """Trained tokens of these."""
        return self.steps * self.protocol.settings.batch_tokens

    @property
    def flops(self) -> float:
        """Of the training alone."""
        return float(self.tokens) * self.protocol.model.flops_per_token

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.arm}, seed {self.seed}" + ("" if self.role == "main" else f", {self.role}")


class Observer:
    """What a runner tells; nothing is done with it here."""

    def began(self, job: Job, number: int, of: int) -> None:
        """A run begins or goes on."""

    def stepped(self, job: Job, log: StepLog) -> None:
        """A line of the run's log was written."""

    def ended(self, job: Job, result: TrainResult, *, reused: bool) -> None:
        """A run is finished; reused: it had been before."""

    def stopped(self, left: Sequence[Job]) -> None:
        """The time is over, and these jobs are left."""


class Runner:
    """Makes runs below the folder of a study."""

    def __init__(
        self,
        folder: Path,
        measures: Measures,
        *,
        device: str = "cpu",
        deadline: float | None = None,
        observer: Observer | None = None,
    ) -> None:
        """deadline: by `time.monotonic`; a run that would not end before it, by those so far, is not begun."""
        self.folder = folder
        self.measures = measures
        self.device = device
        self._deadline = deadline
        self._observer = observer or Observer()
        self._models: dict[ModelConfig, Decoder] = {}
        self._seconds = _Seconds()

    def check(self, jobs: Sequence[Job]) -> None:
        """ConfigError where a job cannot be, or another run is in its place: before the first is begun.

        Nothing is written, so that what is there stays as it is told of.
        """
        from tokenmill.train.data import check_sizes
        from tokenmill.train.parallel import World

        by_view: dict[int, list[Job]] = {}
        for job in jobs:
            by_view.setdefault(id(job.view), []).append(job)
        for group in by_view.values():
            view = group[0].view()
            for job in group:
                try:
                    check_sizes(job.protocol.model, job.protocol.settings, view, World())
                except ConfigError as error:
                    where = f"{job.name}: {error.where}" if error.where else job.name
                    raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from None
                folder = RunFolder(str(self.folder / job.place))
                self._check_questions(job, folder)
                if (found := folder.read_json(RUN_JSON)) is not None:
                    _check_run(job, folder.location, found, view.fingerprint)

    def _check_questions(self, job: Job, folder: RunFolder) -> None:
        """Refuse to put scores on other questions beside those that are there."""
        known = folder.read_json(ASKED_JSON)
        if known is None:
            return
        context = job.protocol.model.context
        if "questions" in known:
            found = other_questions(known["questions"], self.measures.digests(context, self.device))
        else:  # as they were written once: one digest of all
            found = [] if known["asked"] == self.measures.suite(context, self.device).sha256 else ["something of it"]
        if found:
            raise ConfigError(
                f"{folder.location} was measured on other texts or benchmarks",
                why=f"{'; '.join(found[:5])}: `evaluate`, a file that it names, or the tokenizer has changed since",
                fix="choose another --output; tokens and documents can be taken from this one as `tokens:` arms",
            )

    def run_all(self, jobs: Sequence[Job]) -> bool:
        """Make all that is not finished, in this order. False where the time did not suffice."""
        for job in jobs:
            if (result := finished(self.folder / job.place)) is not None:
                self._seconds.add(job, result.seconds)
        for number, job in enumerate(jobs):
            if not self._in_time(job):
                self._observer.stopped(jobs[number:])
                return False
            self._observer.began(job, number + 1, len(jobs))
            self.run(job)
        return True

    def run(self, job: Job) -> TrainResult:
        """Make one run, or give what it was."""
        from tokenmill.train.checkpoint import path_of
        from tokenmill.train.loop import Start, train

        folder = self.folder / job.place
        done = finished(folder) is not None
        suite = self.measures.suite(job.protocol.model.context, self.device)
        self._write_questions(job, done)
        model = self._model(job.protocol.model)
        final = job.protocol.final_steps

        def evaluate(now: Decoder, progress: Progress) -> Mapping[str, float]:
            found, table = suite.metrics(now)
            if progress.step in final:
                _write_table(folder / f"items-{progress.step:08d}.parquet", table)
            return found

        settings = job.protocol.with_settings(keep_steps=job.keep_steps).settings
        result = train(
            model,
            settings,
            job.view(),
            folder,
            seed=job.seed,
            evaluate=evaluate,
            eval_steps=job.protocol.eval_steps,
            start=None if job.start is None else Start(path_of(self.folder / job.start[0], job.start[1]), job.start[2]),
            observe=lambda log: self._observer.stepped(job, log),
        )
        self._seconds.add(job, result.seconds)
        self._observer.ended(job, result, reused=done)
        return result

    def _write_questions(self, job: Job, done: bool) -> None:
        """Note what the run is measured on. A finished run keeps its measurements, also where arms came later."""
        folder = RunFolder(str(self.folder / job.place))
        self._check_questions(job, folder)
        asked = {"questions": self.measures.digests(job.protocol.model.context, self.device)}
        known = folder.read_json(ASKED_JSON)
        if known != asked and (not done or known is None or "questions" not in known):
            folder.write_json(ASKED_JSON, asked)

    def _model(self, config: ModelConfig) -> Decoder:
        if config not in self._models:
            self._models.clear()  # sizes follow each other; two large models at a time may not fit
            self._models[config] = make_model(config, self.device)
        return self._models[config]

    def _in_time(self, job: Job) -> bool:
        if self._deadline is None or (self.folder / job.place / "result.json").is_file():
            return True
        return time.monotonic() + self._seconds.expected(job) < self._deadline


class _Seconds:
    """How long runs take, by those that are finished: in this call or in one before."""

    def __init__(self) -> None:
        self._known: dict[tuple[ModelConfig, int, int], float] = {}
        self._per_flop = 0.0

    def add(self, job: Job, seconds: float) -> None:
        """The longest of its kind counts: a run that does not end in time is worse than one that is not begun."""
        kind = self._kind(job)
        self._known[kind] = max(seconds, self._known.get(kind, 0.0))
        self._per_flop = max(seconds / max(job.flops, 1.0), self._per_flop)

    def expected(self, job: Job) -> float:
        """Seconds for a run; of a model or length that has not been run, by its FLOPs; 0 where nothing is known."""
        return self._known.get(self._kind(job), self._per_flop * job.flops)

    @staticmethod
    def _kind(job: Job) -> tuple[ModelConfig, int, int]:
        return job.protocol.model, job.steps, job.protocol.settings.batch_tokens


def _check_run(job: Job, place: str, found: Mapping[str, Any], data: str) -> None:
    """ConfigError where the folder of a job has another run, with what differs."""
    steps = job.protocol.settings.steps
    wanted = {
        "settings": job.protocol.settings.deciding(),
        "model": job.protocol.model.to_json(),
        "data": data,
        "seed": job.seed,
        "eval_steps": [step for step in job.protocol.eval_steps if step <= steps],
    }
    differing = differences({name: found.get(name) for name in wanted}, wanted)
    if differing:
        why = "; ".join(differing[:8])
        if any(one.startswith("data ") for one in differing):
            why += " (data: other documents, shares or order; `match: tokens` cuts all arms to the smallest)"
        raise ConfigError(
            "the folder has a run with other settings",
            where=place,
            why=why,
            fix="choose another --output, or the settings it was begun with",
        )


def _write_table(path: Path, table: pa.Table) -> None:
    """Whole or not at all: a killed run measures the step again when it goes on."""
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as stream:
        pq.write_table(table, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
