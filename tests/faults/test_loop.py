"""Every file-system call of a run fails once: the run says where, and the same command ends with the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.loop import KINDS
from tests.faults.shim import CHANGES, FAIL, LOOKS, OPS, Shim
from tests.faults.support import (
    DOCUMENTED,
    ROOT,
    Command,
    leftovers,
    outcome,
    report_figures,
    small_archives,
    unforeseen,
    wrongly_visible,
)


def loop(folder: Path, kind: str, step: int = 1, offset: int = 0) -> dict[str, Any]:
    """What `tests.faults.loop` found."""
    source = small_archives(folder, 3, 7)
    shim = Shim(folder / "control")
    arguments = ("exact", source, folder / "work", kind, step, offset)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.loop", *map(str, arguments)],
        cwd=ROOT,
        env=shim.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# sample in the fast suite: all operations are seen, and tests/faults/test_full_disk.py
@pytest.mark.parametrize(
    ("kind", "step", "offset"),
    [
        pytest.param("eio", 397, 5, marks=pytest.mark.ci),
        pytest.param("enospc", 457, 40, marks=pytest.mark.ci),
        pytest.param("close", 43, 1, marks=pytest.mark.faults),
        pytest.param("look", 151, 20, marks=pytest.mark.faults),
    ],
)
def test_some_calls_fail(tmp_path: Path, kind: str, step: int, offset: int) -> None:
    found = loop(tmp_path, kind, step, offset)
    assert found["wrong"] == []
    assert found["runs"] >= 3
    assert sum(found["ends"].values()) == found["runs"]


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_fails(tmp_path: Path, kind: str) -> None:
    found = loop(tmp_path, kind)
    report_figures("n-th call fails", {"kind": kind, **{key: found[key] for key in ("runs", "ends", "struck")}})
    assert found["wrong"] == []
    assert found["runs"] >= found["calls"] - 20  # every call was hit; a failure may change how many there are


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["eio", "enospc", "edquot", "shortfull", "look"])
def test_calls_of_workers_fail(tmp_path: Path, kind: str) -> None:
    """The same through the command and its worker processes, which count together; 30 calls all over the run."""
    command = Command("exact", small_archives(tmp_path, 3, 7), 2)
    assert command.finish(tmp_path / "golden")[0] == 0
    golden = outcome(tmp_path / "golden")
    shim = Shim(tmp_path / "control")
    settings = dict(KINDS[kind])
    shim.arm(tmp_path / "count", 0, FAIL, ops=settings.get("ops", CHANGES))
    assert command.finish(tmp_path / "count", shim.environment())[0] == 0
    calls = shim.count
    ends: dict[int, int] = {}
    for number in range(30):
        out = tmp_path / f"out-{number}"
        shim.arm(out, 1 + number * calls // 30, **settings)
        code, errors = command.finish(out, shim.environment())
        where = shim.where
        shim.disarm()
        ends[code] = ends.get(code, 0) + 1
        assert code in DOCUMENTED, f"{where}: {errors}"
        assert not unforeseen(errors), f"{where}: {errors}"
        assert code == 0 or str(out) in errors, f"{where}: {errors}"
        assert wrongly_visible(out, golden) == [], where
        code, errors = command.finish(out)
        assert code == 0, f"{where}: {errors}"
        assert outcome(out) == golden, where
        assert leftovers(out) == [], where
    report_figures("n-th call of workers fails", {"kind": kind, "calls": calls, "ends": ends})


@pytest.mark.ci
def test_all_operations_are_seen(tmp_path: Path) -> None:
    """The shim counts what it should: a run does every operation that it knows, but truncation."""
    shim = Shim(tmp_path / "control")
    command = Command("exact", small_archives(tmp_path, 1, 5), 0)
    shim.arm(tmp_path / "out", 0, FAIL, ops=OPS)
    code, errors = command.finish(tmp_path / "out", shim.environment(tmp_path / "log"))
    assert code == 0, errors
    lines = [line.split(maxsplit=2) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == shim.count
    assert {OPS[int(op)] for _, op, _ in lines} == {*CHANGES, *LOOKS} - {"truncate"}
    assert all(path.startswith(str(tmp_path / "out")) for _, _, path in lines)
