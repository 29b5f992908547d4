"""`tokenmill status`, `--log-json` and `--metrics-port` as a user meets them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import tokenmill
from tests.executors.support import TRAPS, digests
from tests.io.s3 import Bucket, bucket, store  # noqa: F401 - fixtures
from tokenmill.io.runfolder import RunFolder

SLOW = """
import time
from tokenmill import Filter, Pipeline
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet

class Slow(Filter):
    reads = ("text",)
    def judge(self, doc):
        time.sleep(0.02)

mine = Pipeline("mine", [ReadJsonl(), Slow(), WriteParquet()])
"""


def status(run: Path, *options: str) -> dict[str, Any]:
    shown = tokenmill("status", run, "--json", *options)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


@pytest.mark.slow
def test_a_finished_run_says_so_and_reproduces_its_bytes(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([f"document {i}" for i in range(20)])
    for name in ("a", "b"):
        arguments = ["--input", source, "--output", tmp_path / name, "--workers", "1"]
        assert tokenmill("run", f"{TRAPS}:trap", *arguments).returncode == 0
    assert (tmp_path / "a" / "phases" / "coordinator.json").is_file()
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    found = status(tmp_path / "a")
    assert (found["state"], found["complete"]) == ("finished", True)
    assert found["phases"][0]["committed"] == found["phases"][0]["total"] == 1
    assert found["funnel"]["kept"] == 20
    assert found["coordinator"]["phases"][0]["documents"] == 20
    assert status(tmp_path / "a", "--no-funnel")["funnel"] is None
    shown = tokenmill("status", tmp_path / "a")
    assert "coordinator: finished" in shown.stdout
    assert "exit code 0" in shown.stdout


def test_a_failed_run_names_its_shards_and_what_to_do(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["document"])
    (source / "bad.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    log = tmp_path / "log.json"
    arguments = ["--input", source, "--output", tmp_path / "out", "--workers", "1", "--log-json", log]
    failed = tokenmill("run", f"{TRAPS}:trap", *arguments)
    assert failed.returncode == 75
    assert "attempt 1 failed, tried again" in failed.stderr
    shown = tokenmill("status", tmp_path / "out")
    assert "coordinator: ended with shards that failed" in shown.stdout
    assert "failed: bad: cannot read" in shown.stdout
    assert "next: look at the errors of the shards that failed, then run the same command again" in shown.stdout
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "run_start"
    assert events.count("shard_retry") == 2
    assert events.count("shard_failed") == 1
    assert lines[-1] | {"time": ""} == {
        "time": "",
        "level": "error",
        "event": "run_end",
        "how": "failed",
        "exit_code": 75,
        "seconds": lines[-1]["seconds"],
        "retries": 2,
        "failed_shards": 1,
    }
    [error] = [line["error"] for line in lines if line["event"] == "shard_failed"]
    assert error["error"] == "ShardError"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", lines[0]["time"])


@pytest.mark.ci
def test_a_live_run_is_live_then_killed_then_stopped_and_finished(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text(SLOW)
    for name in ("a", "b"):
        source = write_jsonl([f"document {i}" for i in range(300)], f"{name}.jsonl")
    out = tmp_path / "out"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tokenmill", "run", f"{recipe}:mine", "--input", str(source)]
    command += ["--output", str(out), "--workers", "1", "--metrics-port", str(port)]

    def begun(process: subprocess.Popen[bytes]) -> None:
        for _ in range(200):
            if (out / "phases" / "coordinator.json").is_file() and status(out, "--no-funnel")["state"] == "live":
                return
            assert process.poll() is None
            time.sleep(0.1)
        pytest.fail("no status file within 20 s")

    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    begun(process)
    for _ in range(100):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            scraped = answer.read().decode()
        if re.search(r"^tokenmill_documents_total\{.*\} [1-9]", scraped, re.MULTILINE):
            break
        time.sleep(0.1)
    else:
        pytest.fail(scraped)
    assert "next: nothing, it goes on" in tokenmill("status", out).stdout
    process.kill()
    process.wait()
    killed = tokenmill("status", out).stdout
    assert "coordinator: dead" in killed
    assert "next: run the same command again" in killed

    again = subprocess.Popen(command, stderr=subprocess.PIPE)
    begun(again)
    again.send_signal(signal.SIGINT)
    assert b"stopped." in again.communicate(timeout=30)[1]
    assert again.returncode == 75
    assert status(out)["state"] == "stopped"


def test_hostile_names_cannot_break_lines_or_terminals(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["document"], 'a\n{"event": "run_end"}\x1b[2J\x7f\u2028\u0085.jsonl')
    arguments = ["--input", source, "--output", tmp_path / "out", "--workers", "0", "--log-json", "-"]
    done = tokenmill("run", f"{TRAPS}:trap", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert json.loads(lines[0])["event"] == "run_start"
    assert all(isinstance(json.loads(line), dict) and line.isprintable() for line in lines)
    assert "run in" not in done.stderr, "no view beside a log on stderr"


@pytest.mark.ci
def test_numbers_of_committed_shards_come_from_manifests(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["document"])
    arguments = ["--input", source, "--output", tmp_path / "out", "--workers", "0"]
    assert tokenmill("run", f"{TRAPS}:trap", *arguments).returncode == 0
    folder = RunFolder(str(tmp_path / "out"))
    content = folder.read_json("phases/coordinator.json")
    content["phases"][0]["committed"] = 99
    folder.write_json("phases/coordinator.json", content)
    assert status(tmp_path / "out")["phases"][0]["committed"] == 1
    folder.remove("phases/coordinator.json")
    found = status(tmp_path / "out")
    assert (found["state"], found["complete"], found["coordinator"]) == ("unknown", True, None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--log-json", "/no/such/folder/log"], "cannot write the log"),
        pytest.param(["--metrics-port", "1000000"], "cannot serve", marks=pytest.mark.ci),
    ],
)
def test_watchers_that_cannot_work_are_configuration_errors(
    tmp_path: Path, write_jsonl: Callable[..., Path], option: list[str], message: str
) -> None:
    source = write_jsonl(["document"])
    failed = tokenmill("run", f"{TRAPS}:trap", "--input", source, "--output", tmp_path / "out", *option)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.ci
def test_a_run_on_an_object_store(bucket: Bucket, write_jsonl: Callable[..., Path]) -> None:  # noqa: F811
    source, out = write_jsonl(["document"]), bucket.url("run")
    arguments = ["--input", source, "--output", out, "--workers", "0"]
    assert tokenmill("run", f"{TRAPS}:trap", *arguments).returncode == 0
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="run/data/lost.parquet")
    shown = tokenmill("status", out)
    assert shown.returncode == 0, shown.stderr
    assert "1 of 1 shards, complete" in shown.stdout
    assert "coordinator: finished" in shown.stdout
    assert "upload not finished: run/data/lost.parquet" in shown.stdout
    assert json.loads(bucket.get("run/phases/coordinator.json"))["interval"] == 30
