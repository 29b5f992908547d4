"""Trains the block model of `tokenmill/extract/skim`: names, first stage, second stage; out of fold by registrable
domain.

    python -m tools.skim.train --shared ../shared

writes the shipped file, its card (docs/skim-model.md), and one model per fold for evaluation (.bench/skim/models).

The second stage learns from probabilities that the first one gave to pages of domains it had not seen, and the first
one from weights of names fitted without the page's domain; otherwise both would trust what they know by heart. So
for every fold and every pair of folds there is a model without it. The same pages give the same bytes.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.extract.skim import model_kernel
from tokenmill.extract.skim.context_kernel import Weights
from tokenmill.extract.skim.features import NAMES, SECOND_NAMES, matrix, second_matrix
from tokenmill.extract.skim.model import SHIPPED, STAGE, Model
from tokenmill.extract.skim.model_kernel import Trees
from tools.skim import calibrate, card, fit
from tools.skim.data import BENCH, FOLDS, TrainingPage, load

Without = frozenset[int]
"""Folds that something was made without."""
NAME_COLUMNS = [place for place, name in enumerate(NAMES) if name.startswith("names")]
FIRST = {"num_iterations": 120}
SECOND = {"num_iterations": 60, "learning_rate": 0.1}
PAGES = 5000
"""Pages of the crawl that are taken: annotated ones, then hosts in turns."""


FULL_WEIGHT = np.float32(1.5)
"""Of pages that are annotated throughout, forums aside, whose posts are many; their blocks weigh more
than others already."""
ROWS = 120_000
"""Blocks that a stage is fitted on, drawn by their weights."""


@dataclass
class Stage:
    """A fitted stage: its trees, what sums begin with, and gain by feature."""

    trees: fit.Trees
    base: int
    gain: npt.NDArray[Any]

    def likely(self, features: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Probabilities in 255ths of rows of features."""
        trees = Trees(*(self.trees[name] for name in STAGE))
        found: npt.NDArray[np.uint8] = model_kernel.likely_of(features, trees, self.base, fit.tables()[0])
        return found


@dataclass
class Trainer:
    """Everything that is fitted from some pages, by the folds that it was made without."""

    pages: Sequence[TrainingPage]
    say: Callable[[str], object] = print
    first_settings: dict[str, Any] = field(default_factory=lambda: dict(FIRST))
    second_settings: dict[str, Any] = field(default_factory=lambda: dict(SECOND))
    rows: int = ROWS

    def __post_init__(self) -> None:
        self.pages = [
            replace(page, weight=page.weight * FULL_WEIGHT)
            if page.gold_source in ("ranges", "body") and page.kind != "forum"
            else page
            for page in self.pages
        ]
        self.tags = fit.fit_tags(self.pages)
        self._names: dict[Without, Weights] = {}
        self._rows: list[Any] = [fit.names_of(page) for page in self.pages]
        self._first: dict[Without, Stage] = {}
        self._columns: dict[tuple[int, Without], npt.NDArray[np.uint8]] = {}
        self._features: list[npt.NDArray[np.uint8]] = []

    def names(self, without: Without) -> Weights:
        """Weights of names, fitted on the other folds."""
        if without not in self._names:
            chosen = [row for page, row in zip(self.pages, self._rows, strict=True) if page.fold not in without]
            self._names[without] = fit.weights_of(fit.fit_names(fit.joined(chosen)), self.tags)
        return self._names[without]

    def features(self, at: int, without: Without) -> npt.NDArray[np.uint8]:
        """First stage's features of a page under names that were fitted without those folds and its own."""
        if not self._features:
            self._features = [matrix(page.scan, self.names(frozenset({page.fold}))) for page in self.pages]
        own = frozenset({self.pages[at].fold})
        if without <= own:
            return self._features[at]
        key = (at, without | own)
        if key not in self._columns:
            self._columns[key] = matrix(self.pages[at].scan, self.names(without | own))[:, NAME_COLUMNS]
        found = self._features[at].copy()
        found[:, NAME_COLUMNS] = self._columns[key]
        return found

    def first(self, without: Without) -> Stage:
        """First stage, fitted on the other folds."""
        if without not in self._first:
            names = frozenset(sorted(without)[:1])
            self._first[without] = self._fit(
                without, lambda at: self.features(at, names), self.first_settings, f"first stage without {[*without]}"
            )
        return self._first[without]

    def second(self, without: Without) -> Stage:
        """Second stage, fitted on the other folds, each judged by a first stage that did not know it."""

        def features(at: int) -> npt.NDArray[np.uint8]:
            page = self.pages[at]
            unseen = without | {page.fold}
            likely = self.first(unseen).likely(self.features(at, without))
            return second_matrix(page.scan, self.names(unseen), likely)

        return self._fit(without, features, self.second_settings, f"second stage without {[*without]}")

    def model(self, without: Without = frozenset(), card: dict[str, Any] | None = None) -> Model:
        """The model that knows the other folds."""
        names, first, second = self.names(without), self.first(without), self.second(without)
        bytes_table, table = fit.tables()
        arrays = {
            "own": names.own,
            "path": names.path,
            "tags": names.tags,
            "bases": np.array([first.base, second.base], np.int64),
            "bytes_table": bytes_table,
            "table": table,
            "calibration": fit.uncalibrated(),
            **{f"first_{name}": array for name, array in first.trees.items()},
            **{f"second_{name}": array for name, array in second.trees.items()},
        }
        gains = {
            "first": _gains(NAMES, first.gain),
            "second": _gains(SECOND_NAMES, second.gain),
        }
        return Model(arrays, {"gain": gains, **(card or {})})

    def _fit(self, without: Without, features: Callable[[int], Any], settings: dict[str, Any], what: str) -> Stage:
        start = time.perf_counter()
        chosen = [at for at, page in enumerate(self.pages) if page.fold not in without]
        held = [self.pages[at].weight > 0 for at in chosen]
        target = np.concatenate([self.pages[at].target[mask] for at, mask in zip(chosen, held, strict=True)])
        weight = np.concatenate([self.pages[at].weight[mask] for at, mask in zip(chosen, held, strict=True)])
        taken, weight = fit.drawn(weight, self.rows)
        x = np.empty((len(taken), features(chosen[0]).shape[1]), np.uint8)
        bounds = np.cumsum([0, *(int(mask.sum()) for mask in held)])
        cuts = np.searchsorted(taken, bounds)
        for i, (at, mask) in enumerate(zip(chosen, held, strict=True)):
            if cuts[i + 1] > cuts[i]:
                x[cuts[i] : cuts[i + 1]] = features(at)[mask][taken[cuts[i] : cuts[i + 1]] - bounds[i]]
        target = target[taken]
        stage = Stage(*fit.fit_trees(x, target, weight, **settings))
        self.say(f"{what}: {len(x)} blocks, {time.perf_counter() - start:.0f} s")
        return stage


def _gains(names: Iterable[str], gain: npt.NDArray[Any]) -> dict[str, float]:
    total = float(gain.sum()) or 1.0
    found = {name: round(float(value) / total, 4) for name, value in zip(names, gain, strict=True)}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def fold_models(folder: Path = BENCH / "models") -> list[Model]:
    """Models of the folds: model k knows no page of fold k. FileNotFoundError where the command has not made them."""
    paths = [folder / f"fold{fold}.npz" for fold in range(FOLDS)]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"no {missing[0]}: run python -m tools.skim.train")
    return [Model.load(path) for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=BENCH.parents[2] / "shared")
    parser.add_argument("--pages", type=int, default=PAGES, help="pages of the crawl")
    parser.add_argument("--output", type=Path, default=SHIPPED)
    parser.add_argument("--card", type=Path, default=BENCH.parents[1] / "docs/skim-model.md")
    parser.add_argument("--models", type=Path, default=BENCH / "models", help="folder for the models of the folds")
    args = parser.parse_args()
    trainer = Trainer(load(args.shared, limit=args.pages))
    print(f"{len(trainer.pages)} pages", flush=True)
    for pair in combinations(range(FOLDS), 2):
        trainer.first(frozenset(pair))
    models = []
    for fold in range(FOLDS):
        models.append(trainer.model(frozenset({fold})))
        gc.collect()
    found = calibrate.measure(trainer.pages, models, calibrate.pages_of_hosts(args.shared))
    calibrated = calibrate.calibration(found)
    for fold, model in enumerate(models):
        model.calibrated(calibrated).save(args.models / f"fold{fold}.npz")
    description = card.describe(trainer, models, found, calibrated)
    final = trainer.model(frozenset(), description).calibrated(calibrated)
    final.save(args.output)
    args.card.write_text(card.markdown(final), encoding="utf-8")
    print(f"{args.output}: {args.output.stat().st_size} bytes, {final.digest}", file=sys.stderr)


if __name__ == "__main__":
    main()
