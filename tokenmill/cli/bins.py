"""`tokenmill bins`: edges of bins of equal weight, for scores of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tokenmill.classifiers.bins import load_bins, write_bins
from tokenmill.cli.console import make_table, output_console


def make_bins(run: str, scores: Sequence[str], out: str, *, bins: int, weight: str) -> None:
    """Write the edges, and show some of them."""
    names = tuple(dict.fromkeys(scores))
    write_bins(run, names, out, bins=bins, weight=weight)
    table = make_table("score", "1st edge", "middle", "last edge")
    known = load_bins(out)
    for name, edges in known.items():
        table.add_row(name, *(f"{edge:.4g}" for edge in (edges[0], edges[len(edges) // 2], edges[-1])))
    output_console().print(table)
    print(f"{bins} bins of equal {weight}: {out}")
    for name, edges in known.items():
        empty = len(edges) - len(set(edges))
        if empty:
            print(
                f"note: {empty} of the {bins} bins of {name} are empty: so many documents have the same score that it"
                " fills several; they are in the lowest of these"
            )
    print(f"use them: ScoreBins(columns={names!r}, edges={out!r})")
    words = ["tokenmill", "refilter", run, "--set", f"score_bins.edges={out}", "--output", "NEW"]
    print(f"in an annotated run with ScoreBins: {shlex.join(words)}")
