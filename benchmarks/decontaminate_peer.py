"""datatrove's `NGramsDecontFilter` on the texts of `decontaminate.py`. Run by the interpreter of its environment.

    .bench/datatrove/bin/python benchmarks/decontaminate_peer.py FOLDER

The index holds the hashes that `NGramsDecontIndexer` makes of query and label; the indexer itself asks for lighteval.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text

WARM_UP = 64
CLEAN = "clean"


def write_index(folder: Path, config: NGramsDecontConfig) -> Path:
    """The hashes of all items, once per folder."""
    index = folder / "index"
    if index.exists():
        return index
    maker = NGramsDecontFilter(str(folder), config)
    hashes: set[int] = set()
    known: dict[str, list[str]] = {}

    def words(text: str) -> list[str]:
        if text not in known:
            known[text] = maker.tokenizer.word_tokenize(simplify_text(text, config.norm_config))
        return known[text]

    size = config.n_grams
    for line in open(folder / "items.jsonl", encoding="utf-8"):
        row = json.loads(line)
        query, label = words(row["query"]), words(row["label"])
        runs = [*ngrams(label, size), *ngrams(query, size)]
        for taken in range(1, size):
            if len(query) >= size - taken and len(label) >= taken:
                runs.append((*query[taken - size :], *label[:taken]))
        hashes.update(maker.hash_func(" ".join(run)) for run in runs)
    part = folder / "part"
    part.mkdir()
    np.array(sorted(hashes), dtype=config.hash_config.np_descr).tofile(part / "kit.index.hashes")
    part.rename(index)
    return index


def main() -> None:
    folder = Path(sys.argv[1])
    config = NGramsDecontConfig(find_query_ngrams=True)
    step = NGramsDecontFilter(str(write_index(folder, config)), config)
    table = pq.read_table(folder / "texts.parquet")
    kinds: dict[str, list[str]] = {}
    for kind, text in zip(table["kind"].to_pylist(), table["text"].to_pylist(), strict=True):
        kinds.setdefault(kind, []).append(text)

    def flag(texts: list[str]) -> int:
        verdicts: list[Any] = [step.filter(Document(text=text, id="")) for text in texts]
        return sum(verdict is not True for verdict in verdicts)

    flag(kinds[CLEAN][:WARM_UP])
    started = time.process_time()
    flagged = {CLEAN: flag(kinds[CLEAN])}
    seconds = time.process_time() - started
    cache = folder / "flagged.json"
    if not cache.exists():  # the same in every round
        flagged.update((kind, flag(texts)) for kind, texts in kinds.items() if kind != CLEAN)
        cache.write_text(json.dumps(flagged))
    print(json.dumps({"cpu": seconds, "flagged": json.loads(cache.read_text())}))


if __name__ == "__main__":
    main()
