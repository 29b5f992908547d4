"""`tokenmill status`: how far a run is, whether it is alive, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from tokenmill.cli.console import counted, funnel_table, output_console, overlap_table, print_json, safe_line
from tokenmill.executors.coordinator import Liveness, liveness, span
from tokenmill.executors.forget_marks import tombstones
from tokenmill.executors.runspec import load_run
from tokenmill.executors.steps import SUCCESS_JSON, TASKS_JSON
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.page_data import page_data
from tokenmill.report.write import write_report

MOST_MANIFESTS = {True: 50_000, False: 2_000}
"""Up to so many manifests the funnel is shown without being asked for: on a local disk, and on an object store."""
SHOWN = 10


@dataclass(frozen=True)
class PhaseCount:
    """What the run folder says of a phase; `total` is None while the tasks of a step are not known."""

    directory: str
    step: bool
    committed: int
    total: int | None
    sealed: bool

    @property
    def unit(self) -> str:
        return "tasks" if self.step else "shards"


def show_status(location: str, *, funnel: bool | None = None, as_json: bool = False) -> None:
    """Print phases, the coordinator's last word, what to do next, and the funnel.

    funnel: whether to read every manifest for it; None where there are not too many.
    """
    folder = RunFolder(location)
    run = load_run(folder)
    phases = list(_phases(folder, run))
    alive = liveness(folder)
    manifests = sum(phase.committed for phase in phases if not phase.step)
    wanted = manifests <= MOST_MANIFESTS[folder.is_local] if funnel is None else funnel
    found = fold(folder) if wanted else None
    lost = [] if alive.is_live else _lost_uploads(folder)
    if as_json:
        print(json.dumps(_values(folder, run, phases, alive, found, lost), indent=1))
        return
    console = output_console()
    for phase in phases:
        state = "complete" if phase.sealed else "not complete"
        of = "?" if phase.total is None else f"{phase.total:,}"
        console.print(
            f"{safe_line(phase.directory)}: {phase.committed:,} of {of} {phase.unit}, {state}", highlight=False
        )
    _print_coordinator(console, alive)
    if not alive.is_live:
        _print_begun(console, folder, run, phases)
    for key, initiated in lost:
        console.print(
            f"upload not finished: {safe_line(key)}, begun {safe_line(initiated)};"
            " its parts are billed until it is aborted",
            highlight=False,
        )
    for line in _removals(folder):
        console.print(line, highlight=False)
    console.print(f"next: {safe_line(_advice(folder, phases, alive))}", highlight=False, soft_wrap=True)
    if found is None:
        console.print(f"the funnel would read {manifests:,} manifests: --funnel shows it", highlight=False)
        return
    console.print(funnel_table(found))
    if found.balance:
        console.print(f"{found.balance} records are not accounted for: please report this")


def _phases(folder: RunFolder, run: Mapping[str, Any]) -> Iterator[PhaseCount]:
    """Counts from the names in the folder: no manifest is read for them."""
    shards = len(run["input"]["shards"])
    for phase in run["phases"]:
        directory, step = phase["directory"], bool(phase.get("step"))
        place = f"phases/{directory}"
        sealed = folder.exists(f"{place}/{SUCCESS_JSON}")
        total: int | None = shards
        if step:  # how many tasks a step has is known when the phase before it is complete
            tasks = folder.read_json(f"{place}/{TASKS_JSON}")
            total = None if tasks is None else len(tasks)
        if sealed and total is not None:
            committed = total  # a seal is written when all are committed
        else:
            committed = sum(name.endswith(".json") for name in folder.list(f"{place}/manifests"))
        yield PhaseCount(directory, step, committed, total, sealed)


def _removals(folder: RunFolder) -> Iterator[str]:
    """What has been forgotten from the run, and whether a removal was stopped half-way."""
    found = list(tombstones(folder))
    if found:
        gone = counted(sum(len(one.documents) for one in found), "document")
        yield f"forgotten: {gone}, in {counted(len(found), 'removal')}"
    if not all(one.done for one in found):
        yield "a removal is not finished: run the same tokenmill forget command again"


def _print_coordinator(console: Console, alive: Liveness) -> None:
    """What the coordinator has told: rates and shards under way, while that is news."""
    console.print(f"coordinator: {safe_line(alive.text)}", highlight=False)
    content = alive.content
    if not content:
        return
    if content["retries"]:
        console.print(f"attempts that were repeated: {content['retries']:,}", highlight=False)
    for phase in content["phases"]:
        for shard, error in list(phase["failed"].items())[:SHOWN]:
            console.print(f"failed: {safe_line(shard)}: {safe_line(error)}", highlight=False)
        if phase["state"] != "open" or alive.state not in ("live", "silent"):
            continue
        eta = phase["eta_seconds"]
        left = f", about {span(eta)} left" if eta is not None else ""
        rate = f"{phase['recent_documents_per_second']:,.0f} documents/s, " if phase["documents"] else ""
        kept = f"kept {phase['kept'] / phase['documents']:.0%}, " if phase["documents"] else ""
        console.print(
            f"{safe_line(phase['label'])}: {rate}{kept}{phase['active_shards']:,} under way{left}", highlight=False
        )
        for active in phase["active"][:SHOWN]:
            where = f" on {active['where']}" if active["where"] else ""
            console.print(f"  {safe_line(active['shard'] + where)}, since {span(active['seconds'])}", highlight=False)
    for one in content["stragglers"][:SHOWN]:
        where = f" on {one['where']}" if one["where"] else ""
        console.print(f"straggler: {safe_line(one['shard'] + where)}, {span(one['seconds'])}", highlight=False)
    for notice in content["notices"][-SHOWN:]:
        console.print(f"note, {span(notice['seconds_ago'])} earlier: {safe_line(notice['text'])}", highlight=False)


def _print_begun(console: Console, folder: RunFolder, run: Mapping[str, Any], phases: list[PhaseCount]) -> None:
    begun = [slug for phase in phases if not phase.sealed for slug in folder.list(f"phases/{phase.directory}/attempts")]
    if begun:
        names = ", ".join(begun[:SHOWN]) + (" ..." if len(begun) > SHOWN else "")
        console.print(f"begun and not committed: {safe_line(names)}", highlight=False)


def _lost_uploads(folder: RunFolder) -> list[tuple[str, str]]:
    """(key, time) of uploads in pieces that nobody has finished; stores keep and bill the pieces."""
    if folder.is_local:
        return []
    try:
        return [(upload.key, upload.initiated.isoformat()) for upload in folder.abandoned_uploads()]
    except Exception:  # not every store or permission allows to ask
        return []


def _advice(folder: RunFolder, phases: list[PhaseCount], alive: Liveness) -> str:
    """What to do next, in words."""
    if alive.is_live:
        if alive.content["stragglers"]:
            return "it goes on; look at the machines of the stragglers if they stay"
        return "nothing, it goes on"
    if all(phase.sealed for phase in phases):
        return f"it is complete: tokenmill report {folder.location} writes the report again"
    again = "run the same command again, it goes on from what is committed"
    if alive.state == "silent":
        return f"look at the coordinator's machine; when it is gone, {again}"
    if alive.state == "failed":
        return f"look at the errors of the shards that failed, then {again}"
    if alive.state == "error":
        return f"the error was: {alive.content['ended']['error']}; when its cause is gone, {again}"
    return again


def _values(
    folder: RunFolder,
    run: Mapping[str, Any],
    phases: list[PhaseCount],
    alive: Liveness,
    funnel: Funnel | None,
    lost: list[tuple[str, str]],
) -> dict[str, Any]:
    """What is printed, for programs."""
    return {
        "run": folder.location,
        "recipe": run["recipe"],
        "fingerprint": run["fingerprint"],
        "complete": all(phase.sealed for phase in phases),
        "state": alive.state,
        "said": alive.text,
        "next": _advice(folder, phases, alive),
        "phases": [
            {
                "directory": phase.directory,
                "unit": phase.unit,
                "committed": phase.committed,
                "total": phase.total,
                "complete": phase.sealed,
            }
            for phase in phases
        ],
        "coordinator": alive.content or None,
        "abandoned_uploads": [{"key": key, "initiated": initiated} for key, initiated in lost],
        "funnel": None
        if funnel is None
        else {
            "records": funnel.records,
            "kept": funnel.kept,
            "quarantined": funnel.quarantined.total(),
            "unaccounted": funnel.balance,
            "stages": [stage.to_json() for stage in funnel.stages],
        },
    }


def show_report(location: str, *, as_json: bool = False) -> None:
    """Write the report of a run again, and print the funnel and how its rules overlap.

    as_json: print what the report shows instead, for programs; nothing is written.
    """
    folder = RunFolder(location)
    if as_json:
        print_json(page_data(folder))
        return
    funnel = write_report(folder)
    console = output_console()
    console.print(funnel_table(funnel))
    if funnel.overlap is not None:
        console.print(overlap_table(funnel.overlap))
    console.print(f"report   {safe_line(folder.path('report.html'))}", highlight=False, soft_wrap=True)
