"""The folder of a run on S3: one winner, no part of anything under a published name, whatever breaks (T10)."""
# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.io.s3 import Bucket, Fault, bucket, store  # noqa: F401
from tokenmill.core.errors import FatalError, ShardError
from tokenmill.io import objects, scratch
from tokenmill.io.runfolder import Attempt, RunFolder, file_digest

PHASE = "01-p@abc"
MANIFEST = f"run/phases/{PHASE}/manifests/s.json"
KINDS = ("data", "dropped")
REQUESTS = 13
"""Requests of a commit of two files."""


@pytest.fixture
def folder(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    return RunFolder(bucket.url("run"))


def attempt_at(folder: RunFolder, content: bytes) -> tuple[Attempt, dict[str, Any]]:
    attempt = folder.new_attempt(PHASE, "s")
    files = []
    for kind in KINDS:
        Path(attempt.path(kind)).write_bytes(kind.encode() + content)
        found = {"kind": kind, "path": f"{kind}/s.parquet", "bytes": len(kind) + len(content)}
        files.append({**found, "sha256": file_digest(attempt.path(kind))})
    return attempt, {"files": files}


def publish(folder: RunFolder, content: bytes) -> dict[str, Any]:
    return folder.commit(PHASE, *attempt_at(folder, content))


def check_published(bucket: Bucket) -> dict[str, Any]:
    """That exactly what the manifest says is published, and nothing else is left. Returns the manifest."""
    manifest: dict[str, Any] = json.loads(bucket.get(MANIFEST))
    for file in manifest["files"]:
        assert hashlib.sha256(bucket.get(f"run/{file['path']}")).hexdigest() == file["sha256"]
    assert bucket.keys() == ["run/data/s.parquet", "run/dropped/s.parquet", MANIFEST]
    return manifest


def check_nothing_partial(bucket: Bucket, *contents: bytes) -> None:
    """That a published name holds the whole of an attempt, or is not there."""
    for kind in KINDS:
        for key in bucket.keys(f"run/{kind}/"):
            assert bucket.get(key) in [kind.encode() + content for content in contents]


def test_a_commit_publishes_and_leaves_no_attempt_behind(folder: RunFolder, bucket: Bucket, tmp_path: Path) -> None:
    manifest = publish(folder, b"one" * 1000)
    assert check_published(bucket) == manifest
    assert [slug for slug, _ in folder.manifests(PHASE)] == ["s"]
    assert folder.settle(PHASE, "s", manifest) is True
    assert list((tmp_path / "temp").iterdir()) == []
    assert folder.abandoned_uploads() == []


def test_requests_of_a_commit(folder: RunFolder, bucket: Bucket) -> None:
    publish(folder, b"one")
    methods = [one.method for one in bucket.proxy.log]
    # per file: PUT and HEAD, copy (a PUT) and HEAD, DELETE; per shard: GET and PUT of the manifest, a listing
    assert (methods.count("PUT"), methods.count("HEAD"), methods.count("DELETE")) == (5, 4, 2)
    assert len(methods) == REQUESTS


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        ("lost", 3),
        *(pytest.param(f, 1, marks=pytest.mark.slow) for f in ("lost", "slow_down", "error", "reset", "cut")),
    ],
)
def test_whichever_request_fails_once_the_commit_succeeds(
    folder: RunFolder, bucket: Bucket, fault: Fault, step: int, tmp_path: Path
) -> None:
    for nth in range(1, REQUESTS + 1, step):
        bucket.proxy.clear()
        bucket.proxy.add(fault, nth=nth)
        manifest = publish(folder, f"content {nth}".encode() * 50)
        assert [one.fault for one in bucket.proxy.log if one.fault] == [fault]
        bucket.proxy.clear()
        assert check_published(bucket) == manifest
        for key in bucket.keys():
            bucket.client.delete_object(Bucket=bucket.name, Key=key)
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["slow_down", "lost"])
def test_wherever_the_store_goes_down_the_next_attempt_ends_it(
    folder: RunFolder, bucket: Bucket, fault: Fault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for nth in range(1, 50):
        bucket.proxy.clear()
        bucket.proxy.add(fault, nth=nth, times=1000)
        monkeypatch.setenv("TOKENMILL_STORE_TRIES", "2")
        failed = False
        try:
            publish(folder, b"first")
        except ShardError:
            failed = True
        bucket.proxy.clear()
        monkeypatch.delenv("TOKENMILL_STORE_TRIES")
        check_nothing_partial(bucket, b"first")
        # as a worker does it: look for a commit and finish it, else try again
        found = folder.manifest(PHASE, "s")
        if found is None or not folder.settle(PHASE, "s", found):
            publish(folder, b"second")
        check_nothing_partial(bucket, b"first", b"second")
        folder.remove(f"phases/{PHASE}/attempts")
        check_published(bucket)
        for key in bucket.keys():
            bucket.client.delete_object(Bucket=bucket.name, Key=key)
        if not failed:
            break
    assert 12 <= nth <= 20
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_lost_answer_to_the_manifest_is_a_commit(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.add("lost", method="PUT", key="manifests/")
    manifest = publish(folder, b"mine")
    assert bucket.proxy.count("PUT", "manifests/") == 2
    assert [one.status for one in bucket.proxy.requests("PUT", "manifests/")] == [0, 412]
    assert check_published(bucket) == manifest


def test_a_store_without_conditional_requests_is_looked_at_first(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.add("unsupported", method="PUT", key="manifests/")
    manifest = publish(folder, b"mine")
    assert check_published(bucket) == manifest
    bucket.proxy.clear()
    bucket.proxy.add("unsupported", method="PUT", key="manifests/")
    assert publish(folder, b"later")["attempt"] == manifest["attempt"]
    assert check_published(bucket) == manifest


def test_a_loser_touches_no_published_name(folder: RunFolder, bucket: Bucket, tmp_path: Path) -> None:
    late, late_manifest = attempt_at(folder, b"late")
    # the winner commits while the loser uploads: after its look, before its manifest
    real = folder._objects.create  # type: ignore[attr-defined]
    won: list[dict[str, Any]] = []

    def create(path: str, data: bytes) -> bool:
        if not won:
            won.append({})
            won[0] = publish(RunFolder(bucket.url("run")), b"winner")
        return real(path, data)

    folder._objects.create = create  # type: ignore[attr-defined, method-assign]
    assert folder.commit(PHASE, late, late_manifest) == won[0]
    assert check_published(bucket) == won[0]
    assert bucket.get("run/data/s.parquet") == b"datawinner"
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_loser_whose_upload_is_swept_away_finds_the_winner_when_it_tries_again(
    folder: RunFolder, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner: list[dict[str, Any]] = []
    stored = objects.Objects._stored

    def swept(self: objects.Objects, path: str) -> tuple[int, str]:
        if not winner:
            winner.append({})
            winner[0] = publish(RunFolder(bucket.url("run")), b"two")
            folder.remove(f"phases/{PHASE}/attempts")  # the other coordinator has ended the phase
        return stored(self, path)

    monkeypatch.setattr(objects.Objects, "_stored", swept)
    with pytest.raises(ShardError, match="cannot write"):
        publish(folder, b"one")
    assert publish(folder, b"one") == winner[0]
    assert check_published(bucket) == winner[0]


def test_of_many_workers_that_publish_one_shard_one_wins(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.at_random(5, slow_down=0.05, reset=0.05, lost=0.1)
    workers = 4
    ready, told = threading.Barrier(workers), {}

    def work(number: int) -> None:
        mine = RunFolder(bucket.url("run"))
        attempt, manifest = attempt_at(mine, f"worker {number}".encode() * 1000)
        ready.wait()
        told[number] = (attempt.relative, mine.commit(PHASE, attempt, manifest))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bucket.proxy.clear()
    folder.remove(f"phases/{PHASE}/attempts")
    winner = check_published(bucket)
    assert all(manifest == winner for _, manifest in told.values())
    assert [own == winner["attempt"] for own, _ in told.values()].count(True) == 1


_CHILD = """
import sys
from pathlib import Path
from tests.io.test_remote_runfolder import publish
from tokenmill.io.runfolder import RunFolder
publish(RunFolder(sys.argv[1]), sys.argv[2].encode() * 1000)
"""


def child(bucket: Bucket, content: str) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen([sys.executable, "-c", _CHILD, bucket.url("run"), content], cwd=root)


@pytest.mark.slow
def test_of_processes_that_publish_one_shard_one_wins(bucket: Bucket) -> None:
    bucket.proxy.at_random(9, delay=0.3, lost=0.1)
    processes = [child(bucket, f"process {number}") for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    bucket.proxy.clear()
    RunFolder(bucket.url("run")).remove(f"phases/{PHASE}/attempts")
    check_published(bucket)


def test_a_process_killed_between_commit_and_copy_is_finished_by_the_next(bucket: Bucket) -> None:
    bucket.proxy.add("delay", method="PUT", key="/run/data/", times=9)
    bucket.proxy.delay = 20.0
    process = child(bucket, "killed")
    try:
        for _ in range(400):
            if bucket.proxy.count("PUT", "manifests/"):
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        bucket.proxy.delay = 0.05
    bucket.proxy.clear()
    assert not [key for key in bucket.keys() if key.startswith(("run/data", "run/dropped"))]
    folder = RunFolder(bucket.url("run"))
    found = folder.manifest(PHASE, "s")
    assert found is not None
    assert folder.settle(PHASE, "s", found) is True
    assert check_published(bucket) == found


def test_what_a_killed_process_left_in_the_temp_folder_is_removed(
    folder: RunFolder, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "SETTLING_SECONDS", -1.0)
    code = "from tokenmill.io.scratch import new_scratch; import os; new_scratch(); os._exit(9)"
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temp")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    (left,) = (tmp_path / "temp").iterdir()
    mine = folder.new_attempt(PHASE, "s")
    other = folder.new_attempt(PHASE, "t")
    assert not left.exists()
    assert mine.directory.exists()
    folder.discard(mine)
    folder.discard(other)
    assert list((tmp_path / "temp").iterdir()) == []


def test_an_object_of_the_same_size_is_not_taken_for_the_committed_one(
    folder: RunFolder, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("run/data/s.parquet", b"data" + b"stale")
    manifest = publish(folder, b"fresh")
    assert bucket.get("run/data/s.parquet") == b"datafresh"
    assert check_published(bucket) == manifest


def test_a_manifest_whose_files_are_gone_is_withdrawn(folder: RunFolder, bucket: Bucket) -> None:
    manifest = publish(folder, b"one")
    bucket.client.delete_object(Bucket=bucket.name, Key="run/data/s.parquet")
    assert folder.settle(PHASE, "s", manifest) is False
    assert folder.manifest(PHASE, "s") is None


@pytest.mark.ci
def test_bytes_that_were_damaged_on_the_way_are_sent_again(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.add("corrupt", method="PUT", key="attempts/")
    publish(folder, b"0123456789" * 100)
    assert bucket.proxy.count("PUT", "attempts/.*data") == 2
    check_published(bucket)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "UPLOAD_PART", 64 << 10)


def test_large_files_go_up_in_parts(folder: RunFolder, bucket: Bucket, small_parts: None) -> None:
    bucket.proxy.add("reset", method="PUT", key="partNumber=2")
    bucket.proxy.add("lost", method="POST", key=r"\?uploadId=")
    publish(folder, bytes(300_000))
    assert check_published(bucket)["files"][0]["bytes"] == 300_004
    assert folder.abandoned_uploads() == []


def test_an_upload_that_fails_is_given_up(
    folder: RunFolder, bucket: Bucket, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENMILL_STORE_TRIES", "2")
    bucket.proxy.add("slow_down", method="PUT", key="partNumber=3", times=99)
    with pytest.raises(ShardError, match="cannot write s3://"):
        publish(folder, bytes(300_000))
    assert bucket.proxy.count("DELETE", "uploadId=") == 2
    assert folder.abandoned_uploads() == []
    assert bucket.keys() == []


def test_an_upload_that_could_not_be_given_up_is_listed(
    folder: RunFolder, bucket: Bucket, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENMILL_STORE_TRIES", "1")
    bucket.proxy.add("slow_down", method="PUT", key="partNumber=3", times=99)
    bucket.proxy.add("reset", method="DELETE", key="uploadId=", times=99)
    with pytest.raises(ShardError):
        publish(folder, bytes(300_000))
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key="elsewhere/a")
    (left,) = folder.abandoned_uploads()
    assert left.key.startswith(f"run/phases/{PHASE}/attempts/s/")
    assert isinstance(left.initiated, datetime)
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=left.key, UploadId=left.upload_id)
    assert folder.abandoned_uploads() == []
    assert bucket.keys() == []


def test_without_permission_the_run_stops(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.add("forbidden", method="PUT", times=9)
    with pytest.raises(FatalError, match="credentials"):
        publish(folder, b"one")
    with pytest.raises(FatalError, match="bucket"):
        RunFolder("s3://no-such-bucket-here/run").write_text("run.json", "{}")


def test_files_and_listings(folder: RunFolder, bucket: Bucket) -> None:
    bucket.proxy.at_random(2, slow_down=0.1, reset=0.1, lost=0.1)
    for number in range(6):
        folder.write_json(f"a/{number}.json", {"n": number})
    assert folder.list("a") == [f"{number}.json" for number in range(6)]
    assert folder.read_json("a/3.json") == {"n": 3}
    assert folder.read_text("a/9.json") is None
    assert (folder.exists("a"), folder.exists("b"), folder.size("a/1.json")) == (True, False, len('{\n "n": 1\n}\n'))
    folder.remove("a")
    assert folder.list("a") == []
    folder.remove("a")
