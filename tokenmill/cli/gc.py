"""`tokenmill gc`: what was removed from a run's folder, and how much it was."""

from __future__ import annotations

import json
import sys
from collections import Counter

from tokenmill.cli.console import counted, make_table, output_console, safe_line
from tokenmill.executors.gc import WHY, collect_garbage
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.units import human_bytes

SHOWN = 20


def collect(location: str, *, orphans: bool = False, dry_run: bool = False, as_json: bool = False) -> None:
    """Remove what nothing needs, and print it by kind."""
    found = collect_garbage(RunFolder(location), orphans=orphans, dry_run=dry_run)
    if as_json:
        json.dump(found.to_json(), sys.stdout, indent=1)
        print()
        return
    console = output_console()
    files = Counter(piece.kind for piece in found.pieces)
    sizes: Counter[str] = Counter()
    for piece in found.pieces:
        sizes[piece.kind] += piece.bytes
    table = make_table("files", "bytes", "what")
    for kind, number in files.most_common():
        table.add_row(f"{number:,}", human_bytes(sizes[kind]), WHY[kind])
    if files:
        console.print(table)
    done = "would be freed" if dry_run else "freed"
    console.print(f"{human_bytes(found.bytes)} {done}, {counted(len(found.pieces), 'file')}", highlight=False)
    if found.orphans:
        named = f"{counted(len(found.orphans), 'file')} that no manifest names"
        console.print(f"{named} (--orphans removes them):", highlight=False)
        for piece in found.orphans[:SHOWN]:
            console.print(f"  {safe_line(piece.path)}", highlight=False, soft_wrap=True)
