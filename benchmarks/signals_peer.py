"""datatrove's four quality filters on a table of texts, timed; runs in the peer's environment (see `signals.py`).

    .bench/datatrove/bin/python benchmarks/signals_peer.py TEXTS.parquet LIMIT all|early

`all`: every filter sees every text, whatever the others said; C4's new text goes on to FineWeb. `early`: a dropped text
goes no further, as in a run. Prints JSON: CPU and wall-clock seconds, seconds per filter, texts kept.
"""

import json
import sys
import time

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

WARM_UP = 64


def main(path, limit, mode):
    """Time the filters, after they have seen some texts."""
    texts = pq.read_table(path, columns=["text"])["text"].to_pylist()[: int(limit) or None]
    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }
    run(filters, texts[:WARM_UP], mode)
    wall, cpu = time.perf_counter(), time.process_time()
    seconds, kept = run(filters, texts, mode)
    report = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "stages": seconds, "kept": kept}
    print(json.dumps(report))


def run(filters, texts, mode):
    """Seconds per filter, and how many texts no filter drops."""
    seconds = dict.fromkeys(filters, 0.0)
    kept = 0
    for text in texts:
        document = Document(text=text, id="")
        passed = True
        for name, step in filters.items():
            started = time.perf_counter()
            verdict = step.filter(document)
            seconds[name] += time.perf_counter() - started
            if not (verdict[0] if isinstance(verdict, tuple) else verdict):
                passed = False
                if mode == "early":
                    break
        kept += passed
    return seconds, kept


if __name__ == "__main__":
    main(*sys.argv[1:])
