"""`tokenmill forget`: remove documents from a run, write its report again, and tell what was done."""

from __future__ import annotations

import json
import sys

from tokenmill.cli.console import counted, error_console, make_table, output_console, safe_line
from tokenmill.executors.forget import ForgetRequest, Forgotten, forget
from tokenmill.io.removals import TOMBSTONES
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report

SHOWN = 20


def forget_documents(location: str, request: ForgetRequest, *, as_json: bool = False) -> None:
    """Remove what the request names. The report is written again whatever was found: it may be of a killed command."""
    folder = RunFolder(location)
    result = forget(folder, request)
    if not request.dry_run:
        write_report(folder)
    if as_json:
        json.dump(result.to_json(), sys.stdout, indent=1)
        print()
        return
    _print(folder, result)


def _print(folder: RunFolder, result: Forgotten) -> None:
    console = output_console()
    if not result.documents:
        console.print("nothing found: no document of this run has such an address or id", highlight=False)
        return
    counts = ", ".join(f"{number:,} {was}" for was, number in sorted(result.counts.items()))
    done = "would be removed" if result.dry_run else "removed"
    if result.resumed:
        console.print("an earlier removal had been stopped half-way; it is included", highlight=False)
    console.print(
        f"{counted(len(result.documents), 'document')} {done} ({counts}), in {counted(len(result.shards), 'shard')}",
        highlight=False,
    )
    table = make_table("document", "shard", "was")
    for grave in result.documents[:SHOWN]:
        name = grave.doc_id if grave.doc_id is not None else f"key sha256:{grave.key_sha256}"
        table.add_row(safe_line(name), safe_line(grave.shard), grave.was)
    console.print(table)
    if len(result.documents) > SHOWN:
        console.print(f"... and {len(result.documents) - SHOWN:,} more: --json lists all", highlight=False)
    for name in result.tombstones:
        console.print(f"tombstone {folder.path(f'{TOMBSTONES}/{name}.json')}", highlight=False, soft_wrap=True)
    if not result.dry_run:
        console.print("to keep them out of other runs, a block list for the stage OptOut:", highlight=False)
        for line in result.block_list[:SHOWN]:
            console.print(f"  {safe_line(line)}", highlight=False, soft_wrap=True)
        error_console().print(
            "note: copies of this run, runs made from it, and models that were trained on it are not changed",
            highlight=False,
            soft_wrap=True,
        )
