"""Kernels: from the sums of a text's rows to the probabilities of labels, one text after the other.

A matrix product of a library may add in another order for another number of texts. These do not, so a text's score does
not depend on the texts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.compiled import entry, lean

SOFTMAX, TREE, LOGISTIC = 0, 1, 2
ADDED = 1e-5
"""What the library adds to each probability before its logarithm (fastText 0.9.2, `std_log`)."""
_MOST, _STEPS = 8.0, 512
"""The library's table of the logistic function: 512 steps from -8 to 8; 0 and 1 beyond."""
_SLACK = 1.01
"""How much likelier than its inner node a label can be: each turn may have a probability of 1 + ADDED; and rounding."""


class Paths(NamedTuple):
    """A Huffman tree: ways from its root to its labels; empty arrays where there is no tree."""

    starts: Any
    """int64 [labels + 1]: where the way of each label begins in the next two."""
    nodes: Any
    """int32: inner nodes, the root first."""
    rights: Any
    """uint8: 1 where the way goes right at the node, else 0."""
    children: Any
    """int32 [nodes, 2]: left and right below each inner node: a label, or labels + an inner node, whose number is
    smaller than that of the node above."""


@lean
def _turn(logit: Any) -> Any:
    """The probability of going right at an inner node."""
    return 1.0 / (1.0 + math.exp(-logit))


@lean
def _node_logit(sums: Any, share: float, output: Any, node: Any) -> Any:
    """sums: [columns]; output: [nodes, columns], or of no rows where the columns are the nodes."""
    if len(output) == 0:
        return sums[node] * share
    total = 0.0
    for c in range(output.shape[1]):
        total += sums[c] * share * np.float64(output[node, c])
    return total


@lean
def label_probability(sums: Any, rows: int, output: Any, starts: Any, nodes: Any, rights: Any, label: int) -> Any:
    """The probability of one label of a tree, as `finish` gives it; only the nodes above it are looked at."""
    share = 1.0 / max(rows, 1)
    found = 1.0
    for at in range(starts[label], starts[label + 1]):
        taken = _turn(_node_logit(sums, share, output, nodes[at]))
        found *= (taken if rights[at] else 1.0 - taken) + ADDED
    return found


@lean
def likeliest_label(sums: Any, rows: int, output: Any, children: Any, open_nodes: Any, chances: Any) -> Any:
    """(label, probability) of the likeliest label of a tree, the first of those that are equal in float32.

    Nodes that are less likely than a label already found are left out. open_nodes int64, chances float64: room for
    [labels + 1].
    """
    share = 1.0 / max(rows, 1)
    labels = len(children) + 1
    best, found = np.int64(0), -1.0
    open_nodes[0], chances[0] = 2 * labels - 2, 1.0  # the root is the last inner node; of a single label, the label
    count = 1
    while count > 0:
        count -= 1
        at, chance = open_nodes[count], chances[count]
        if chance * _SLACK < found:
            continue
        if at < labels:
            if np.float32(chance) > np.float32(found) or (np.float32(chance) == np.float32(found) and at < best):
                best, found = at, chance
            continue
        node = at - labels
        taken = _turn(_node_logit(sums, share, output, node))
        nearer = 1 if taken > 0.5 else 0
        for side in (1 - nearer, nearer):  # the likelier one is looked at first
            open_nodes[count] = children[node, side]
            chances[count] = chance * ((taken if side == 1 else 1.0 - taken) + ADDED)
            count += 1
    return best, found


def _finish_of(digest: str) -> Callable[..., None]:
    def finish(
        sums: Any, rows: Any, words: Any, turned: Any, kind: int, paths: Any, logits: Any, probabilities: Any
    ) -> None:
        """Texts i: sums [n, columns] over rows [n]; words [n]. Fills logits and probabilities, [n, labels or nodes].

        turned: float64 [columns, labels or nodes]; of no rows where the columns are those already.
        """
        _ = digest
        n, columns = sums.shape
        outputs = logits.shape[1]
        labels = outputs + 1
        chances = np.ones(2 * labels)
        for i in range(n):
            share = 1.0 / max(rows[i], 1)
            if len(turned) == 0:
                for k in range(outputs):
                    logits[i, k] = sums[i, k] * share
            else:
                logits[i, :] = 0.0
                for c in range(columns):  # outputs are the inner loop: vectors, each sum in the same order
                    mean = sums[i, c] * share
                    for k in range(outputs):
                        logits[i, k] += mean * turned[c, k]
            if words[i] == 0 or rows[i] == 0:
                probabilities[i, :] = 0.0
            elif kind == SOFTMAX:
                largest = -np.inf
                for k in range(outputs):
                    largest = max(largest, logits[i, k])
                total = 0.0
                for k in range(outputs):
                    probabilities[i, k] = math.exp(logits[i, k] - largest)
                    total += probabilities[i, k]
                for k in range(outputs):
                    probabilities[i, k] = probabilities[i, k] / total + ADDED
            elif kind == LOGISTIC:
                for k in range(outputs):
                    step = math.floor((logits[i, k] + _MOST) * _STEPS / _MOST / 2)
                    step = min(max(step, 0.0), _STEPS)
                    found = 1.0 / (1.0 + math.exp(_MOST - step * 2 * _MOST / _STEPS))
                    found = 0.0 if logits[i, k] < -_MOST else 1.0 if logits[i, k] > _MOST else found
                    probabilities[i, k] = found + ADDED
            else:
                for node in range(outputs - 1, -1, -1):
                    taken = _turn(logits[i, node])
                    chances[paths.children[node, 0]] = chances[labels + node] * ((1.0 - taken) + ADDED)
                    chances[paths.children[node, 1]] = chances[labels + node] * (taken + ADDED)
                for label in range(labels):
                    probabilities[i, label] = chances[label]

    return finish


def _multiply_of(digest: str) -> Callable[..., None]:
    def multiply(rows: Any, factors: Any, products: Any) -> None:
        """products [n, columns] float32 of rows [n, dim] float32 and factors [columns, dim] float64, added in order."""
        _ = digest
        for i in range(len(rows)):
            for c in range(len(factors)):
                total = 0.0
                for k in range(rows.shape[1]):
                    total += np.float64(rows[i, k]) * factors[c, k]
                products[i, c] = total

    return multiply


finish = entry(_finish_of)
multiply = entry(_multiply_of)
