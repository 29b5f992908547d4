"""The package tokenizers alone, and datatrove's `DocumentTokenizer`, on a folder of shards (see `encode.py`).

    python benchmarks/encode_peer.py library SHARDS TOKENIZER        # encode_batch with its own threads
    python benchmarks/encode_peer.py processes SHARDS TOKENIZER      # encode_batch in one process per core
    .bench/datatrove/bin/python benchmarks/encode_peer.py datatrove SHARDS TOKENIZER OUTPUT

Prints JSON: seconds and CPU seconds of encoding alone (reading is not counted; datatrove: seconds of everything), and
tokens.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

ROWS = 1000
"""Documents of a call: their encodings take about a gigabyte."""


def main(program, shards, tokenizer, *rest):
    """Run one program and print what it took."""
    paths = sorted(Path(shards).glob("*.parquet"))
    if program == "datatrove":
        found = datatrove(shards, tokenizer, rest[0], len(os.sched_getaffinity(0)))
    elif program == "processes":
        found = processes(shards, tokenizer, len(os.sched_getaffinity(0)))
    else:
        share = [int(number) for number in rest] or [0, 1]
        found = library(paths[share[0] :: share[1]], tokenizer)
    print(json.dumps(found))


def library(paths, tokenizer):
    """encode_batch, as it is."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(tokenizer)
    seconds, cpu, tokens = 0.0, 0.0, 0
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(ROWS, columns=["text"]):
            texts = batch["text"].to_pylist()
            started, used = time.perf_counter(), time.process_time()
            encodings = encoder.encode_batch(texts)
            seconds += time.perf_counter() - started
            cpu += time.process_time() - used
            tokens += sum(map(len, encodings))
    return {"seconds": seconds, "cpu": cpu, "tokens": tokens}


def processes(shards, tokenizer, count):
    """The same, each process with its share of the shards and without threads; the slowest one counts."""
    command = [sys.executable, __file__, "library", shards, tokenizer]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    started = [
        subprocess.Popen([*command, str(number), str(count)], stdout=subprocess.PIPE, env=environment)
        for number in range(count)
    ]
    found = [json.loads(process.communicate()[0]) for process in started]
    return {
        key: combine(one[key] for one in found) for key, combine in (("seconds", max), ("cpu", sum), ("tokens", sum))
    }


def datatrove(shards, tokenizer, output, workers):
    """Read, encode, write; no shuffle."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    step = DocumentTokenizer(
        f"{output}/tokens", tokenizer_name_or_path=tokenizer, eos_token="<|endoftext|>", shuffle_documents=False
    )
    started = time.perf_counter()
    steps = [ParquetReader(shards), step]
    # forked and not from its server: only then are the CPU seconds of workers counted
    LocalPipelineExecutor(
        steps, tasks=workers, workers=workers, logging_dir=f"{output}/logs", start_method="fork"
    ).run()
    seconds = time.perf_counter() - started
    tokens = sum(path.stat().st_size for path in Path(output).rglob("*.ds")) // 2
    return {"seconds": seconds, "tokens": tokens}


if __name__ == "__main__":
    main(*sys.argv[1:])
