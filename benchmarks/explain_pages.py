"""Does `tokenmill explain` agree with what a run has recorded? On a seeded sample of its pages.

    python benchmarks/explain_pages.py /tmp/run --pages 50

Prints every page on which it does not, with what differs; exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pyarrow.parquet as pq

from tokenmill.executors.explain import Explainer
from tokenmill.io.filesystem import open_binary
from tokenmill.io.push_files import committed_files
from tokenmill.io.runfolder import RunFolder

KINDS = ("data", "dropped", "quarantine")


def ids(folder: RunFolder) -> Iterator[str]:
    """Record ids of all published rows: kept, dropped, in quarantine."""
    for entry in committed_files(folder):
        if entry["kind"] in KINDS and entry["rows"]:
            with open_binary(folder.path(entry["path"])) as stream:
                yield from filter(None, pq.read_table(stream, columns=["id"]).column(0).to_pylist())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seed", default="1", help="another one, other pages")
    arguments = parser.parse_args()

    def place(id: str) -> bytes:
        return hashlib.blake2b(f"{arguments.seed} {id}".encode(), digest_size=8).digest()

    chosen = heapq.nsmallest(arguments.pages, ids(RunFolder(arguments.run)), key=place)
    verdicts: Counter[str] = Counter()
    wrong = 0
    started = time.process_time()
    with Explainer(arguments.run) as explainer:
        for id in chosen:
            found = explainer.explain(id)
            assert found.recorded is not None
            verdicts[f"{found.recorded.outcome} {found.recorded.stage}".strip()] += 1
            if found.source != "replay" or not found.agrees:
                wrong += 1
                print(f"{found.doc_id} {found.url}: recorded {found.recorded}, {found.source} {found.replayed}")
                print("  " + "; ".join([*found.differences, *found.notes]))
    print(f"{len(chosen) - wrong} of {len(chosen)} agree; {time.process_time() - started:.1f} s of CPU here")
    print(", ".join(f"{name} {count}" for name, count in verdicts.most_common()))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
