"""What a run begins from: the checkpoint of another run, and weights in general."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenmill.core.errors import ConfigError
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.checkpoint import Checkpoint
from tokenmill.train.model import Decoder
from tokenmill.train.parallel import load_whole
from tokenmill.train.settings import TrainSettings


@dataclass(frozen=True)
class Start:
    """Begin from a checkpoint of another run, at its step: a branch decay, an anneal. The schedule goes on there."""

    checkpoint: Path
    data: str = "continue"
    """continue: the same view and seed, behind what was seen; new: another view, from its beginning."""


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
    step = checkpoints.step_of(start.checkpoint)
    if step >= settings.steps:
        raise ConfigError(
            f"the run would end at step {settings.steps}, and the checkpoint it begins from is of step {step}",
            where=str(start.checkpoint),
            why="`steps` counts those of the checkpoint too",
            fix=f"steps={step} + the steps to add",
        )
