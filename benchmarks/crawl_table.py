"""What tokenmill and datatrove keep and drop on the same crawl, stage by stage, and how far they agree on documents.

    make bench-env && .venv/bin/python benchmarks/crawl_table.py [--work FOLDER]

With `--work`, outputs that are already there are used again (a run of datatrove over the crawl takes many minutes).
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent))
from end_to_end import ROOT, SHARED, read_ours, read_peer, run_ours, run_peer

PAIRS = [
    ("read: HTML pages", "read_warc", "warc"),
    ("URL rules", "url_filter", "url"),
    ("decoding", "decode_html", None),
    ("language gate", "language_gate", None),
    ("extraction", "extract_text", "trafilatura"),
    ("language", "language_filter", "language"),
    ("Gopher repetition", "gopher_repetition", "gopher_rep"),
    ("Gopher quality", "gopher_quality", "gopher_qual"),
    ("C4", "c4_quality", "c4"),
    ("FineWeb", "fineweb_quality", "fineweb"),
]


def main() -> None:
    """Run both where needed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", type=Path, default=SHARED / "crawl")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--peer-python", default=str(ROOT / ".bench/datatrove/bin/python"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tokenmill-table-") as temporary:
        work = arguments.work or Path(temporary)
        ours, theirs = work / "ours", work / "peer"
        if not (ours / "README.md").exists():
            run_ours(arguments.input, ours, "trafilatura", None)
        if not (theirs / "peer.json").exists():
            run_peer(arguments.peer_python, arguments.input, theirs, 0)
        print_table(ours, theirs)
        print_agreement(ours, theirs)


def print_table(ours: Path, theirs: Path) -> None:
    rows_ours = {stage: (into, out) for stage, into, out, _ in read_ours(ours)[0]}
    rows_theirs = {stage: (into, out) for stage, into, out, _ in read_peer(theirs)[0]}
    print("| step | tokenmill: in | dropped | left | datatrove: in | dropped | left |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, our_stage, their_stage in PAIRS:
        cells = []
        for rows, stage in ((rows_ours, our_stage), (rows_theirs, their_stage)):
            into, out = rows.get(stage, (None, None)) if stage else (None, None)
            if into is None or out is None:
                cells += ["", "", ""]
            elif name.startswith("read"):
                cells += ["", "", f"{out:,}"]
            else:
                cells += [f"{into:,}", f"{into - out:,}", f"{out:,}"]
        print(f"| {name} | {' | '.join(cells)} |")


def print_agreement(ours: Path, theirs: Path) -> None:
    """How many kept documents are the same, and what became of those that only one keeps."""
    kept = set(pq.read_table(ours / "data", columns=["id"]).column("id").to_pylist())
    peer = {json.loads(line)["id"] for path in theirs.glob("data/*.jsonl.gz") for line in gzip.open(path)}
    dropped = pq.read_table(ours / "dropped", columns=["id", "stage"]).to_pylist()
    ours_of = {row["id"]: row["stage"] for row in dropped}
    theirs_of = {
        json.loads(line)["id"]: path.parent.name for path in theirs.glob("removed/*/*.gz") for line in gzip.open(path)
    }
    print(f"\nkept by both {len(kept & peer):,}, by tokenmill only {len(kept - peer):,}, ", end="")
    print(f"by datatrove only {len(peer - kept):,} (agreement {len(kept & peer) / len(kept | peer):.1%})")
    for title, only, reasons in (
        ("kept by tokenmill only; datatrove dropped them at", kept - peer, theirs_of),
        ("kept by datatrove only; tokenmill dropped them at", peer - kept, ours_of),
    ):
        counts: dict[str, int] = {}
        for document in only:
            stage = reasons.get(document, "extraction (not listed)")
            counts[stage] = counts.get(stage, 0) + 1
        print(f"{title}: {', '.join(f'{s} {n}' for s, n in sorted(counts.items(), key=lambda item: -item[1]))}")


if __name__ == "__main__":
    main()
