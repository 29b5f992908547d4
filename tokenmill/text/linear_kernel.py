"""Kernels: from the sums of a text's rows to the probabilities of labels, one text after the other.

A matrix product of a library may add in another order for another number of texts. These do not, so a text's score does
not depend on the texts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tokenmill.text.compiled import entry

SOFTMAX, TREE, LOGISTIC = 0, 1, 2
ADDED = 1e-5
"""What the library adds to each probability before its logarithm (fastText 0.9.2, `std_log`)."""
_MOST, _STEPS = 8.0, 512
"""The library's table of the logistic function: 512 steps from -8 to 8; 0 and 1 beyond."""


class Paths(NamedTuple):
    """Ways from the root of a Huffman tree to its labels; empty arrays where there is no tree."""

    starts: Any
    """int64 [labels + 1]: where the way of each label begins in the other two."""
    nodes: Any
    """int32: inner nodes."""
    rights: Any
    """uint8: 1 where the way goes right at the node, else 0."""


def _finish_of(digest: str) -> Callable[..., None]:
    def finish(
        sums: Any, rows: Any, words: Any, output: Any, kind: int, paths: Any, logits: Any, probabilities: Any
    ) -> None:
        """Texts i: sums [n, columns] over rows [n]; words [n]. Fills logits and probabilities, [n, labels or nodes].

        output: [labels or nodes, columns]; of no rows where the columns are those already.
        """
        _ = digest
        n, columns = sums.shape
        outputs = logits.shape[1]
        turns = np.empty((outputs, 2))
        for i in range(n):
            share = 1.0 / max(rows[i], 1)
            for k in range(outputs):
                if len(output) == 0:
                    logits[i, k] = sums[i, k] * share
                else:
                    total = 0.0
                    for c in range(columns):
                        total += sums[i, c] * share * np.float64(output[k, c])
                    logits[i, k] = total
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
                for node in range(outputs):
                    taken = 1.0 / (1.0 + math.exp(-logits[i, node]))
                    turns[node, 0], turns[node, 1] = math.log(1.0 - taken + ADDED), math.log(taken + ADDED)
                for label in range(len(paths.starts) - 1):
                    total = 0.0
                    for at in range(paths.starts[label], paths.starts[label + 1]):
                        total += turns[paths.nodes[at], paths.rights[at]]
                    probabilities[i, label] = math.exp(total)

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
