"""A process that is killed in the middle of a mixture, again and again, and the same bytes in the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tokens.mix.support import make, mixture_of, published, random_set

SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.tokens.mix.support import make, mixture_of
from tests.tokens.mix.test_kill import SOURCES, STAGES
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.mix.window import WindowMaker

windows, commits = int(sys.argv[2]), int(sys.argv[3])
window, commit = WindowMaker.window, RunFolder.commit

def counted_window(self, *arguments):
    global windows
    windows -= 1
    if windows < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return window(self, *arguments)

def counted_commit(self, *arguments):
    global commits
    commits -= 1
    if commits < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(self, *arguments)

WindowMaker.window, RunFolder.commit = counted_window, counted_commit
folder = Path(sys.argv[1])
make(mixture_of(folder, SOURCES, STAGES, shard_tokens=300), folder / "out")
"""
SOURCES = {"web": "web", "code": "code"}
STAGES = [
    {"name": "one", "tokens": 900, "weights": {"web": 0.7, "code": 0.3}},
    {"name": "two", "tokens": 500, "weights": {"web": 1}, "upweight": {"web": {"by": "topic", "to": {"news": 0.9}}}},
]


@pytest.mark.ci
def test_killed_and_resumed_anywhere(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [20, 10], seed=1)
    random_set(tmp_path / "code", [10], seed=2)
    make(mixture_of(tmp_path, SOURCES, STAGES, shard_tokens=300), tmp_path / "whole")
    whole = published(tmp_path / "whole")
    killed = 0
    for windows, commits in [(9, 1), (9, 2), (1, 9), (9, 1), (2, 9), (9, 2), (9, 9), (9, 9)]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(windows), str(commits)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -9), done.stderr
        killed += done.returncode == -9
        for name, content in published(tmp_path / "out").items():
            assert content == whole[name], name  # what is visible is what it will be
    assert killed >= 6
    assert published(tmp_path / "out") == whole
    assert not list((tmp_path / "out").rglob("attempts"))


COMMAND = """
import sys
import tokenmill.executors.run
from tokenmill.cli.mix import MixRequest, mix
tokenmill.executors.run.SMALL_ROWS = -1  # workers do the steps
sys.exit(mix(MixRequest(sys.argv[1], output=sys.argv[2], workers=2)))
"""
FILE = """
name: mine
shard_tokens: 4000
sources: {web: {tokens: web}, code: {tokens: code}}
stages:
  - {name: one, tokens: 60k, weights: {web: 0.7, code: 0.3}}
  - {name: two, tokens: 40k, weights: {web: 0.5, code: 0.5}}
"""


@pytest.mark.slow
def test_all_processes_killed_at_random_times(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [300] * 6, seed=1)
    random_set(tmp_path / "code", [200] * 4, seed=2, first=1800)
    (tmp_path / "m.yaml").write_text(FILE)

    def start(output: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", COMMAND, str(tmp_path / "m.yaml"), str(output)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, start_new_session=True, stdout=quiet, stderr=quiet)

    assert start(tmp_path / "whole").wait() == 0
    whole = published(tmp_path / "whole")
    generator = random.Random(3)
    killed = 0
    for phase in (1, 1, 2, 3, 3, 3, 4):
        process = start(tmp_path / "out")
        while process.poll() is None and not list((tmp_path / "out/phases").glob(f"{phase:02d}-*")):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        for name, content in published(tmp_path / "out").items():
            assert content == whole[name], name
    assert killed >= 4
    assert start(tmp_path / "out").wait() == 0
    assert published(tmp_path / "out") == whole
    assert not list((tmp_path / "out").rglob("attempts"))
