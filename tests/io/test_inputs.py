"""Inputs stay what they were when the run was planned, and secrets in their locations stay out of the run."""
# ruff: noqa: F811 - fixtures are imported

from __future__ import annotations

import gzip
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.io.archives import member, page, record
from tests.io.s3 import Bucket, bucket, store  # noqa: F401
from tokenmill import ReadJsonl
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.stage import InputShard, Source
from tokenmill.io.filesystem import list_inputs, open_binary, open_input
from tokenmill.io.parquet import ReadParquet
from tokenmill.io.rows import records_of
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.stores import shown
from tokenmill.io.warc import ReadWarc
from tokenmill.io.wet import ReadWet

SECRET = "X-Amz-Signature=51ec/ret"


class Ignored:
    """Reports that nobody wants."""

    def __call__(self, *_: object, **__: object) -> None: ...

    def covered(self, first: int, end: int) -> None: ...


def archive(number: int) -> bytes:
    return b"".join(member(record(number + n, page(number + n, 300))) for n in range(4))


def written(path: Path, kind: str, number: int) -> Path:
    """A file of a kind; another number gives another content of the same size."""
    path = path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"text": [f"text {number}"]}), path)
    else:
        path.write_bytes(json.dumps({"text": f"text {number}"}).encode() if kind == "jsonl" else archive(number))
    return path


def read(source: Source, shard: InputShard) -> list[Any]:
    return list(source.read(shard, Ignored()))


@pytest.mark.parametrize(
    ("kind", "source"),
    [("warc.gz", ReadWarc()), ("wet.gz", ReadWet()), ("parquet", ReadParquet()), ("jsonl", ReadJsonl())],
)
def test_a_local_file_that_has_changed_since_the_plan_is_an_error(tmp_path: Path, kind: str, source: Source) -> None:
    path = written(tmp_path, kind, 1)
    (shard,) = list_inputs(str(path), ())
    assert read(source, shard) is not None
    os.utime(path, (1, 1))
    with pytest.raises(ShardError, match="has changed since the run was planned") as error:
        read(source, shard)
    assert shard.etag in error.value.why
    assert "1.0" in error.value.why
    read(source, replace(shard, etag=""))
    with pytest.raises(ShardError, match="has changed"):
        read(source, replace(shard, etag="", size=shard.size + 1))
    read(source, replace(shard, etag="", size=0))


def test_a_link_is_followed_for_its_version(tmp_path: Path) -> None:
    path = written(tmp_path, "warc.gz", 1)
    os.utime(path, (1, 1))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.warc.gz").symlink_to(path)
    (shard,) = list_inputs(str(tmp_path / "links"), (".warc.gz",))
    assert shard.etag == "1.0"
    open_input(shard).close()


def test_spans_of_an_object_do_not_mix_two_versions(bucket: Bucket) -> None:
    data = archive(1)
    bucket.put("in/a.warc.gz", data)
    (whole,) = list_inputs(bucket.url("in"), (".warc.gz",))
    cut = len(data) // 2
    first = replace(whole, stop=cut, part=(0, 2))
    second = replace(whole, start=cut, part=(1, 2))
    before = len(bucket.proxy.log)
    assert list(records_of(first, Ignored(), 1 << 20))
    assert [one.method for one in bucket.proxy.log[before:]].count("HEAD") == 1
    bucket.put("in/a.warc.gz", archive(2))
    with pytest.raises(ShardError, match="has changed since"):
        list(records_of(second, Ignored(), 1 << 20))


@pytest.fixture
def signed(bucket: Bucket) -> str:
    data = gzip.compress(b'{"text": "hello"}\n')
    bucket.client.put_object(Bucket=bucket.name, Key="in/a.jsonl.gz", Body=data, ACL="public-read")
    return f"{bucket.http('in/a.jsonl.gz')}?{SECRET}#part"


def test_the_query_of_a_signed_address_gets_into_no_name(signed: str, tmp_path: Path) -> None:
    (tmp_path / "some.paths").write_text(f"{signed}\n")
    for location in (signed, str(tmp_path / "some.paths")):
        (shard,) = list_inputs(location, ())
        assert (shard.name, shard.path) == ("a.jsonl.gz", signed)
        assert shard.size > 0
        (batch,) = read(ReadJsonl(), shard)
        assert batch.to_pylist()[0]["text"] == "hello"
        assert "51ec" not in str(batch.to_pylist())


def test_files_that_only_their_queries_tell_apart_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenmill.io.pathlist.MAX_LOOKED_UP", 0)
    (tmp_path / "some.paths").write_text("https://h/get?id=1\nhttps://h/get?id=2\nhttps://h/get~2?id=3\n")
    names = {shard.path: shard.name for shard in list_inputs(str(tmp_path / "some.paths"), ())}
    assert names == {"https://h/get?id=1": "get", "https://h/get?id=2": "get~3", "https://h/get~2?id=3": "get~2"}


def test_errors_do_not_tell_the_query(bucket: Bucket, tmp_path: Path) -> None:
    missing = f"{bucket.http('nowhere.warc.gz')}?{SECRET}"
    (tmp_path / "some.paths").write_text(missing)
    (tmp_path / "twice.paths").write_text(f"{missing}\n{missing}")
    for location in (missing, str(tmp_path / "some.paths"), str(tmp_path / "twice.paths"), f"{missing}&a.paths"):
        with pytest.raises(ConfigError) as refused:
            list_inputs(location, ())
        assert "51ec" not in str(refused.value)
        assert "ret" not in str(refused.value).partition("?...")[2].partition(" ")[0]
    with pytest.raises(OSError) as failed:
        open_binary(missing)
    assert "51ec" not in str(failed.value)
    with pytest.raises(ShardError) as error:
        read(ReadWarc(), InputShard(missing, "nowhere.warc.gz", 0, ""))
    assert "51ec" not in str(error.value)
    assert "?..." in error.value.where
    assert shown("s3://b/a?b /tmp/a?b https://h/a#b") == "s3://b/a?b /tmp/a?b https://h/a#..."


@pytest.mark.parametrize("location", ["https://user:pass1word@h/a", "https://pass1word@h/a", "s3://k:pass1word@b/a"])
def test_a_password_in_a_location_is_refused_and_not_repeated(tmp_path: Path, location: str) -> None:
    (tmp_path / "some.paths").write_text(location)
    for call in (
        lambda: list_inputs(location, ()),
        lambda: list_inputs(f"simplecache::{location}", ()),
        lambda: list_inputs(str(tmp_path / "some.paths"), ()),
        lambda: RunFolder(location),
    ):
        with pytest.raises(ConfigError, match="netrc") as error:
            call()
        assert "pass1word" not in str(error.value)


def test_sizes_of_long_lists(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenmill.io.pathlist.MAX_LOOKED_UP", 1)
    for name in ("a", "b"):
        bucket.put(name, b"12")
    (tmp_path / "c").write_bytes(b"123")
    (tmp_path / "some.paths").write_text("\n".join([bucket.url("a"), bucket.url("b"), "c"]))
    where = str(tmp_path / "some.paths")
    assert sorted(shard.size for shard in list_inputs(where, ())) == [0, 0, 3]
    assert sorted(shard.size for shard in list_inputs(where, (), sizes=True)) == [2, 2, 3]
    assert all(shard.etag for shard in list_inputs(where, (), sizes=True))


def test_a_file_address_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"abc")
    (tmp_path / "some.paths").write_text(f"file://{tmp_path}/a.warc.gz\n")
    (shard,) = list_inputs(str(tmp_path / "some.paths"), ())
    assert (shard.path, shard.size) == (str(tmp_path / "a.warc.gz"), 3)


def test_a_file_that_is_named_twice_in_a_long_list_is_found_soon(tmp_path: Path) -> None:
    lines = [f"https://h/{number}" for number in range(30_000)]
    (tmp_path / "some.paths").write_text("\n".join([*lines, lines[-1]]))
    begin = time.monotonic()
    with pytest.raises(ConfigError, match="twice"):
        list_inputs(str(tmp_path / "some.paths"), ())
    assert time.monotonic() - begin < 3.0
