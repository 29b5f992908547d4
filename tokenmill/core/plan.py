"""The plan: columns checked, phases cut, fingerprints chained, before any work begins."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.measuring import StageRules, changes_text, measured_columns, with_measurements
from tokenmill.core.phases import Phase, cut, data_phases
from tokenmill.core.pipeline import Pipeline, code_digest
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE, published_schema
from tokenmill.core.signals import is_signal, known_signals
from tokenmill.core.stage import Barrier, Filter, InputShard, Sink, Source, Stage, SteppedSink, registered_stages


@dataclass(frozen=True)
class Annotation:
    """Annotate mode: filters write their verdict into a column instead of dropping documents.

    `enforce` names filters that drop all the same.
    """

    enforce: tuple[str, ...] = ()


def verdict_column(label: str) -> str:
    """Column that holds the verdict of a filter in annotate mode: the reason to drop the document, or null."""
    return f"{label}_verdict"


@dataclass(frozen=True)
class Plan:
    """A checked pipeline over a frozen list of inputs.

    `inserted` are the labels of stages that the plan has put in. `annotation` is None where filters drop.
    """

    pipeline: Pipeline
    phases: tuple[Phase, ...]
    inputs: tuple[InputShard, ...]
    digests: Mapping[str, Mapping[str, str]]
    schema: pa.Schema
    inserted: tuple[str, ...] = ()
    annotation: Annotation | None = None
    refilter: Mapping[str, str] | None = None
    """For a plan that filters an annotated run again: its folder (`run`) and `fingerprint`."""

    @property
    def mode(self) -> str:
        """filter, annotate or refilter."""
        return "refilter" if self.refilter else "annotate" if self.annotation is not None else "filter"

    @property
    def fingerprint(self) -> str:
        return self.phases[-1].fingerprint

    @property
    def source(self) -> Source:
        source = self.phases[0].source
        assert source is not None
        return source

    @property
    def sink(self) -> Sink:
        sink = data_phases(self.phases)[-1].stages[-1]
        assert isinstance(sink, Sink)
        return sink

    @property
    def last(self) -> Phase:
        """The last phase of documents, which publishes them."""
        return data_phases(self.phases)[-1]

    @property
    def handed(self) -> pa.Schema:
        """What the sink gets: what is published, and internal columns that it asks for."""
        extra = [pa.field(name, INTERNAL[name]) for name in self.sink.takes if name not in self.schema.names]
        return pa.schema([*self.schema, *extra])


def make_plan(pipeline: Pipeline, inputs: Sequence[InputShard], annotation: Annotation | None = None) -> Plan:
    """Check the pipeline front to back and cut it into phases; ConfigError says what is wrong and where."""
    pipeline, inserted = with_providers(pipeline, everything=annotation is not None)
    verdicts = _verdicts(pipeline, annotation)
    columns = check_columns(pipeline, verdicts)
    digests = {}
    for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
        found = {**stage.digests(), **code_digest(type(stage))}
        if found:
            digests[label] = found
    chain = _fingerprints(pipeline, digests, annotation)
    rules = _rules(pipeline, verdicts)
    phases = cut(
        tuple(zip(pipeline.labels, pipeline.stages, strict=True)), chain, columns, rules, reread=annotation is None
    )
    _check_unique(inputs)
    public = _public(pipeline, columns[-1]) if annotation is None else dict(columns[-1])
    sink = pipeline.stages[-1]
    assert isinstance(sink, Sink)
    schema = pa.schema([field for field in published_schema(public) if field.name not in sink.columns_left()])
    if annotation is not None and isinstance(sink, SteppedSink):
        raise ConfigError(
            f"{pipeline.labels[-1]} works in filter mode only",
            why="annotate mode drops nothing, so shards would hold what filters would drop",
            fix="write Parquet in annotate mode, and make the shards of what `tokenmill refilter` leaves",
        )
    if annotation is not None:
        schema = schema.append(pa.field(DOC_ID, INTERNAL[DOC_ID]))  # dropped documents are listed by it
    # ids of documents follow the names, not the listing
    ordered = tuple(sorted(inputs, key=lambda shard: (shard.name, shard.part or ())))
    return Plan(pipeline, phases, ordered, digests, schema, inserted, annotation)


def _rules(pipeline: Pipeline, verdicts: Mapping[str, str]) -> dict[str, StageRules]:
    """What the engine must know at each stage about signals and verdicts."""
    rules = {}
    before: list[str] = []
    for label, valid in zip(pipeline.labels, measured_columns(pipeline.stages), strict=True):
        rules[label] = StageRules(valid, verdicts.get(label, ""), before=tuple(before))
        if label in verdicts:
            before.append(verdicts[label])
    return rules


def _public(pipeline: Pipeline, columns: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """The columns without those that no stage publishes."""
    hidden: set[str] = set()
    shown: set[str] = set()
    for stage in pipeline.stages:
        hidden.update(stage.columns_hidden())
        shown.update(set(stage.columns_added()).difference(stage.columns_hidden()))
    return {name: dtype for name, dtype in columns.items() if name in shown or name not in hidden}


def _verdicts(pipeline: Pipeline, annotation: Annotation | None) -> dict[str, str]:
    """Filter -> column of its verdict, for the filters that do not drop."""
    if annotation is None:
        return {}
    filters = [label for label, stage in zip(pipeline.labels, pipeline.stages, strict=True) if decides(stage)]
    for label in annotation.enforce:
        if label not in filters:
            raise ConfigError(f"no filter {label!r} to enforce", why=did_you_mean(label, filters))
    return {label: verdict_column(label) for label in filters if label not in annotation.enforce}


def decides(stage: Stage) -> bool:
    """Whether a stage gives verdicts that annotate mode stores: filters, and barriers that drop documents."""
    return isinstance(stage, Filter) or (isinstance(stage, Barrier) and stage.drops)


def with_providers(pipeline: Pipeline, *, everything: bool = False) -> tuple[Pipeline, tuple[str, ...]]:
    """The pipeline with stages inserted that add what others read and nobody adds, and the labels of these.

    So `ExtractText()` may follow `ReadWarc()` directly: decoding the page is put before it; and signals are
    measured before the first filter that needs them. everything: all signals, not only those that rules need.
    """
    measured, inserted = with_measurements(pipeline.stages, everything=everything)
    available: set[str] = set()
    stages: list[Stage] = []
    ours: list[bool] = []
    for stage, put_in in zip(measured, inserted, strict=True):
        for needed in stage.needs():
            if not _stands(needed, stages, stage):
                stages.append(needed)
                ours.append(True)
                available.update(needed.columns_added())
        for column in _columns_read(stage):
            for provider in _providers(column, available):
                stages.append(provider)
                ours.append(True)
                available.update(provider.columns_added())
        stages.append(stage)
        ours.append(put_in)
        available.update(stage.columns_added())
    resolved = Pipeline(pipeline.name, stages)
    return resolved, tuple(label for label, put_in in zip(resolved.labels, ours, strict=True) if put_in)


def _stands(needed: Stage, before: Sequence[Stage], stage: Stage) -> bool:
    """Whether a stage that is needed is there already, for the text as it is. ConfigError where one differs."""
    for other in reversed(before):
        if changes_text(other):
            return False
        if type(other) is type(needed) and other.config() != needed.config():
            differ = [key for key, value in needed.config().items() if other.config()[key] != value]
            raise ConfigError(
                f"{type(other).name} and {type(stage).name} differ in {', '.join(differ)}",
                why=f"{[other.config()[key] for key in differ]} there, {[needed.config()[key] for key in differ]} here",
                fix=f"leave {type(other).name} out: the plan puts it in as {type(stage).name} needs it",
            )
        if type(other) is type(needed):
            return True
    return False


def _columns_read(stage: Stage) -> list[str]:
    """What a stage reads, and the columns that select thresholds of its rules."""
    filtering = stage.rules() if isinstance(stage, Filter) else ()
    selects = [name for rule in filtering if rule.active for name in (rule.by, rule.note) if name]
    rules = [rule.signal for rule in filtering if rule.active]
    return [*stage.reads, *selects, *(name for name in rules if not is_signal(name))]


def _providers(column: str, available: Collection[str], depth: int = 4) -> list[Stage]:
    """Stages that add the column, in order: the last one does, those before add what it reads."""
    if column in available or not depth:
        return []
    for _, cls in sorted(registered_stages().items()):
        if not cls.on_demand or column not in cls.adds:
            continue
        before: list[Stage] = []
        at_hand = set(available)
        for needed in cls.reads:
            before += _providers(needed, at_hand, depth - 1)
            at_hand.update(name for stage in before for name in stage.columns_added())
        if at_hand.issuperset(cls.reads):
            return [*before, cls()]
    return []


def check_columns(pipeline: Pipeline, verdicts: Mapping[str, str] | None = None) -> list[dict[str, pa.DataType]]:
    """The columns after each stage. ConfigError where a stage reads what no earlier stage adds.

    verdicts: filter -> the column that it adds in annotate mode.
    """
    stages = pipeline.stages
    if not stages or not isinstance(stages[0], Source):
        raise ConfigError(f"recipe {pipeline.name!r} does not begin with a source", fix="begin with ReadWarc()")
    if not isinstance(stages[-1], Sink):
        raise ConfigError(f"recipe {pipeline.name!r} does not end with a sink", fix="end with WriteParquet()")
    available: dict[str, pa.DataType] = {}
    after = []
    for position, (label, stage) in enumerate(zip(pipeline.labels, stages, strict=True)):
        inner = 0 < position < len(stages) - 1
        if isinstance(stage, Source | Sink) and inner:
            raise ConfigError(f"{label} stands in the middle of recipe {pipeline.name!r}", fix="one source, one sink")
        _check_reads(pipeline.name, label, stage, available)
        stage.check(available)
        added = dict(stage.columns_added())
        if verdicts and label in verdicts:
            added[verdicts[label]] = pa.string()
        for column, dtype in added.items():
            _check_type(label, column, dtype)
            if column in available and available[column] != dtype:
                raise ConfigError(
                    f"{label} adds {column} as {dtype}, an earlier stage adds it as {available[column]}",
                    where=f"recipe {pipeline.name!r}",
                )
            available[column] = dtype
        if position == 0 and available.get(DOC_ID) != INTERNAL[DOC_ID]:
            raise ConfigError(f"source {label} does not add {DOC_ID}", fix="add it: `<file>#<offset>`, a string")
        after.append(dict(available))
    return after


def _check_type(label: str, column: str, dtype: pa.DataType) -> None:
    """Columns with a published meaning have a published type."""
    fixed = {**FINEWEB, **PROVENANCE, **INTERNAL}
    if column in fixed and dtype != fixed[column]:
        raise ConfigError(f"{label} adds {column} as {dtype}", why=f"it is published as {fixed[column]}")


def _check_reads(recipe: str, label: str, stage: Stage, available: Mapping[str, pa.DataType]) -> None:
    missing = [column for column in stage.reads if column not in available]
    if missing:
        public = [c for c in available if c not in INTERNAL]
        raise ConfigError(
            f"{label} reads {missing}, which no earlier stage adds",
            where=f"recipe {recipe!r}",
            why=f"available at this point: {public}",
            fix="put the stage that adds it before this one",
        )
    if isinstance(stage, Filter):
        signals = known_signals()
        for rule in stage.rules():
            if rule.active and rule.by and rule.by not in available:
                raise ConfigError(
                    f"{label} chooses thresholds by {rule.by!r}, which no earlier stage adds",
                    where=f"recipe {recipe!r}",
                    why=did_you_mean(rule.by, available),
                )
            if rule.active and rule.signal not in available and rule.signal not in signals:
                raise ConfigError(
                    f"{label} has a rule on {rule.signal!r}, which is neither a column nor a signal",
                    where=f"recipe {recipe!r}",
                    why=did_you_mean(rule.signal, [*available, *signals]),
                )


def _fingerprints(
    pipeline: Pipeline, digests: Mapping[str, Mapping[str, str]], annotation: Annotation | None
) -> list[str]:
    """One SHA-256 per stage over (name, version, configuration, digests), each chained to the one before."""
    chain = []
    previous = "" if annotation is None else f"annotate {sorted(annotation.enforce)}"
    for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
        record = [previous, label, type(stage).version, stage.decisive(), digests.get(label, {})]
        previous = hashlib.sha256(canonical_json(record)).hexdigest()
        chain.append(previous)
    return chain


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _check_unique(inputs: Sequence[InputShard]) -> None:
    for (name, _), count in Counter((shard.name, shard.part) for shard in inputs).items():
        if count > 1:
            raise ConfigError(f"two inputs are named {name!r}", fix="give one folder that holds both")
