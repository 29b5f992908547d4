"""Moving thresholds after the run: a plan that decides anew on what an annotated run has stored.

The result is the run that other settings would have given: the recipe in its `run.json` is the original one with
the new settings, and `data/` has the same bytes as a fresh run with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.core.measuring import StageRules, measured_columns
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Phase, Plan, make_plan, verdict_column
from tokenmill.core.signals import is_signal
from tokenmill.core.stage import Filter, InputShard, Rewrite, Stage
from tokenmill.executors.runspec import Options, RunSpec, load_run
from tokenmill.io.annotated import ReadAnnotated
from tokenmill.io.runfolder import RunFolder

READ = "read_annotated"


def refilter_spec(run: str, settings: Iterable[tuple[str, str, Any]]) -> RunSpec:
    """The run that filters the documents of the annotated run `run` with new settings.

    settings: (stage, field, value). ConfigError where a setting needs what the run has not stored.
    """
    folder = RunFolder(run)
    data = load_run(folder)
    if data.get("mode") != "annotate":
        raise ConfigError(
            f"{run} has no signals stored",
            why="it is no run in annotate mode",
            fix="tokenmill run RECIPE --mode annotate --input ... --output ..., then refilter that",
        )
    pipeline = _original(data).with_settings(settings)
    plan = refilter_plan(folder, data, pipeline)
    options = Options(**data["options"])
    return RunSpec.of(plan, options, data["input"]["location"])


def rebuild(data: Mapping[str, Any]) -> Plan:
    """The plan that a refiltered run's `run.json` describes."""
    folder = RunFolder(data["refilter"]["run"])
    annotated = load_run(folder)
    if annotated["fingerprint"] != data["refilter"]["fingerprint"]:
        raise ConfigError(
            f"{folder.location} is not the run that was filtered before",
            fix="start again with another --output",
        )
    return refilter_plan(folder, annotated, _original(data))


def refilter_plan(folder: RunFolder, data: Mapping[str, Any], pipeline: Pipeline) -> Plan:
    """The plan of `pipeline` on the documents of the annotated run with `run.json` `data`."""
    _check_same_stages(_original(data), pipeline)
    fresh = make_plan(pipeline, _inputs(folder, data))
    annotated = Pipeline.from_json(data)
    rules = _rules(annotated, data, fresh)
    stages: dict[str, Stage] = {READ: ReadAnnotated(run=folder.location)}
    pairs = dict(zip(fresh.pipeline.labels, fresh.pipeline.stages, strict=True))
    stages.update({label: pairs[label] for label in rules})
    last = fresh.pipeline.labels[-1]
    stages[last] = pairs[last]
    both = f"refilter {data['fingerprint']} {fresh.fingerprint}".encode()
    phase = Phase(
        index=0,
        labels=tuple(stages),
        stages=tuple(stages.values()),
        fingerprint=hashlib.sha256(both).hexdigest(),
        columns={field.name: field.type for field in fresh.schema},
        rules=rules,
    )
    origin = {"run": folder.location, "fingerprint": data["fingerprint"]}
    return Plan(fresh.pipeline, (phase,), fresh.inputs, fresh.digests, fresh.schema, fresh.inserted, refilter=origin)


def _original(data: Mapping[str, Any]) -> Pipeline:
    """The recipe without the stages that the plan had put in."""
    inserted = set(data["inserted"])
    entries = [entry for entry in data["stages"] if entry["stage"] not in inserted]
    return Pipeline.from_json({**data, "stages": entries})


def _inputs(folder: RunFolder, data: Mapping[str, Any]) -> list[InputShard]:
    """The annotated shards, under the names of the inputs that they were made from."""
    directory = data["phases"][-1]["directory"]
    found = []
    for shard in data["input"]["shards"]:
        manifest = folder.manifest(directory, shard["output"])
        if manifest is None:
            raise ConfigError(
                f"{folder.location} is not finished",
                why=f"shard {shard['output']} is missing",
                fix="run the same command again to finish it",
            )
        (file,) = (file for file in manifest["files"] if file["kind"] == "data")
        found.append(InputShard(folder.path(file["path"]), shard["name"], file["bytes"], file["sha256"][:32]))
    return found


def _check_same_stages(before: Pipeline, after: Pipeline) -> None:
    """Only settings of filters may differ."""
    for label, old, new in zip(before.labels, before.stages, after.stages, strict=True):
        if isinstance(old, Filter) or old.config() == new.config():
            continue
        changed = [name for name, value in new.config().items() if old.config()[name] != value]
        raise ConfigError(
            f"{label}.{changed[0]} cannot be changed after the run",
            why=f"{label} is no filter: other settings give other texts or other signals",
            fix="run the recipe again with this setting",
        )


def _rules(annotated: Pipeline, data: Mapping[str, Any], fresh: Plan) -> dict[str, StageRules]:
    """How each filter that did not drop in the annotated run decides now, in the order of the recipe."""
    measured = dict(zip(annotated.labels, measured_columns(annotated.stages), strict=True))
    stored = set(data["columns"])
    configs = {entry["stage"]: entry["config"] for entry in data["stages"]}
    found: dict[str, StageRules] = {}
    for label, stage in zip(fresh.pipeline.labels, fresh.pipeline.stages, strict=True):
        if not isinstance(stage, Filter):
            continue
        same = stage.config() == configs[label]
        if label in data["enforce"]:
            if not same:
                raise ConfigError(
                    f"{label} cannot be changed after the run",
                    why="the run enforced it: what it drops is not there",
                    fix="run the recipe again, without --enforce for it",
                )
            continue
        later = annotated.stages[annotated.labels.index(label) + 1 :]
        if stage.decides_by_rules:
            _check_stored(label, stage, measured[label], stored, later)
            found[label] = StageRules(measured[label])
        elif same and data["digests"].get(label) == fresh.digests.get(label):
            found[label] = StageRules(measured[label], stored=verdict_column(label))
        else:
            _check_judgeable(label, stage, stored, later)
            found[label] = StageRules(measured[label] if not _changes_text(later) else {})
    return found


def _check_stored(
    label: str, stage: Filter, measured: Mapping[str, str], stored: set[str], later: Sequence[Stage]
) -> None:
    for rule in stage.rules():
        if not rule.active:
            continue
        for name in filter(None, (rule.signal, rule.by)):
            column = measured.get(name) if is_signal(name) else name
            if column is None or column not in stored:
                raise ConfigError(
                    f"{label} needs {name!r}, which the annotated run has not measured there",
                    fix="run the recipe again with this setting",
                )
            if any(column in stage.columns_added() for stage in later):
                raise ConfigError(
                    f"{label} decides on {column!r}, which a later stage has overwritten",
                    fix="run the recipe again with this setting",
                )


def _check_judgeable(label: str, stage: Filter, stored: set[str], later: Sequence[Stage]) -> None:
    """A filter that judges documents can do so again if all it reads is stored as it was then."""
    missing = [name for name in stage.reads if name not in stored]
    if "text" in stage.reads and _changes_text(later):
        missing.append("text (a later stage has changed it)")
    if missing:
        raise ConfigError(
            f"{label} cannot be judged again after the run",
            why=f"it reads {', '.join(missing)}, not stored as it was",
            fix="run the recipe again with this setting",
        )


def _changes_text(stages: Sequence[Stage]) -> bool:
    return any(isinstance(stage, Rewrite) and not stage.keeps_text for stage in stages)
