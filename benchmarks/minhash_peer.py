"""MinHash signatures of datatrove and of rensa, timed; runs in the peers' environment (see `minhash.py`).

    .bench/datatrove/bin/python benchmarks/minhash_peer.py TEXTS.parquet datatrove|rensa|rensa-shingles|agreement

Prints JSON: CPU seconds for all texts; `agreement`: how many texts we normalise as datatrove does, and why
others differ.
"""

import json
import sys
import tempfile
import time

import pyarrow.parquet as pq
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from datatrove.utils.text import simplify_text
from rensa import RMinHash

WARM_UP = 64
PERMUTATIONS = 112
WIDTH = 5
UNSPACED = ((0x0E00, 0x109F), (0x1780, 0x17FF), (0x3005, 0x30FF), (0x31F0, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F))


def main(path, program):
    """Time one program, after it has seen some texts."""
    table = pq.read_table(path)
    texts, normalised = table["text"].to_pylist(), table["normalised"].to_pylist()
    if program == "agreement":
        print(json.dumps(agreement(texts, normalised)))
        return
    if program == "datatrove":
        step = MinhashDedupSignature(output_folder=tempfile.mkdtemp(), config=MinhashConfig())
        prepared = texts

        def run(some):
            for text in some:
                step.get_signature(step.get_shingles(text))
    else:
        prepared = normalised if program == "rensa" else list(map(shingles, normalised))

        def run(some):
            for one in some:
                sketch = RMinHash(PERMUTATIONS, 1)  # quicker than a matrix for all, and the same numbers
                sketch.update(shingles(one) if program == "rensa" else one)
                sketch.digest()

    # datatrove's own step looks for texts without a shingle, too, before it signs one
    prepared = [one for one, text in zip(prepared, normalised, strict=True) if text.count(" ") + 1 >= WIDTH]
    run(prepared[:WARM_UP])
    cpu = time.process_time()
    run(prepared)
    print(json.dumps({"cpu": time.process_time() - cpu}))


def shingles(text):
    """Runs of words, as strings."""
    words = text.split(" ")
    return [" ".join(words[at : at + WIDTH]) for at in range(len(words) - WIDTH + 1)]


def agreement(texts, normalised):
    """Texts by how the two normalisations compare."""
    counts = {"equal": 0, "unspaced": 0, "spaces": 0, "rest": 0}
    for text, ours in zip(texts, normalised, strict=True):
        theirs = simplify_text(text)
        if theirs == ours:
            counts["equal"] += 1
        elif any(first <= ord(char) <= last for char in text for first, last in UNSPACED):
            counts["unspaced"] += 1
        else:
            counts["spaces" if theirs.split() == ours.split() else "rest"] += 1
    return counts


if __name__ == "__main__":
    main(*sys.argv[1:])
