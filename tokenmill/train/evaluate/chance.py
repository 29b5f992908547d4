"""What a score is worth if a model knows nothing: measured baselines of accuracies, from the answers alone.

Three things that know nothing can beat one in n. Likelihoods are sums over tokens, so short answers win by raw
likelihood, and right answers are often longer or shorter than wrong ones. Where all items have the same choices (yes
and no), saying the same each time gets the share of the commonest. And a model may prefer some choices as much as they
are right on average, which shuffling the labels shows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenmill.train.evaluate.metrics import ACCURACIES, Answers, Floats, accuracies, answers_of, to_table
from tokenmill.train.evaluate.requests import Likelihoods, Requests

DRAWS = 200
_AT_ONCE = 4_000_000
"""Numbers in memory at a time."""


@dataclass(frozen=True)
class Chance:
    """Accuracy without knowledge, of one task and normalisation."""

    uniform: float
    """Mean of 1 / choices: picking at random."""
    random: float
    """Mean over draws of random likelihoods, those of a token being independent of what it says."""
    random_sd: float
    """Over draws: how far a single evaluation strays by luck."""
    majority: float | None
    """Always the same answer, the commonest right one; None where items have choices of their own."""

    @property
    def level(self) -> float:
        """The highest of these: what is not clearly above says nothing."""
        return max(self.uniform, self.random, self.majority or 0.0)


def chance(requests: Requests, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Chance]:
    """Baselines of all accuracies of tasks with choices: "task/arc_easy/acc_char" and so on."""
    nothing = Likelihoods(np.zeros(len(requests)), np.zeros(len(requests), np.bool_))
    return chance_of(to_table(requests, nothing), draws=draws, seed=seed)


def chance_of(table: pa.Table, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Chance]:
    """The same from an item table, whose likelihoods it does not look at."""
    found: dict[str, Chance] = {}
    for task, answers in answers_of(table).items():
        if answers.there.shape[1] < 2:
            continue
        uniform = float((1 / answers.there.sum(axis=1)).mean())
        scores = _random_scores(answers, draws, _generator(seed, task))
        majority = _majority(answers)
        for name, values in scores.items():
            found[f"{task}/{name}"] = Chance(uniform, float(values.mean()), float(values.std(ddof=1)), majority)
    return found


def _random_scores(answers: Answers, draws: int, generator: np.random.Generator) -> dict[str, Floats]:
    """Accuracy -> (draws,): each token costs nats from an exponential distribution, whatever it is."""
    at_once = max(1, _AT_ONCE // answers.there.size)
    parts: list[dict[str, Floats]] = []
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        nats = generator.standard_gamma(np.broadcast_to(answers.tokens, (count, *answers.tokens.shape)))
        nats = np.where(answers.there, nats, np.inf)
        parts.append({name: credit.mean(axis=1) for name, credit in accuracies(answers, nats).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in ACCURACIES}


def _majority(answers: Answers) -> float | None:
    """Share of the commonest right choice, where every item has the same choices (as far as their lengths tell)."""
    shape = np.stack([answers.choice, answers.tokens, answers.characters, answers.bytes])
    if len(answers.gold) < 2 or not (shape == shape[:, :1]).all() or not answers.there.all():
        return None
    return float(np.bincount(answers.gold).max() / len(answers.gold))


def label_shuffle(table: pa.Table, *, draws: int = DRAWS, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Accuracy by name -> (mean, standard deviation) over draws in which right choices are dealt anew among the items
    with as many choices: what the model's preferences for some choices are worth without the questions."""
    found: dict[str, tuple[float, float]] = {}
    for task, answers in answers_of(table).items():
        if answers.there.shape[1] < 2:
            continue
        generator = _generator(seed, task)
        count = answers.there.sum(axis=1)
        scores: dict[str, list[float]] = {name: [] for name in ACCURACIES}
        for _ in range(draws):
            gold = answers.gold.copy()
            for choices in np.unique(count):
                rows = np.flatnonzero(count == choices)
                gold[rows] = gold[generator.permutation(rows)]
            shuffled = _with_gold(answers, gold)
            for name, credit in accuracies(shuffled, answers.nats).items():
                scores[name].append(float(credit.mean()))
        for name, values in scores.items():
            found[f"{task}/{name}"] = (float(np.mean(values)), float(np.std(values, ddof=1)))
    return found


def _with_gold(answers: Answers, gold: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Answers:
    return Answers(**{**vars(answers), "gold": gold})


def _generator(seed: int, task: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed} {task}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
