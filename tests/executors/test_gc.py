"""`gc`: leavings of killed processes and intermediate files go; what anybody reads stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.executors.removal import both, check_digests, copied, finished_run, near, pipeline, table
from tests.executors.support import run
from tests.executors.trees import tree
from tests.faults.support import RECIPES, small_archives
from tokenmill.core.errors import ConfigError
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors.gc import ATTEMPT, INTERMEDIATE, ORPHAN, TEMPORARY, UNNAMED, Garbage, collect_garbage
from tokenmill.io.runfolder import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path)


def collect(out: Path, *, orphans: bool = False, dry_run: bool = False) -> Garbage:
    return collect_garbage(RunFolder(str(out)), orphans=orphans, dry_run=dry_run)


def size(out: Path, phases: str = "*") -> int:
    """Bytes of files, besides what says what there is."""
    files = [path for path in out.rglob(phases) if path.is_file() and path.suffix != ".json"]
    return sum(path.stat().st_size for path in files)


def test_a_finished_run_keeps_what_is_read(made: Path, out: Path) -> None:
    check_collected(made, out, {"pairs", "copies", "gathered", "labels"})


@pytest.mark.ci
def test_steps_of_lines(tmp_path: Path) -> None:
    made = finished_run(tmp_path, both())
    of_lines = {"keys", "repeated", "samples", "chosen"}
    check_collected(made, copied(made, tmp_path), {*of_lines, "pairs", "copies", "gathered", "labels"})


def check_collected(made: Path, out: Path, expected: set[str]) -> None:
    before = size(out)
    shown = collect(out, dry_run=True)
    assert tree(out) == tree(made)
    kinds = {Path(piece.path).parent.name for piece in shown.pieces}
    assert kinds == expected
    assert {piece.kind for piece in shown.pieces} == {INTERMEDIATE}
    assert [piece.path for piece in shown.pieces if "minhash_dedup.keys" in piece.path] == []  # for an index
    done = collect(out)
    assert done.pieces == shown.pieces
    assert before - size(out) == done.bytes > 0
    assert not [path for path in (out / "phases").rglob("*") if path.is_dir() and not any(path.iterdir())]
    check_digests(out)
    assert collect(out).pieces == []


def test_the_same_run_again_does_nothing_and_misses_nothing(made: Path, out: Path) -> None:
    collect(out)
    before = tree(out)
    assert not run(near(), made.parent / "in", out).failures
    assert tree(out) == before
    lost = next(out.glob("dedup/minhash_dedup/*.parquet"))
    lost.unlink()
    with pytest.raises(ConfigError, match="gc has removed the intermediate files"):
        run(near(), made.parent / "in", out)
    assert len(tree(out)) == len(before) - 1


@pytest.mark.ci
def test_an_index_is_still_one(made: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    run(near(), made.parent / "in", first)
    assert collect(first).pieces
    run(pipeline("near", MinHashDedup(index=(str(first),))), made.parent / "in", tmp_path / "second")
    assert table(tmp_path / "second", "data") == []


def test_strangers(out: Path) -> None:
    phase = next((out / "phases").iterdir())
    while not (phase / "manifests").is_dir():
        phase = next(path for path in (out / "phases").iterdir() if (path / "manifests").is_dir())
    collect(out)
    planted = {
        f"data/x.parquet.{'0' * 32}.tmp": TEMPORARY,
        f"phases/{phase.name}/attempts/part-00/{'1' * 32}/data.parquet": ATTEMPT,
        f"phases/{phase.name}/strange/file": UNNAMED,
        "data/mine.parquet": ORPHAN,
        "phases/99-older@000000000000/data/part-00.parquet": ORPHAN,
    }
    for name in (*planted, "notes.txt", "ledger/segment"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"12345")
    found = collect(out)
    assert {piece.path: piece.kind for piece in found.pieces} == {n: k for n, k in planted.items() if k != ORPHAN}
    assert {piece.path for piece in found.orphans} == {n for n, k in planted.items() if k == ORPHAN}
    assert found.bytes == 15
    assert (out / "data" / "mine.parquet").exists()
    assert {piece.path for piece in collect(out, orphans=True).pieces} == {n for n, k in planted.items() if k == ORPHAN}
    assert not (out / "data" / "mine.parquet").exists()
    assert (out / "notes.txt").exists()  # nobody asked about these
    assert (out / "ledger" / "segment").exists()
    check_digests(out)


def test_what_is_committed_but_not_published_stays(out: Path) -> None:
    manifest = next(out.glob("phases/01-*/manifests/*.json"))
    content = json.loads(manifest.read_text())
    file = next(file for file in content["files"] if file["kind"] == "data")
    waiting = out / content["attempt"] / "data.parquet"
    waiting.parent.mkdir(parents=True)
    (out / file["path"]).rename(waiting)
    collect(out)
    assert waiting.exists()


def test_what_is_refused(out: Path, tmp_path: Path) -> None:
    with RunFolder(str(out)).locked(), pytest.raises(ConfigError, match="another tokenmill is running"):
        collect(out)
    with pytest.raises(ConfigError, match="object store"):
        collect_garbage(RunFolder("memory://gc"))
    with pytest.raises(ConfigError, match="holds no run"):
        collect(tmp_path)


@pytest.mark.slow
def test_after_a_killed_run(tmp_path: Path) -> None:
    source, out = small_archives(tmp_path, 3, 10), tmp_path / "out"
    command = [sys.executable, "-m", "tokenmill", "run", f"{RECIPES}:plain", "--input", str(source), "--output"]
    options = ["--workers", "1", "--max-quarantined", "1"]
    subprocess.run([*command, str(tmp_path / "golden"), *options], check=True, capture_output=True, timeout=300)
    process = subprocess.Popen(
        [*command, str(out), *options], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not list(out.glob("phases/*/attempts/*/*/*.parquet")) and time.monotonic() < until:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = collect(out)
    assert ATTEMPT in {piece.kind for piece in found.pieces}
    assert not list(out.rglob("attempts/*/*/*"))
    subprocess.run([*command, str(out), *options], check=True, capture_output=True, timeout=300)
    for kind in ("data", "dropped", "quarantine", "dedup"):
        wanted = {name: digest for name, digest in tree(tmp_path / "golden").items() if name.startswith(kind)}
        assert {name: digest for name, digest in tree(out).items() if name.startswith(kind)} == wanted
