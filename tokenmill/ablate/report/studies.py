"""Figures of the studies: laws of scaling, and mixtures with their regression."""

from __future__ import annotations

import numpy as np

from tokenmill.ablate.analysis import Analysis, ladder_points
from tokenmill.ablate.report.style import COLOURS, GREY, WIDTH, Drawing, label, looks, new_figure
from tokenmill.ablate.scaling import INTERVAL, law


def ladder_figure(analysis: Analysis) -> Drawing | None:
    """Loss against compute: runs, the law along the way to the target with its 90 % band, and the target."""
    scaling = analysis.scaling
    if scaling is None:
        return None
    points = ladder_points(analysis.everything, analysis.primary, analysis.names)
    styles = looks(scaling.arms, analysis.scores.baseline)
    baseline = scaling.arms.index(analysis.scores.baseline)
    figure = new_figure(WIDTH, 3.4)
    left, right = figure.subplots(1, 2)
    goal_n, goal_d = scaling.target
    first = points[scaling.arms[0]]
    smallest = int(np.argmin(first.compute))
    way = np.linspace(0, 1, 80)
    n = np.exp(np.log(first.parameters[smallest]) * (1 - way) + np.log(goal_n) * way)
    d = np.exp(np.log(first.tokens[smallest]) * (1 - way) + np.log(goal_d) * way)
    base = scaling.common[baseline]
    for at, arm in enumerate(scaling.arms):
        one, fitted, look = points[arm], scaling.common[at], styles[arm]
        line = {"color": look["color"], "linestyle": look["linestyle"]}
        dots = {**look, "linestyle": "none"}
        drawn = law(fitted.draws[:, None], n, d)
        left.plot(6 * n * d, law(fitted.coefficients, n, d), **line)
        left.fill_between(6 * n * d, *np.quantile(drawn, INTERVAL, axis=0), color=look["color"], alpha=0.13, lw=0)
        left.plot(one.compute, one.loss, label=label(arm), **dots)
        left.plot([6 * goal_n * goal_d], [scaling.predicted[at]], **{**dots, "markerfacecolor": "white"})
        if at == baseline:
            right.axhline(0, color="#000000", lw=1.2)
            continue
        gain = 100 * (np.log(law(base.draws[:, None], n, d)) - np.log(drawn))
        middle = 100 * np.log(law(base.coefficients, n, d) / law(fitted.coefficients, n, d))
        right.plot(6 * n * d, middle, **line)
        right.fill_between(6 * n * d, *np.quantile(gain, INTERVAL, axis=0), color=look["color"], alpha=0.13, lw=0)
        right.plot(one.compute, 100 * np.log(points[scaling.arms[baseline]].loss / one.loss), **dots)
    for axes in (left, right):
        axes.axvline(6 * goal_n * goal_d, color=GREY, lw=0.8, ls=":")
        axes.set_xscale("log")
        axes.set_xlabel("training compute 6 N D, FLOPs")
    left.set_yscale("log")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    left.yaxis.set_minor_formatter(lambda value, _: f"{value:.3g}")
    left.tick_params(axis="y", which="minor", labelsize=7.5)
    left.set_title("bits per byte (lower is better)")
    right.set_title(f"gain over {label(analysis.scores.baseline)} (higher is better)")
    right.set_ylabel("% fewer bits")
    left.legend(frameon=False)
    caption = (
        "Points are runs; lines are the fitted law on the way from the smallest run to the target (hollow), with"
        " bands of 90 %. Runs with another ratio of tokens to parameters lie off the line without being misfits."
    )
    return Drawing("ladder", "Loss against compute", caption, figure)


def mixture_figure(analysis: Analysis) -> Drawing | None:
    """The proposed weights next to the natural ones, and predictions of left-out mixtures against what was seen."""
    fitted, proposal = analysis.regression, analysis.proposal
    if fitted is None or proposal is None:
        return None
    figure = new_figure(WIDTH, 1.2 + max(2.2, 0.3 * len(proposal.sources)))
    left, right = figure.subplots(1, 2)
    rows = np.arange(len(proposal.sources))
    left.barh(rows, 100 * proposal.weights, height=0.55, color=COLOURS[0])
    half = np.stack([proposal.weights - proposal.spread[:, 0], proposal.spread[:, 1] - proposal.weights])
    left.errorbar(
        100 * proposal.weights, rows, xerr=100 * np.maximum(half, 0), fmt="none", ecolor="black", capsize=3, lw=1
    )
    left.set_yticks(rows, [label(s) for s in proposal.sources])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.grid(axis="y", visible=False)
    left.set_xlabel("% of the tokens")
    left.set_title("proposed mixture, 90 % interval")
    seen, predicted = np.exp(fitted.targets), np.exp(fitted.left_out)
    ends = [min(seen.min(), predicted.min()), max(seen.max(), predicted.max())]
    right.plot(ends, ends, color=GREY, lw=1, ls="--")
    right.plot(seen, predicted, "o", color=COLOURS[1])
    right.set_xlabel("bits per byte, seen")
    right.set_ylabel("predicted without it")
    right.set_title(f"left-out mixtures: rank correlation {fitted.rank:.2f}")
    caption = (
        f"{fitted.form.capitalize()} regression on {fitted.targets.size} mixtures; it explains"
        f" {100 * fitted.explained:.0f} % of the variance of mixtures that it has not seen."
        " Wide intervals: the weight of that source does not matter, or not enough mixtures were trained."
    )
    return Drawing("mixture", "Mixtures", caption, figure)
