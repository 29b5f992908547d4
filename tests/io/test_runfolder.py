from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.errors import FatalError, ShardError
from tokenmill.io.runfolder import RunFolder, disk_error, file_digest, shard_slug, slugs

PHASE = "01-p@abc"


def make_attempt(folder: RunFolder, content: bytes = b"rows") -> tuple[object, dict[str, object]]:
    attempt = folder.new_attempt(PHASE, "s")
    Path(attempt.path("data")).write_bytes(content)
    file = {"kind": "data", "path": "data/s.parquet", "rows": 1, "bytes": len(content)}
    return attempt, {"files": [{**file, "sha256": file_digest(attempt.path("data"))}]}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("crawl-00000.warc.gz", "crawl-00000"),
        ("a.jsonl.zst", "a"),
        ("odd.warc.gz.bad", "odd.warc.gz.bad"),
    ],
)
def test_slugs_of_plain_names(name: str, slug: str) -> None:
    assert shard_slug(name) == slug


@given(st.text())
def test_slugs_are_safe_file_names(name: str) -> None:
    slug = shard_slug(name)
    assert slug.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert slug.isascii()
    assert not slug.startswith(".")
    assert len(slug) <= 110


@given(st.lists(st.text(), unique=True, max_size=8))
def test_slugs_are_unique(names: list[str]) -> None:
    assert len(set(slugs(names))) == len(names)


def test_names_that_differ_in_their_ending_only_get_different_slugs() -> None:
    first, second = slugs(["a.warc.gz", "a.warc"])
    assert first != second


def test_a_commit_publishes_the_files_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    attempt, manifest = make_attempt(folder)
    folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    assert (tmp_path / "out/data/s.parquet").read_bytes() == b"rows"
    assert not (tmp_path / f"out/phases/{PHASE}/attempts/s").exists()
    assert [slug for slug, _ in folder.manifests(PHASE)] == ["s"]


def test_the_first_of_two_attempts_wins_and_the_other_is_discarded(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    first, manifest_1 = make_attempt(folder, b"one")
    second, manifest_2 = make_attempt(folder, b"two!")
    # the winner's settling clears all attempts of the shard, so commit the loser from a copy of the state
    won = folder._commit_local(
        f"phases/{PHASE}/manifests/s.json", first, json.dumps({**manifest_1, "attempt": first.relative})
    )  # type: ignore[attr-defined, arg-type]
    assert won is True
    committed = folder.commit(PHASE, second, manifest_2)  # type: ignore[arg-type]
    assert committed["files"][0]["bytes"] == 3
    assert (tmp_path / "out/data/s.parquet").read_bytes() == b"one"


def test_a_crash_between_manifest_and_move_is_finished(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    attempt, manifest = make_attempt(folder)
    text = json.dumps({**manifest, "attempt": attempt.relative})  # type: ignore[attr-defined]
    assert folder._commit_local(f"phases/{PHASE}/manifests/s.json", attempt, text)  # type: ignore[arg-type]
    assert not (tmp_path / "out/data/s.parquet").exists()
    found = folder.manifest(PHASE, "s")
    assert found is not None
    assert folder.settle(PHASE, "s", found) is True
    assert (tmp_path / "out/data/s.parquet").read_bytes() == b"rows"


def test_a_manifest_whose_files_are_gone_is_withdrawn(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    attempt, manifest = make_attempt(folder)
    committed = folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    (tmp_path / "out/data/s.parquet").unlink()
    assert folder.settle(PHASE, "s", committed) is False
    assert folder.manifest(PHASE, "s") is None


@pytest.mark.parametrize("committed", [False, True])
def test_without_hard_links_the_first_manifest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    folder = RunFolder(str(tmp_path / "out"))
    if committed:
        attempt, manifest = make_attempt(folder, b"first")
        folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "link", refuse)
    attempt, manifest = make_attempt(folder, b"later!")
    won = folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    expected = b"first" if committed else b"later!"
    assert won["files"][0]["bytes"] == len(expected)
    assert (tmp_path / "out/data/s.parquet").read_bytes() == expected
    assert folder.list(f"phases/{PHASE}/manifests") == ["s.json"]


def test_an_error_under_the_lock_stays_what_it_is_and_frees_the_lock(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="mine"), folder.locked():
        raise FileNotFoundError("mine")
    with folder.locked():
        assert folder.exists("phases/.lock")


def test_files_that_vanish_while_published_are_an_error(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "out"))
    attempt, manifest = make_attempt(folder)
    Path(attempt.path("data")).unlink()  # type: ignore[attr-defined]
    with pytest.raises(ShardError, match="vanished"):
        folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    assert folder.manifest(PHASE, "s") is None


def test_object_stores_get_the_manifest_last(tmp_path: Path) -> None:
    folder = RunFolder("memory://bucket/out")
    attempt, manifest = make_attempt(folder)
    folder.commit(PHASE, attempt, manifest)  # type: ignore[arg-type]
    assert folder.read_text("data/s.parquet") == "rows"
    assert folder.manifest(PHASE, "s")["files"] == manifest["files"]  # type: ignore[index]
    assert folder.size("data/s.parquet") == 4


def test_text_files_are_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    folder.write_text("a/b.txt", "one")
    folder.write_text("a/b.txt", "two")
    assert folder.read_text("a/b.txt") == "two"
    assert folder.list("a") == ["b.txt"]
    assert folder.read_text("a/c.txt") is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, FatalError), (errno.EROFS, FatalError), (errno.EIO, ShardError)],
)
def test_a_full_disk_stops_the_run_and_an_io_error_is_retried(code: int, kind: type[Exception]) -> None:
    error = disk_error(OSError(code, "no"), "/x")
    assert type(error) is kind
    assert "/x" in str(error)
