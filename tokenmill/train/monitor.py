"""What is noticed while a model is trained: spikes, speed, and the log."""

from __future__ import annotations

import importlib
import json
import math
import statistics
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.train.check import check_tracker
from tokenmill.train.results import to_text
from tokenmill.train.settings import TrainSettings

WINDOW = 128
"""Steps that a spike is compared with."""
SIGMAS = 6.0
"""Standard deviations above their mean from which a loss or norm is a spike."""
LEAST = WINDOW // 2
"""Steps before anything is called a spike."""


class History:
    """Losses and gradient norms of the last steps; what of them is a spike (as OLMo's optimizers that skip steps)."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.norms: deque[float] = deque(maxlen=WINDOW)

    def is_spike(self, loss: float, norm: float) -> bool:
        """Whether one of them lies more than SIGMAS above the mean of the steps before, of which there are enough."""
        return _above(loss, self.losses) or _above(norm, self.norms)

    def add(self, loss: float, norm: float) -> None:
        """Values that are no numbers are left out. Spikes are kept: what stays high is soon no spike."""
        if math.isfinite(loss) and math.isfinite(norm):
            self.losses.append(loss)
            self.norms.append(norm)

    def last_loss(self, steps: int = 20) -> float:
        """Mean loss of the last steps, nats; nan where there are none."""
        found = list(self.losses)[-steps:]
        return statistics.fmean(found) if found else math.nan

    def to_json(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "norms": list(self.norms)}

    def load(self, data: Mapping[str, Any]) -> None:
        self.losses.clear()
        self.norms.clear()
        self.losses.extend(data["losses"])
        self.norms.extend(data["norms"])


def _above(value: float, before: deque[float]) -> bool:
    if len(before) < LEAST:
        return False
    mean = statistics.fmean(before)
    return value > mean + SIGMAS * statistics.pstdev(before, mean)


class Meter:
    """Tokens per second of the steps alone: not of evaluations, checkpoints and the first steps of a process, in which
    kernels are compiled and memory is found."""

    LEFT_OUT = 3

    def __init__(self) -> None:
        self.seconds = 0.0
        self.tokens = 0
        self._started: float | None = None
        self._steps = 0

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Steps are not being made from here on."""
        if self._started is not None and self._steps > self.LEFT_OUT:
            self.seconds += time.perf_counter() - self._started
        self._started = None

    def step(self, tokens: int) -> None:
        """A step was made. Where the device runs behind the host, `stop` or `rate` after it waited tells the truth."""
        self._steps += 1
        if self._steps > self.LEFT_OUT:
            self.tokens += tokens
        elif self._steps == self.LEFT_OUT:
            self._started = time.perf_counter()

    def rate(self) -> float | None:
        """Tokens per second; None before there is something to tell."""
        running = 0.0
        if self._started is not None and self._steps > self.LEFT_OUT:
            running = time.perf_counter() - self._started
        seconds = self.seconds + running
        return self.tokens / seconds if self.tokens and seconds > 0 else None


class Lines:
    """A JSON Lines file that is added to; one without a path writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def restart(self, kept: Iterable[Mapping[str, Any]]) -> None:
        """Begin anew with these rows: those of the steps that are not made again."""
        if self.path is not None:
            partial = self.path.with_name(f".{self.path.name}.partial")
            partial.write_text("".join(to_text(row) + "\n" for row in kept), encoding="utf-8")
            partial.replace(self.path)

    def rows(self) -> list[dict[str, Any]]:
        """What is in the file, up to the first line that is none: a stopped process leaves its last one unfinished, a
        machine that lost its power zeros."""
        if self.path is None or not self.path.exists():
            return []
        found: list[dict[str, Any]] = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            try:
                row = json.loads(line)
                int(row["step"])
            except (ValueError, TypeError, KeyError):
                break
            found.append(row)
        return found

    def add(self, row: Mapping[str, Any]) -> None:
        if self.path is not None:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(to_text(row) + "\n")


class Tracker:
    """trackio or Weights & Biases, beside the log. They share the calls that are made here."""

    def __init__(self, name: str | None) -> None:
        """ConfigError where the package is not installed. Nothing is begun yet."""
        self._library: ModuleType | None = None
        if name is not None:
            check_tracker(name)
            try:
                self._library = importlib.import_module(name)
            except ImportError as error:
                raise ConfigError(
                    f"the package {name} of track={name} cannot be imported",
                    why=str(error),
                    fix=f"install {name} anew, or leave `track` out",
                ) from error
        self._begun = False

    def begin(self, run: str, settings: TrainSettings) -> None:
        if self._library is not None:
            self._library.init(project="tokenmill", name=run, config=settings.to_json())
            self._begun = True

    def log(self, values: Mapping[str, Any], step: int) -> None:
        if self._library is not None and self._begun:
            shown = {key: value for key, value in values.items() if isinstance(value, int | float) and key != "step"}
            self._library.log(shown, step=step)

    def finish(self) -> None:
        if self._library is not None and self._begun:
            self._library.finish()
            self._begun = False
