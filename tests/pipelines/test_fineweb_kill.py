"""SIGKILL of the whole process group at random times, then the same command again: the same bytes."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.executors.support import digests

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


def start(source: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tokenmill", "run", "fineweb", "--input", str(source), "--output", str(out)]
    return subprocess.Popen(
        [*command, "--workers", str(workers)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_and_resume(source: Path, tmp_path: Path, kills: int, seed: int) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    assert start(source, whole, 2).wait() == 0
    duration = time.monotonic() - began
    generator = random.Random(seed)
    out = tmp_path / "out"
    finished = 0
    for number in range(kills):
        process = start(source, out, 1 + number % 2)
        time.sleep(generator.uniform(0.05, 0.95) * duration)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finished += process.wait() == 0
        # whatever is visible at any moment is already what it will be at the end
        expected = digests(whole)
        for path, digest in digests(out).items():
            assert digest == expected[path], path
    assert start(source, out, 1).wait() == 0
    assert digests(out) == digests(whole)
    assert not list(out.glob("phases/*/attempts"))


def split_example(tmp_path: Path, parts: int) -> Path:
    """The example archive cut at member boundaries into several files, so that runs have work to lose."""
    from fastwarc.warc import ArchiveIterator

    data = (EXAMPLE / "example.warc.gz").read_bytes()
    marks = [record.stream_pos for record in ArchiveIterator(str(EXAMPLE / "example.warc.gz"), parse_http=False)]
    bounds = [marks[len(marks) * i // parts] for i in range(parts)] + [len(data)]
    source = tmp_path / "in"
    source.mkdir()
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        (source / f"part-{number:02d}.warc.gz").write_bytes(data[first:last])
    return source


def test_a_kill(tmp_path: Path) -> None:
    kill_and_resume(split_example(tmp_path, 3), tmp_path, kills=1, seed=3)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    kill_and_resume(split_example(tmp_path, 8), tmp_path, kills=20, seed=11)


@pytest.mark.slow
def test_twenty_kills_on_the_crawl(shared: Path, tmp_path: Path) -> None:
    source = tmp_path / "crawl"
    source.mkdir()
    for number in (2, 5, 9):
        (source / f"crawl-{number:05d}.warc.gz").symlink_to(shared / f"crawl/crawl-{number:05d}.warc.gz")
    kill_and_resume(source, tmp_path, kills=20, seed=5)
