"""Trains a small bigram model on a token set, stops in the middle, and goes on as if it had not.

    tokenmill tokenize out/ --tokenizer tokenizer.json --output shards/
    python examples/train_loader.py shards/

The model is counts of pairs of neighbouring ids in 256 buckets, so that numpy is enough; the loop is that of any
training. With torch, `torch.from_numpy(batch["input_ids"]).pin_memory().to("cuda", non_blocking=True)` is all that is
to be added; see docs/loader.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tokenmill.tokens.loader import TokenLoader

BUCKETS = 256
IGNORED = -100


def make_loader(location: str) -> TokenLoader:
    """One rank of one; every rank of a real run gives its own `rank` and the same of all else."""
    return TokenLoader(location, sequence_length=256, batch_size=4, seed=1, epochs=2, predict_across=False)


def train(loader: TokenLoader, counts: np.ndarray, steps: int | None = None) -> float:
    """Mean loss in nats over the next steps; counts (256, 256) is the model and changes."""
    losses = []
    for batch in loader:
        known = batch["labels"] != IGNORED
        before = batch["input_ids"][known] % BUCKETS
        after = batch["labels"][known] % BUCKETS
        losses.append(-np.log(counts[before, after] / counts[before].sum(1)).mean())
        np.add.at(counts, (before, after), 1)
        if steps is not None and len(losses) == steps:
            break
    return float(np.mean(losses))


def main(location: str, checkpoint: Path) -> None:
    counts = np.ones((BUCKETS, BUCKETS))
    with make_loader(location) as loader:
        half = len(loader) // 2
        print(f"{len(loader)} steps, {loader.view.tokens} tokens in {loader.view.documents} documents")
        print(f"steps 1 to {half}: loss {train(loader, counts, half):.4f}")
        checkpoint.write_text(json.dumps({"loader": loader.state_dict(), "model": counts.tolist()}))

    stored = json.loads(checkpoint.read_text())
    counts = np.array(stored["model"])
    with make_loader(location) as loader:
        loader.load_state_dict(stored["loader"])
        print(f"steps {loader.step + 1} to {len(loader)}: loss {train(loader, counts):.4f}")
        print(f"{loader.tokens_seen} tokens, {loader.epochs_seen:.3f} epochs")
        whole = np.ones((BUCKETS, BUCKETS))
        train(make_loader(location), whole)
        print("the same model as without the stop:", bool((whole == counts).all()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER_OF_A_TOKEN_SET")
    main(sys.argv[1], Path("checkpoint.json"))
