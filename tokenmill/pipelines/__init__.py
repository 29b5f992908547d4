"""The built-in recipes: functions that return a `Pipeline`, no logic."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import Pipeline

RECIPES = {
    "raw": "tokenmill.pipelines.raw:raw",
    "fineweb": "tokenmill.pipelines.fineweb:fineweb",
    "fineweb2": "tokenmill.pipelines.fineweb2:fineweb2",
    "gopher": "tokenmill.pipelines.gopher:gopher",
    "c4": "tokenmill.pipelines.c4:c4",
    "refinedweb": "tokenmill.pipelines.refinedweb:refinedweb",
    "dclm-refinedweb": "tokenmill.pipelines.dclm_refinedweb:dclm_refinedweb",
    "dclm-baseline": "tokenmill.pipelines.dclm_baseline:dclm_baseline",
    "fineweb-edu": "tokenmill.pipelines.fineweb_edu:fineweb_edu",
    "fineweb-edu-gpu": "tokenmill.pipelines.fineweb_edu:fineweb_edu_gpu",
    "nemotron-cc-quality": "tokenmill.pipelines.nemotron_cc_quality:nemotron_cc_quality",
    "nemotron-cc": "tokenmill.pipelines.rephrase:nemotron_cc",
    "wrap": "tokenmill.pipelines.rephrase:wrap",
    "finephrase": "tokenmill.pipelines.rephrase:finephrase",
    "cosmopedia": "tokenmill.pipelines.rephrase:cosmopedia",
    "prox": "tokenmill.pipelines.rephrase:prox",
}
"""Name of a recipe -> module and function that makes it."""
REPHRASING = ("nemotron-cc", "wrap", "finephrase", "cosmopedia", "prox")
"""Recipes whose last stage asks a language model."""
WITH_MODELS = ("dclm-baseline", "fineweb-edu", "fineweb-edu-gpu", "nemotron-cc-quality", *REPHRASING)
"""Recipes that need models, from a hub or your own."""


def recipe(name: str) -> Pipeline:
    """The built-in recipe of that name; ConfigError with the nearest names otherwise."""
    if name not in RECIPES:
        raise ConfigError(
            f"no recipe named {name!r}",
            why=did_you_mean(name, RECIPES),
            fix="your own recipe is given as my.py:name, a run again as out/run.json",
        )
    module, _, function = RECIPES[name].partition(":")
    make: Callable[[], Pipeline] = getattr(import_module(module), function)
    return make()
