"""The coordinator over a million documents: its memory, descriptors and processes stay as they are."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.faults.support import Command, report_figures, tree

SHARDS, ROWS = 500, 2000


def make(folder: Path) -> Path:
    source = folder / "in"
    source.mkdir()
    for shard in range(SHARDS):
        with open(source / f"part-{shard:04d}.jsonl", "w") as stream:
            for row in range(ROWS):
                stream.write(json.dumps({"text": f"document {shard} {row} of a long and even stream"}) + "\n")
    return source


def resident(pid: int) -> int:
    """Bytes of resident memory, without the pages of files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) << 10


@pytest.mark.faults
def test_the_coordinator_does_not_grow(tmp_path: Path) -> None:
    process = Command("lines", make(tmp_path), 2).start(tmp_path / "out")
    manifests = tmp_path / "out" / "phases"
    samples: list[tuple[int, int, int, int]] = []
    while process.poll() is None:
        time.sleep(0.25)
        try:
            done = ROWS * sum(len(os.listdir(path)) for path in manifests.glob("*/manifests"))
            samples.append(
                (done, resident(process.pid), len(os.listdir(f"/proc/{process.pid}/fd")), len(tree(process.pid)))
            )
        except (FileNotFoundError, KeyError, ProcessLookupError):
            continue  # before the first manifest, or after the end
    assert process.returncode == 0
    # from 10 % on, until the report is written at the end
    steady = [sample for sample in samples if 0.1 * SHARDS * ROWS <= sample[0] < 0.98 * SHARDS * ROWS]
    assert len(steady) >= 20
    documents, memory, descriptors, processes = np.array(steady, float).T
    slope = float(np.polyfit(documents, memory, 1)[0]) * 100_000
    figures = {
        "documents": SHARDS * ROWS,
        "bytes per 100k documents": round(slope),
        "resident MB": [round(float(value) / 1e6, 1) for value in (memory.min(), memory.max())],
        "descriptors": [int(descriptors.min()), int(descriptors.max())],
        "processes": [int(processes.min()), int(processes.max())],
    }
    report_figures("soak", figures)
    assert slope < 1e6, figures
    # a status file is open for a moment now and then
    halves = np.array_split(descriptors, 2)
    assert np.median(halves[0]) == np.median(halves[1]), figures
    assert max(descriptors) <= min(descriptors) + 2, figures
    assert len(set(processes)) == 1, figures
