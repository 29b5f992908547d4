"""`tokenmill status`: how far a run is, from its manifests."""

from __future__ import annotations

from tokenmill.cli.console import funnel_table, output_console, overlap_table, safe
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold
from tokenmill.report.write import write_report


def show_status(location: str) -> None:
    """Print phases, shards done and the funnel so far."""
    folder = RunFolder(location)
    funnel = fold(folder)
    console = output_console()
    for phase in funnel.run["phases"]:
        done = sum(1 for _ in folder.manifests(phase["directory"]))
        sealed = folder.exists(f"phases/{phase['directory']}/_SUCCESS.json")
        state = "complete" if sealed else "not complete: run the same command again to go on"
        of = f"of {funnel.shards} shards"
        if phase.get("step"):  # how many tasks a step has is known when the phase before it is complete
            tasks = folder.read_json(f"phases/{phase['directory']}/tasks.json")
            of = f"of {len(tasks or ())} tasks"
        console.print(f"{phase['directory']}: {done} {of}, {state}", highlight=False)
    under_way = [
        slug for phase in funnel.run["phases"] for slug in folder.list(f"phases/{phase['directory']}/attempts")
    ]
    if under_way:
        names = ", ".join(under_way[:10]) + (" ..." if len(under_way) > 10 else "")
        console.print(f"begun and not committed: {safe(names)}", highlight=False)
    console.print(funnel_table(funnel))
    if funnel.balance:
        console.print(f"{funnel.balance} records are not accounted for: please report this")


def show_report(location: str) -> None:
    """Write the report of a run again, and print the funnel and how its rules overlap."""
    folder = RunFolder(location)
    funnel = write_report(folder)
    console = output_console()
    console.print(funnel_table(funnel))
    if funnel.overlap is not None:
        console.print(overlap_table(funnel.overlap))
    console.print(f"report   {folder.path('report.html')}", highlight=False, soft_wrap=True)
