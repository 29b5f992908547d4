"""Splits by group: nothing on both sides, classes close, and no influence of the order."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.classifiers.splits import folds_by_group, split_by_group
from tokenmill.core.errors import ConfigError
from tokenmill.text.hosts import host_of

ROWS = st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3)), min_size=3, max_size=80).filter(
    lambda rows: len({name for name, _ in rows}) >= 3
)


@settings(max_examples=60)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 5))
def test_any_groups(rows: list[tuple[str, int]], random: object, seed: int) -> None:
    groups, labels = zip(*rows, strict=True)
    splits = split_by_group(groups, labels, seed=seed)
    assert set(splits) == {"train", "validation", "test"}
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))  # one split for each group
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = split_by_group([groups[i] for i in order], [labels[i] for i in order], seed=seed)
    assert again == [splits[i] for i in order]


def test_classes_are_close_and_seeds_differ() -> None:
    rng = np.random.default_rng(0)
    groups = [f"h{n}.org" for n in rng.zipf(1.6, 3000) % 500]
    labels = [int(n) for n in rng.choice(5, 3000, p=[0.4, 0.3, 0.15, 0.1, 0.05])]
    folds = folds_by_group(groups, labels, 5, seed=1)
    sizes = np.bincount(folds)
    biggest = max(Counter(groups).values())
    assert sizes.max() - sizes.min() <= max(0.1 * 600, biggest)
    for label in range(5):
        share = labels.count(label) / 3000
        small = [f for f in range(5) if sizes[f] < 700]
        for fold in small:
            held = [lab for lab, f in zip(labels, folds, strict=True) if f == fold]
            assert held.count(label) / len(held) == pytest.approx(share, abs=0.04)
    assert (folds != folds_by_group(groups, labels, 5, seed=2)).any()


def test_the_annotations_of_the_crawl(shared: Path) -> None:
    with gzip.open(shared / "edu-annotations" / "annotations.jsonl.gz", "rt") as stream:
        rows = [json.loads(line) for line in stream]
    groups = [host_of(row["url"]) for row in rows]
    assert all(groups)
    labels = [row["edu"] for row in rows]
    folds = folds_by_group(groups, labels, 5, seed=0)
    sizes = np.bincount(folds)
    assert sizes.min() >= 0.8 * len(rows) / 5
    assert sizes.max() <= 1.2 * len(rows) / 5
    for grade in range(4):
        shares = [np.mean([lab == grade for lab, f in zip(labels, folds, strict=True) if f == n]) for n in range(5)]
        assert max(shares) - min(shares) < 0.08
    splits = split_by_group(groups, labels, {"train": 8, "validation": 1, "test": 1})
    counts = Counter(splits)
    assert counts["train"] == pytest.approx(0.8 * len(rows), rel=0.05)
    assert counts["test"] == pytest.approx(0.1 * len(rows), rel=0.2)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="2 groups cannot fill 3 splits"):
        split_by_group(["a", "b", "b"], [1, 1, 1])
    with pytest.raises(ConfigError, match="folds"):
        folds_by_group(["a", "b"], [1, 1], 1)
    with pytest.raises(ConfigError, match="shares"):
        split_by_group(["a", "b"], [1, 1], {"train": 1.0, "test": 0.0})
    with pytest.raises(ConfigError, match="differ in length"):
        folds_by_group(["a", "b"], [1], 2)
