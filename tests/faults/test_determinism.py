"""The same bytes for any number of workers, order of listing, hash seed, time zone, language, threads and Python."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.faults.support import RECIPES, Command, outcome, report_figures, small_archives

SHUFFLED = Path(__file__).with_name("shuffled")
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A C locale that Python does not mend: files opened without an encoding are ASCII."""


def languages() -> list[dict[str, str]]:
    """C, as it is and as Python mends it, and Turkish (whose i has a dot when it is upper case) where installed."""
    found: list[dict[str, str]] = [{"LC_ALL": "C"}, ASCII]
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.lower()
    return [*found, {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}] if "tr_tr" in listed else found


def factors() -> list[list[Any]]:
    """Workers, listing, hash seed, time zone, language, threads."""
    return [
        [1, 2, 7, 16],
        [{}, {"SHUFFLE_SEED": "1"}, {"SHUFFLE_SEED": "2"}],
        [{"PYTHONHASHSEED": seed} for seed in ("0", "1", "random")],
        [{"TZ": zone} for zone in ("UTC", "Asia/Kathmandu", "America/St_Johns")],
        languages(),
        [{}, {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "8", "NUMBA_NUM_THREADS": "2"}],
    ]


def pairwise(choices: Sequence[Sequence[Any]], seed: int) -> list[list[Any]]:
    """Few combinations in which every two values of two factors meet at least once."""
    generator = random.Random(seed)
    indices = [range(len(values)) for values in choices]
    missing = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(range(len(choices)), 2)
        for i, j in itertools.product(indices[a], indices[b])
    }
    found = []
    while missing:
        tries = [[generator.choice(values) for values in indices] for _ in range(50)]
        met = [set(itertools.combinations(enumerate(row), 2)) & missing for row in tries]
        best = max(range(len(tries)), key=lambda number: len(met[number]))
        if met[best]:
            missing -= met[best]
            found.append([choices[factor][index] for factor, index in enumerate(tries[best])])
    return found


def environment(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in ("LC_ALL", "LANG", "TZ", "PYTHONHASHSEED")}
    for extra in settings:
        env.update(extra)
    if "SHUFFLE_SEED" in env:
        env["PYTHONPATH"] = os.pathsep.join([str(SHUFFLED), *filter(None, [env.get("PYTHONPATH")])])
    return env


def compare(folder: Path, recipe: str, parts: int, rows: Sequence[Sequence[Any]]) -> None:
    command = Command(recipe, small_archives(folder, parts, 10), 1)
    assert command.finish(folder / "golden")[0] == 0
    golden = outcome(folder / "golden")
    for number, (workers, *settings) in enumerate(rows):
        out = folder / f"out-{number}"
        code, errors = command.finish(out, environment(settings), workers)
        assert code == 0, f"{workers} {settings}: {errors}"
        assert outcome(out) == golden, f"{workers} {settings}"


@pytest.mark.ci
def test_a_corner_of_the_matrix(tmp_path: Path) -> None:
    corner = (2, {"SHUFFLE_SEED": "1"}, {"PYTHONHASHSEED": "7"}, {"TZ": "Asia/Kathmandu"}, ASCII)
    compare(tmp_path, "exact", 3, [corner])


@pytest.mark.faults
def test_every_pair_of_the_matrix(tmp_path: Path) -> None:
    rows = pairwise(factors(), seed=1)
    compare(tmp_path, "near", 16, rows)
    report_figures("determinism", {"runs": len(rows), "languages": len(languages())})


def content(out: Path) -> dict[str, str]:
    """Digests of the rows of published tables: file bytes depend on the version of Arrow, rows do not."""
    kinds = ("data", "dropped", "quarantine", "dedup")
    files = sorted(path for kind in kinds for path in (out / kind).rglob("*.parquet"))
    return {
        str(path.relative_to(out)): hashlib.sha256(
            json.dumps(pq.read_table(path).to_pylist(), sort_keys=True, default=str).encode()
        ).hexdigest()
        for path in files
    }


@pytest.mark.faults
def test_other_interpreters(tmp_path: Path) -> None:
    """TOKENMILL_PYTHONS lists interpreters (separated as in PATH) in which tokenmill is installed."""
    pythons = [name for name in os.environ.get("TOKENMILL_PYTHONS", "").split(os.pathsep) if name]
    if not pythons:
        pytest.skip("TOKENMILL_PYTHONS names no other interpreter")
    command = Command("near", small_archives(tmp_path, 4, 10), 2)
    assert command.finish(tmp_path / "golden")[0] == 0
    golden = content(tmp_path / "golden")
    assert len(golden) >= 10
    for number, python in enumerate(pythons):
        out = tmp_path / f"out-{number}"
        place = ["--input", command.source, "--output", out, "--max-quarantined", "1"]
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        subprocess.run([python, "-m", "tokenmill", "run", f"{RECIPES}:near", *map(str, place)], env=env, check=True)
        assert content(out) == golden, python
    report_figures("interpreters", {"pythons": pythons})
