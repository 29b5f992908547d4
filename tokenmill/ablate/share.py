"""Work that recipes have in common is done once: pipelines are cut where they part."""

from __future__ import annotations

from collections.abc import Mapping

from tokenmill.core.materialize import Materialize
from tokenmill.core.pipeline import Pipeline, code_digest
from tokenmill.core.plan import canonical_json, with_providers
from tokenmill.core.stage import Stage


def with_shared_phases(pipelines: Mapping[str, Pipeline]) -> dict[str, Pipeline]:
    """The pipelines of arms over one input, resolved, with `Materialize` wherever two or more part.

    What stages do is compared after the plan has put in what they need (the measurements of a text depend on all its
    filters): class, version, settings, digests. Behind a source alone nothing is put in, for reading is no work worth
    keeping. Arms that are equal throughout part nowhere. ConfigError where a recipe cannot be resolved.
    """
    resolved = {name: with_providers(pipeline)[0] for name, pipeline in pipelines.items()}
    records = {name: [_record(stage) for stage in pipeline.stages] for name, pipeline in resolved.items()}
    found = {}
    for name, pipeline in resolved.items():
        cuts = [depth for depth in range(2, len(pipeline.stages)) if _part(records, name, depth)]
        stages: list[Stage] = []
        for position, stage in enumerate(pipeline.stages):
            stages += [Materialize(), stage] if position in cuts else [stage]
        found[name] = Pipeline(pipelines[name].name, stages)
    return found


def _record(stage: Stage) -> bytes:
    """Everything about a stage that a fingerprint covers, but for its label."""
    cls = type(stage)
    about = [f"{cls.__module__}:{cls.__qualname__}", cls.version, stage.config(), dict(stage.digests())]
    return canonical_json([*about, code_digest(cls)])


def _part(records: Mapping[str, list[bytes]], name: str, depth: int) -> bool:
    """Whether arms that begin with the same `depth` stages as this one go on with different ones."""
    mine = records[name]
    after = {other[depth] if depth < len(other) else b"" for other in records.values() if other[:depth] == mine[:depth]}
    return len(after) > 1
