"""`tokenmill plan`: what would run."""

from __future__ import annotations

from typing import Any

from tokenmill.cli.console import counted, make_table, output_console, print_json, safe
from tokenmill.cli.recipes import load_recipe
from tokenmill.cli.stages import kind_of
from tokenmill.core.phases import Phase
from tokenmill.core.plan import Plan, make_plan
from tokenmill.core.stage import Source, Stage, Stepped
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.stores import shown
from tokenmill.report.units import human_bytes


def _row(phase: Phase, label: str, stage: Stage) -> tuple[str, str, str, str]:
    """(label, kind, reads, adds): a barrier reads where it is prepared, and adds where it is applied."""
    kind = kind_of(type(stage))
    reads, adds = ", ".join(stage.reads), ", ".join(stage.columns_added())
    if phase.step:
        return f"{label}: {phase.step}", kind, "", ""
    if stage is phase.applied:
        return label, kind, "", adds
    if phase.prepares and stage is phase.stages[-1]:
        return f"{label}: prepare", kind, reads, ""
    return label, kind, reads, adds


def show_plan(recipe: str, location: str | None, settings: tuple[str, ...], *, as_json: bool = False) -> None:
    """Print stages, settings, columns, phases and inputs of a checked recipe."""
    found = load_recipe(recipe, settings)
    pipeline, location = found.pipeline, location or found.location
    source = pipeline.stages[0]
    inputs = list_inputs(location, source.suffixes) if location and isinstance(source, Source) else []
    plan = make_plan(pipeline, inputs)
    if as_json:
        print_json(_values(plan, location))
        return
    console = output_console()
    table = make_table(title=f"{pipeline.name} · fingerprint {plan.fingerprint[:12]}")
    for name in ("phase", "stage", "kind", "reads", "adds"):
        table.add_column(name, overflow="fold")
    for phase in plan.phases:
        for label, stage in zip(phase.labels, phase.stages, strict=True):
            table.add_row(str(phase.index + 1), *_row(phase, label, stage))
    console.print(table)
    for label, stage in zip(plan.pipeline.labels, plan.pipeline.stages, strict=True):
        for line in stage.describe() if isinstance(stage, Stepped) else ():
            console.print(f"{label}: {safe(line)}", highlight=False)
    console.print(f"published columns: {', '.join(plan.schema.names)}", highlight=False)
    for label, digests in plan.digests.items():
        listed = ", ".join(f"{name} {value[:16]}" for name, value in digests.items())
        console.print(f"{label} depends on {safe(listed)}", highlight=False)
    if location:
        size = human_bytes(sum(shard.size for shard in inputs))
        console.print(f"input: {counted(len(inputs), 'file')}, {size} in {safe(shown(location))}", highlight=False)
    else:
        console.print("input: none given (--input FOLDER)", highlight=False)


def _values(plan: Plan, location: str | None) -> dict[str, Any]:
    """What is printed, for programs."""
    return {
        "recipe": plan.pipeline.name,
        "fingerprint": plan.fingerprint,
        "phases": [
            {
                "directory": phase.directory,
                "step": phase.step or None,
                "stages": [
                    dict(zip(("stage", "kind"), _row(phase, label, stage)[:2], strict=True))
                    | {"reads": list(stage.reads), "adds": list(stage.columns_added())}
                    for label, stage in zip(phase.labels, phase.stages, strict=True)
                ],
            }
            for phase in plan.phases
        ],
        "stages": plan.pipeline.to_json()["stages"],
        "inserted": list(plan.inserted),
        "columns": {field.name: str(field.type) for field in plan.schema},
        "digests": plan.digests,
        "input": {
            "location": shown(location) if location else None,
            "files": len(plan.inputs),
            "bytes": sum(shard.size for shard in plan.inputs),
        },
    }
