"""The tables of a report: one model for HTML, Markdown and CSV. Cells hold values; columns know how to show them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokenmill.ablate.analysis import MOST_EPOCHS, Analysis
from tokenmill.ablate.report.pairs import held_out_matrix
from tokenmill.ablate.report.style import amount, printable
from tokenmill.ablate.scores import Floats
from tokenmill.ablate.statistics import arm_means
from tokenmill.ablate.student import t_quantile
from tokenmill.ablate.verdict import ALL_PAIRS

NONE = "–"
FORMULAS = ("=", "+", "-", "@")
Show = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """A column: its head, and how its values are shown."""

    name: str
    show: Show = str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table with a title."""

    key: str
    """Name of its file."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Raw values; None and NaN are missing."""
    caption: str = ""

    def shown(self) -> list[list[str]]:
        """The cells as text, not escaped."""
        return [
            [NONE if missing(v) else printable(column.show(v)) for column, v in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def to_csv(self) -> str:
        """Raw values with a head, missing ones empty. Names that a spreadsheet would take for a formula get a '."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([_cell(column.name) for column in self.columns])
        for row in self.rows:
            writer.writerow([_cell(value) for value in row])
        return stream.getvalue()


def _cell(value: Any) -> Any:
    if missing(value):
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if not isinstance(value, str):
        return value
    plain = printable(value)
    return f"'{plain}" if plain.lstrip().startswith(FORMULAS) else plain


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def fixed(digits: int) -> Show:
    return lambda value: f"{value:.{digits}f}"


def percent(digits: int = 2, sign: bool = False) -> Show:
    return lambda value: f"{100 * value:{'+' if sign else ''}.{digits}f} %"


def count(value: Any) -> str:
    return f"{value:,.0f}"


def text(name: str) -> Column:
    return Column(name, numeric=False)


def all_tables(analysis: Analysis) -> list[Table]:
    """Those that have rows, in the order of the report."""
    from tokenmill.ablate.report.study_tables import mixture_table, scaling_table

    made = [
        arms_table(analysis),
        scores_table(analysis),
        pairs_table(analysis),
        tasks_table(analysis),
        matrix_table(analysis),
        cost_table(analysis),
        scaling_table(analysis),
        mixture_table(analysis),
    ]
    return [table for table in made if table.rows]


def arms_table(analysis: Analysis) -> Table:
    """What the arms are made of."""
    rows = []
    for arm, fields in analysis.scores.description["arms"].items():
        numbers = [_float(fields.get(k)) for k in ("documents", "tokens", "bytes", "mean_tokens", "bytes_per_token")]
        epochs = _float(fields.get("epochs"))
        warning = f"more than {MOST_EPOCHS:g} epochs" if epochs > MOST_EPOCHS else ""
        rows.append((arm, str(fields.get("what") or ""), *numbers, epochs, warning))
    columns = (
        text("arm"),
        text("what"),
        Column("documents", count),
        Column("unique tokens", amount),
        Column("bytes", amount),
        Column("tokens per document", fixed(0)),
        Column("bytes per token", fixed(2)),
        Column("epochs", fixed(2)),
        text("note"),
    )
    return Table("arms", "Arms", columns, tuple(rows))


def scores_table(analysis: Analysis) -> Table:
    """Table A: final scores of every arm, with rank and P(best)."""
    scores, judgement = analysis.scores, analysis.judgement
    texts = [f"text/{name}/bpb" for name in scores.names("text")]
    accuracy = analysis.accuracy()
    primary = analysis.panel.values
    means = _means(primary)
    order = np.argsort(np.where(np.isfinite(means), means, np.inf), kind="stable")
    base = means[scores.arms.index(scores.baseline)] if scores.arms else math.nan
    best = dict(zip(judgement.arms, map(float, judgement.p_best), strict=True)) if judgement is not None else {}
    rows = []
    for rank, at in enumerate(order):
        mean, seeds = float(means[at]), int(np.isfinite(primary[at]).sum())
        low = high = math.nan
        if judgement is not None and seeds:
            half = t_quantile(0.975, judgement.spread.df) * math.sqrt(judgement.spread.variance / seeds)
            low, high = math.exp(mean - half), math.exp(mean + half)
        rows.append(
            (
                scores.arms[at],
                rank + 1 if seeds else None,
                _exp(mean),
                low,
                high,
                float(base - mean),
                best.get(scores.arms[at]) if seeds else None,
                seeds,
                float(_means(accuracy)[at]),
                *(float(_means(scores.final(name))[at]) for name in texts),
            )
        )
    columns = (
        text("arm"),
        Column("rank", count),
        Column("bits per byte", fixed(4)),
        Column("95 % low", fixed(4)),
        Column("95 % high", fixed(4)),
        Column("gain over baseline", percent(2, sign=True)),
        Column("P(best)", fixed(3)),
        Column("seeds", count),
        Column("accuracy above chance", percent(1)),
        *(Column(name.split("/", 1)[1].rsplit("/", 1)[0], fixed(4)) for name in texts),
    )
    kind = {"task": "gold answers of", "text": "neutral text:", "none": ""}[analysis.primary]
    caption = (
        f"Bits per byte: geometric mean, {kind} {', '.join(analysis.names)}; lower is better. Intervals are of the"
        " noise between seeds of one arm; pairs are compared below, within seeds. Arms that lack a seed are put where"
        " they would be with it."
    )
    return Table("scores", "Scores", columns, tuple(rows), caption)


def tasks_table(analysis: Analysis) -> Table:
    """Table B: every task with its gates."""
    scores = analysis.scores
    rows = []
    for gate in analysis.gates:
        metric = scores.accuracy(gate.task)
        units = scores.units(f"task/{gate.task}")
        final = _means(scores.final(f"task/{gate.task}/bpb"))
        chosen = _means(scores.final(metric)) if metric else np.full(len(scores.arms), np.nan)
        baseline = scores.arms.index(scores.baseline)
        rows.append(
            (
                gate.task,
                "yes" if gate.passed else "no",
                *(one.value for one in gate.gates),
                units.nats.shape[2] if units is not None else None,
                scores.chance(gate.task),
                float(chosen[baseline]),
                *(float(value) for value in final),
                "; ".join([*gate.reasons, *(g.reason for g in gate.gates if not g.decides and g.passed is False)]),
            )
        )
    columns = (
        text("task"),
        text("in the aggregate"),
        Column("above random, SE", fixed(1)),
        Column("monotone", fixed(2)),
        Column("signal to noise", fixed(1)),
        Column("stable ranking", fixed(2)),
        Column("units", count),
        Column("chance", percent(1)),
        Column("accuracy of the baseline", percent(1)),
        *(Column(f"bpb: {arm}", fixed(4)) for arm in scores.arms),
        text("why"),
    )
    caption = (
        "The first two gates look at the baseline alone and decide; signal to noise and stable ranking look at"
        " differences between arms and are only shown, as choosing tasks by them would make identical arms differ."
    )
    return Table("tasks", "Tasks and their gates", columns, tuple(rows), caption)


def matrix_table(analysis: Analysis) -> Table:
    """Table C: arm by arm bits per byte on held-out documents."""
    found = held_out_matrix(analysis.scores)
    names, values = found if found is not None else ((), np.zeros((0, 0)))
    rows = tuple(
        (arm, *map(float, row))
        for arm, row in zip(analysis.scores.arms, values, strict=False)
        if bool(np.isfinite(row).any())
    )
    columns = (text("trained on"), *(Column(f"held out of {name}", fixed(4)) for name in names))
    return Table("matrix", "Across the arms' own documents", columns, rows, "Bits per byte. Never ranks arms.")


_SIGNED = percent(2, sign=True)
_PAIRS = (
    text("first"),
    text("second"),
    text("verdict"),
    text("better"),
    Column("effect", _SIGNED),
    Column("95 % low", _SIGNED),
    Column("95 % high", _SIGNED),
    Column("bootstrap low", _SIGNED),
    Column("bootstrap high", _SIGNED),
    Column("effect in sigma", fixed(1)),
    Column("P(first better)", fixed(4)),
    Column("p, Holm", fixed(4)),
    Column("detectable", percent(2)),
    Column("seeds", count),
    Column("seeds needed", count),
    Column("tokens worth", fixed(2)),
    Column("worth low", fixed(2)),
    Column("worth high", fixed(2)),
    text("LR check"),
    text("notes"),
)
_PAIRS_CAPTION = (
    "Effect: % fewer bits per byte of the first arm, paired by seed, with the 95 % interval of the moderated t."
    " Verdicts are of the Holm-adjusted p (WIN to 0.01, LEAN to 0.025) of the more cautious of both methods:"
    " an interval that leaves 0 out can be a TIE, as among several pairs one does so by chance."
    " Detectable: the smallest effect that gets a LEAN in 80 % of such experiments, the number of pairs counted."
    " Tokens worth: trained tokens of the second arm for the loss of the first, per token of the first."
)


def pairs_table(analysis: Analysis) -> Table:
    """Table D: pairwise verdicts."""
    judgement = analysis.judgement
    rows = []
    for pair in judgement.pairs if judgement is not None else ():
        one = pair.estimate
        worth = analysis.multipliers.get((pair.first, pair.second))
        value, interval = (worth.value, worth.interval) if worth is not None else (math.nan, (math.nan, math.nan))
        turned = analysis.multipliers.get((pair.second, pair.first))
        if turned is not None:
            value, interval = 1 / turned.value, (1 / turned.interval[1], 1 / turned.interval[0])
        rows.append(
            (
                pair.first,
                pair.second,
                pair.verdict,
                pair.better or "",
                one.effect,
                *one.moderated,
                *one.bootstrap,
                abs(one.effect) / math.sqrt(2 * judgement.spread.variance) if judgement is not None else math.nan,
                one.p_better,
                pair.p,
                one.detectable,
                one.seeds,
                one.seeds_needed,
                value,
                *interval,
                pair.lr_check,
                "; ".join(pair.notes),
            )
        )
    caption = _PAIRS_CAPTION
    if judgement is not None and len(judgement.arms) > ALL_PAIRS:
        caption += " Shown are the pairs of the baseline and of the arm that seems best; all pairs are counted."
    return Table("pairs", "Pairwise verdicts", _PAIRS, tuple(rows), caption)


def cost_table(analysis: Analysis) -> Table:
    """What the runs have cost, by arm: sums over seeds and roles, means of speeds."""
    rows = []
    for arm in analysis.everything.arms:
        done = [r.result for r in analysis.everything.runs if r.arm == arm and r.result is not None]
        if not done:
            continue
        rows.append(
            (
                arm,
                len(done),
                _total(done, "tokens"),
                _mean(done, "tokens_per_second"),
                _mean(done, "mfu"),
                _total(done, "flops"),
                _total(done, "seconds") / 3600,
                max((_float(r.get("peak_bytes")) for r in done), default=math.nan),
                _total(done, "spikes") if not missing(_total(done, "spikes")) else None,
            )
        )
    columns = (
        text("arm"),
        Column("runs", count),
        Column("trained tokens", amount),
        Column("tokens/s", count),
        Column("MFU", percent(1)),
        Column("FLOPs", lambda value: f"{value:.2e}"),
        Column("hours", fixed(2)),
        Column("peak memory", lambda value: f"{value / 2**30:.2f} GiB"),
        Column("spikes", count),
    )
    return Table("cost", "Cost", columns, tuple(rows), "MFU is empty where the peak of the device is not known.")


def _means(values: Floats) -> Floats:
    """(arms,) means, freed of the seeds that an arm has or lacks: plain means would rank seeds. NaN without a run."""
    found: Floats = np.where(np.isfinite(values).any(axis=1), arm_means(values), np.nan)
    return found


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else math.nan


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _total(rows: list[Mapping[str, Any]], name: str) -> float:
    known = [v for row in rows if not math.isnan(v := _float(row.get(name)))]
    return sum(known) if known else math.nan


def _mean(rows: list[Mapping[str, Any]], name: str) -> float:
    known = [v for row in rows if not math.isnan(v := _float(row.get(name)))]
    return sum(known) / len(known) if known else math.nan
