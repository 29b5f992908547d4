"""What a run begins from: the checkpoint of another run, and weights in general."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tokenmill.core.errors import ConfigError
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.checkpoint import Checkpoint
from tokenmill.train.model import Decoder
from tokenmill.train.parallel import load_whole
from tokenmill.train.results import TrainResult, begun_with, check_claim, finished
from tokenmill.train.settings import TrainSettings


@dataclass(frozen=True)
class Start:
    """Begin from a checkpoint of another run, at its step: a branch decay, an anneal. The schedule goes on there."""

    checkpoint: Path
    data: str = "continue"
    """continue: the same view and seed, behind what was seen; new: another view, from its beginning."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoint", Path(self.checkpoint))

    @property
    def step(self) -> int:
        """Where the run begins. ConfigError where the checkpoint has no name of one."""
        return checkpoints.step_of(self.checkpoint)

    def identity(self, folder: Path) -> dict[str, str]:
        """What of it decides on the run in `folder`. Where the checkpoint is gone, what the run began with is believed:
        it goes on from checkpoints of its own, or is finished."""
        gone = not self.checkpoint.is_dir()
        digest = begun_with(folder) if gone else None
        return {"checkpoint": digest or checkpoints.digest(self.checkpoint), "data": self.data}


def load_weights(model: Decoder, folder: Path, step: int | None = None) -> int:
    """Give a model the weights of a run's checkpoint; the step they are of. step: None is the newest that is whole.

    ConfigError where there is no such checkpoint, or it is of another shape.
    """
    path = checkpoints.newest(folder) if step is None else checkpoints.path_of(folder, step)
    if path is None:
        raise ConfigError(f"the run in {folder} has no checkpoint", fix="train it first")
    load_model(model, checkpoints.load(path), path)
    return checkpoints.step_of(path)


def load_model(model: Decoder, saved: Checkpoint, path: Path) -> None:
    """The weights of a checkpoint. ConfigError where they are of another shape."""
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    found = {name: tuple(tensor.shape) for name, tensor in saved.model.items()}
    if shapes != found:
        differing = [name for name in sorted({*shapes, *found}) if shapes.get(name) != found.get(name)]
        name = differing[0]
        raise ConfigError(
            "the checkpoint is of a model of another shape",
            where=str(path),
            why=f"{name} is {found.get(name, 'not there')}, of this model {shapes.get(name, 'not there')}",
            fix="make the model with the config of that run (run.json)",
        )
    load_whole(model, saved.model)


def check_start(settings: TrainSettings, start: Start | None) -> None:
    """ConfigError where a run cannot begin there."""
    if start is None:
        return
    if start.data not in ("continue", "new"):
        raise ConfigError(f"Start(data={start.data!r}) is not known", fix='"continue" or "new"')
    step = start.step
    if step >= settings.steps:
        raise ConfigError(
            f"the run would end at step {settings.steps}, and the checkpoint it begins from is of step {step}",
            where=str(start.checkpoint),
            why="`steps` counts those of the checkpoint too",
            fix=f"steps={step} + the steps to add",
        )


class Stand(NamedTuple):
    """How far the run in a folder is."""

    identity: dict[str, Any]
    """What stands in run.json, or will."""
    result: TrainResult | None
    missing: list[int]
    """Steps that it has passed, and of which it should have checkpoints and has none."""


def stand(folder: Path, about: Mapping[str, Any], settings: TrainSettings, start: Start | None) -> Stand:
    """How far a run is; about: its identity but for `start`. ConfigError where the folder holds another run."""
    identity = {**about, "start": None if start is None else start.identity(folder)}
    if not check_claim(folder, identity):
        return Stand(identity, None, [])
    result = finished(folder)
    if not settings.keep_steps:
        return Stand(identity, result, [])
    newest = None if result is not None else checkpoints.newest(folder)
    reached = settings.steps if result is not None else 0 if newest is None else checkpoints.step_of(newest)
    first = 0 if start is None else start.step  # those before are of the other run
    passed = [step for step in settings.keep_steps if first < step <= reached]
    return Stand(identity, result, checkpoints.missing(folder, passed))
