"""Whole runs: same bytes however they are run, interrupted, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.executors.support import TRAPS, digests, recipe, rows, run
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold


def texts(count: int, salt: int) -> list[str]:
    return [f"document {i} of {salt}" if i % 5 else "abc" for i in range(count)]


@pytest.fixture
def source(write_jsonl: Callable[..., Path]) -> Path:
    for number in range(5):
        folder = write_jsonl([*texts(200 + 90 * number, number), "raise"], f"part-{number}.jsonl")
    return folder


@pytest.mark.parametrize("most", [1, pytest.param(2, marks=pytest.mark.ci)])
def test_the_same_bytes_with_any_number_of_workers(tmp_path: Path, source: Path, most: int) -> None:
    found = []
    for workers in range(most + 1):
        out = tmp_path / f"out{workers}"
        outcome = run(recipe("trap"), source, out, workers=workers)
        assert outcome.failures == {}
        found.append(digests(out))
    assert len(found[0]) == 17
    assert all(other == found[0] for other in found[1:])


def test_the_same_bytes_on_an_object_store(tmp_path: Path, source: Path) -> None:
    run(recipe("trap"), source, tmp_path / "local")
    run(recipe("trap"), source, "memory://runs/out")
    remote = RunFolder("memory://runs/out")
    local = RunFolder(str(tmp_path / "local"))
    for path in sorted(digests(tmp_path / "local")):
        if path.endswith(".parquet"):
            assert remote._fs.cat_file(remote._full(path)) == local._fs.cat_file(local._full(path))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ci)])
def test_records_are_conserved_ids_unique_and_order_stable(tmp_path: Path, source: Path, workers: int) -> None:
    run(recipe("trap"), source, tmp_path / "out", workers=workers)
    funnel = fold(RunFolder(str(tmp_path / "out")))
    assert funnel.balance == 0
    assert funnel.records == sum(201 + 90 * n for n in range(5))
    assert funnel.kept == len(rows(tmp_path / "out", "data"))
    assert funnel.dropped.total() == len(rows(tmp_path / "out", "dropped"))
    assert funnel.quarantined == {"trap.ValueError": 5}
    every = [row["id"] for kind in ("data", "dropped", "quarantine") for row in rows(tmp_path / "out", kind)]
    assert len(set(every)) == len(every) == funnel.records
    for path in sorted((tmp_path / "out/data").glob("*.parquet")):
        numbers = [int(i.partition("#")[2]) for i in pq.read_table(path).column("id").to_pylist()]
        assert numbers == sorted(numbers)


def test_a_finished_run_is_not_done_again(tmp_path: Path, source: Path) -> None:
    run(recipe("trap"), source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/data").iterdir()}
    outcome = run(recipe("trap"), source, tmp_path / "out")
    assert outcome.resumed is True
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/data").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("setting", "sample_dropped"),
        ("recipe", r"stages \['read_jsonl', 'trap'"),
        ("new", "input new.jsonl is new"),
        ("gone", "input part-0.jsonl is gone"),
        ("changed", "input part-0.jsonl has changed"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(tmp_path: Path, source: Path, change: str, message: str) -> None:
    run(recipe("trap"), source, tmp_path / "out")
    options = {"sample_dropped": 0.5} if change == "setting" else {}
    if change == "new":
        (source / "new.jsonl").write_text('{"text": "x"}\n')
    elif change == "gone":
        (source / "part-0.jsonl").unlink()
    elif change == "changed":
        (source / "part-0.jsonl").write_text('{"text": "x"}\n')
    name = "batch_trap" if change == "recipe" else "trap"
    with pytest.raises(ConfigError, match=message):
        run(recipe(name), source, tmp_path / "out", **options)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.ci)])
def test_a_failed_shard_is_reported_and_the_others_are_committed(tmp_path: Path, source: Path, workers: int) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    (broken / "part-2.jsonl.gz").write_bytes(b"\x1f\x8bnot really gzip")
    outcome = run(recipe("trap"), broken, tmp_path / "out", workers=workers)
    (slug,) = outcome.failures
    assert slug.startswith("part-2")
    assert len(list((tmp_path / "out/data").glob("*.parquet"))) == 5
    assert not list((tmp_path / "out/phases").glob("*/_SUCCESS.json"))
    (broken / "part-2.jsonl.gz").unlink()


def start(source: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tokenmill", "run", f"{TRAPS}:trap"]
    arguments = ["--input", str(source), "--output", str(out), "--workers", "2", *more]
    return subprocess.Popen(
        command + arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_killed_at_random_times_and_resumed_to_the_same_bytes(tmp_path: Path, source: Path) -> None:
    whole = tmp_path / "whole"
    began = time.monotonic()
    assert start(source, whole).wait() == 0
    duration = time.monotonic() - began
    out = tmp_path / "out"
    generator = random.Random(7)
    for _ in range(4):
        process = start(source, out)
        time.sleep(generator.uniform(0.3, 1.0) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(source, out).wait() == 0
    assert digests(out) == digests(whole)
    assert not list(out.glob("phases/*/attempts"))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker through Linux's /proc")
def test_a_killed_worker_is_replaced(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([*texts(400, 1), "sleep", *texts(400, 2)])
    process = start(source, tmp_path / "out")
    try:
        while not children_of(process.pid):
            time.sleep(0.05)
        (worker,) = children_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        assert process.wait(timeout=90) == 0
    finally:
        process.kill()
        process.wait()
    (row,) = rows(tmp_path / "out", "quarantine")
    assert row["cause"] == "timeout"
    assert len(rows(tmp_path / "out", "data")) == 640


@pytest.mark.ci  # sample: interrupted at every commit, tests/dedup
def test_sigterm_stops_in_order_and_can_be_resumed(tmp_path: Path, source: Path) -> None:
    process = start(source, tmp_path / "out")
    while not (tmp_path / "out/run.json").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) in (75, 0)
    assert start(source, tmp_path / "out").wait() == 0
    run(recipe("trap"), source, tmp_path / "whole")
    assert [row["text"] for row in rows(tmp_path / "out", "data")] == [
        row["text"] for row in rows(tmp_path / "whole", "data")
    ]


@pytest.mark.ci
def test_nothing_is_left_in_shared_memory(tmp_path: Path, source: Path) -> None:
    before = set(Path("/dev/shm").glob("*")) if Path("/dev/shm").is_dir() else set()
    run(recipe("trap"), source, tmp_path / "out", workers=2)
    after = set(Path("/dev/shm").glob("*")) if Path("/dev/shm").is_dir() else set()
    assert {path.name for path in after - before if "tokenmill" in path.name} == set()


@pytest.mark.slow
def test_a_batch_longer_than_the_silence_of_a_worker_is_no_loss(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    # 12 documents of 1 s each in one batch, and a coordinator that gives up after 11 s without a word
    source = write_jsonl(["nap"] * 12)
    outcome = run(recipe("trap"), source, tmp_path / "out", workers=1, seconds=4, silence=11.0)
    assert outcome.failures == {}
    assert outcome.quarantined == 0
    assert len(rows(tmp_path / "out", "dropped")) == 12


@pytest.mark.slow
def test_a_pause_of_the_whole_group_costs_no_document(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["nap"] * 3 + ["document"] * 5)
    process = start(source, tmp_path / "out", "--document-seconds", "2.5")
    while not list((tmp_path / "out").glob("phases/*/attempts/*")):
        time.sleep(0.02)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 0
    assert not (tmp_path / "out/quarantine").exists()


def test_two_coordinators_do_not_share_a_folder(tmp_path: Path, source: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    with folder.locked(), pytest.raises(ConfigError, match="another tokenmill is running"):
        run(recipe("trap"), source, tmp_path / "out")
    assert run(recipe("trap"), source, tmp_path / "out").failures == {}


def test_run_json_holds_the_resolved_recipe_and_the_inputs(tmp_path: Path, source: Path) -> None:
    run(recipe("trap"), source, tmp_path / "out")
    data = json.loads((tmp_path / "out/run.json").read_text())
    assert data["recipe"] == "trap"
    assert [entry["stage"] for entry in data["stages"]] == ["read_jsonl", "trap", "upper", "write_parquet"]
    assert [shard["name"] for shard in data["input"]["shards"]] == [f"part-{n}.jsonl" for n in range(5)]
    assert data["versions"]["pyarrow"]
    success = json.loads(next((tmp_path / "out/phases").glob("*/_SUCCESS.json")).read_text())
    for path, entry in ((file["path"], file) for out in success["outputs"] for file in out["files"].values()):
        assert digests(tmp_path / "out")[path] == entry["sha256"]
