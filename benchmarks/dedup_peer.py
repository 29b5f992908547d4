"""datatrove's MinHash deduplication, stages 1 to 4, on Parquet shards; runs in the peer's environment (see `dedup.py`).

    .bench/datatrove/bin/python benchmarks/dedup_peer.py INPUT OUTPUT [--words split] [--normalised]

5-grams, 14 buckets of 8 hashes, xxhash with 64 bits, seed 1; one worker, one task per shard (14 for the buckets).
`--words split` takes words as they are separated by white space instead of tokenizing, `--normalised` takes texts as
they are instead of simplifying them: together, words are the ones that the texts were written with. Writes
OUTPUT/peer.json (CPU and wall-clock seconds per stage, counts) and OUTPUT/clusters.parquet (id, cluster: those of
documents that have a duplicate), and the documents that are left to OUTPUT/data.
"""

import argparse
import json
import struct
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import minhash
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig

BUCKETS = 14


class SplitWords:
    """In place of a tokenizer."""

    def word_tokenize(self, text):
        return text.split()


def main():
    """Run the stages one after the other and write what they took and found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--words", choices=("tokenizer", "split"), default="tokenizer")
    parser.add_argument("--normalised", action="store_true")
    arguments = parser.parse_args()
    if arguments.words == "split":
        minhash.load_word_tokenizer = lambda language: SplitWords()
    if arguments.normalised:
        minhash.simplify_text = lambda text, config: text
    shards = sorted(arguments.input.glob("*.parquet"))
    report = {}
    for name, (pipeline, tasks) in stages(arguments.input, arguments.output, len(shards)).items():
        cpu, wall = time.process_time(), time.perf_counter()
        stats = LocalPipelineExecutor(
            pipeline=pipeline,
            tasks=tasks,
            workers=1,  # runs in this process
            logging_dir=str(arguments.output / "logs" / name),
            skip_completed=False,
        ).run()
        report[name] = {
            "cpu": time.process_time() - cpu,
            "wall": time.perf_counter() - wall,
            "counts": counts(stats.stats),
        }
    pq.write_table(clusters(shards, arguments.output / "remove"), arguments.output / "clusters.parquet")
    (arguments.output / "peer.json").write_text(json.dumps({"stages": report}))


def stages(source, output, shards):
    """Name -> (pipeline, tasks)."""
    config = MinhashConfig(
        n_grams=5,
        num_buckets=BUCKETS,
        hashes_per_bucket=8,
        seed=1,
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )

    def reader():
        return ParquetReader(str(source), glob_pattern="*.parquet")

    def folder(name):
        return str(output / name)

    cluster = MinhashDedupCluster(
        folder("buckets"), folder("remove"), config=config, save_cluster_id=True, save_cluster_size=True
    )
    kept = MinhashDedupFilter(folder("remove"), load_cluster_ids=False, load_cluster_sizes=False)
    return {
        "signatures": ([reader(), MinhashDedupSignature(folder("signatures"), config=config)], shards),
        "buckets": ([MinhashDedupBuckets(folder("signatures"), folder("buckets"), config=config)], BUCKETS),
        "cluster": ([cluster], 1),
        "filter": ([reader(), kept, ParquetWriter(folder("data"))], shards),
    }


def counts(steps):
    """Sums over all steps of a stage, by name."""
    return {
        f"{position}:{key}": value.total
        for position, step in enumerate(steps)
        for key, value in step.stats.items()
        if isinstance(value.total, int | float)
    }


def clusters(shards, folder):
    """id, cluster of the documents that are in one. The reader leaves out empty texts, so positions do too."""
    ids, numbers = [], []
    for rank, shard in enumerate(shards):
        path = folder / f"{rank:06}.clusters"
        if not path.exists():
            continue
        table = pq.read_table(shard, columns=["id", "text"])
        read = [row["id"] for row in table.to_pylist() if row["text"]]
        for position, number in struct.iter_unpack("<2I", path.read_bytes()):
            ids.append(read[position])
            numbers.append(number)
    return pa.table({"id": pa.array(ids, pa.string()), "cluster": pa.array(numbers, pa.int64())})


if __name__ == "__main__":
    main()
