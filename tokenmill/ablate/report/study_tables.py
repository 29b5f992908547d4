"""Tables of the studies: the law of scaling, and the proposed mixture."""

from __future__ import annotations

import math
from typing import Any

from tokenmill.ablate.analysis import Analysis
from tokenmill.ablate.report.style import amount
from tokenmill.ablate.report.tables import Column, Table, fixed, percent, text


def _general(value: Any) -> str:
    return f"{value:.4g}"


def scaling_table(analysis: Analysis) -> Table:
    """Coefficients and predictions of a ladder."""
    scaling = analysis.scaling
    rows = []
    for kind, laws in (("common", scaling.common), ("free", scaling.free)) if scaling is not None else ():
        assert scaling is not None
        for at, (arm, one) in enumerate(zip(scaling.arms, laws, strict=True)):
            cells: list[Any] = []
            for value, (low, high) in zip(one.coefficients, one.intervals(), strict=True):
                cells += [float(value), float(low), float(high)]
            shared = kind == "common"
            rows.append(
                (
                    arm,
                    kind,
                    *cells,
                    one.loss(*scaling.target),
                    *one.interval(*scaling.target),
                    float(scaling.p_best[at]) if shared else None,
                    float(scaling.holdout[at]) if shared else None,
                )
            )
    named = [Column(f"{n}{part}", _general) for n in ("E", "A", "B", "alpha", "beta") for part in ("", " low", " high")]
    columns = (
        text("arm"),
        text("exponents"),
        *named,
        Column("at the target", fixed(4)),
        Column("target low", fixed(4)),
        Column("target high", fixed(4)),
        Column("P(best)", fixed(3)),
        Column("hold-out error", percent(2, sign=True)),
    )
    caption = ""
    if scaling is not None:
        n, d = scaling.target
        seen = f"at {scaling.crossover:.2e} FLOPs" if scaling.crossover else "none seen"
        caption = (
            f"L(N, D) = E + A / N^alpha + B / D^beta with 90 % intervals. Target: {amount(n)} parameters, {amount(d)}"
            f" tokens, {scaling.extrapolation:.1f} times the compute of the largest run."
            f" Crossover of the two best: {seen}."
        )
    return Table("scaling", "Law of scaling", columns, tuple(rows), caption)


def mixture_table(analysis: Analysis) -> Table:
    """The proposed mixture."""
    proposal = analysis.proposal
    rows: tuple[tuple[Any, ...], ...] = ()
    caption = ""
    if proposal is not None and analysis.regression is not None:
        rows = tuple(
            (source, float(w), float(low), float(high))
            for source, w, (low, high) in zip(proposal.sources, proposal.weights, proposal.spread, strict=True)
        )
        fitted = analysis.regression
        caption = (
            f"Predicted bits per byte {math.exp(proposal.predicted):.4f} against {math.exp(proposal.natural):.4f} of"
            f" the natural shares; gain {100 * proposal.gain[0]:+.2f} to {100 * proposal.gain[1]:+.2f} % (90 %), which"
            " is optimistic: the mixture was chosen by the same scores. The comparison of its trained runs with those"
            " of the natural shares decides."
            f" Left-out error {100 * fitted.error:.2f} %, rank correlation {fitted.rank:.2f}."
        )
    columns = (text("source"), Column("weight", percent(1)), Column("5 %", percent(1)), Column("95 %", percent(1)))
    return Table("mixture", "Proposed mixture", columns, rows, caption)
