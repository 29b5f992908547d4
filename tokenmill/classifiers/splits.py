"""Training, validation and test sets that share no host.

Pages of one site look alike, so a split by page measures how well a model knows the sites. Splits depend on a seed and
the names of the groups, never on the order of the documents. Adding documents may move groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from tokenmill.classifiers.evaluate import Floats, Ints
from tokenmill.core.errors import ConfigError

SHARES: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def split_by_group(
    groups: Sequence[str], labels: Sequence[Hashable], shares: Mapping[str, float] = SHARES, *, seed: int = 0
) -> list[str]:
    """The name of a split for every document: whole groups, with about the same classes everywhere.

    shares: positive numbers, of which only the ratios count. ConfigError where there are fewer groups than splits.
    """
    if len(shares) < 2 or any(not share > 0 for share in shares.values()):
        raise ConfigError(f"shares {dict(shares)} split nothing", fix="at least two positive shares")
    names = list(shares)
    places = _assign(groups, labels, np.array([shares[name] for name in names], dtype=np.float64), seed)
    return [names[place] for place in places]


def folds_by_group(groups: Sequence[str], labels: Sequence[Hashable], folds: int = 5, *, seed: int = 0) -> Ints:
    """The number of a fold (0 to folds - 1) for every document, by groups as `split_by_group`."""
    if folds < 2:
        raise ConfigError(f"{folds} folds split nothing", fix="folds >= 2")
    return _assign(groups, labels, np.ones(folds), seed)


def _assign(groups: Sequence[str], labels: Sequence[Hashable], shares: Floats, seed: int) -> Ints:
    """Groups one by one, the largest first, each to the split that it brings nearest to its share of every class."""
    if len(groups) != len(labels):
        raise ConfigError("groups and labels differ in length", why=f"{len(groups)} and {len(labels)}")
    names = sorted(set(groups))
    if len(names) < shares.size:
        raise ConfigError(f"{len(names)} groups cannot fill {shares.size} splits", fix="fewer splits, or more hosts")
    number = {name: place for place, name in enumerate(names)}
    member = np.array([number[name] for name in groups], dtype=np.int64)
    classes = {label: place for place, label in enumerate(sorted(set(labels), key=repr))}
    counts = np.zeros((len(names), len(classes) + 1))
    np.add.at(counts, (member, np.array([classes[label] for label in labels], dtype=np.int64)), 1.0)
    counts[:, -1] = counts.sum(axis=1)  # the size of a split counts as a class of its own
    totals = counts.sum(axis=0)
    target = np.outer(shares / shares.sum(), totals)
    digests = [hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest() for name in names]
    order = sorted(range(len(names)), key=lambda place: (-counts[place, -1], digests[place]))
    filled = np.zeros_like(target)
    chosen = np.zeros(len(names), dtype=np.int64)
    for position, group in enumerate(order):
        # the last groups go to splits that are still empty, so that none stays so
        empty = np.flatnonzero(filled[:, -1] == 0)
        open_splits = empty if empty.size >= len(order) - position else np.arange(shares.size)
        # growth of the squared distance to the targets; relative to a class's total, so that rare classes count
        vector = counts[group]
        growth = ((2 * (filled - target) + vector) * vector / (totals * np.maximum(target, 1e-12))).sum(axis=1)
        tie = int.from_bytes(digests[group][:4], "big") % shares.size
        turn = (open_splits - tie) % shares.size
        best = open_splits[np.lexsort((turn, np.round(growth[open_splits], 12)))[0]]
        chosen[group] = best
        filled[best] += vector
    return chosen[member]
