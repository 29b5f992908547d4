"""The data loader against others on the same shards, on one core, in turns, in one run.

    .venv/bin/python benchmarks/loader.py [--tokens 100000000] [--rounds 3]

    tokenmill, concatenate     batches of 32 x 2,048 with labels, in random order of sequences
    tokenmill, best_fit        no document crosses a sequence
    memmap                     numpy alone: a random place for each sequence, inputs and labels as int64, as nanoGPT:
                               some tokens are seen twice and others never, and it cannot go on where it stopped
    datatrove                  0.10.1's DatatroveFolderDataset with PyTorch's DataLoader, no worker processes: files in
                               random order, sequences one behind the other, no labels, no state

The shards are made on the spot: random ids, lengths of documents as on the web (log-normal, 490 tokens in the middle).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.loader import TokenLoader
from tokenmill.tokens.tokenset import SetManifest, ShardEntry, TokenizerInfo

LENGTH, BATCH, SECONDS = 2048, 32, 5.0


def main() -> None:
    """Measure in turns, print tokens per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="tokenmill-loader-") as folder:
        make(Path(folder), arguments.tokens)
        programs: dict[str, Callable[[], Iterator[Any]]] = {
            "tokenmill, concatenate": lambda: ours(folder, "concatenate"),
            "tokenmill, best_fit": lambda: ours(folder, "best_fit"),
            "memmap": lambda: memmap(folder),
            "datatrove": lambda: datatrove(folder),
        }
        rates: dict[str, list[float]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for name, program in programs.items():
                rates[name].append(rate(program()))
    print(f"{arguments.tokens:,} tokens, {BATCH} x {LENGTH} a batch, one core, in turns\n")
    print("| loader | million tokens/s (median) | against memmap: min, median, max |")
    print("|---|---:|---|")
    for name, found in rates.items():
        ratios = sorted(a / b for a, b in zip(found, rates["memmap"], strict=True))
        shown = f"{ratios[0]:.1f}x, {statistics.median(ratios):.1f}x, {ratios[-1]:.1f}x"
        print(f"| {name} | {statistics.median(found) / 1e6:.0f} | {shown} |")


def make(folder: Path, tokens: int) -> None:
    """A token set of two shards."""
    generator = np.random.default_rng(0)
    about = ShardAbout(np.dtype(np.uint16), 0, 50_000)
    (folder / "tokens").mkdir()
    shards, documents = [], 0
    for number in range(2):
        lengths = np.maximum(generator.lognormal(6.2, 1.1, tokens // 1800).astype(np.int64), 1) + 1
        ids = generator.integers(1, 50_000, int(lengths.sum()), dtype=np.uint16)
        ends = np.cumsum(lengths)
        ids[ends - 1] = 0
        layout = token_format("ds")
        paths = {kind: str(folder / f"tokens/{number:05d}{ending}") for kind, ending in layout.files.items()}
        writer = layout.open(paths, about)
        writer.add(ids, lengths)
        names = [f"a#{documents + n}" for n in range(len(lengths))]
        table = pa.table({"token_start": ends - lengths, "token_count": lengths - 1, "doc_id": names})
        pq.write_table(table, folder / f"tokens/{number:05d}.documents.parquet", row_group_size=10_000)
        writer.close(table)
        files = {kind: {"path": Path(path).name, "bytes": os.path.getsize(path)} for kind, path in paths.items()}
        place = f"{number:05d}.documents.parquet"
        files["documents"] = {"path": place, "bytes": os.path.getsize(folder / "tokens" / place)}
        shards.append(ShardEntry(f"{number:05d}", len(lengths), len(ids), files))
        documents += len(lengths)
    total = sum(shard.tokens for shard in shards)
    tokenizer = TokenizerInfo("random", "0" * 64, 50_000, 0, "<eos>")
    manifest = SetManifest("ds", "uint16", 0, tokenizer, documents, total, shards)
    (folder / "tokens/manifest.json").write_text(json.dumps(manifest.to_json()))


def rate(batches: Iterator[int]) -> float:
    """Tokens per second, for some seconds after the first batch."""
    next(batches)
    start, count = time.perf_counter(), 0
    for size in batches:
        count += size
        if time.perf_counter() - start > SECONDS:
            break
    return count / (time.perf_counter() - start)


def ours(folder: str, packing: str) -> Iterator[int]:
    loader = TokenLoader(
        folder, sequence_length=LENGTH, batch_size=BATCH, packing=packing, epochs=None, boundaries=False
    )
    with loader:
        for batch in loader:
            yield batch["input_ids"].size


def memmap(folder: str) -> Iterator[int]:
    files = [np.memmap(path, np.uint16, "r") for path in sorted(Path(folder).glob("tokens/*.ds"))]
    generator = np.random.default_rng(0)
    while True:
        data = files[generator.integers(len(files))]
        places = generator.integers(len(data) - LENGTH - 1, size=BATCH)
        inputs = np.stack([data[place : place + LENGTH].astype(np.int64) for place in places])
        np.stack([data[place + 1 : place + 1 + LENGTH].astype(np.int64) for place in places])
        yield inputs.size


def datatrove(folder: str) -> Iterator[int]:
    import torch
    from datatrove.utils.dataset import DatatroveFolderDataset
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    dataset = DatatroveFolderDataset(f"{folder}/tokens", seq_len=LENGTH, filename_pattern="*.ds", shuffle=True)
    while True:
        for batch in DataLoader(dataset, batch_size=BATCH, drop_last=True):
            yield batch["input_ids"][:, :LENGTH].numel()


if __name__ == "__main__":
    main()
