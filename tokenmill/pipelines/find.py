"""Finding a recipe: a built-in name, `my.py:name`, or the resolved JSON or YAML of a run."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline, object_from_file
from tokenmill.core.settings import parse_assignment
from tokenmill.pipelines import recipe

_STAGE_PACKAGES = ("io", "dedup", "extract", "filters", "interop")
_STAGE_MODULES = (
    "text.measure",
    *(f"classifiers.{name}" for name in ("bins", "decide", "ensemble", "encoder.stage", "fasttext.stage")),
    *(f"tokens.{name}" for name in ("stages", "write", "decontaminate.stage", "mix.source", "mix.write")),
    *(f"rephrase.{name}" for name in ("stage", "programs.stage")),
)
"""Those of larger packages that define stages; others would load PyTorch."""


@dataclass(frozen=True)
class Recipe:
    """A pipeline, and the `run.json` that it comes from, where it does."""

    pipeline: Pipeline
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def location(self) -> str | None:
        """Where the recorded run had its input."""
        found = self.recorded.get("input", {})
        return found.get("location") if isinstance(found, Mapping) else None


def load_recipe(name: str, settings: Iterable[str] = ()) -> Recipe:
    """The recipe of that name or file, with settings applied."""
    if name.endswith((".json", ".yaml", ".yml")):
        found = _resolved(name)
    elif ":" in name or name.endswith(".py"):
        found = Recipe(_from_file(name))
    else:
        found = Recipe(recipe(name))
    return replace(found, pipeline=found.pipeline.with_settings([parse_assignment(text) for text in settings]))


def _from_file(name: str) -> Pipeline:
    path, _, attribute = name.partition(":")
    return object_from_file(path, attribute, Pipeline, "pipeline")


def _resolved(name: str) -> Recipe:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"no file at {name}", fix="give the run.json of a run, or a recipe name")
    data = _parse(path)
    if not isinstance(data, dict) or not isinstance(data.get("stages"), list) or "recipe" not in data:
        raise ConfigError(
            f"{name} describes no recipe",
            why="it needs the keys `recipe` (a name) and `stages` (a list of stage, config)",
            fix="start from the run.json of a run",
        )
    data["stages"] = [_entry(entry, name) for entry in data["stages"]]
    for entry in data["stages"]:
        copy = path.parent / "recipe" / Path(entry.get("file", "")).name
        if "file" in entry and copy.is_file():
            entry["file"] = str(copy)  # the code that made the run, wherever the original is now
    if any("class" not in entry for entry in data["stages"]):
        import_stages()
    return Recipe(Pipeline.from_json(data), data if "input" in data else {})


def _entry(entry: Any, name: str) -> dict[str, Any]:
    """One stage of a hand-written recipe: `read_warc`, or `{stage: read_warc, config: {...}}`."""
    if isinstance(entry, str):
        return {"stage": entry}
    if isinstance(entry, dict) and isinstance(entry.get("stage"), str):
        return entry
    raise ConfigError(f"{entry!r} in {name} is no stage", fix="write a stage's name, or stage: NAME with config:")


def _parse(path: Path) -> Any:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read", why=str(error)) from error


def import_stages() -> None:
    """Import every module of tokenmill that defines stages, so that all are registered."""
    for package_name in _STAGE_PACKAGES:
        package = importlib.import_module(f"tokenmill.{package_name}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("_kernel"):  # has no stages, and would load the compiler
                importlib.import_module(module.name)
    for name in _STAGE_MODULES:
        importlib.import_module(f"tokenmill.{name}")
