"""What of a model and its settings can be refused before there are data, and without torch."""

from __future__ import annotations

import ast
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.train.config import ModelConfig
from tokenmill.train.settings import OPTIMIZERS, TrainSettings


def check_settings(model: ModelConfig, settings: TrainSettings, gpus: int = 1) -> None:
    """ConfigError where batches do not divide, or an optimizer or a tracker is not there. Nothing is imported."""
    check_batch(model, settings, gpus)
    check_tracker(settings.track)
    if settings.optimizer not in OPTIMIZERS:
        _check_factory(settings.optimizer)


def check_batch(model: ModelConfig, settings: TrainSettings, ranks: int) -> None:
    """ConfigError where a step's tokens are no whole number of sequences and forward passes on every rank."""
    context, unit = model.context, model.context * ranks
    if settings.batch_tokens % unit:
        raise ConfigError(
            f"batch_tokens={settings.batch_tokens} cannot be shared out",
            why=f"sequences have {context} tokens, and there are {ranks} ranks",
            fix=f"a multiple of {unit}, such as {max(settings.batch_tokens // unit, 1) * unit}",
        )
    rows = settings.batch_tokens // unit
    micro = settings.micro_tokens // context
    if settings.micro_tokens % context or not micro or rows % micro:
        fitting = [one for one in range(1, rows + 1) if rows % one == 0 and one <= max(micro, 1)]
        raise ConfigError(
            f"micro_tokens={settings.micro_tokens} does not divide the batch",
            why=f"a rank has {rows} sequences of {context} tokens in a step, and forward passes of one size",
            fix=f"micro_tokens={fitting[-1] * context}",
        )


def check_tracker(name: str | None) -> None:
    """ConfigError where the package of a tracker is not installed."""
    if name is not None and _spec(name) is None:
        raise ConfigError(
            f"track={name} needs the package {name}",
            why="it is not installed",
            fix=f"pip install {name}, or leave `track` out",
        )


def _check_factory(place: str) -> None:
    module, _, name = place.rpartition(":")
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise ConfigError(
                f"the optimizer {place} cannot be imported",
                why=f"there is no Python file at {Path(module).resolve()}",
                fix="give a path from the working folder, or a whole one",
            )
        _check_name(Path(module), module, name)
        return
    spec = _spec(module)
    if spec is None:
        raise ConfigError(
            f"the optimizer {place} cannot be imported",
            why=f"no module named {module!r}",
            fix=f"install its package, or choose one of {', '.join(OPTIMIZERS)}",
        )
    # a package may take its names from anywhere, also when it is asked for them
    if spec.has_location and spec.origin and Path(spec.origin).suffix == ".py" and not spec.submodule_search_locations:
        _check_name(Path(spec.origin), module, name)


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is, without importing it or the packages that it is in (one may load torch); None: nowhere."""
    parts = name.split(".")
    try:
        found = importlib.util.find_spec(parts[0])
    except ValueError:  # imported, and made by hand
        found = ModuleSpec(parts[0], None)
    for number in range(1, len(parts)):
        if found is None or name in sys.modules:
            return found
        inside, full = found.submodule_search_locations, ".".join(parts[: number + 1])
        tried = (finder.find_spec(full, inside) for finder in sys.meta_path if inside is not None)
        found = next((one for one in tried if one is not None), None)
    return found


def _check_name(file: Path, module: str, name: str) -> None:
    """ConfigError where a file binds no such name at its top; files that bind names in other ways are let pass."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"{module} cannot be imported", where=f"{file}", why=str(error), fix="mend the file"
        ) from error
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(one.asname or one.name).split(".")[0] for one in node.names}
    if name not in names and not names & {"*", "__getattr__"}:
        raise ConfigError(f"{module} has no {name}", where=str(file), why=did_you_mean(name, sorted(names)))
