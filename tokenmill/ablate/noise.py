"""How much a score differs between two trainings that differ in nothing but their seed.

Sigma is the standard deviation over seeds of ln(bits per byte) of one run, so 0.003 means 0.3 %. It is the prior of the
moderated t statistic (`tokenmill.ablate.statistics`); its degrees of freedom say how far it is trusted, in units of
observations: what the ablation itself measures is added to it and soon outweighs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tokenmill.core.errors import ConfigError

Kind = Literal["text", "task"]


@dataclass(frozen=True)
class Noise:
    """A belief about the noise between seeds."""

    sigma: float
    """Standard deviation of ln(bits per byte) of a run, over seeds."""
    df: float
    """Degrees of freedom: 0 = know nothing."""
    source: str
    """Where the number is from, for reports."""


PRIOR_DF = 6.0
"""At the presets. Few, for sizes and texts differ from those that were measured.

Simulated null experiments of 2 arms and 2 seeds: 98.6 % tie where the prior is right, 96.6 % where the true sigma is
1.5 times, 94.0 % where it is twice the prior's (docs/ablation-statistics.md).
"""

TASK_DF = 2.0
"""For scores of tasks, of which only accuracies have been published over seeds."""

_TEXT: Mapping[str, tuple[float, str]] = {
    "smoke": (0.006, "measured: 0.78 % on Wikipedia text over 4 arms of web pages, 0.26 to 0.46 % on others"),
    "laptop": (0.001, "between smoke (0.3 %) and 124M parameters (0.05 %)"),
    "h200": (0.0008, "between smoke (0.3 %) and 124M parameters (0.05 %)"),
    "confirm": (0.0006, "validation loss of 124M parameters over 80 seeds: 0.0013 to 0.0019 of 3.28 nats"),
}
_TASK: Mapping[str, tuple[float, str]] = {
    "smoke": (0.006, "measured: 0.63 % for the mean of lambada, sciq, arc_easy and hellaswag over 4 arms of web pages")
}
"""Both measured with Muon: 4 arms of web pages (raw text to FineWeb's filters), 2 seeds, 3 degrees of freedom; and
clean against corrupted WikiText, twice 1 degree of freedom. Single tasks had 0.35 to 1.3 %. WikiText with its marks
(`<unk>`, ` @-@ `) had 2.9 % after training on web pages, which have none of them, and 0.8 % with its marks undone: take
neutral text that is written as the arms are. Runs that contradict the prior set it aside (`statistics.contradicted`).
"""
_TASK_FACTOR = 2.0
"""Of presets whose tasks were not measured: gold answers are a few hundred kilobytes and not one domain; assumed."""


def prior_noise(preset: str, kind: Kind, given: object = None) -> Noise:
    """The noise to begin with. given: the user's `noise`, a number (sigma, trusted as 10 runs) or {sigma: ., df: .}.

    An unknown preset has the noise of `smoke`, the largest. ConfigError for numbers that are not above 0.
    """
    if given is not None:
        return _given(given)
    sigma, source = _TEXT.get(preset, _TEXT["smoke"])
    if preset not in _TEXT:
        source = f"no measurement for {preset!r}, that of smoke is taken: {source}"
    if kind == "text":
        return Noise(sigma, PRIOR_DF, source)
    if preset in _TASK:
        return Noise(_TASK[preset][0], PRIOR_DF, _TASK[preset][1])
    return Noise(sigma * _TASK_FACTOR, TASK_DF, f"twice that of texts (assumed): {source}")


def _given(given: object) -> Noise:
    fields: Mapping[str, Any] = given if isinstance(given, Mapping) else {"sigma": given}
    unknown = sorted(set(fields) - {"sigma", "df"})
    try:
        sigma, df = float(fields["sigma"]), float(fields.get("df", 10.0))
    except (KeyError, TypeError, ValueError):
        sigma = df = math.nan
    if unknown or not (0 < sigma < 1 and 0 <= df < math.inf):
        raise ConfigError(
            f"noise: {given!r} is not a standard deviation",
            where="noise",
            why="it is that of ln(bits per byte) over seeds, so 0.003 is 0.3 %; above 0, below 1",
            fix="write noise: 0.003, or noise: {sigma: 0.003, df: 10}",
        )
    return Noise(sigma, df, "given")
