"""The plan: columns checked, phases cut, fingerprints chained, before any work begins."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import Pipeline, code_digest
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE, published_schema
from tokenmill.core.signals import known_signals
from tokenmill.core.stage import Barrier, Filter, InputShard, Resources, Sink, Source, Stage, registered_stages


@dataclass(frozen=True)
class Phase:
    """A run of fused stages between cuts. `labels[i]` names `stages[i]`.

    `fingerprint` covers everything from the source to the last stage of the phase; `columns` are those that
    exist after it. The first phase has the source as its first stage, the last phase the sink as its last.
    """

    index: int
    labels: tuple[str, ...]
    stages: tuple[Stage, ...]
    fingerprint: str
    columns: Mapping[str, pa.DataType]

    @property
    def directory(self) -> str:
        """Name of the phase's folder below `phases/`."""
        return f"{self.index + 1:02d}-{self.labels[0]}@{self.fingerprint[:12]}"

    @property
    def source(self) -> Source | None:
        first = self.stages[0]
        return first if isinstance(first, Source) else None

    @property
    def resources(self) -> Resources:
        return next((s.resources for s in self.stages if not isinstance(s, Source | Sink)), Resources())

    @property
    def fused(self) -> tuple[tuple[str, Stage], ...]:
        """The stages that work on batches in memory: all but source and sink, with their labels."""
        pairs = zip(self.labels, self.stages, strict=True)
        return tuple((label, s) for label, s in pairs if not isinstance(s, Source | Sink))


@dataclass(frozen=True)
class Plan:
    """A checked pipeline over a frozen list of inputs."""

    pipeline: Pipeline
    phases: tuple[Phase, ...]
    inputs: tuple[InputShard, ...]
    digests: Mapping[str, Mapping[str, str]]
    schema: pa.Schema

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
        sink = self.phases[-1].stages[-1]
        assert isinstance(sink, Sink)
        return sink


def make_plan(pipeline: Pipeline, inputs: Sequence[InputShard]) -> Plan:
    """Check the pipeline front to back and cut it into phases; ConfigError says what is wrong and where."""
    pipeline = with_providers(pipeline)
    columns = check_columns(pipeline)
    digests = {}
    for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
        found = {**stage.digests(), **code_digest(type(stage))}
        if found:
            digests[label] = found
    chain = _fingerprints(pipeline, digests)
    phases = []
    for index, (start, stop) in enumerate(_cuts(pipeline)):
        phases.append(
            Phase(
                index=index,
                labels=pipeline.labels[start:stop],
                stages=pipeline.stages[start:stop],
                fingerprint=chain[stop - 1],
                columns=columns[stop - 1],
            )
        )
    _check_unique([shard.name for shard in inputs])
    return Plan(pipeline, tuple(phases), tuple(inputs), digests, published_schema(dict(columns[-1])))


def with_providers(pipeline: Pipeline) -> Pipeline:
    """The pipeline with stages inserted that add what others read and nobody adds (`Stage.on_demand`).

    So `ExtractText()` may follow `ReadWarc()` directly: decoding the page is put before it.
    """
    available: set[str] = set()
    stages: list[Stage] = []
    for stage in pipeline.stages:
        for column in stage.reads:
            provider = None if column in available else _provider(column, available)
            if provider is not None:
                stages.append(provider)
                available.update(provider.columns_added())
        stages.append(stage)
        available.update(stage.columns_added())
    return Pipeline(pipeline.name, stages)


def _provider(column: str, available: set[str]) -> Stage | None:
    """A stage that adds the column and can run on what there is."""
    for _, cls in sorted(registered_stages().items()):
        if cls.on_demand and column in cls.adds and available.issuperset(cls.reads):
            return cls()
    return None


def check_columns(pipeline: Pipeline) -> list[dict[str, pa.DataType]]:
    """The columns after each stage. ConfigError where a stage reads what no earlier stage adds."""
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
        if isinstance(stage, Barrier):
            raise ConfigError(f"{label} is a barrier", why="no executor runs barriers yet", fix="leave it out")
        for column, dtype in stage.columns_added().items():
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
            if rule.active and rule.signal not in available and rule.signal not in signals:
                raise ConfigError(
                    f"{label} has a rule on {rule.signal!r}, which is neither a column nor a signal",
                    where=f"recipe {recipe!r}",
                    why=did_you_mean(rule.signal, [*available, *signals]),
                )


def _cuts(pipeline: Pipeline) -> list[tuple[int, int]]:
    """(start, stop) of each phase: cut after barriers and where resources change."""
    bounds = [0]
    current: Resources | None = None
    for position, stage in enumerate(pipeline.stages):
        if isinstance(stage, Source | Sink):
            continue
        changed = current is not None and stage.resources != current
        if changed or (position and isinstance(pipeline.stages[position - 1], Barrier)):
            bounds.append(position)
        current = stage.resources
    bounds.append(len(pipeline.stages))
    return list(itertools.pairwise(bounds))


def _fingerprints(pipeline: Pipeline, digests: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One SHA-256 per stage over (name, version, configuration, digests), each chained to the one before."""
    chain = []
    previous = ""
    for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
        record = [previous, label, type(stage).version, stage.config(), digests.get(label, {})]
        previous = hashlib.sha256(canonical_json(record)).hexdigest()
        chain.append(previous)
    return chain


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _check_unique(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"two inputs are named {twice[0]!r}", fix="give one folder that holds both")
