"""SIGKILL at random times and at named points of the commit, then the same command again: the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults.shim import AFTER, BEFORE, KILL_GROUP, KILL_PROCESS, MIDDLE, Shim
from tests.faults.support import (
    Command,
    commits,
    errors_of,
    gone,
    kill_group,
    leftovers,
    outcome,
    processed_again,
    report_figures,
    small_archives,
    tree,
    wait_for,
    wrongly_visible,
)

FAILPOINTS: dict[str, tuple[str, str, int, int]] = {
    # name: operation, pattern of the path, when, and how many such calls there are at least in a run
    "lock made": ("create", "*/phases/.lock", AFTER, 1),
    "plan before rename": ("rename", "*/run.json", BEFORE, 1),
    "plan after rename": ("rename", "*/run.json", AFTER, 1),
    "attempt made": ("mkdir", "*/attempts/*/*", AFTER, 5),
    "output opened": ("create", "*/attempts/*/data.parquet", AFTER, 5),
    "output half written": ("write", "*/attempts/*/*.parquet", MIDDLE, 50),
    "output before fsync": ("fsync", "*/attempts/*/*.parquet", BEFORE, 9),
    "output after fsync": ("fsync", "*/attempts/*/*.parquet", AFTER, 9),
    "manifest half written": ("write", "*/attempts/*/manifest.json", MIDDLE, 5),
    "manifest before link": ("link", "*/manifests/*", BEFORE, 9),
    "manifest after link": ("link", "*/manifests/*", AFTER, 9),
    "output before rename": ("rename", "*/data/*.parquet", BEFORE, 5),
    "output after rename": ("rename", "*/data/*.parquet", AFTER, 5),
    "attempt half removed": ("unlink", "*/attempts/*", AFTER, 5),
    "tasks before rename": ("rename", "*/tasks.json", BEFORE, 5),
    "step half written": ("write", "*dedup.*/attempts/*/*.parquet", MIDDLE, 5),
    "table after rename": ("rename", "*/dedup/*", AFTER, 2),
    "seal half written": ("write", "*/_SUCCESS.json.*", MIDDLE, 5),
    "seal after rename": ("rename", "*/_SUCCESS.json", AFTER, 5),
    "report half written": ("write", "*/report.html.*", MIDDLE, 1),
    "card before rename": ("rename", "*/README.md", BEFORE, 1),
}


@dataclass
class Killing:
    """Runs of one command that are killed, and what each left."""

    command: Command
    golden: dict[str, Any]
    folder: Path
    seconds: float
    """About how long a run takes; follows what is found, for resumed runs are shorter and machines are busy."""
    figures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        """Another folder."""
        self.figures["runs"] += 1
        self.out = self.folder / f"out-{self.figures['runs']}"
        self._committed: dict[str, int] = {}

    def check(self) -> None:
        """What must hold at any moment at which nothing runs."""
        assert wrongly_visible(self.out, self.golden) == []
        now = commits(self.out)
        assert processed_again(self._committed, now) == []
        self._committed = now

    def finished(self, code: int, errors: str) -> None:
        """The same bytes, counts and no leavings; the next run is a fresh one."""
        out = self.out
        try:
            assert code == 0, errors
            self.check()
        finally:
            self.fresh()
        result = outcome(out)
        assert [key for key in self.golden | result if self.golden.get(key) != result.get(key)] == []
        assert leftovers(out) == []

    def finish(self) -> None:
        self.finished(*self.command.finish(self.out))

    def start(self, generator: random.Random) -> subprocess.Popen[bytes]:
        """A run under way, now with all workers and now with fewer."""
        workers = generator.choice([self.command.workers, 1, self.command.workers // 2])
        process = self.command.start(self.out, workers=workers)
        time.sleep(generator.uniform(0.2, 0.9) * self.seconds)
        return process

    def _tell(self, kind: str, late: bool) -> bool:
        self.figures["too late" if late else kind] += 1
        self.seconds *= 0.8 if late else 1.05
        return not late

    def group(self, generator: random.Random) -> bool:
        """Kill all processes at once; False when the run was over before."""
        process = self.start(generator)
        ended = process.poll()
        kill_group(process)
        if self._tell("group", ended is not None):
            self.check()
        else:
            self.finished(process.returncode, errors_of(self.out))
        return ended is None

    def one(self, generator: random.Random) -> bool:
        """Kill the coordinator, a worker or a child. Whoever is left must stop, or finish the work."""
        process = self.start(generator)
        everyone = tree(process.pid)
        victim = process.pid if generator.random() < 0.3 else generator.choice(everyone)
        late = process.poll() is not None
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            late = True
        process.wait(timeout=120)
        assert wait_for(lambda: all(gone(pid) for pid in everyone)), "a process outlived its coordinator"
        kind = "coordinator" if victim == process.pid else "worker or child"
        self._tell(kind, late)
        if process.returncode == -signal.SIGKILL:
            self.check()
        else:
            self.finished(process.returncode, errors_of(self.out))
        return not late


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    """A cheap deduplication of few pages by two workers."""
    return prepared(tmp_path_factory.mktemp("kill"), "exact", parts=3, workers=2)


@pytest.fixture(scope="module")
def killing_near(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    """Near-duplicates among 8 archives, by 4 workers."""
    return prepared(tmp_path_factory.mktemp("near"), "near", parts=8, workers=4)


def prepared(folder: Path, recipe: str, parts: int, workers: int) -> Killing:
    command = Command(recipe, small_archives(folder, parts, 10), workers)
    began = time.monotonic()
    code, errors = command.finish(folder / "golden")
    assert code == 0, errors
    assert leftovers(folder / "golden") == []
    return Killing(command, outcome(folder / "golden"), folder, time.monotonic() - began)


def kill_often(killing: Killing, kind: str, times: int, seed: int) -> None:
    """Kills that hit a run, whose folder is taken up again each time until it is finished."""
    generator = random.Random(seed)
    hits = 0
    for _ in range(10 * times):
        hits += getattr(killing, kind)(generator)
        if hits == times:
            break
    assert hits == times
    killing.finish()


@pytest.mark.ci
@pytest.mark.parametrize("kind", [pytest.param("group", marks=pytest.mark.slow), "one"])
def test_killed_at_random_times(killing: Killing, kind: str) -> None:
    kill_often(killing, kind, 4, seed=7)


@pytest.mark.faults
@pytest.mark.parametrize("part", range(4))
def test_killed_200_times(killing_near: Killing, part: int) -> None:
    kill_often(killing_near, "group", 25, seed=2 * part)
    kill_often(killing_near, "one", 25, seed=2 * part + 1)
    report_figures("kill -9 at random times", killing_near.figures)


def at_failpoint(killing: Killing, shim: Shim, name: str, number: int, action: int, workers: int | None = None) -> None:
    """Kill at the point; whatever is left of the run ends; then the same command to its end."""
    op, pattern, when, most = FAILPOINTS[name]
    if killing.out.exists():
        killing.fresh()
    shim.arm(killing.out, 1 + number % most, action, ops=(op,), when=when, pattern=pattern)
    code, errors = killing.command.finish(killing.out, shim.environment(), workers)
    assert shim.fired == 1, f"{name}: no such call"
    shim.disarm()
    killing.figures[name] += 1
    if code == -signal.SIGKILL:
        killing.check()
        killing.finished(*killing.command.finish(killing.out, workers=workers))
    else:
        killing.finished(code, errors)  # a worker was killed, and the coordinator has replaced it


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("output half written", marks=pytest.mark.ci),  # sample: tests/dedup, interrupted at every commit
        pytest.param("manifest after link", marks=pytest.mark.ci),
        pytest.param("manifest before link", marks=pytest.mark.faults),
        pytest.param("output after rename", marks=pytest.mark.faults),
    ],
)
def test_killed_at_a_point(killing: Killing, tmp_path: Path, name: str) -> None:
    at_failpoint(killing, Shim(tmp_path / "control"), name, 0, KILL_GROUP, workers=0)


@pytest.mark.faults
@pytest.mark.parametrize("name", FAILPOINTS)
def test_killed_five_times_at_each_point(killing_near: Killing, tmp_path: Path, name: str) -> None:
    for number in range(5):
        action = KILL_PROCESS if number % 2 else KILL_GROUP
        at_failpoint(killing_near, Shim(tmp_path / f"control-{number}"), name, 7 * number, action)
    report_figures("kill -9 at named points", {name: killing_near.figures[name]})
