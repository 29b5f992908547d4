"""The plan of a run as the code here has it, and in what that is not what made the run."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenmill import __version__
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Plan, make_plan
from tokenmill.executors.runspec import versions
from tokenmill.io.runfolder import RunFolder


def check_code(folder: RunFolder, data: Mapping[str, Any]) -> None:
    """ConfigError where stages of a run are code that came with the run: explaining a page must not execute that.

    A file that lies elsewhere on this machine, where the run was started, is the user's own.
    """
    inside = Path(folder.path("")).resolve() if folder.is_local else None
    for entry in data["stages"]:
        place = Path(entry["file"]) if "file" in entry else None
        if place is None:
            continue
        own = place.is_absolute() and place.is_file()
        if not own or (inside is not None and place.resolve().is_relative_to(inside)):
            raise ConfigError(
                f"the stage {entry['stage']} is code that came with the run",
                where=f"recipe/{place.name}",
                why="it would be executed to replay a page",
                fix="read it; then --trust-code",
            )


def plan_of_run(data: Mapping[str, Any], settings: Sequence[tuple[str, str, Any]] = ()) -> tuple[Plan, list[str]]:
    """(plan, what differs from the run, in words) for a `run.json`, with settings (stage, field, value) changed.

    Stages of another version and without settings that are gone are taken all the same, since an explanation can say
    so. ConfigError where a stage cannot be had at all.
    """
    if settings:  # other thresholds may need other signals: the plan puts them in again
        inserted = set(data["inserted"])
        data = {**data, "stages": [entry for entry in data["stages"] if entry["stage"] not in inserted]}
    differences: list[str] = []
    entries = [_fitting(entry, differences) for entry in data["stages"]]
    pipeline = Pipeline.from_json({**data, "stages": entries})
    if settings:
        return make_plan(pipeline.with_settings(settings), []), differences
    return replace(make_plan(pipeline, []), inserted=tuple(data["inserted"])), differences


def _fitting(entry: Mapping[str, Any], differences: list[str]) -> dict[str, Any]:
    """The entry of a stage without what the class here does not have."""
    if "file" in entry or "class" not in entry:
        return dict(entry)
    module, _, name = entry["class"].partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the code here has no stage {entry['stage']} as the run had it",
            why=str(error),
            fix=f"use the tokenmill that made the run: {entry['class']}",
        ) from error
    fitting = {key: value for key, value in entry.items() if key != "version"}
    if found.version != entry.get("version", found.version):
        differences.append(f"{entry['stage']} was version {entry['version']}, is {found.version}")
    known = {field.name for field in dataclasses.fields(found)}
    gone = [key for key, value in entry["config"].items() if key not in known and value is not None]
    differences += [
        f"{entry['stage']}.{key} was {entry['config'][key]!r}; there is no such setting now" for key in gone
    ]
    fitting["config"] = {key: value for key, value in entry["config"].items() if key in known}
    return fitting


def digest_differences(data: Mapping[str, Any], plan: Plan) -> list[str]:
    """What the outputs depend on and is not as it was: models, lists, libraries, code."""
    found = []
    for label in dict.fromkeys((*data["digests"], *plan.digests)):
        before, now = data["digests"].get(label, {}), plan.digests.get(label, {})
        for name in dict.fromkeys((*before, *now)):
            if before.get(name) != now.get(name):
                found.append(f"{label}: {name} was {before.get(name, 'none')[:40]}, is {now.get(name, 'none')[:40]}")
    return found


def version_differences(data: Mapping[str, Any]) -> list[str]:
    """tokenmill and libraries that are of another version than they were."""
    now = {"tokenmill": __version__, **versions()}
    before = {"tokenmill": data.get("tokenmill", "?"), **data.get("versions", {})}
    return [
        f"{name} was {before.get(name, 'none')}, is {now.get(name, 'none')}"
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    ]
