"""Figures over the training: the aggregate against tokens with a line per arm, and every task by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tokenmill.ablate.analysis import Analysis
from tokenmill.ablate.report.style import GREY, WIDTH, Drawing, label, legend_columns, looks, new_figure, token_axis
from tokenmill.ablate.scores import Floats, Ints, random_centred
from tokenmill.ablate.student import t_quantile

_COLUMNS = 3
_BANDS = 6
"""With more arms bands would cover each other."""
_MOST_ARMS = 12
"""With more arms (mixtures) there is no legend."""


def aggregate_figure(analysis: Analysis) -> Drawing | None:
    """The figure that FineWeb made known: score against trained tokens, one line per arm, bands over seeds."""
    tokens, curves = analysis.aggregate()
    inside = (tokens > 0) & np.isfinite(curves).any(axis=(0, 1))
    if inside.sum() < 2:
        return None
    tokens, curves = tokens[inside], curves[:, :, inside]
    pairs = len(analysis.scores.arms) > 1
    accuracy_tokens, accuracies = _accuracy_curves(analysis)
    right = accuracy_tokens.size > 1
    panels = 1 + pairs + right
    figure = new_figure(WIDTH if panels > 1 else WIDTH * 0.6, 3.1 if panels < 3 else 5.6)
    if panels < 3:
        places = list(figure.subplots(1, panels, squeeze=False)[0])
    else:
        grid = figure.add_gridspec(2, 2)
        places = [figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])]
    _lines(places[0], analysis, tokens, curves)
    kind = "tasks" if analysis.primary == "task" else "neutral text"
    places[0].set_title(f"bits per byte, {kind} (lower is better)")
    if len(analysis.scores.arms) <= _BANDS:
        places[0].legend(frameon=False, handlelength=3.2, loc="upper right")
    elif len(analysis.scores.arms) <= _MOST_ARMS:
        lines = places[0].get_legend_handles_labels()
        columns = legend_columns(lines[1])
        figure.set_figheight(figure.get_figheight() + 0.1 + 0.2 * math.ceil(len(lines[1]) / columns))
        figure.legend(*lines, loc="outside lower center", ncols=columns, frameon=False, handlelength=3.2)
    if pairs:
        _gains(places[1], analysis, tokens, curves)
    if right:
        _accuracy(places[-1], analysis, accuracy_tokens, accuracies)
    spoken = ", ".join(analysis.names)
    caption = (
        f"Geometric mean over {spoken}. Lines are means over seeds; bands are 95 % intervals from the noise between"
        " seeds (moderated t; left out for many arms). The gain over the baseline is paired by seed: positive is"
        " better."
    )
    return Drawing("aggregate", "Score against trained tokens", caption, figure)


def _lines(axes: Any, analysis: Analysis, tokens: Ints, curves: Floats) -> None:
    styles = looks(analysis.scores.arms, analysis.scores.baseline)
    for at, arm in enumerate(analysis.scores.arms):
        known = np.isfinite(curves[at]).any(axis=0)
        if not known.any():
            continue
        mean = np.nanmean(curves[at][:, known], axis=0)
        count = np.isfinite(curves[at][:, known]).sum(axis=0)
        axes.plot(tokens[known], np.exp(mean), label=label(arm), **styles[arm])
        half = _half(analysis, count)
        if len(analysis.scores.arms) > _BANDS:
            continue
        axes.fill_between(
            tokens[known], np.exp(mean - half), np.exp(mean + half), color=styles[arm]["color"], alpha=0.13, lw=0
        )
    means = np.exp(np.concatenate([one[np.isfinite(one)] for one in curves[:, :, tokens >= 0.2 * tokens[-1]]]))
    if means.size:
        # the first drop would press all that matters into the lower edge
        low, high = float(means.min()), float(means.max())
        axes.set_ylim(low - 0.06 * (high - low + 1e-3), high + 0.12 * (high - low + 1e-3))
    axes.set_xlim(0, tokens[-1] * 1.02)
    axes.set_ylabel("bits per byte")
    token_axis(axes)


def _half(analysis: Analysis, count: Any) -> Floats:
    """Half width of the 95 % interval of a mean over `count` seeds."""
    judgement = analysis.judgement
    if judgement is None:
        return np.zeros(np.shape(count))
    found: Floats = t_quantile(0.975, judgement.spread.df) * np.sqrt(judgement.spread.variance / np.asarray(count))
    return found


def _gains(axes: Any, analysis: Analysis, tokens: Ints, curves: Floats) -> None:
    scores = analysis.scores
    styles = looks(scores.arms, scores.baseline)
    base = curves[scores.arms.index(scores.baseline)]
    axes.axhline(0, color="#000000", lw=1.2)
    for at, arm in enumerate(scores.arms):
        gain = base - curves[at]
        known = np.isfinite(gain).any(axis=0)
        if arm == scores.baseline or not known.any():
            continue
        mean = np.nanmean(gain[:, known], axis=0)
        half = math.sqrt(2) * _half(analysis, np.isfinite(gain[:, known]).sum(axis=0))
        axes.plot(tokens[known], 100 * mean, label=label(arm), **styles[arm])
        if len(scores.arms) > _BANDS:
            continue
        axes.fill_between(
            tokens[known], 100 * (mean - half), 100 * (mean + half), color=styles[arm]["color"], alpha=0.13, lw=0
        )
    axes.set_title(f"gain over {label(scores.baseline)} (higher is better)")
    axes.set_ylabel("% fewer bits")
    axes.set_xlim(0, tokens[-1] * 1.02)
    token_axis(axes)


def _accuracy_curves(analysis: Analysis) -> tuple[Ints, Floats]:
    """Mean random-centred accuracy of the tasks in the aggregate."""
    found: list[tuple[Ints, Floats]] = []
    for gate in analysis.gates:
        metric = analysis.scores.accuracy(gate.task)
        chance = analysis.scores.chance(gate.task)
        informative = gate.passed and analysis.scores.accuracy_is_informative(gate.task)
        if informative and metric and not math.isnan(chance):
            tokens, values = analysis.scores.curve(metric)
            found.append((tokens, random_centred(values, chance)))
    if not found:
        return np.zeros(0, np.int64), np.zeros((0, 0, 0))
    tokens = found[0][0]
    for other, _ in found[1:]:
        tokens = np.intersect1d(tokens, other)
    return tokens, np.mean([values[:, :, np.isin(at, tokens)] for at, values in found], axis=0)


def _accuracy(axes: Any, analysis: Analysis, tokens: Ints, values: Floats) -> None:
    styles = looks(analysis.scores.arms, analysis.scores.baseline)
    axes.axhline(0, color=GREY, lw=1, ls=":")
    for at, arm in enumerate(analysis.scores.arms):
        known = np.isfinite(values[at]).any(axis=0)
        if known.any():
            mean = 100 * np.nanmean(values[at][:, known], axis=0)
            axes.plot(tokens[known], mean, label=label(arm), **styles[arm])
    axes.set_title("accuracy above chance (higher is better)")
    axes.set_ylabel("% of the way from chance to 100 %")
    axes.set_xlim(0, tokens[-1] * 1.02)
    token_axis(axes)


def tasks_figure(analysis: Analysis) -> Drawing | None:
    """Small multiples: bits per byte of every task and text against tokens."""
    scores = analysis.scores
    gates = {gate.task: gate for gate in analysis.gates}
    wanted = [("task", name) for name in scores.names("task")] + [("text", name) for name in scores.names("text")]
    if not wanted or len(wanted) + len(scores.arms) < 3:
        return None
    rows = math.ceil(len(wanted) / _COLUMNS)
    figure = new_figure(WIDTH, 1.9 * rows + 0.5)
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    styles = looks(scores.arms, scores.baseline)
    handles: dict[str, Any] = {}
    for axes, (kind, name) in zip(grid, wanted, strict=False):
        tokens, curves = scores.curve(f"{kind}/{name}/bpb")
        shut = kind == "task" and not gates[name].passed
        for at, arm in enumerate(scores.arms):
            known = np.isfinite(curves[at]).any(axis=0) & (tokens > 0)
            if known.any():
                mean = np.nanmean(curves[at][:, known], axis=0)
                look = {**styles[arm], "alpha": 0.45 if shut else 1.0, "markersize": 3, "linewidth": 1.2}
                (handles[label(arm)],) = axes.plot(tokens[known], mean, **look)
        axes.set_title(label(name) + (" (not in the aggregate)" if shut else ""), color=GREY if shut else "black")
        token_axis(axes, "")
        axes.tick_params(labelsize=7.5)
        axes.set_xlim(left=0)
    for axes in grid[len(wanted) :]:
        axes.set_visible(False)
    if handles and len(handles) <= _MOST_ARMS:
        columns = legend_columns(handles)
        figure.set_figheight(figure.get_figheight() + 0.2 * (math.ceil(len(handles) / columns) - 1))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, handlelength=3.2
        )
    caption = "Bits per byte of the gold answer (tasks) or of the text, against trained tokens; means over seeds."
    return Drawing("tasks", "Every task", caption, figure)
