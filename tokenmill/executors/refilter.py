"""Moving thresholds after the run: a plan that decides anew on what an annotated run has stored.

The result is the run that other settings would have given: the recipe in its `run.json` is the original one with
the new settings, and `data/` has the same bytes as a fresh run with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.core.measuring import StageRules, changes_text, measured_columns
from tokenmill.core.phases import cut
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, Plan, decides, make_plan, verdict_column
from tokenmill.core.signals import is_signal, known_signals
from tokenmill.core.stage import Annotate, Barrier, Filter, InputShard, Sink, Stage
from tokenmill.executors.forget_marks import FORGOTTEN
from tokenmill.executors.runspec import Options, RunSpec, load_run
from tokenmill.io.annotated import ReadAnnotated
from tokenmill.io.filesystem import absolute_location
from tokenmill.io.removals import check_removed
from tokenmill.io.runfolder import RunFolder

READ = "read_annotated"


def refilter_spec(run: str, settings: Iterable[tuple[str, str, Any]]) -> RunSpec:
    """The run that filters the documents of the annotated run `run` with new settings.

    settings: (stage, field, value). ConfigError where a setting needs what the run has not stored.
    """
    folder = RunFolder(run)
    data = {**load_run(folder), "folder": folder.location}
    check_removed(folder)
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
    annotated = {**load_run(folder), "folder": folder.location}
    if annotated["fingerprint"] != data["refilter"]["fingerprint"]:
        raise ConfigError(
            f"{folder.location} is not the run that was filtered before",
            fix="start again with another --output",
        )
    return refilter_plan(folder, annotated, _original(data))


def refilter_plan(folder: RunFolder, data: Mapping[str, Any], pipeline: Pipeline) -> Plan:
    """The plan of `pipeline` on the documents of the annotated run with `run.json` `data`."""
    _check_same_settings(_original(data), pipeline)
    fresh = make_plan(pipeline, _inputs(folder, data))
    _check_same_digests(data, fresh)
    annotated = Pipeline.from_json(_here(data))
    rules, again, affected = _rules(annotated, data, fresh)
    _check_nothing_missing(folder, data, annotated, fresh, affected)
    if again:
        _check_all_compared(folder, data, annotated, again)
    run = absolute_location(folder.location).rstrip("/")
    stages: dict[str, Stage] = {READ: ReadAnnotated(run=run)}
    pairs = dict(zip(fresh.pipeline.labels, fresh.pipeline.stages, strict=True))
    stages.update({label: pairs[label] for label in rules})
    last = fresh.pipeline.labels[-1]
    stages[last] = pairs[last]
    columns = {field.name: field.type for field in fresh.schema}
    if again:  # what later stages read must pass from phase to phase
        stored = make_plan(_original(data), fresh.inputs, Annotation(tuple(data["enforce"]))).schema
        columns = {**{field.name: field.type for field in stored}, **columns}
    phases = cut(
        list(stages.items()),
        _fingerprints(stages, data, fresh),
        [columns] * len(stages),
        {label: rules.get(label, StageRules()) for label in stages},
        reread=False,
        whole={label for label in rules if label not in again},
    )
    origin = {"run": run, "fingerprint": data["fingerprint"]}
    return Plan(fresh.pipeline, phases, fresh.inputs, fresh.digests, fresh.schema, fresh.inserted, refilter=origin)


def _fingerprints(stages: Mapping[str, Stage], data: Mapping[str, Any], fresh: Plan) -> list[str]:
    """One per stage: all differ, and all depend on the annotated run and on the new recipe."""
    both = f"refilter {data['fingerprint']} {fresh.fingerprint}".encode()
    whole = hashlib.sha256(both).hexdigest()
    return [hashlib.sha256(f"{whole} {label}".encode()).hexdigest() for label in stages]


def _here(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`run.json` with the copies of the user's files that the run keeps, where the originals are gone."""
    folder = data.get("folder")
    stages = []
    for entry in data["stages"]:
        copy = Path(folder, "recipe", Path(entry.get("file", "")).name) if folder else None
        if "file" in entry and not Path(entry["file"]).is_file() and copy is not None and copy.is_file():
            entry = {**entry, "file": str(copy)}
        stages.append(entry)
    return {**data, "stages": stages}


def _original(data: Mapping[str, Any]) -> Pipeline:
    """The recipe without the stages that the plan had put in."""
    inserted = set(data["inserted"])
    entries = [entry for entry in _here(data)["stages"] if entry["stage"] not in inserted]
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
        part = tuple(shard["part"]) if "part" in shard else None
        found.append(
            InputShard(folder.path(file["path"]), shard["name"], file["bytes"], file["sha256"][:32], part=part)
        )
    return found


def _check_same_settings(before: Pipeline, after: Pipeline) -> None:
    """Only settings of filters, and of barriers that leave the text as it is, may differ."""
    for label, old, new in zip(before.labels, before.stages, after.stages, strict=True):
        movable = isinstance(old, Filter) or _derived(old) or (isinstance(old, Barrier) and old.keeps_text)
        if movable or old.config() == new.config():
            continue
        changed = [name for name, value in new.config().items() if old.config()[name] != value]
        raise ConfigError(
            f"{label}.{changed[0]} cannot be changed after the run",
            why=f"{label} is no filter: other settings give other texts or other signals",
            fix="run the recipe again with this setting",
        )


def _check_same_digests(data: Mapping[str, Any], fresh: Plan) -> None:
    """What made texts and signals must still be what it was: code, models, libraries."""
    for label, stage in zip(fresh.pipeline.labels, fresh.pipeline.stages, strict=True):
        before, now = data["digests"].get(label, {}), fresh.digests.get(label, {})
        differ = [name for name in before.keys() & now.keys() if before[name] != now[name]]
        if differ and not isinstance(stage, Filter) and not _derived(stage):
            raise ConfigError(
                f"{label} is no longer what made the run: {', '.join(sorted(differ))} differ",
                why=f"{before[differ[0]][:40]} then, {now[differ[0]][:40]} now; a fresh run would give other texts",
                fix="use the code and the versions of the run (its run.json and recipe/), or run the recipe again",
            )


def _check_nothing_missing(
    folder: RunFolder, data: Mapping[str, Any], annotated: Pipeline, fresh: Plan, affected: Collection[str]
) -> None:
    """Documents that made a stage fail are in quarantine: they are missed where the stage might not fail now.

    affected: stages with other settings or files, or that see other columns.
    """
    stages = dict(zip(annotated.labels, annotated.stages, strict=True))
    measured = {name for stage in fresh.pipeline.stages for name in stage.measures()}
    for count in _counts(folder, data):
        label = count["stage"]
        stage = stages.get(label)
        if not count["quarantined"] or stage is None:
            continue
        own = {name for name in stage.measures() if known_signals()[name].compute is not None}
        if label in affected or own - measured:
            raise ConfigError(
                f"{label} put documents into quarantine that this setting might keep",
                why="they are not in the annotated run",
                fix="run the recipe again with this setting",
            )


def _check_all_compared(
    folder: RunFolder, data: Mapping[str, Any], annotated: Pipeline, again: Collection[str]
) -> None:
    """Documents that ended behind a barrier took part in it, and are not there when it is done again."""
    first = min(annotated.labels.index(label) for label in again)
    behind = annotated.labels[first:]
    for count in _counts(folder, data):
        ended = [number for reason, number in count["dropped"].items() if reason != FORGOTTEN]
        if count["stage"] in behind and (count["quarantined"] or any(ended)):
            raise ConfigError(
                f"{behind[0]} cannot be done again after the run",
                why=f"{count['stage']} has ended documents that it had compared: enforced, or put into quarantine",
                fix="run the recipe again with this setting",
            )


def _counts(folder: RunFolder, data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What every stage did to every shard of the annotated run."""
    for phase in (phase for phase in data["phases"] if not phase.get("step")):
        for _, manifest in folder.manifests(phase["directory"]):
            yield from manifest["stages"]


def _rules(
    annotated: Pipeline, data: Mapping[str, Any], fresh: Plan
) -> tuple[dict[str, StageRules], set[str], set[str]]:
    """How each stage that did not drop in the annotated run decides now, in the order of the recipe.

    The second are the barriers that must be done again, because they or what they compare has changed; the third all
    stages with other settings or files, or that see columns that are made anew.
    """
    measured = dict(zip(annotated.labels, measured_columns(annotated.stages), strict=True))
    stored = set(data["columns"])
    configs = {entry["stage"]: entry["config"] for entry in data["stages"]}
    found: dict[str, StageRules] = {}
    again: set[str] = set()
    affected: set[str] = set()
    stale: set[str] = set()
    changed = ""
    for label, stage in zip(fresh.pipeline.labels, fresh.pipeline.stages, strict=True):
        if not (isinstance(stage, Filter | Barrier) or _derived(stage)):
            if stale and not isinstance(stage, Sink):
                _check_independent(label, stage, stale, changed)
            continue
        same = stage.config() == configs[label] and data["digests"].get(label) == fresh.digests.get(label)
        uses = _uses(stage, stale) if isinstance(stage, Filter) else bool(stale.intersection(stage.reads))
        if uses or not same:
            affected.add(label)
        changed = changed or (label if label in affected else "")
        later = annotated.stages[annotated.labels.index(label) + 1 :]
        remade = label in affected if _derived(stage) else isinstance(stage, Barrier) and bool(changed)
        if label in data["enforce"]:
            _check_enforced(label, same, uses or remade, changed)
        elif isinstance(stage, Filter):
            found[label] = _filter_rules(label, stage, measured[label], stored | stale, later, same and not uses)
        elif _derived(stage) and remade:
            _check_makes(label, stage, stored | stale, later)
            found[label] = StageRules()
        elif isinstance(stage, Barrier) and remade:
            _check_again(label, stage, changed, later)
            again.add(label)
            found[label] = StageRules()
        elif decides(stage):
            found[label] = StageRules(stored=verdict_column(label))
        if remade:
            _check_renamed(label, stage, annotated)
            stale.update(stage.columns_added())
    return found, again, affected


def _filter_rules(
    label: str, stage: Filter, measured: Mapping[str, str], known: Collection[str], later: Sequence[Stage], same: bool
) -> StageRules:
    """How a filter decides now. known: the columns that are there. same: its settings and columns are as they were."""
    missing = _missing(stage, measured, known, later)
    if same and (missing or not stage.decides_by_rules):
        return StageRules(measured, stored=verdict_column(label))
    if missing:
        raise ConfigError(
            f"{label} cannot be decided again after the run",
            why=f"it needs {', '.join(missing)}, not stored as it was",
            fix="run the recipe again with this setting",
        )
    return StageRules(measured)


def _check_renamed(label: str, stage: Stage, annotated: Pipeline) -> None:
    """ConfigError where a stage no longer makes a column in which it has overwritten what was there before."""
    place = annotated.labels.index(label)
    before = {name for one in annotated.stages[:place] for name in one.columns_added()}
    gone = set(annotated.stages[place].columns_added()).difference(stage.columns_added())
    lost = sorted(gone & before)
    if lost:
        raise ConfigError(
            f"{label} cannot leave {', '.join(lost)} alone after the run",
            why="it has overwritten what an earlier stage had put there, and that is not stored",
            fix="run the recipe again with this setting",
        )


def _derived(stage: Stage) -> bool:
    """Whether a stage makes its columns anew from stored ones."""
    return isinstance(stage, Annotate) and stage.derived


def _check_makes(label: str, stage: Stage, known: Collection[str], later: Sequence[Stage]) -> None:
    """ConfigError where a stage cannot make its columns anew: what it reads, or makes, is not as it was there."""
    overwritten = {name for one in later for name in one.columns_added()}
    lost = [name for name in stage.reads if name not in known or name in overwritten]
    lost += [name for name in stage.columns_added() if name in overwritten]
    if "text" in stage.reads and _changes_text(later):
        lost.append("the text (a later stage has changed it)")
    if lost:
        raise ConfigError(
            f"{label} cannot be done again after the run",
            why=f"it needs {', '.join(dict.fromkeys(lost))}, not stored as it was",
            fix="run the recipe again with this setting",
        )


def _uses(stage: Filter, columns: set[str]) -> bool:
    """Whether a filter decides by these columns, or may: one that judges and does not say what it reads."""
    names = {name for rule in stage.rules() if rule.active for name in (rule.signal, rule.by)}
    return bool(columns & {*names, *stage.reads}) or bool(columns and not stage.decides_by_rules and not stage.reads)


def _check_independent(label: str, stage: Stage, stale: set[str], changed: str) -> None:
    """ConfigError where a stage that is not run again has made its columns from those of a barrier that is."""
    used = sorted(stale.intersection(stage.reads))
    if used:
        raise ConfigError(
            f"{changed} cannot be changed after the run",
            why=f"it changes {', '.join(used)}, from which {label} has made columns",
            fix="run the recipe again with this setting",
        )


def _check_enforced(label: str, same: bool, differs: bool, changed: str) -> None:
    """differs: what the stage sees of a document, or which documents it compares, is not as it was."""
    if not same or differs:
        why = "the run enforced it: what it drops is not there"
        raise ConfigError(
            f"{changed} cannot be changed after the run",
            why=why if not same else f"{label} depends on it, and {why}",
            fix=f"run the recipe again, without --enforce for {label}",
        )


def _check_again(label: str, barrier: Barrier, changed: str, later: Sequence[Stage]) -> None:
    """ConfigError unless a barrier can be done again on the documents as the annotated run has stored them."""
    overwritten = {name for stage in later for name in stage.columns_added()}.intersection(barrier.reads)
    why = "it changes texts" if not barrier.keeps_text else ""
    if _changes_text(later):
        why = "a later stage changes texts"
    if overwritten:
        why = f"a later stage changes {', '.join(sorted(overwritten))}"
    if why:
        raise ConfigError(
            f"{changed} cannot be changed after the run",
            why=f"{label} depends on it and cannot be done again: {why}",
            fix="run the recipe again with this setting",
        )


def _missing(stage: Filter, measured: Mapping[str, str], stored: Collection[str], later: Sequence[Stage]) -> list[str]:
    """What a filter needs and the run has not stored as it was when the filter saw it."""
    overwritten = {name for stage in later for name in stage.columns_added()}
    names = [name for rule in stage.rules() if rule.active for name in (rule.signal, rule.by) if name]
    columns = [measured.get(name, f"{name} (not measured there)") if is_signal(name) else name for name in names]
    missing = [column for column in columns if column not in stored or column in overwritten]
    if not stage.decides_by_rules:
        missing += [name for name in stage.reads if name not in stored or name in overwritten]
        if _changes_text(later) and ("text" in stage.reads or _looks_at_text(stage)):
            missing.append("the text (a later stage has changed it)")
    return list(dict.fromkeys(missing))


def _looks_at_text(stage: Filter) -> bool:
    """Whether a filter that judges may measure the text: one that says what it reads, and not the text, does not."""
    return not stage.reads or bool(stage.rules())


def _changes_text(stages: Sequence[Stage]) -> bool:
    return any(changes_text(stage) for stage in stages)
