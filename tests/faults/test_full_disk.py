"""A disk that is full at different moments of a run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.faults.space import MIB, fill, small_disk
from tests.faults.support import (
    ROOT,
    Command,
    leftovers,
    outcome,
    report_figures,
    small_archives,
    unforeseen,
    wrongly_visible,
)

FREE = re.compile(r"\d+\.\d MB of \d+ MB free")


def full_output(folder: Path, recipe: str, parts: int, workers: int, shares: list[float]) -> dict[int, int]:
    """Runs into a disk with a share of the space that a run needs; each is finished after space was made."""
    command = Command(recipe, small_archives(folder, parts, 10), workers, ("--no-preflight",))
    assert command.finish(folder / "golden")[0] == 0
    golden = outcome(folder / "golden")
    needed = sum(path.stat().st_blocks * 512 for path in (folder / "golden").rglob("*"))
    ends: dict[int, int] = {}
    with small_disk(folder / "disk") as disk:
        for number, share in enumerate(shares):
            out = disk / f"out-{number}"
            ballast = fill(disk, int(share * needed))
            code, errors = command.finish(out)
            ends[code] = ends.get(code, 0) + 1
            if code:
                assert code == 75, errors
                assert not unforeseen(errors), errors
                assert str(out) in errors, errors
                assert FREE.search(errors), f"the message does not say how much space is left: {errors}"
            assert wrongly_visible(out, golden) == []
            for path in out.glob("*/*.parquet"):
                pq.read_table(path)
            ballast.unlink()
            code, errors = command.finish(out)
            assert code == 0, errors
            assert outcome(out) == golden
            assert leftovers(out) == []
            subprocess.run(["rm", "-rf", str(out)], check=True)
    return ends


@pytest.mark.slow
def test_full_while_writing(tmp_path: Path) -> None:
    assert full_output(tmp_path, "exact", 3, 0, [0.3])[75] == 1


def test_a_hopeless_run_is_not_begun(tmp_path: Path) -> None:
    command = Command("exact", small_archives(tmp_path, 1, 5), 0)
    with small_disk(tmp_path / "disk", MIB) as disk:
        fill(disk, 0)
        code, errors = command.finish(disk / "out")
    assert code == 2, errors
    assert str(disk) in errors
    assert "free" in errors


@pytest.mark.faults
@pytest.mark.parametrize("workers", [0, 4])
def test_full_at_any_moment(tmp_path: Path, workers: int) -> None:
    ends = full_output(tmp_path, "near", 8, workers, [number / 20 for number in range(22)])
    report_figures("disk full", {"workers": workers, "ends": ends})
    assert ends[75] >= 15
    assert ends[0] >= 1  # where there was room for everything


REMOTE = """
import sys
from tests.faults.loop import tokenmill
from tests.faults.space import MIB, fill
from tests.faults.support import RECIPES, outcome
from pathlib import Path
source, disk, *free = sys.argv[1:]
options = ("--workers", "0", "--max-quarantined", "1", "--no-preflight")
run = ("run", f"{RECIPES}:near", "--input", source, *options, "--output")
import fsspec
store = fsspec.filesystem("memory")
def content(place):
    return {path.removeprefix(place): store.cat_file(path) for path in store.find(place)
            if "/data/" in path or "/dropped/" in path or path.endswith("run.json")}
code, errors = tokenmill(*run, "memory://golden")
assert code == 0, errors
golden = content("/golden")
assert len(golden) > 3
for number, left in enumerate(map(int, free)):
    ballast = fill(Path(disk), left)
    code, errors = tokenmill(*run, f"memory://out-{number}")
    assert code == 75, (left, code, errors)
    assert disk in errors, errors
    assert "free" in errors, errors
    assert all(golden[path] == data for path, data in content(f"/out-{number}").items())
    ballast.unlink()
    code, errors = tokenmill(*run, f"memory://out-{number}")
    assert code == 0, errors
    assert content(f"/out-{number}") == golden
print("done")
"""


def remote(folder: Path, free: list[int]) -> None:
    """To an object store, attempts are written in the temp folder, which is full."""
    source = small_archives(folder, 8, 10)
    with small_disk(folder / "temp") as disk:
        done = subprocess.run(
            [sys.executable, "-c", REMOTE, str(source), str(disk), *map(str, free)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(disk)},
            capture_output=True,
            text=True,
        )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.faults
def test_full_temp_folder_of_a_remote_run(tmp_path: Path) -> None:
    remote(tmp_path, [0, 4096, 20_000, 50_000])


@pytest.mark.faults
def test_full_temp_folder_does_not_stop_a_local_run(tmp_path: Path) -> None:
    """Nothing of a local run goes to the temp folder."""
    command = Command("near", small_archives(tmp_path, 3, 7), 2)
    assert command.finish(tmp_path / "golden")[0] == 0
    with small_disk(tmp_path / "temp", MIB) as disk:
        fill(disk, 0)
        code, errors = command.finish(tmp_path / "out", {**os.environ, "TMPDIR": str(disk)})
    assert code == 0, errors
    assert outcome(tmp_path / "out") == outcome(tmp_path / "golden")
