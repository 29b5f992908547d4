"""SIGKILL of all processes of a deduplication at random times, then the same command again: the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dedup.support import corpus, published
from tokenmill.executors.run import SMALL_ROWS

RECIPE = """
from tokenmill import Pipeline, ReadParquet, WriteParquet
from tokenmill.dedup.exact import ExactDedup
from tokenmill.dedup.minhash import MinHashDedup

mine = Pipeline("mine", [ReadParquet(), ExactDedup(), MinHashDedup(prefer=("-length",)), WriteParquet()])
"""


def start(folder: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tokenmill", "run", f"{folder}/r.py:mine", "--input", f"{folder}/in"]
    return subprocess.Popen(
        [*command, "--output", str(out), "--workers", str(workers)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_in_every_phase_and_resumed(tmp_path: Path) -> None:
    """Enough documents that workers do the steps. Each kill comes a little after a phase has begun."""
    (tmp_path / "r.py").write_text(RECIPE)
    (tmp_path / "in").mkdir()
    texts = corpus(SMALL_ROWS + 2000, seed=21, words=40)
    for shard in range(4):
        pq.write_table(pa.table({"text": texts[shard::4]}), tmp_path / f"in/{shard}.parquet", row_group_size=1000)
    assert start(tmp_path, tmp_path / "whole", 2).wait() == 0
    whole = published(tmp_path / "whole")
    generator = random.Random(5)
    hit = set()
    phases = len(list((tmp_path / "whole/phases").glob("*@*")))
    for number in range(2 * phases):
        process = start(tmp_path, tmp_path / "out", 1 + number % 2)
        wanted = 1 + number // 2
        while process.poll() is None and not list((tmp_path / "out/phases").glob(f"{wanted:02d}-*")):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.6))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hit.add(wanted)
        process.wait()
        for path, content in published(tmp_path / "out").items():
            assert content == whole[path], path  # what is visible is what it will be
    assert len(hit) >= phases - 2
    assert start(tmp_path, tmp_path / "out", 1).wait() == 0
    assert published(tmp_path / "out") == whole
    assert not list((tmp_path / "out").rglob("attempts"))
