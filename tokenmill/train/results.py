"""What a training run is, and what came of it: run.json, result.json. No torch here."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError

RUN_JSON = "run.json"
RESULT_JSON = "result.json"
LOG_JSONL = "log.jsonl"
EVALS_JSONL = "evals.jsonl"


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for evaluations."""

    step: int
    """Steps that were made."""
    tokens: int
    """Trained tokens."""
    steps: int
    """Steps of the whole run."""


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """A line of log.jsonl; means are over the steps since the line before."""

    step: int
    tokens: int
    epochs: float
    """How often the view was seen."""
    loss: float
    """Cross-entropy of training, mean nats per token, of the steps that were taken; nan (null in the file): of none."""
    lr: float
    grad_norm: float
    """Mean, before clipping."""
    z: float
    """Mean squared log-partition."""
    balance: float
    """Mean balance loss of experts; 0 for a dense model."""
    logit_max: float | None
    """Largest attention logit, on one sequence of this step; null for a sharded model."""
    skipped: int
    """Steps without an update so far."""
    spikes: int
    """Of these, those left out for a spike."""
    tokens_per_second: float | None
    mfu: float | None
    """Model FLOPs utilisation, 0 to 1; null where the device's peak is not known."""
    memory: int
    """Peak bytes: of the device, on a CPU of the process."""

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run."""

    folder: str
    steps: int
    """Steps that were made, those of the checkpoint it began from included."""
    tokens: int
    """Trained tokens of these."""
    final_loss: float
    """Mean training loss of the last 20 steps, nats. Of the arm's own text: arms are not compared by it."""
    seconds: float
    """Wall-clock time, evaluations included, over all resumes."""
    tokens_per_second: float | None
    """Of the steps alone, without the first three of a process."""
    mfu: float | None
    flops: float
    """Of the model for all tokens (ModelConfig.flops_per_token)."""
    peak_bytes: int
    epochs: float
    evals: list[dict[str, Any]] = field(default_factory=list)
    """Each {"step", "tokens", "metrics": {name: value}}."""
    skipped_steps: int = 0
    spikes: int = 0
    device: str = "cpu"

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are none are null."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def check_claim(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether `folder` is that of this run; False where it is nobody's. ConfigError where it holds another run, with
    what differs, or is no folder."""
    path = folder / RUN_JSON
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", why="there is a file of that name", fix="choose another folder")
    if not path.exists():
        return False
    if differing := differences(_read(path), identity):
        raise ConfigError(
            "the folder has a run with other settings",
            where=str(folder),
            why="; ".join(differing[:8]),
            fix="choose another folder, or the settings it was begun with",
        )
    return True


def begun_with(folder: Path) -> str | None:
    """Digest of the checkpoint of another run that the run in `folder` began from, None where it is not known."""
    path = folder / RUN_JSON
    start = _read(path).get("start") if path.is_file() else None
    return start.get("checkpoint") if isinstance(start, dict) else None


def finished(folder: Path) -> TrainResult | None:
    """The result of a run that has come to its end; None where it has not."""
    path = folder / RESULT_JSON
    if not path.exists():
        return None
    data = _read(path)
    known = {one.name for one in dataclasses.fields(TrainResult)}
    try:
        data["final_loss"] = math.nan if data["final_loss"] is None else float(data["final_loss"])
        data["evals"] = with_nan(data["evals"])
        return TrainResult(**{**{name: value for name, value in data.items() if name in known}, "folder": str(folder)})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not the result of a run",
            why=f"{type(error).__name__}: {error}",
            fix="delete it: the run then goes on from its newest checkpoint",
        ) from error


def with_nan(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of evaluations as they were measured: null in a file is a number that was none."""
    return [
        {**row, "metrics": {name: math.nan if value is None else value for name, value in row["metrics"].items()}}
        for row in rows
    ]


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """In words, which values of two plain mappings differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))]
    return [] if old == new else [f"{name} was {_short(old)}, now it is {_short(new)}"]


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def to_text(data: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON that every reader takes: numbers that are none, and infinite ones, are null."""
    return json.dumps(_plain(data), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """In one piece: a reader sees the whole file or none."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(to_text(data, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read", why=str(error), fix="delete the folder of the run") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is not what a run writes", fix="delete the folder of the run")
    return data


def rows_until(rows: Sequence[Mapping[str, Any]], step: int) -> list[Mapping[str, Any]]:
    """Lines of steps up to this one."""
    return [row for row in rows if int(row["step"]) <= step]
