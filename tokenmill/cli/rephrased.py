"""What came of a run that rephrases, in a few lines behind its funnel."""

from __future__ import annotations

from collections import Counter

from tokenmill.cli.console import error_console, make_table, output_console, safe_line
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.rephrased import CORPUS

BUDGET = "budget"
"""Reason of passages that were not asked about because a limit was reached."""


def tell_rephrased(folder: RunFolder) -> None:
    """Outputs accepted and rejected by style, the commonest reasons, tokens, dollars, warnings."""
    facts = folder.read_json(CORPUS)
    console = output_console()
    table = make_table(title="rephrased")
    for name in ("style", "outputs", "accepted", "share", "not asked", "tokens in", "tokens out"):
        table.add_column(name, justify="left" if name == "style" else "right")
    for style, counts in facts["styles"].items():
        made = counts["accepted"] + counts["rejected"]
        share = f"{counts['accepted'] / made:.1%}" if made else "-"
        cells = [f"{count:,}" for count in (made, counts["accepted"])]
        rest = [f"{counts[name]:,}" for name in ("skipped", "tokens_in", "tokens_out")]
        table.add_row(safe_line(style), *cells, share, *rest)
    console.print(table)
    reasons: Counter[str] = Counter()
    for style, found in facts["reasons"].items():
        reasons.update({f"{style}: {reason}": count for reason, count in found.items()})
    for reason, count in reasons.most_common(10):
        console.print(f"rejected  {safe_line(reason)} {count:,}", highlight=False)
    if facts["dollars"]:
        kept = facts["dollars_per_billion_kept"]
        more = "" if kept is None else f", {kept:,.0f} for a billion kept tokens"
        console.print(f"cost      {facts['dollars']:,.2f} dollars{more}", highlight=False)
    for warning in facts["warnings"]:
        error_console().print(f"warning: {safe_line(warning)}", highlight=False, soft_wrap=True)
    spent = sum(found.get(BUDGET, 0) for found in facts["reasons"].values())
    if spent:
        text = f"{spent:,} passages were not asked about, for the limit was reached: a new --output with --ledger"
        error_console().print(
            f"note: {text} {safe_line(facts['ledger'])} goes on from here", highlight=False, soft_wrap=True
        )
    console.print(f"rephrased {safe_line(folder.path('rephrased/data'))}/*.parquet", highlight=False, soft_wrap=True)
