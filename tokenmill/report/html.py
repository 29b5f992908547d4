"""`report.html`: one self-contained page, safe to open whatever the crawled pages contained.

Everything is escaped by the template engine, addresses are shown as text and never linked, and a content
security policy forbids scripts and any remote resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenmill.report.duplicates import Duplicates
from tokenmill.report.funnel import Funnel
from tokenmill.report.overlap import Overlap
from tokenmill.report.rephrased import Rephrased
from tokenmill.report.samples import Sample


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tokenmill.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["size"] = human_bytes
    environment.filters["percent"] = percent
    return environment.get_template("report.html")


def render(
    funnel: Funnel,
    samples: dict[str, list[Sample]],
    duplicates: Sequence[Duplicates] = (),
    rephrased: Rephrased | None = None,
) -> str:
    """The report of a run as HTML."""
    overlap = overlap_rows(funnel.overlap) if funnel.overlap is not None else None
    page = _template().render(
        funnel=funnel,
        samples=samples,
        rows=funnel_rows(funnel),
        overlap=overlap,
        duplicates=duplicates,
        rephrased=rephrased,
    )
    return str(page)


MATRIX_RULES = 24
"""Most rules in the table of pairs: those that remove most."""


def overlap_rows(overlap: Overlap) -> dict[str, Any]:
    """What the report shows of an annotated run: one row per rule, and for the largest ones a matrix of pairs.

    `share` of a pair is the part of what the row's rule removes that the column's rule removes, too.
    """
    rows = [
        {
            "rule": rule,
            "removes": overlap.removes(rule),
            "share": overlap.removes(rule) / max(overlap.documents, 1),
            "first": overlap.first[rule],
            "only": overlap.only[rule],
            "nearest": overlap.nearest(rule),
        }
        for rule in overlap.rules
    ]
    shown = overlap.rules[:MATRIX_RULES]
    matrix = [
        [
            {"rule": b, "count": overlap.both(a, b), "share": overlap.both(a, b) / max(overlap.removes(a), 1)}
            for b in shown
        ]
        for a in shown
    ]
    return {"documents": overlap.documents, "kept": overlap.kept, "rows": rows, "shown": shown, "matrix": matrix}


def funnel_rows(funnel: Funnel) -> list[dict[str, Any]]:
    """One row per stage: counts, shares of all records, and drops by reason, the most frequent first.

    `share` is documents out as a share of records read; every `share` of a reason likewise, so that the
    reasons and the kept documents add up to 100 %.
    """
    records = max(funnel.records, 1)
    seconds = sum(stage.seconds for stage in funnel.stages) or 1.0
    rows = []
    for stage in funnel.stages:
        reasons = [(reason, n, "dropped") for reason, n in stage.dropped.most_common()]
        reasons += [(cause, n, "quarantined") for cause, n in stage.quarantined.most_common()]
        rows.append(
            {
                "stage": stage.stage,
                "into": stage.into,
                "out": stage.out,
                "lost": stage.into - stage.out,
                "share": stage.out / records,
                "bytes_in": stage.bytes_in,
                "bytes_out": stage.bytes_out,
                "seconds": stage.seconds,
                "seconds_share": stage.seconds / seconds,
                "per_document_ms": 1000 * stage.seconds / stage.into if stage.into else 0.0,
                "reasons": [
                    {"reason": r, "count": n, "kind": kind, "share": n / records, "of_stage": n / stage.into}
                    for r, n, kind in reasons
                ],
            }
        )
    return rows


def human_bytes(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def percent(share: float) -> str:
    """0.1234 -> '12.3 %'; small shares keep two digits."""
    return f"{100 * share:.1f} %" if share >= 0.01 or share == 0 else f"{100 * share:.2g} %"
