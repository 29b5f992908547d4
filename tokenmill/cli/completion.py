"""What a shell offers at the next key: recipes, stages, settings. The shell itself knows files and folders."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from tokenmill.cli.recipes import import_stages, load_recipe
from tokenmill.core.errors import TokenmillError
from tokenmill.core.settings import field_docs
from tokenmill.core.stage import registered_stages
from tokenmill.pipelines import RECIPES


def recipes(incomplete: str) -> list[str]:
    """Names of built-in recipes."""
    return [name for name in RECIPES if name.startswith(incomplete)]


def stages(incomplete: str) -> list[str]:
    """Names of stages that can run."""
    import_stages()
    return sorted(
        name
        for name, cls in registered_stages().items()
        if name.startswith(incomplete) and not getattr(cls, "__abstractmethods__", None)
    )


def settings(context: typer.Context, incomplete: str) -> list[str]:
    """`stage.field=` for the recipe, or the run, that the command line names so far; nothing where none can be read."""
    # a line that ends in an option without its value is not parsed to the end: then its arguments are what is left
    named = context.params.get("recipe") or context.params.get("run") or next(iter(context.args), None)
    if not named:
        return []
    found: list[str] = []
    for candidate in (named, f"{named}/run.json"):
        try:
            pipeline = load_recipe(candidate).pipeline
        except (TokenmillError, OSError):
            continue
        found = list(_settings(pipeline.labels, [type(stage) for stage in pipeline.stages]))
        break
    return [name for name in found if name.startswith(incomplete)]


def _settings(labels: list[str], classes: list[type]) -> Iterator[str]:
    for label, cls in zip(labels, classes, strict=True):
        for field in field_docs(cls):
            yield f"{label}.{field.name}="
