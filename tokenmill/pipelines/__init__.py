"""The built-in recipes: functions that return a `Pipeline`, no logic."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import Pipeline

RECIPES = {
    "fineweb": "tokenmill.pipelines.fineweb",
    "gopher": "tokenmill.pipelines.gopher",
    "c4": "tokenmill.pipelines.c4",
}
"""Name of a recipe -> module that has a function of that name."""


def recipe(name: str) -> Pipeline:
    """The built-in recipe of that name; ConfigError with the nearest names otherwise."""
    if name not in RECIPES:
        raise ConfigError(
            f"no recipe named {name!r}",
            why=did_you_mean(name, RECIPES),
            fix="your own recipe is given as my.py:name, a run again as out/run.json",
        )
    make: Callable[[], Pipeline] = getattr(import_module(RECIPES[name]), name)
    return make()
