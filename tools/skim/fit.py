"""Fitting the parts of the block model: weights of class and id names, ranks of tags, and boosted trees as flat
arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenmill.extract.skim import choose_kernel
from tokenmill.extract.skim.context_kernel import HASHES, Weights
from tokenmill.extract.skim.model_kernel import LEAVES, NODES, SPREAD, STEP_SHIFT, STEPS

UNIT = 4096
"""Leaves are whole numbers of 1 / UNIT."""
NAME_UNIT = 16
EPOCHS, RATE, DECAY = 6, 0.15, 2e-5
THREADS = 1
"""Of LightGBM; part of the result, since sums of another number of threads differ."""

Trees = dict[str, npt.NDArray[Any]]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Names(NamedTuple):
    """The names around the blocks of many pages, one row for each element that holds blocks itself."""

    own_start: npt.NDArray[np.int64]
    own: npt.NDArray[np.uint16]
    path_start: npt.NDArray[np.int64]
    path: npt.NDArray[np.uint16]
    positive: Floats
    """Weight times target of the row's blocks."""
    negative: Floats


def names_of(page: Any) -> Names:
    """Rows of a page: tokens of the element, and of it and all around it."""
    s = page.scan
    return Names(*_rows()(s.el_parent, s.el_token, s.tokens, s.bl_el, np.nan_to_num(page.target), page.weight))


def joined(parts: Sequence[Names]) -> Names:
    """The rows of many pages."""
    arrays = [np.concatenate([part[i] for part in parts]) for i in range(6)]
    for i in (0, 2):
        starts = np.concatenate([np.diff(part[i]) for part in parts])
        arrays[i] = np.concatenate(([0], np.cumsum(starts)))
    return Names(*arrays)


def fit_names(names: Names) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Weights of names on the block's element and on any around it: logistic regression by AdaGrad, in a fixed
    order."""
    order = np.argsort(_mixed(np.arange(len(names.positive), dtype=np.uint64)), kind="stable")
    weights = np.zeros(2 * HASHES)
    squares = np.full(2 * HASHES, 1e-3)
    _descend()(names, order, weights, squares)
    rounded = np.clip(np.rint(weights * NAME_UNIT), -127, 127).astype(np.int8)
    return rounded[:HASHES], rounded[HASHES:]


def fit_tags(pages: Sequence[Any]) -> Bytes:
    """255 times the share of main content among the blocks in each tag, drawn to the mean of all where there are
    few."""
    positive, total = np.zeros(256), np.zeros(256)
    for page in pages:
        tags = page.scan.el_tag[page.scan.bl_el]
        np.add.at(positive, tags, np.nan_to_num(page.target).astype(np.float64) * page.weight)
        np.add.at(total, tags, page.weight.astype(np.float64))
    mean, some = positive.sum() / total.sum(), total.sum() / 2000
    ranks: Bytes = np.rint(255 * (positive + mean * some) / (total + some)).astype(np.uint8)
    return ranks


def drawn(weight: Floats, rows: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """About `rows` places drawn by weight, in order, with weights that keep every expectation: a row heavier than the
    threshold is taken with its weight, a lighter one with the threshold's by chance (a hash of its place)."""
    low, high = 0.0, float(weight.max())
    for _ in range(50):
        middle = (low + high) / 2
        if np.minimum(1, weight / middle).sum() > rows:
            low = middle
        else:
            high = middle
    chance = _mixed(np.arange(1, len(weight) + 1, dtype=np.uint64)) >> np.uint64(11)
    taken = np.flatnonzero(chance * 2.0**-53 * high < weight)
    return taken, np.maximum(weight[taken], high).astype(np.float32)


def fit_trees(features: Bytes, target: Floats, weight: Floats, **changes: Any) -> tuple[Trees, int, npt.NDArray[Any]]:
    """Boosted trees as `model_kernel.Trees` wants them, what their sums begin with, and gain by feature."""
    import lightgbm

    mean = float(np.average(target, weights=weight))
    base = round(UNIT * float(np.log(mean / (1 - mean))))
    settings = {
        "objective": "cross_entropy",
        "num_leaves": LEAVES,
        "learning_rate": 0.1,
        "num_iterations": 100,
        "min_data_in_leaf": 100,
        "min_sum_hessian_in_leaf": 5.0,
        "lambda_l2": 2.0,
        "feature_fraction": 0.4,
        "max_bin": 255,
        "min_data_in_bin": 1,
        "use_missing": False,
        "boost_from_average": False,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": THREADS,
        "seed": 1,
        "verbosity": -1,
        **changes,
    }
    data = lightgbm.Dataset(
        features, target, weight=weight * (len(weight) / float(weight.sum())),
        init_score=np.full(len(target), base / UNIT), params=settings,
    )  # fmt: skip
    booster = lightgbm.train(settings, data)
    return flat(booster.dump_model()), base, booster.feature_importance("gain")


def flat(model: dict[str, Any]) -> Trees:
    """LightGBM's dump as flat arrays."""
    trees = model["tree_info"]
    feature = np.zeros((len(trees), NODES), np.uint8)
    threshold = np.full((len(trees), NODES), 255, np.uint8)
    mask = np.full((len(trees), NODES), 0xFFFF, np.uint16)
    leaf = np.zeros((len(trees), LEAVES), np.int16)
    for number, tree in enumerate(trees):
        leaves = 0
        for node, (what, left) in enumerate(_walk(tree["tree_structure"])):
            if left is None:
                leaf[number, ((SPREAD << leaves) >> 12) % 16] = np.clip(round(what["leaf_value"] * UNIT), -32767, 32767)
                leaves += 1
                continue
            assert what["decision_type"] == "<="
            assert node < 2 * LEAVES
            at = _free(mask[number])
            feature[number, at] = what["split_feature"]
            threshold[number, at] = int(np.clip(np.floor(what["threshold"]), 0, 255))
            mask[number, at] = 0xFFFF & ~(((1 << left) - 1) << leaves)
    return {
        "feature": feature.ravel(), "threshold": threshold.ravel(), "mask": mask.ravel(), "leaf": leaf.ravel(),
    }  # fmt: skip


def _walk(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Nodes before their children, left before right, with the number of leaves to the left; None for leaves."""
    if "leaf_value" in node:
        yield node, None
        return
    yield node, _leaves(node["left_child"])
    yield from _walk(node["left_child"])
    yield from _walk(node["right_child"])


def _leaves(node: dict[str, Any]) -> int:
    return 1 if "leaf_value" in node else _leaves(node["left_child"]) + _leaves(node["right_child"])


def _free(mask: npt.NDArray[np.uint16]) -> int:
    return int(np.flatnonzero(mask == 0xFFFF)[0])


def tables() -> tuple[Bytes, Floats]:
    """Probability by step of the sum, in 255ths and as it is."""
    sums = (np.arange(STEPS) - STEPS // 2 + 0.5) * (1 << STEP_SHIFT) / UNIT
    likely = 1 / (1 + np.exp(-sums))
    return np.rint(255 * likely).astype(np.uint8), likely.astype(np.float32)


def uncalibrated() -> npt.NDArray[np.float64]:
    """Confidence is the expected F1 by the probabilities; nothing is routed."""
    found = np.zeros(choose_kernel.CALIBRATION)
    found[choose_kernel.F_EXPECTED] = 1.0
    found[choose_kernel.CURVE - 1] = -1.0
    found[choose_kernel.CURVE : choose_kernel.CURVE + choose_kernel.KNOTS] = np.linspace(0, 1, choose_kernel.KNOTS)
    found[choose_kernel.MOST_LINKED] = 1.0
    return found


def weights_of(names: tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]], tags: Bytes) -> Weights:
    """Frozen, so that kernels are compiled for one kind of array."""
    arrays = (*names, tags)
    for array in arrays:
        array.setflags(write=False)
    return Weights(*arrays)


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return values ^ (values >> np.uint64(29))


@cache
def _rows() -> Any:
    import numba

    @numba.njit
    def rows(parent: Any, starts: Any, tokens: Any, block: Any, target: Any, weight: Any) -> Any:
        held = np.zeros((len(parent), 2))
        for b in range(len(block)):
            held[block[b], 0] += weight[b] * target[b]
            held[block[b], 1] += weight[b] * (1 - target[b])
        own_count, path_count = [np.int64(0)], [np.int64(0)]
        own, path = [np.uint16(0) for _ in range(0)], [np.uint16(0) for _ in range(0)]
        positive, negative = [np.float32(0) for _ in range(0)], [np.float32(0) for _ in range(0)]
        for e in range(len(parent)):
            if held[e, 0] + held[e, 1] <= 0:
                continue
            for k in range(starts[e], starts[e + 1]):
                own.append(tokens[k])
            at, steps = np.int64(e), 0
            while at > 0 and steps < 64:
                for k in range(starts[at], starts[at + 1]):
                    path.append(tokens[k])
                at, steps = np.int64(parent[at]), steps + 1
            own_count.append(np.int64(len(own)))
            path_count.append(np.int64(len(path)))
            positive.append(np.float32(held[e, 0]))
            negative.append(np.float32(held[e, 1]))
        return (np.array(own_count), np.array(own), np.array(path_count), np.array(path),
                np.array(positive), np.array(negative))  # fmt: skip

    return rows


@cache
def _descend() -> Any:
    import numba

    @numba.njit
    def descend(names: Any, order: Any, weights: Any, squares: Any) -> None:
        bias, bias_square = 0.0, 1e-3
        for _ in range(EPOCHS):
            for row in order:
                o0, o1, p0, p1 = (names.own_start[row], names.own_start[row + 1], names.path_start[row],
                                  names.path_start[row + 1])  # fmt: skip
                total = bias
                for k in range(o0, o1):
                    total += weights[names.own[k]]
                for k in range(p0, p1):
                    total += weights[HASHES + names.path[k]]
                likely = 1.0 / (1.0 + np.exp(-total))
                slope = likely * (names.positive[row] + names.negative[row]) - names.positive[row]
                bias_square += slope * slope
                bias -= RATE * slope / np.sqrt(bias_square)
                for k in range(o0, o1):
                    at = np.int64(names.own[k])
                    change = slope + DECAY * weights[at]
                    squares[at] += change * change
                    weights[at] -= RATE * change / np.sqrt(squares[at])
                for k in range(p0, p1):
                    at = HASHES + np.int64(names.path[k])
                    change = slope + DECAY * weights[at]
                    squares[at] += change * change
                    weights[at] -= RATE * change / np.sqrt(squares[at])

    return descend
