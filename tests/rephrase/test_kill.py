"""`tokenmill rephrase`, killed again and again, ends with the rows of an uninterrupted run; little is asked twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httptools")

from tests.rephrase.test_stage import STYLE, Place, documents, rows_of
from tests.rephrase.test_stage import server as server

DOCUMENTS = 400
CONCURRENCY = 8


def command(tmp_path: Path, server: Place, output: str, workers: int) -> list[str]:
    (tmp_path / "words.md").write_text(STYLE)
    given = {
        "--output": str(tmp_path / output),
        "--style": str(tmp_path / "words.md"),
        "--model": "page",
        "--base-url": server.url,
        "--concurrency": str(CONCURRENCY),
        "--workers": str(workers),
    }
    options = [word for pair in given.items() for word in pair]
    return [sys.executable, "-m", "tokenmill", "rephrase", str(tmp_path / "in"), *options]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "latency_s"} for row in rows]


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.ci)])
def test_killed_at_any_time_each_document_ends_once(tmp_path: Path, server: Place, workers: int) -> None:
    documents(tmp_path / "in", DOCUMENTS)
    subprocess.run(command(tmp_path, server, "whole", 0), check=True, capture_output=True, timeout=120)
    before = len(server.asked())
    draw = random.Random(workers)
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(
            command(tmp_path, server, "killed", workers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if kills < 5:
            asked = len(server.asked())
            wanted, deadline = asked + draw.randrange(10, 60), time.monotonic() + 60
            while len(server.asked()) < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.wait(timeout=120) == 0:
            break
    else:
        pytest.fail("it did not end")
    assert kills == 5
    for kind in ("data", "rejected"):
        assert without_times(rows_of(tmp_path / "killed", kind)) == without_times(rows_of(tmp_path / "whole", kind))
    ended = Counter(row["parent_id"] for kind in ("data", "rejected") for row in rows_of(tmp_path / "killed", kind))
    assert ended == Counter({f"d{n}": 1 for n in range(DOCUMENTS)})
    pages = Counter((one["page"], one["max_tokens"]) for one in server.asked()[before:])
    assert sum(count - 1 for count in pages.values()) <= kills * CONCURRENCY * max(1, workers)
