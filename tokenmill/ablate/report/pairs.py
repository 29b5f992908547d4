"""Figures of comparisons: forest plot of paired differences, held-out matrix, probabilities of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tokenmill.ablate.analysis import Analysis
from tokenmill.ablate.report.style import GREY, WIDTH, Drawing, label, new_figure
from tokenmill.ablate.scores import Floats, Scores
from tokenmill.ablate.verdict import Pair

_FILL = {"WIN": "full", "LEAN": "left", "TIE": "none"}
_COLOUR = {"WIN": "#0072B2", "LEAN": "#0072B2", "TIE": GREY}


def forest_figure(analysis: Analysis) -> Drawing | None:
    """All pairs: effect with both intervals and the verdict, so drawn that the effect is positive."""
    judgement = analysis.judgement
    if judgement is None or not judgement.pairs:
        return None
    ordered = sorted(judgement.pairs, key=lambda pair: -abs(pair.estimate.effect))
    figure = new_figure(WIDTH, 1.1 + 0.36 * len(ordered))
    axes = figure.subplots()
    axes.axvline(0, color="#000000", lw=1)
    if judgement.margin:
        axes.axvspan(-100 * judgement.margin, 100 * judgement.margin, color="#efefef", lw=0, zorder=0)
    for row, pair in enumerate(ordered):
        _forest_row(axes, row, pair)
    better = [(p.first, p.second) if p.estimate.effect >= 0 else (p.second, p.first) for p in ordered]
    names = [f"{label(one)} over {label(other)}" for one, other in better]
    axes.set_yticks(range(len(ordered)), names)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("effect: % fewer bits per byte, paired by seed")
    caption = (
        "Thick: 95 % interval of the moderated t. Thin: 95 % interval of the bootstrap over seeds and items, too narrow"
        " for few seeds. Filled: WIN, half filled: LEAN, hollow: TIE."
        + (" Shaded: effects within the margin." if judgement.margin else "")
    )
    return Drawing("pairs", "Paired differences", caption, figure)


def _forest_row(axes: Any, row: int, pair: Pair) -> None:
    one = pair.estimate
    sign = 100 if one.effect >= 0 else -100
    colour = _COLOUR[pair.verdict]
    axes.plot([sign * x for x in one.moderated], [row, row], color=colour, lw=3, solid_capstyle="butt", alpha=0.75)
    axes.plot([sign * x for x in one.bootstrap], [row + 0.2] * 2, color=colour, lw=1)
    axes.plot(
        [sign * one.effect],
        [row],
        marker="o",
        markersize=7,
        color=colour,
        fillstyle=_FILL[pair.verdict],
        markerfacecoloralt="white",
        markeredgecolor=colour,
        lw=0,
    )
    words = f"{pair.verdict}  {sign * one.effect:+.2f} %"
    axes.text(1.01, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def held_out_matrix(scores: Scores) -> tuple[tuple[str, ...], Floats] | None:
    """(names of held-out sets, (arms, sets) bits per byte, mean over seeds); None where none was measured."""
    names = tuple(arm for arm in scores.arms if arm in scores.names("held_out"))
    if not names:
        return None
    columns = []
    for name in names:
        final = scores.final(f"held_out/{name}/bpb")
        known = np.isfinite(final)
        total = np.where(known, final, 0).sum(axis=1)
        columns.append(np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan))
    return names, np.stack(columns, axis=1)


def matrix_figure(analysis: Analysis) -> Drawing | None:
    """Arm by arm: bits per byte of each model on the held-out documents of each arm."""
    found = held_out_matrix(analysis.scores)
    if found is None or not np.isfinite(found[1]).any():
        return None
    names, values = found
    best = np.nanmin(np.where(np.isfinite(values), values, np.inf), axis=0)
    above = 100 * (values / best - 1)
    figure = _heat(
        above,
        [[f"{v:.3f}" if np.isfinite(v) else "-" for v in row] for row in values],
        [label(a) for a in analysis.scores.arms],
        [label(n) for n in names],
        "% above the best",
    )
    figure.axes[0].set_xlabel("held-out documents of")
    figure.axes[0].set_ylabel("model trained on")
    caption = (
        "Bits per byte; darker is worse within a column. Columns are different texts and are not comparable with each"
        " other, and nothing here ranks arms."
    )
    return Drawing("matrix", "Across the arms' own documents", caption, figure)


def ranks_figure(analysis: Analysis) -> Drawing | None:
    """Probabilities of ranks, as numbers on shades."""
    judgement = analysis.judgement
    if judgement is None or len(judgement.arms) < 2:
        return None
    order = np.argsort(-judgement.ranks @ np.arange(len(judgement.arms), 0, -1), kind="stable")
    shown = 100 * judgement.ranks[order]
    figure = _heat(
        shown,
        [[f"{v:.0f}" for v in row] for row in shown],
        [label(judgement.arms[at]) for at in order],
        [str(rank + 1) for rank in range(len(order))],
        "probability, %",
        top=100.0,
    )
    figure.axes[0].set_xlabel("rank")
    caption = "Probability in % that an arm has a rank, from joint draws of the moderated t over seeds and items."
    return Drawing("ranks", "Probabilities of ranks", caption, figure)


def _heat(
    values: Floats, words: list[list[str]], rows: list[str], columns: list[str], name: str, top: float | None = None
) -> Any:
    """A matrix as shades of one hue with its numbers; the text is white where the shade is dark."""
    from matplotlib.colors import LinearSegmentedColormap

    # a bar of 50 and more colours would be stored as an image of dots
    hues = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#9ecae1", "#084a82"], N=48)
    shades = hues.with_extremes(bad="#f4f4f4")
    size = min(1.0, 8 / max(len(rows), 1))
    figure = new_figure(min(WIDTH, 2.6 + 0.85 * len(columns)), max(1.9, 1.2 + 0.45 * size * len(rows)))
    axes = figure.subplots()
    limit = top or max(float(np.nanmax(np.where(np.isfinite(values), values, 0))), 1e-9)
    edges = [np.arange(size + 1) - 0.5 for size in values.shape]
    picture = axes.pcolormesh(edges[1], edges[0], np.ma.masked_invalid(values), cmap=shades, vmin=0, vmax=limit)
    axes.invert_yaxis()
    for row, line in enumerate(words):
        for column, word in enumerate(line):
            dark = np.isfinite(values[row, column]) and values[row, column] > 0.6 * limit
            axes.text(column, row, word, ha="center", va="center", color="white" if dark else "black", fontsize=8.5)
    axes.set_xticks(range(len(columns)), columns)
    if max(map(len, columns)) > 12:
        axes.tick_params(axis="x", labelrotation=25)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    bar = figure.colorbar(picture, ax=axes, shrink=0.9)
    bar.set_label(name, fontsize=8)
    bar.outline.set_visible(False)
    return figure
