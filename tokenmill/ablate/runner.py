"""Training one job after the other in one process, and leaving for each what the statistics read.

All runs of one shape share a model object, which is initialised anew from each seed: it is compiled once. A run that is
finished is not made again; one that was stopped goes on from its newest checkpoint (`tokenmill.train.loop`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.ablate.measure import Measures
from tokenmill.ablate.protocol import Protocol
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.views import TokenView
from tokenmill.train.config import ModelConfig
from tokenmill.train.create import make_model

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
        self._seconds: dict[str, float] = {}

    def run_all(self, jobs: Sequence[Job]) -> bool:
        """Make all that is not finished, in this order. False where the time did not suffice."""
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
        finished = (folder / "result.json").is_file()
        suite = self.measures.suite(job.protocol.model.context, self.device)
        _check_asked(folder, suite.sha256)
        model = self._model(job.protocol.model)
        final = job.protocol.final_steps

        def evaluate(now: Decoder, progress: Progress) -> Mapping[str, float]:
            found, table = suite.metrics(now)
            if progress.step in final:
                _write_table(folder / f"items-{progress.step:08d}.parquet", table)
            return found

        began = time.monotonic()
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
        if not finished:
            self._seconds[settings.digest] = max(time.monotonic() - began, self._seconds.get(settings.digest, 0.0))
        self._observer.ended(job, result, reused=finished)
        return result

    def _model(self, config: ModelConfig) -> Decoder:
        if config not in self._models:
            self._models.clear()  # sizes follow each other; two large models at a time may not fit
            self._models[config] = make_model(config, self.device)
        return self._models[config]

    def _in_time(self, job: Job) -> bool:
        if self._deadline is None or (self.folder / job.place / "result.json").is_file():
            return True
        expected = self._seconds.get(job.protocol.settings.digest, 0.0)
        return time.monotonic() + expected < self._deadline


def _check_asked(folder: Path, digest: str) -> None:
    """Refuse to put scores on other questions beside those that are there."""
    place = folder / ASKED_JSON
    if place.is_file():
        found = json.loads(place.read_text(encoding="utf-8")).get("asked")
        if found != digest:
            raise ConfigError(
                f"{folder} was measured on other texts or benchmarks",
                why="`evaluate`, a file that it names, the arms, or the tokenizer has changed since",
                fix="choose another --output; tokens and documents can be taken from this one as `tokens:` arms",
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"asked": digest}) + "\n", encoding="utf-8")


def _write_table(path: Path, table: pa.Table) -> None:
    """Whole or not at all: a killed run measures the step again when it goes on."""
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)
