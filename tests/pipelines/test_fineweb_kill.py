"""SIGKILL of the whole process group at random times, then the same command again: the same bytes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.executors.support import digests
from tests.faults.support import Command, kill_group, split_example


def kill_and_resume(source: Path, tmp_path: Path, kills: int, seed: int) -> None:
    whole = tmp_path / "whole"
    command = Command("fineweb", source, 2)
    began = time.monotonic()
    assert command.finish(whole)[0] == 0
    duration = time.monotonic() - began
    generator = random.Random(seed)
    out = tmp_path / "out"
    for number in range(kills):
        process = command.start(out, workers=1 + number % 2)
        time.sleep(generator.uniform(0.05, 0.95) * duration)
        kill_group(process)
        # whatever is visible at any moment is already what it will be at the end
        expected = digests(whole)
        for path, digest in digests(out).items():
            assert digest == expected[path], path
    assert command.finish(out, workers=1)[0] == 0
    assert digests(out) == digests(whole)
    assert not list(out.glob("phases/*/attempts"))


@pytest.mark.ci
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
