"""Recall and precision of MinHash deduplication on near-duplicates whose true similarity is known.

    .venv/bin/python benchmarks/dedup_quality.py [--limit 1000] [--verify jaccard] [--no-run]

The near-duplicates are those of `mutations.py`, one for each suitable page of the crawl, at nine levels of the Jaccard
similarity of word 5-grams and of six kinds; they are put beside all pages of the crawl.

    theory     mean of 1 - (1 - J^8)^14 over the true similarities of the pairs
    ideal      the share of pairs with a band in common, by MinHash in plain numpy with a hash function per row
    keys       the same, by tokenmill's kernel; and the mean of ten seeds, which has a third of the noise
    datasketch the same, by datasketch 2.0 in the peers' environment
    run        the share of pairs in one cluster after a whole run, candidates verified
    originals  the same of pairs whose page is not represented by a third document, with which the near-duplicate has
               less in common

Precision is the share of deleted documents that are at least as similar to the representative of their cluster as
`--similarity` asks (true Jaccard similarity, measured in plain Python); pages of the crawl that are copies count too.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from dedup import own_clusters, own_ids, own_table, run_ours
from dedup_scaling import BANDS, mixed
from mutations import jaccard, pairs, shingles
from texts import ROOT, prepared

from tokenmill.text.minhash import MinHash

ROWS = 8
SHARDS = 3
NOISE = 3.0
"""Standard errors by which a recall may be off the theory."""

Row = Mapping[str, Any]
Found = Mapping[str, np.ndarray[Any, Any] | None]
"""How -> per pair, whether it is found; None where that cannot be said."""


def main() -> None:
    """Make the pairs, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, help="only so many near-duplicates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verify", choices=("jaccard", "containment", "none"), default="jaccard")
    parser.add_argument("--similarity", type=float, default=0.7)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-run", action="store_true", help="only the hashes")
    arguments = parser.parse_args()
    crawl = pq.read_table(prepared())
    near = pairs(crawl, arguments.seed, arguments.limit)
    texts = dict(zip(crawl["id"].to_pylist(), crawl["text"].to_pylist(), strict=True))
    rows: list[Row] = near.to_pylist()
    found = {
        "ideal": collisions(rows, texts, ideal_bands),
        "keys": collisions(rows, texts, own_bands),
        "keys, 10 seeds": np.mean([collisions(rows, texts, partial(own_bands, seed=n)) for n in range(2, 12)], axis=0),
        "datasketch": collisions(rows, texts, datasketch_bands),
    }
    if not arguments.no_run:
        with tempfile.TemporaryDirectory(prefix="tokenmill-quality-") as folder:
            source, out = write_shards(crawl, near, Path(folder, "in")), Path(folder, "out")
            settings = {"verify": arguments.verify, "min_similarity": arguments.similarity}
            run_ours(source, out, settings, workers=arguments.workers)
            clusters = own_clusters(source, out)
            together = np.array([clusters.get(row["id"], 0) == clusters.get(row["base"], 1) for row in rows])
            found["run"] = together
            print_precision(deletions(source, out), arguments.similarity)
            kept = representatives(source, out)
            print_lost(rows, found, arguments.similarity, kept)
            original = np.array([kept[row["base"]] in (row["base"], row["id"]) for row in rows])
            found["run, originals"] = np.where(original, together, np.nan)
    for column in ("level", "kind"):
        print_recall(rows, found, column)
    print_independent(arguments.seed)


def print_independent(seed: int, pairs: int = 4000, size: int = 300) -> None:
    """Markdown: recall of pairs of random sets, which have nothing in common with other pairs, beside the theory."""
    generator = np.random.default_rng(seed)
    hasher = MinHash(shingle_words=1)
    print("\n| Jaccard | independent pairs | theory | keys |\n|---|---:|---:|---:|")
    for level in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        common = round(2 * size * level / (1 + level))
        words = generator.integers(0, 2**60, (pairs, 2 * size - common))
        texts = [[" ".join(f"{n:x}" for n in row) for row in half] for half in (words[:, :size], words[:, -size:])]
        first, second = (hasher.keys(pa.array(half)).bands for half in texts)
        exact = common / (2 * size - common)
        theory = 1 - (1 - exact**ROWS) ** BANDS
        print(f"| {exact:.3f} | {pairs:,} | {theory:.3f} | {(first == second).any(axis=1).mean():.3f} |")


def write_shards(crawl: pa.Table, near: pa.Table, folder: Path) -> Path:
    """The crawl and its near-duplicates, mixed (seed 0), as shards."""
    folder.mkdir()
    columns = ["id", "url", "text"]
    table = pa.concat_tables([crawl.select(columns), near.select(columns)])
    table = table.take(np.random.default_rng(0).permutation(table.num_rows))
    size = math.ceil(table.num_rows / SHARDS)
    for shard in range(SHARDS):
        pq.write_table(table.slice(shard * size, size), folder / f"{shard:05}.parquet")
    return folder


def collisions(
    rows: Sequence[Row], texts: Mapping[str, str], bands: Callable[[list[str]], np.ndarray[Any, Any] | None]
) -> np.ndarray[Any, Any] | None:
    """Per pair, whether a band is the same."""
    near = bands([row["text"] for row in rows])
    base = bands([texts[row["base"]] for row in rows])
    return None if near is None or base is None else (near == base).any(axis=1)


def own_bands(texts: list[str], seed: int = 1) -> np.ndarray[Any, Any]:
    """Keys of the bands by tokenmill's kernel, (n, 14)."""
    return MinHash(seed=seed).keys(pa.array(texts)).bands


def datasketch_bands(texts: list[str]) -> np.ndarray[Any, Any] | None:
    """Signatures by datasketch of the same shingles, a row's values as one band each; None without its environment."""
    python = ROOT / ".bench/datatrove/bin/python"
    if not python.exists():
        print("no datasketch: run `make bench-env` first", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory(prefix="tokenmill-datasketch-") as folder:
        given, made = Path(folder, "shingles.parquet"), Path(folder, "signatures.npy")
        pq.write_table(pa.table({"shingles": [sorted(shingles(text)) for text in texts]}), given)
        script = Path(__file__).with_name("datasketch_peer.py")
        subprocess.run([python, script, given, made, str(BANDS * ROWS)], check=True)
        signatures = np.load(made).reshape(len(texts), BANDS, ROWS)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for row in range(ROWS):
        keys = mixed(keys ^ signatures[:, :, row], 1)
    return keys


def ideal_bands(texts: list[str]) -> np.ndarray[Any, Any]:
    """Keys of the bands by definition, (n, 14): each row has a hash function of its own, over a cryptographic hash."""
    salts = np.random.default_rng(0).integers(2**64, size=BANDS * ROWS, dtype=np.uint64)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for number, text in enumerate(texts):
        grams = b"".join(hashlib.blake2b(gram.encode(), digest_size=8).digest() for gram in sorted(shingles(text)))
        if grams:
            minima = mixed(np.frombuffer(grams, np.uint64)[:, None] ^ salts, 0).min(axis=0)
            for row in minima.reshape(BANDS, ROWS).T:
                keys[number] = mixed(keys[number] ^ row, 1)
    return keys


def deletions(source: Path, out: Path) -> list[tuple[float, str, str]]:
    """(true similarity with the representative, id, id of the representative) of every deleted document."""
    table = pa.concat_tables([pq.read_table(shard, columns=["id", "text"]) for shard in sorted(source.glob("*"))])
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    found = []
    for name, kept in representatives(source, out).items():
        if name != kept:
            same = texts[name] == texts[kept]
            found.append((1.0 if same else jaccard(shingles(texts[name]), shingles(texts[kept])), name, kept))
    return sorted(found)


def print_precision(found: Sequence[tuple[float, str, str]], similarity: float) -> None:
    right = sum(score >= similarity for score, _, _ in found)
    share = 100 * right / max(len(found), 1)
    print(f"\ndeleted: {len(found):,}, with at least {similarity} of their representative: {right:,} ({share:.2f} %)")
    for score, name, kept in [entry for entry in found if entry[0] < similarity][:10]:
        print(f"  {score:.3f} {name} for {kept}")


def print_lost(rows: Sequence[Row], found: Found, similarity: float, kept: Mapping[str, str]) -> None:
    """Pairs that the hashes find and that are similar enough, but are in two clusters, and whom each is with there."""
    if found["keys"] is None or found["run"] is None:
        return
    alike = np.array([row["jaccard"] >= similarity for row in rows])
    lost = [rows[int(number)] for number in np.flatnonzero(found["keys"] & alike & ~found["run"])]
    page = sum(kept[row["base"]] != row["base"] for row in lost)
    near = sum(kept[row["base"]] == row["base"] and kept[row["id"]] != row["id"] for row in lost)
    print(f"similar candidates in two clusters: {len(lost)}; the page is a copy of another page: {page},")
    print(f"  it is not, but the near-duplicate is one of another: {near}, neither: {len(lost) - page - near}")


def representatives(source: Path, out: Path) -> dict[str, str]:
    """id -> id of the document that represents it; itself where it is in no cluster."""
    ids = own_ids(source)
    # the representative may be named by either identifier
    return {
        ids[row["doc_id"]]: ids.get(row["representative_id"], row["representative_id"]) or ids[row["doc_id"]]
        for row in own_table(out).to_pylist()
    }


def print_recall(rows: Sequence[Row], found: Found, column: str) -> None:
    """Markdown: recall by level or kind beside the theory; a star where the distance is more than noise."""
    names = [name for name, values in found.items() if values is not None]
    members: dict[Any, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        members[row[column]].append(number)
    print(f"\n| {column} | pairs | mean J | theory | " + " | ".join(names) + " |")
    print("|---|---:|---:|---:|" + "---:|" * len(names))
    for value in sorted(members):
        chosen = members[value]
        similarities = np.array([rows[number]["jaccard"] for number in chosen])
        chances = 1 - (1 - similarities**ROWS) ** BANDS
        theory, error = chances.mean(), math.sqrt((chances * (1 - chances)).sum()) / len(chosen)
        cells = []
        for name in names:
            recall = float(np.nanmean(np.asarray(found[name], np.float64)[chosen]))
            noise = error / math.sqrt(10) if "seeds" in name else error
            star = "*" if not name.startswith("run") and abs(recall - theory) > NOISE * noise else ""
            cells.append(f"{recall:.3f}{star}")
        print(f"| {value} | {len(chosen):,} | {similarities.mean():.3f} | {theory:.3f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
