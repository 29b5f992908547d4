"""What the choice of items adds to the noise of a difference: by influence functions, and by resampling.

Everything is done pair by pair, over the seeds that both arms have: a run that is missing, or has lost its table of
items, takes nothing from pairs that it is not in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tokenmill.ablate.scores import Floats
from tokenmill.ablate.statistics import DRAWS, Panel

_CHUNK = 4_000_000
"""Most resampled units held at a time."""


@dataclass(frozen=True, eq=False)
class ItemNoise:
    """Noise that comes with the items."""

    covariance: Floats
    """(arms, arms): of the arms' scores, from which items were asked; more seeds do not make it smaller."""
    by_run: float
    """Variance of one run's score from answers that change from run to run: part of the noise between seeds."""


def item_noise(panel: Panel) -> ItemNoise:
    """What the choice of items and the answers to them add, by influence functions.

    A unit moves ln(sum of nats) by its share of the sum (bytes are the same for all arms and cancel). Differences of
    shares are taken pair by pair, over the seeds that both arms have, so that a run that is missing takes nothing from
    other pairs. What differs between seeds is noise of a run, and is subtracted from what the items do to the means;
    negative directions that are left by that are set to 0. With one seed nothing can be subtracted, and all of it
    counts as the items'.
    """
    count = len(panel.arms)
    between, by_run = np.zeros((count, count)), 0.0
    for nats in panel.units:
        size = nats.shape[2]
        if size < 2:
            continue
        found, changing = _differences(nats)
        between += found * size / (size - 1)
        by_run += changing * size / (size - 1)
    tasks = max(1, len(panel.units))
    # the covariance around the mean of all arms that has these variances of differences
    centre = np.eye(count) - 1 / max(1, count)
    level, axes = np.linalg.eigh(-0.5 * centre @ (between / tasks**2) @ centre)
    return ItemNoise((axes * np.clip(level, 0, None)) @ axes.T, by_run / tasks**2)


def _differences(nats: Floats) -> tuple[Floats, float]:
    """((arms, arms) variance that items add to differences of arms, variance of a run that changes with the seed)."""
    count = len(nats)
    known = np.asarray(np.isfinite(nats).all(axis=2), dtype=bool)
    share = nats / nats.sum(axis=2, keepdims=True)
    found, changing, df = np.full((count, count), np.nan), 0.0, 0
    np.fill_diagonal(found, 0)
    for one, other in combinations(range(count), 2):
        both = known[one] & known[other]
        number = int(both.sum())
        if not number:
            continue
        difference = share[one, both] - share[other, both]
        mean = difference.mean(axis=0)
        rest = float(((difference - mean) ** 2).sum())
        value = float(mean @ mean) - (rest / (number * (number - 1)) if number > 1 else 0.0)
        found[one, other] = found[other, one] = value
        changing, df = changing + rest, df + number - 1
    met = np.isfinite(found) & ~np.eye(count, dtype=bool)
    # pairs that never met have what the others have on average
    found[np.isnan(found)] = found[met].mean() if met.any() else 0.0
    return found, changing / (2 * df) if df else 0.0


def bootstrap(panel: Panel, *, draws: int = DRAWS, seed: int = 0, seeds: npt.ArrayLike | None = None) -> Floats:
    """(draws, arms): scores with seeds resampled (outer) and units resampled within tasks (inner), the same for all
    arms.

    seeds: (seeds,) which take part; the default is those that all arms have. Arms that lack one of them are NaN; no
    seed: an empty array. The level of a draw means nothing (bytes are left out, which are the same for all arms),
    differences between arms do.
    """
    measured = np.isfinite(panel.values)
    whole = measured.all(axis=0) if seeds is None else np.asarray(seeds, bool)
    inside = measured[:, whole].all(axis=1)
    values = panel.values[inside][:, whole]
    arms, number = values.shape
    if not number:
        return np.zeros((0, len(panel.arms)))
    random = np.random.default_rng([seed, 0xB007])
    chosen = random.integers(0, number, (draws, number))
    drawn = np.repeat(values[None], draws, axis=0)
    for nats in panel.units:
        known = nats[inside][:, whole]
        size = known.shape[2]
        if size < 2 or not np.isfinite(known).all():
            continue
        share = known / known.sum(axis=2, keepdims=True)
        step = max(1, _CHUNK // size)
        for first in range(0, draws, step):
            many = min(step, draws - first)
            weight = random.multinomial(size, np.full(size, 1 / size), many).astype(np.float64)
            sums = (weight @ share.reshape(arms * number, size).T).reshape(many, arms, number)
            drawn[first : first + many] += np.log(np.maximum(sums, 1e-300)) / len(panel.units)
    found = np.full((draws, len(panel.arms)), np.nan)
    found[:, inside] = np.take_along_axis(drawn, chosen[:, None, :], axis=2).mean(axis=2)
    return found


class PairDraws:
    """Bootstraps of pairs, over the seeds that both arms have; those over the same seeds are one."""

    def __init__(self, panel: Panel, *, draws: int = DRAWS, seed: int = 0) -> None:
        self._panel, self._draws, self._seed = panel, draws, seed
        self._values = np.isfinite(panel.values)
        self._units = self._values.copy()
        for nats in panel.units:
            self._units &= np.isfinite(nats).all(axis=2)
        self._found: dict[tuple[bytes, tuple[int, ...]], Floats] = {}

    def of(self, first: int, second: int) -> Floats:
        """(draws, arms), of which these two are numbers; empty where they have no seed in common."""
        both = self._units[first] & self._units[second]
        if not both.any():  # their items are lost; the seeds are still there
            both = self._values[first] & self._values[second]
        arms = [at for at in range(len(self._units)) if (self._units[at] | ~both).all()]
        if first not in arms or second not in arms:
            arms = [first, second]
        key = (both.tobytes(), tuple(arms))
        if key not in self._found:
            self._found[key] = self._draw(arms, both)
        return self._found[key]

    def _draw(self, arms: list[int], seeds: npt.NDArray[np.bool_]) -> Floats:
        drawn = bootstrap(self._panel.of(arms), draws=self._draws, seed=self._seed, seeds=seeds)
        found = np.full((len(drawn), len(self._panel.arms)), np.nan)
        found[:, arms] = drawn
        return found
