"""Checkpoints: whole or not there.

    checkpoints/step-00000123/
        model.safetensors   weights, float32, whole, by the names that they have here (export.py writes those of others)
        optimizer.pt        states of the optimizers
        state.json          step, loader, monitor, scores so far
        random.pt           states of torch's random generators
        manifest.json       size and SHA-256 of each of these

A checkpoint is written to a folder of another name, flushed, and renamed. When it is read, every file must be what the
manifest says; the newest that is whole is taken, and damaged ones are told of.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokenmill.core.errors import ConfigError
from tokenmill.train.results import to_text

FOLDER = "checkpoints"
KEPT = 2
"""Newest checkpoints that are kept."""
_FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8,})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """All that a run goes on from. Tensors are whole, and on the CPU."""

    model: Mapping[str, Tensor]
    optimizers: list[dict[str, Any]]
    state: Mapping[str, Any]
    """Plain values, for JSON; `step` is one of them."""
    random: Mapping[str, Tensor]


def path_of(folder: Path, step: int) -> Path:
    """Where a run keeps the checkpoint of a step."""
    return folder / FOLDER / f"step-{step:08d}"


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of the run in `folder`, in one piece; one of the same step is replaced."""
    target = path_of(folder, int(checkpoint.state["step"]))
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(dict(checkpoint.model), partial / "model.safetensors", metadata={"format": "pt"})
    torch.save(checkpoint.optimizers, partial / "optimizer.pt")
    torch.save(dict(checkpoint.random), partial / "random.pt")
    (partial / "state.json").write_text(to_text(checkpoint.state, indent=1), encoding="utf-8")
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in sorted(partial.iterdir())}
    (partial / _MANIFEST).write_text(json.dumps({"format": _FORMAT, "files": files}, indent=1), encoding="utf-8")
    for path in partial.iterdir():
        _flush(path)
    _flush(partial)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    _flush(target.parent)
    return target


def load(path: Path) -> Checkpoint:
    """A checkpoint, every file compared with the manifest. ConfigError where one is missing or differs."""
    if problem := _problem(path):
        raise ConfigError(f"the checkpoint {path} cannot be used", why=problem, fix="take another checkpoint")
    return Checkpoint(
        load_file(path / "model.safetensors"),
        torch.load(path / "optimizer.pt", weights_only=True),
        json.loads((path / "state.json").read_text(encoding="utf-8")),
        torch.load(path / "random.pt", weights_only=True),
    )


def newest(folder: Path, before: int | None = None) -> Path | None:
    """The newest checkpoint of a run that is whole; None where there is none. Damaged ones are warned of.

    before: of steps up to this one only.
    """
    for step, path in reversed(_all(folder)):
        if before is not None and step > before:
            continue
        problem = _problem(path)
        if not problem:
            return path
        _log.warning("checkpoint %s is damaged and not used: %s", path, problem)
    return None


def missing(folder: Path, steps: Collection[int]) -> list[int]:
    """Steps of these of which a run has no checkpoint that is whole, in order."""
    return [step for step in sorted(set(steps)) if _problem(path_of(folder, step))]


def _all(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of what is named as a checkpoint, in order; what people put beside them is not looked at."""
    found = [path for path in (folder / FOLDER).glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted((step_of(path), path) for path in found)


def step_of(path: Path) -> int:
    """The step that the name of a checkpoint tells. ConfigError where the name is none of a checkpoint."""
    if (found := _NAME.fullmatch(path.name)) is None:
        raise ConfigError(
            f"{path} is no checkpoint",
            why="one is named after its step, such as step-00000024",
            fix="give path_of(folder of the run, step)",
        )
    return int(found[1])


def digest(path: Path) -> str:
    """SHA-256 of what others begin from: step, weights, optimizers and place in the data, but not of times. ConfigError
    where there is no such checkpoint."""
    step_of(path)
    if not (path / _MANIFEST).is_file():
        raise ConfigError(f"there is no checkpoint at {path}", fix="give the folder step-... of a run's checkpoints")
    try:
        files = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))["files"]
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        decides = [files[name]["sha256"] for name in ("model.safetensors", "optimizer.pt")]
        decides += [state["step"], state["loader"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the checkpoint {path} cannot be used", why=str(error), fix="take another one") from error
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def discard_old(folder: Path, keep_steps: Collection[int], step: int | None = None) -> None:
    """Delete checkpoints but the newest KEPT and those of `keep_steps`, and what a stopped process left half done.

    step: the one just written: those of later steps are damaged (the run would have gone on from them), so they go,
    and do not count.
    """
    found = _all(folder)
    good = [path for number, path in found if step is None or number <= step]
    for number, path in found:
        if path not in good[-KEPT:] and (number not in keep_steps or path not in good):
            shutil.rmtree(path)
    for path in (folder / FOLDER).glob(".step-*.partial"):
        shutil.rmtree(path)


def _problem(path: Path) -> str:
    """What is wrong with a checkpoint, in words; "" where it is whole."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its {_MANIFEST} cannot be read ({error})"
    if manifest.get("format") != _FORMAT:
        return f"it has format {manifest.get('format')}, and this version reads {_FORMAT}"
    for name, about in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != about["bytes"]:
            return f"{name} has {file.stat().st_size} bytes and not {about['bytes']}"
        if _digest(file) != about["sha256"]:
            return f"{name} is not what was written (its SHA-256 differs)"
    return ""


def _digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
