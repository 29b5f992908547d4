"""The stages of a run as objects, and the plain facts of them that a report shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tokenmill.text  # noqa: F401  (registers the signals)
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Sink, Source, Stage

_KINDS = (Source, Filter, Rewrite, Annotate, Barrier, Sink)


@dataclass(frozen=True)
class Recipe:
    """(label, stage) in order; None where the code of a stage is not here, or has another version."""

    stages: tuple[tuple[str, Stage | None], ...]

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> Recipe:
        """The resolved recipe of a `run.json`."""
        return cls(tuple((entry["stage"], _stage(run["recipe"], entry)) for entry in run["stages"]))

    @property
    def missing(self) -> list[str]:
        return [label for label, stage in self.stages if stage is None]

    def kind(self, label: str) -> str:
        """Source, Filter, Rewrite, ...; "" where not known."""
        stage = dict(self.stages).get(label.removesuffix(".prepare"))
        return next((kind.__name__ for kind in _KINDS if isinstance(stage, kind)), "")


def _stage(recipe: str, entry: Mapping[str, Any]) -> Stage | None:
    # code that came with the run is not run for a report: only a file that is where the run was started has it
    if "file" in entry and not os.path.isabs(entry["file"]):
        return None
    try:
        stage = _built(recipe, entry)
        stage.columns_added()  # may look at a model
        stage.measures()
    except Exception:  # code of the user's may fail in any way
        return None
    return stage


def _built(recipe: str, entry: Mapping[str, Any]) -> Stage:
    """The stage. One that is no filter may have lost a setting since the run: what it adds and reads is still known."""
    try:
        (stage,) = Pipeline.from_json({"recipe": recipe, "stages": [entry]}).stages
    except ConfigError:
        (usual,) = Pipeline.from_json({"recipe": recipe, "stages": [{**entry, "config": {}}]}).stages
        if isinstance(usual, Filter):
            raise
        config = {**usual.config(), **{k: v for k, v in entry["config"].items() if k in usual.config()}}
        (stage,) = Pipeline.from_json({"recipe": recipe, "stages": [{**entry, "config": config}]}).stages
    return stage
