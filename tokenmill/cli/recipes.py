"""Finding a recipe: a built-in name, `my.py:name`, or the resolved JSON or YAML of a run."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.settings import parse_assignment

_STAGE_PACKAGES = ("io", "extract", "filters")


def load_recipe(name: str, settings: Iterable[str] = ()) -> tuple[Pipeline, str | None]:
    """The pipeline, with settings applied, and the input location that a resolved run names."""
    location = None
    if name.endswith((".json", ".yaml", ".yml")):
        pipeline, location = _resolved(name)
    elif ":" in name or name.endswith(".py"):
        pipeline = _from_file(name)
    else:
        from tokenmill.pipelines import recipe

        pipeline = recipe(name)
    return pipeline.with_settings([parse_assignment(text) for text in settings]), location


def _from_file(name: str) -> Pipeline:
    path, _, attribute = name.partition(":")
    module = load_file(path)
    candidates = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
    if not attribute and len(candidates) == 1:
        return next(iter(candidates.values()))
    found = getattr(module, attribute, None)
    if callable(found) and not isinstance(found, type):
        found = found()
    if not isinstance(found, Pipeline):
        raise ConfigError(
            f"{path} has no pipeline named {attribute!r}",
            why=f"pipelines in it: {sorted(candidates) or 'none'}",
            fix=f"write {path}:NAME, where NAME is a Pipeline or a function that returns one",
        )
    return found


def _resolved(name: str) -> tuple[Pipeline, str | None]:
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
    import_stages()
    location = data.get("input", {}).get("location") if isinstance(data.get("input"), dict) else None
    return Pipeline.from_json(data), location


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read", why=str(error)) from error
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise ConfigError(f"{path} cannot be read", why=str(error)) from error
        raise


def import_stages() -> None:
    """Import every module of tokenmill that defines stages, so that all are registered."""
    for package_name in _STAGE_PACKAGES:
        package = importlib.import_module(f"tokenmill.{package_name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"tokenmill.{package_name}.{module.name}")
