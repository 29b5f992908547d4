"""The arms of an ablation: recipes planned and run with shared phases done once; all checked before any work."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenmill.ablate.share import with_shared_phases
from tokenmill.ablate.spec import Ablation, ArmSpec
from tokenmill.ablate.taken import batches_of
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.schema import DOC_ID, INTERNAL
from tokenmill.core.stage import InputShard, Source, Stage
from tokenmill.executors.adopt import adopt_from
from tokenmill.executors.base import Executor
from tokenmill.executors.documents import check_columns, documents_of
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.preflight import check_space
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec, input_entry, load_run
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines.find import import_stages, load_recipe
from tokenmill.report.write import write_report
from tokenmill.tokens.mix.plan import plan_mixture
from tokenmill.tokens.mix.source import SourceSet, inputs_of, open_sets
from tokenmill.tokens.mix.spec import Mixture, load_mixture, parse_mixture
from tokenmill.tokens.mix.write import mixture_pipeline
from tokenmill.tokens.tokenset import MANIFEST_JSON, TokenSet

QUARANTINED = 0.05
"""More than this share of documents in quarantine is told."""
Observe = Callable[[str], None]
"""Is told what is being done, one line at a time."""


@dataclass(frozen=True)
class TextArm:
    """The documents of an arm: files, and what reads them. `id` is the identity of a document in all arms."""

    name: str
    inputs: tuple[InputShard, ...]
    source: Source


def arm_pipeline(arm: ArmSpec) -> Pipeline:
    """The pipeline of an arm with a recipe, with its settings; on documents: with its stages that work on text.

    ConfigError where the recipe, a stage or a setting is not known.
    """
    pipeline = load_recipe(arm.recipe).pipeline
    settings = [(*key.split(".", 1), value) for key, value in arm.set.items()]
    try:
        pipeline = pipeline.with_settings([(stage, name, value) for stage, name, value in settings])
        pipeline = pipeline.without(arm.without)
    except ConfigError as error:
        where = error.where or f"arm {arm.name}"
        raise ConfigError(error.what, where=where, why=error.why, fix=error.fix) from None
    if arm.documents:
        _, inputs, source = documents_of(arm.documents, (), text_column=arm.text_column, id_column=arm.id_column)
        addresses = _have_addresses(inputs, source)
        pipeline = Pipeline(pipeline.name, [source, *_on_text(pipeline.stages, addresses=addresses)])
    return pipeline


def _have_addresses(inputs: Sequence[InputShard], source: Source) -> bool:
    """Whether the first documents have URLs: without them a filter by URL would drop everything."""
    for shard in inputs:
        for _, batch in batches_of(shard, source):
            return any(batch.column("url").to_pylist())
    return False


def _on_text(stages: Sequence[Stage], *, addresses: bool) -> list[Stage]:
    """The stages of a recipe that can work on documents: those that need nothing of the page as archived or decoded."""
    kept: list[Stage] = []
    pages = {*INTERNAL, *(() if addresses else ("url",))} - {DOC_ID}
    for stage in stages:
        if isinstance(stage, Source) or pages & set(stage.reads):
            continue
        pages -= set(stage.columns_added())
        kept.append(stage)
    return kept


def plan_recipes(ablation: Ablation) -> dict[str, RunSpec]:
    """What the arms with recipes would run each by itself, in order. ConfigError says what cannot be planned."""
    import_stages()
    return {arm.name: _spec(arm, arm_pipeline(arm)) for arm in _with_recipes(ablation)}


def plan_shared(plain: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
    """The same with shared phases: arms over one input are cut where they part."""
    found: dict[str, RunSpec] = {}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, spec in plain.items():
        key = (spec.input_location, *((s.path, s.name, s.size, s.etag) for s in spec.plan.inputs))
        groups.setdefault(key, []).append(name)
    for names in groups.values():
        for name, pipeline in with_shared_phases({name: plain[name].plan.pipeline for name in names}).items():
            spec = plain[name]
            plan = replace(make_plan(pipeline, spec.plan.inputs), inserted=spec.plan.inserted)
            found[name] = RunSpec.of(plan, spec.options, spec.input_location)
    return {name: found[name] for name in plain}


def _with_recipes(ablation: Ablation) -> list[ArmSpec]:
    arms = [arm for arm in ablation.arms.values() if arm.kind == "recipe"]
    return [arm if arm.input or arm.documents else replace(arm, input=ablation.input) for arm in arms]


def _spec(arm: ArmSpec, pipeline: Pipeline) -> RunSpec:
    source = pipeline.stages[0]
    if not isinstance(source, Source):
        raise ConfigError(f"recipe {pipeline.name!r} does not begin with a source", where=f"arm {arm.name}")
    if arm.documents:
        location, inputs, _ = documents_of(arm.documents, ())
        inputs = list(inputs)
    else:
        location, inputs = arm.input, list(source.inputs() or list_inputs(arm.input, source.suffixes))
    return RunSpec.of(make_plan(pipeline, inputs), Options(), location)


def run_recipes(
    plain: Mapping[str, RunSpec], folder: Path, *, workers: int, observe: Observe | None = None
) -> dict[str, RunSpec]:
    """Run the arms with recipes into `folder`/<arm>, shared phases once; resumes. What was run, by name.

    plain: of `plan_recipes`. An arm that has begun goes on as it began, also where arms came that part from it
    elsewhere. FatalError where shards fail.
    """
    shared = plan_shared(plain)
    tell = observe or (lambda line: None)
    done: list[tuple[RunSpec, RunFolder]] = []
    for name, spec in shared.items():
        out = RunFolder(str(folder / name))
        if out.exists("run.json"):
            spec = RunSpec.from_json(load_run(out))
        if not _finished(out, spec):
            taken = adopt_from(spec, out, done)
            tell(f"arm {name}: {len(taken)} of {len(spec.plan.phases)} phases are shared with other arms")
            run_spec(spec, out, workers=workers, what=f"arm {name}", observe=tell)
            write_report(out)
        done.append((spec, out))
    return dict(zip(shared, (spec for spec, _ in done), strict=True))


def _finished(out: RunFolder, spec: RunSpec) -> bool:
    return all(out.exists(f"phases/{phase.directory}/{SUCCESS_JSON}") for phase in spec.plan.phases) and out.exists(
        "report.html"
    )


def run_spec(spec: RunSpec, out: RunFolder, *, workers: int, what: str, observe: Observe) -> None:
    """Run or resume; workers: processes, -1: one for each core, 0: this process. observe: told of what may go wrong.

    ConfigError where the disk has clearly no room, FatalError where shards fail.
    """
    executor: Executor = LocalExecutor(workers if workers > 0 else _cores()) if workers else InlineExecutor()
    for warning in check_space(spec, out, workers=executor.workers):
        observe(f"warning: {warning}")
    outcome = execute(spec, out, executor)
    if outcome.quarantined > outcome.documents * QUARANTINED:
        observe(f"warning: {what}: {outcome.quarantined:,} of {outcome.documents:,} documents are in quarantine")
    if outcome.failures:
        slug, error = next(iter(sorted(outcome.failures.items())))
        raise FatalError(
            f"{len(outcome.failures)} shards of {what} failed",
            where=f"{out.location}, first {slug}",
            why=str(error),
            fix="run the same command again: it tries them again",
        )


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def check_documents(arm: ArmSpec) -> list[str]:
    """Notes on the documents of an arm. ConfigError where files lack a column that is asked for; no documents are read
    but the first objects of JSON Lines.
    """
    if not arm.documents:
        return []
    _, inputs, source = documents_of(arm.documents, (), text_column=arm.text_column, id_column=arm.id_column)
    if check_columns(inputs, source, named=arm.named, where=f"arm {arm.name}"):
        return []
    return [
        f"documents of arm {arm.name} have no column {arm.id_column!r}: a page is known by its file and row, so pages "
        "cannot be matched across arms of other files, nor held out of them; id_column names another column"
    ]


def text_arm(arm: ArmSpec, run: Path | None) -> TextArm:
    """Where the documents of an arm lie. run: of an arm with a recipe. ConfigError where there are none."""
    if run is not None or arm.kind == "run":
        location = str(run) if run is not None else arm.run
        load_run(RunFolder(location))
        _, inputs, source = documents_of(location, ())
    else:
        _, inputs, source = documents_of(arm.documents, (), text_column=arm.text_column, id_column=arm.id_column)
    return TextArm(arm.name, tuple(inputs), source)


def mixture_of(arm: ArmSpec) -> Mixture:
    """The mixture of an arm, from its file or from the ablation's."""
    return parse_mixture(json.loads(arm.mixture), f"arm {arm.name}") if arm.is_inline else load_mixture(arm.mixture)


def checked_mixture(arm: ArmSpec) -> tuple[Mixture, tuple[SourceSet, ...]]:
    """The mixture of an arm and its sets, opened. ConfigError where they are no mixture, or a source is a run."""
    mixture = mixture_of(arm)
    runs = [name for name, source in mixture.sources.items() if source.run]
    if runs:
        raise ConfigError(
            f"source {runs[0]} of the mixture is a run",
            where=f"arm {arm.name}: {arm.what()}",
            why="an ablation mixes token sets",
            fix="tokenmill mix makes the whole mixture; give its output as `tokens`, or tokenize the run first",
        )
    return mixture, open_sets(mixture)


def mixture_spec(arm: ArmSpec) -> RunSpec:
    """What makes the token set of an arm with a mixture. ConfigError where it cannot be."""
    mixture, sets = checked_mixture(arm)
    try:
        plan_mixture(mixture)  # tells of conditions that no document meets, before other arms are made
    except ConfigError as error:
        place = f"arm {arm.name}" if arm.is_inline else f"arm {arm.name}: {arm.mixture}"
        where = f"{place}, {error.where}" if error.where else place
        raise ConfigError(error.what, where=where, why=error.why or arm.what(), fix=error.fix) from error
    plan = make_plan(mixture_pipeline(mixture), inputs_of(sets))
    return RunSpec.of(plan, Options(), str(sets[0].tokens.folder))


def mixture_set(arm: ArmSpec, folder: Path, *, workers: int, observe: Observe) -> TokenSet:
    """The token set of an arm with a mixture, made in `folder` where it is not yet. ConfigError where it cannot be."""
    spec = mixture_spec(arm)
    observe(f"arm {arm.name}: mixing")
    run_spec(spec, RunFolder(str(folder)), workers=workers, what=f"arm {arm.name}", observe=observe)
    return TokenSet.open(str(folder))


def arm_record(arm: ArmSpec, plain: Mapping[str, RunSpec]) -> dict[str, Any]:
    """What an arm is made of, by which a changed one is told. plain: of `plan_recipes`."""
    if arm.kind == "recipe":
        return plain[arm.name].to_json()
    record: dict[str, Any] = arm.to_json()
    if arm.kind in ("run", "documents"):
        record["inputs"] = [input_entry(shard) for shard in text_arm(arm, None).inputs]
    elif arm.kind == "tokens":
        manifest = TokenSet.open(arm.tokens).folder / MANIFEST_JSON
        record["manifest"] = hashlib.sha256(manifest.read_bytes()).hexdigest()
    else:
        record["mixture"] = mixture_of(arm).to_json()
    return record
