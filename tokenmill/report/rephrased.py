"""What models have made of the documents, for the report: from `rephrased/corpus.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenmill.core.doc import Doc
from tokenmill.filters.pii import RedactPii
from tokenmill.io.runfolder import RunFolder

CORPUS = "rephrased/corpus.json"
CHARS = 1500
"""Most characters of a text in a report."""


@dataclass(frozen=True)
class Side:
    """A source and what was made of it; personal data that `RedactPii` finds is masked in both."""

    style: str
    url: str
    id: str
    why: str
    """Reason, signal, value and threshold; empty for what was accepted."""
    source: str
    output: str


@dataclass(frozen=True)
class Rephrased:
    """The figures of a run, and some of its texts side by side."""

    model: str
    styles: Sequence[Mapping[str, Any]]
    """One row per style: accepted, rejected, share with its interval, tokens, the commonest reasons."""
    rates: Sequence[Mapping[str, Any]]
    """Accept rate by bucket."""
    accepted: Sequence[Side]
    rejected: Sequence[Side]
    warnings: Sequence[str]
    dollars: float
    dollars_per_billion_kept: float | None
    judged: Mapping[str, Any] | None


def rephrased(folder: RunFolder) -> Rephrased | None:
    """What is to be shown; None for runs that do not rephrase, or have not come so far."""
    facts = folder.read_json(CORPUS)
    if facts is None:
        return None
    styles = []
    for name, counts in facts["styles"].items():
        reasons = sorted(facts["reasons"].get(name, {}).items(), key=lambda item: (-item[1], item[0]))
        asked = counts["accepted"] + counts["rejected"]
        styles.append({"style": name, **counts, "share": counts["accepted"] / max(1, asked), "reasons": reasons})
    return Rephrased(
        model=facts["model"],
        styles=styles,
        rates=facts["rates"],
        accepted=[_side(row) for row in facts["samples"]["accepted"]],
        rejected=[_side(row) for row in facts["samples"]["rejected"]],
        warnings=facts["warnings"],
        dollars=facts["dollars"],
        dollars_per_billion_kept=facts["dollars_per_billion_kept"],
        judged=facts.get("judged"),
    )


def _side(row: Mapping[str, Any]) -> Side:
    why = ""
    if row.get("reason"):
        why = row["reason"]
        if row["signal"]:
            value = "" if row["value"] is None else f" = {row['value']:.4g}"
            threshold = "" if row["threshold"] is None else f" (threshold {row['threshold']:g})"
            why += f": {row['signal']}{value}{threshold}"
        elif row["detail"]:
            why += f": {row['detail']}"
    return Side(row["style"], row["url"] or "", row["id"], why[:300], _masked(row["source"]), _masked(row["text"]))


def _masked(text: str | None) -> str:
    if not text:
        return ""
    found = RedactPii().rewrite(Doc(text=text[: 2 * CHARS]))
    return str(found.get("text", text) if isinstance(found, Mapping) else text)[:CHARS]
