"""Trains the model of mixed.py on documents of an earlier run in annotate mode, in seconds.

    python examples/ray/train_model.py RUN MODEL.npz

The label of a document is whether the quality rules of the run (Gopher's, C4's, FineWeb's) would have kept it, so the
model learns to imitate rules from words alone. It shows the machinery; it is no classifier that anyone should use.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from mixed import BUCKETS, features

JUDGES = ("gopher_quality_verdict", "c4_quality_verdict", "fineweb_quality_verdict")
UNITS, STEPS, RATE, DECAY = 16, 80, 0.02, 1e-3


def documents(run: Path) -> tuple[list[str], np.ndarray]:
    """Texts of a run, and 1 where none of the judges would have dropped the document."""
    table = pq.read_table(run / "data", columns=["doc_id", "text", *JUDGES]).sort_by("doc_id")
    dropped = [any(verdicts) for verdicts in zip(*(table[name].to_pylist() for name in JUDGES), strict=True)]
    return table["text"].to_pylist(), 1.0 - np.array(dropped, np.float32)


def train(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Two layers by Adam on all rows at once; the same rows give the same weights."""
    random = np.random.default_rng(0)
    weights = {
        "hidden": random.normal(0, 1, (BUCKETS, UNITS)).astype(np.float32),
        "bias": np.zeros(UNITS, np.float32),
        "out": random.normal(0, UNITS**-0.5, UNITS).astype(np.float32),
    }
    mean = {name: np.zeros_like(array) for name, array in weights.items()}
    square = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(1, STEPS + 1):
        active = np.tanh(x @ weights["hidden"] + weights["bias"])
        error = (1 / (1 + np.exp(-(active @ weights["out"]))) - y) / len(y)
        back = np.outer(error, weights["out"]) * (1 - active**2)
        gradients = {"hidden": x.T @ back, "bias": back.sum(0), "out": active.T @ error}
        for name, gradient in gradients.items():
            mean[name] = 0.9 * mean[name] + 0.1 * gradient
            square[name] = 0.999 * square[name] + 0.001 * gradient**2
            rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            weights[name] -= RATE * DECAY * weights[name] + rate * mean[name] / (np.sqrt(square[name]) + 1e-8)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def right(weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """Share of rows on the right side of 0.5."""
    return float(((np.tanh(x @ weights["hidden"] + weights["bias"]) @ weights["out"] > 0) == (y > 0)).mean())


def main(run: str, model: str) -> None:
    texts, y = documents(Path(run))
    x = features(texts)
    fold = np.array([zlib.crc32(text.encode()) % 4 for text in texts])
    shares = [right(train(x[fold != n], y[fold != n]), x[fold == n], y[fold == n]) for n in range(4)]
    np.savez(model, **train(x, y))
    print(f"{len(y)} documents, {int(y.sum())} of them kept; four folds, held out: {np.mean(shares):.0%} right")
    print(f"(always the commoner label: {max(y.mean(), 1 - y.mean()):.0%})")
    print(f"{model}  sha256 {hashlib.sha256(Path(model).read_bytes()).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
