# ruff: noqa: F811 - fixtures are imported
"""Reading from S3 and web servers: the bytes are right under every fault, and little is fetched for nothing."""

from __future__ import annotations

import gzip
import io
import os
import random
import time
from typing import Any

import botocore.exceptions  # type: ignore[import-untyped]
import fsspec
import pytest

from tests.io.s3 import Bucket, Fault, bucket, store  # noqa: F401
from tokenmill.core.errors import ConfigError
from tokenmill.io import remote, retry, stores
from tokenmill.io.filesystem import list_inputs, open_binary
from tokenmill.io.remote import RemoteFile

FAULTS: tuple[Fault, ...] = ("slow_down", "error", "reset", "cut", "lost")
DATA = random.Random(7).randbytes(3_000_000)
MIB = 1 << 20


def address(bucket: Bucket, kind: str, key: str) -> str:
    return bucket.url(key) if kind == "s3" else bucket.http(key)


@pytest.fixture
def readable(bucket: Bucket) -> Bucket:
    """The bucket with `a.bin`, which a web browser may read as well."""
    bucket.client.put_object(Bucket=bucket.name, Key="a.bin", Body=DATA, ACL="public-read")
    return bucket


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_sequential_reader_gets_the_bytes_under_each_fault(readable: Bucket, kind: str, fault: Fault) -> None:
    readable.proxy.add(fault, method="HEAD")
    readable.proxy.add(fault, method="GET", nth=1, times=2)
    readable.proxy.add(fault, method="GET", nth=3)
    with open_binary(address(readable, kind, "a.bin")) as stream:
        parts = []
        while part := stream.read(200_000):
            parts.append(part)
    assert b"".join(parts) == DATA
    assert sum(one.fault == fault for one in readable.proxy.log) == 4


@pytest.mark.parametrize("kind", ["s3", "http", "memory"])
def test_random_seeks_give_the_bytes_under_random_faults(readable: Bucket, kind: str) -> None:
    readable.proxy.at_random(3, slow_down=0.05, error=0.05, reset=0.1, cut=0.1, lost=0.05)
    where = address(readable, kind, "a.bin")
    if kind == "memory":
        where = "memory://test-remote/a.bin"
        fsspec.filesystem("memory").pipe_file("/test-remote/a.bin", DATA)
    chance = random.Random(11)
    with open_binary(where) as stream, io.BytesIO(DATA) as truth:
        for _ in range(60):
            if chance.random() < 0.5:
                position = chance.randrange(len(DATA) + 10)
                assert stream.seek(position) == truth.seek(position)
            size = chance.choice([0, 1, 100, 70_000, 400_000])
            assert stream.read(size) == truth.read(size)
            assert stream.tell() == truth.tell()
        assert stream.seek(-100, os.SEEK_END) == truth.seek(-100, os.SEEK_END)
        assert stream.read() == DATA[-100:]
        assert stream.read(1) == b""


def test_lines_are_read_through_the_same_reader(bucket: Bucket) -> None:
    lines = [f"line {number} {'x' * (number % 300)}\n".encode() for number in range(2000)]
    bucket.put("a.txt", b"".join(lines))
    with open_binary(bucket.url("a.txt")) as stream:
        assert list(stream) == lines


def test_jumps_fetch_exactly_what_was_asked_for(readable: Bucket) -> None:
    chance = random.Random(5)
    wanted = 0
    with open_binary(readable.url("a.bin")) as stream:
        for _ in range(20):
            position, size = chance.randrange(len(DATA) - 50_000), chance.randrange(1, 50_000)
            stream.seek(position)
            assert stream.read(size) == DATA[position : position + size]
            wanted += size
    assert readable.proxy.served("a.bin") == wanted
    assert readable.proxy.count("GET") == 20


def test_reading_on_fetches_growing_pieces_and_no_byte_twice(readable: Bucket) -> None:
    with open_binary(readable.url("a.bin")) as stream:
        while stream.read(10_000):
            pass
    sizes = [one.sent for one in readable.proxy.requests("GET")]
    assert sum(sizes) == len(DATA)
    assert sizes[:4] == [10_000, 65_536, 131_072, 262_144]
    assert len(sizes) == 7


def test_what_is_fetched_too_much_is_bounded_by_what_was_read(readable: Bucket) -> None:
    with open_binary(readable.url("a.bin")) as stream:
        for _ in range(50):
            stream.read(10_000)
    assert readable.proxy.served() <= 2 * 500_000 + remote.FLOOR


def test_no_more_than_the_limit_is_held(readable: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "AHEAD", 256 << 10)
    with open_binary(readable.url("a.bin")) as stream:
        assert stream.read(-1) == DATA
        stream.seek(0)
        while stream.read(50_000):
            pass
    assert max(one.sent for one in readable.proxy.requests("GET")) == 256 << 10


def test_after_a_cut_only_the_rest_is_asked_for(readable: Bucket) -> None:
    readable.proxy.add("cut", method="GET")
    with open_binary(readable.url("a.bin")) as stream:
        assert stream.read(MIB) == DATA[:MIB]
    first, second = readable.proxy.requests("GET")
    assert first.range == f"bytes=0-{MIB - 1}"
    begin = int(second.range.removeprefix("bytes=").partition("-")[0])
    assert begin > MIB // 4
    assert readable.proxy.served() <= MIB + MIB // 4


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_what_is_not_there_or_not_allowed_is_not_asked_for_again(readable: Bucket, kind: str) -> None:
    with pytest.raises(FileNotFoundError):
        open_binary(address(readable, kind, "missing.bin"))
    readable.proxy.log.clear()
    readable.proxy.add("forbidden", times=9)
    with pytest.raises(PermissionError):
        open_binary(address(readable, kind, "a.bin"))
    assert len(readable.proxy.log) <= 2


def test_a_store_that_stays_down_is_given_up_with_place_and_tries(readable: Bucket) -> None:
    with RemoteFile(readable.url("a.bin"), retry.Patience(tries=4, first=0.001)) as stream:
        stream.seek(1000)
        readable.proxy.add("slow_down", times=99)
        with pytest.raises(OSError, match=r"cannot read s3://.*a\.bin at byte 1000: given up after 4 tries") as caught:
            stream.read(10)
    assert "reduce" in str(caught.value) or "on order" in str(caught.value)
    assert readable.proxy.count("GET") == 4


def test_waiting_has_an_end_in_seconds(readable: Bucket) -> None:
    readable.proxy.add("error", method="GET", times=99)
    patience = retry.Patience(tries=1000, seconds=0.3, first=0.05, longest=0.05)
    with RemoteFile(readable.url("a.bin"), patience) as stream, pytest.raises(OSError, match="given up after"):
        stream.read(10)
    assert 4 <= readable.proxy.count("GET") <= 14


@pytest.mark.parametrize("kind", ["s3", "http", "memory"])
def test_a_file_that_changes_while_it_is_read_is_an_error(readable: Bucket, kind: str) -> None:
    where = address(readable, kind, "a.bin")
    if kind == "memory":
        where = "memory://test-remote/changing.bin"
        fsspec.filesystem("memory").pipe_file("/test-remote/changing.bin", DATA)
    with open_binary(where) as stream:
        assert stream.read(1000) == DATA[:1000]
        if kind == "memory":
            fsspec.filesystem("memory").pipe_file("/test-remote/changing.bin", DATA[::-1])
        else:
            readable.client.put_object(Bucket=readable.name, Key="a.bin", Body=DATA[::-1], ACL="public-read")
        with pytest.raises(OSError, match="changed while it was read"):
            stream.read()
    assert readable.proxy.count("GET") == (0 if kind == "memory" else 2)


def test_a_file_that_shrinks_is_an_error(readable: Bucket) -> None:
    with open_binary(readable.http("a.bin")) as stream:
        stream.seek(len(DATA) - 10)
        readable.client.put_object(Bucket=readable.name, Key="a.bin", Body=b"short", ACL="public-read")
        with pytest.raises(OSError, match="while it was read"):
            stream.read(10)


def test_a_server_without_ranges_is_read_in_one_request(readable: Bucket) -> None:
    readable.proxy.ignore_ranges = True
    with open_binary(readable.http("a.bin")) as stream:
        parts = []
        while part := stream.read(100_000):
            parts.append(part)
    assert b"".join(parts) == DATA
    assert readable.proxy.count("GET") == 1


def test_a_server_without_ranges_is_begun_again_after_a_cut(readable: Bucket) -> None:
    readable.proxy.ignore_ranges = True
    readable.proxy.add("cut", method="GET", times=2)
    with open_binary(readable.http("a.bin")) as stream:
        assert stream.read(2 * MIB) == DATA[: 2 * MIB]
        assert stream.read(MIB) == DATA[2 * MIB :]
        stream.seek(5)
        assert stream.read(7) == DATA[5:12]
    assert readable.proxy.count("GET") == 4


def test_an_s3_server_that_ignores_ranges_is_found_out(readable: Bucket) -> None:
    readable.proxy.ignore_ranges = True
    with open_binary(readable.url("a.bin")) as stream:
        assert stream.read(100) == DATA[:100]
        with pytest.raises(OSError, match="ignores ranges"):
            stream.read(100)


def test_the_wait_is_what_the_store_asks_for_but_not_longer_than_the_longest() -> None:
    retries = retry.Retries("read", retry.Patience(first=0.001, longest=0.2))
    begin = time.monotonic()
    retries.failed(retry.Busy("later", after=0.05))
    middle = time.monotonic()
    retries.failed(retry.Busy("much later", after=1000.0))
    assert middle - begin >= 0.05
    assert 0.2 <= time.monotonic() - middle < 60.0


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken"])
def test_credentials_that_have_expired_are_tried_twice_again(code: str) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise botocore.exceptions.ClientError({"Error": {"Code": code}}, "GetObject")

    with pytest.raises(PermissionError, match=f"expired.*{code}"):
        retry.retrying("read s3://b/k", call, retry.Patience(first=0.001))
    assert len(calls) == 3


def test_a_mistake_in_code_is_not_taken_for_a_failure_of_the_store() -> None:
    with pytest.raises(ZeroDivisionError):
        retry.retrying("divide", lambda: 1 // 0)


def test_an_empty_object_has_no_bytes(bucket: Bucket) -> None:
    bucket.put("empty", b"")
    with open_binary(bucket.url("empty")) as stream:
        assert stream.read() == b""
        assert stream.seek(0, os.SEEK_END) == 0


def test_without_credentials_requests_go_unsigned(readable: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    stores.anonymous.cache_clear()
    with open_binary(readable.url("a.bin")) as stream:
        assert stream.read(10) == DATA[:10]
    assert [one.authorized for one in readable.proxy.log] == [False, False]


@pytest.mark.parametrize(("value", "signed"), [("1", False), ("0", True), ("", True)])
def test_the_environment_decides_whether_requests_are_signed(
    readable: Bucket, monkeypatch: pytest.MonkeyPatch, value: str, signed: bool
) -> None:
    monkeypatch.setenv("TOKENMILL_S3_ANON", value)
    stores.anonymous.cache_clear()
    open_binary(readable.url("a.bin")).close()
    assert readable.proxy.log[0].authorized is signed


def test_common_crawl_is_read_over_https_where_there_are_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOKENMILL_S3_ANON", "1")
    stores.anonymous.cache_clear()
    found = stores.public_location("s3://commoncrawl/crawl-data/a.warc.gz")
    assert found == "https://data.commoncrawl.org/crawl-data/a.warc.gz"
    assert stores.public_location("s3://mine/crawl-data/a.warc.gz") == "s3://mine/crawl-data/a.warc.gz"
    monkeypatch.setenv("TOKENMILL_S3_ANON", "0")
    stores.anonymous.cache_clear()
    assert stores.public_location("s3://commoncrawl/a") == "s3://commoncrawl/a"
    stores.anonymous.cache_clear()


def test_a_folder_of_a_bucket_is_listed(bucket: Bucket) -> None:
    for key in ("in/b/2.jsonl", "in/a/1.jsonl", "in/notes.txt"):
        bucket.put(key, key.encode())
    found = list_inputs(bucket.url("in"), (".jsonl",))
    assert [(shard.name, shard.path, shard.size) for shard in found] == [
        ("a/1.jsonl", bucket.url("in/a/1.jsonl"), 12),
        ("b/2.jsonl", bucket.url("in/b/2.jsonl"), 12),
    ]
    assert len({shard.etag for shard in found}) == 2
    assert [shard.name for shard in list_inputs(bucket.url("in/*/1.jsonl"), ())] == ["a/1.jsonl"]
    assert [shard.name for shard in list_inputs(bucket.url("in/notes.txt"), ())] == ["notes.txt"]


def test_a_store_that_refuses_says_what_to_do(bucket: Bucket) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        list_inputs(bucket.url("nowhere"), (".jsonl",))
    bucket.proxy.add("forbidden", times=9)
    with pytest.raises(ConfigError, match="TOKENMILL_S3_ANON"):
        list_inputs(bucket.url("in"), (".jsonl",))


PATHS = ["crawl-data/C/segments/1/warc/a.warc.gz", "crawl-data/C/segments/2/warc/b.warc.gz"]


@pytest.mark.parametrize("kind", ["s3", "local"])
@pytest.mark.parametrize("ending", [".paths", ".paths.gz"])
def test_a_list_of_paths_names_the_inputs(bucket: Bucket, tmp_path: Any, kind: str, ending: str) -> None:
    for path in PATHS:
        bucket.put(path, path.encode())
    relative = [path if kind == "s3" else bucket.url(path) for path in PATHS]
    text = "\n".join([*reversed(relative), ""]).encode()
    data = gzip.compress(text) if ending.endswith("gz") else text
    where = bucket.url(f"crawl-data/C/warc{ending}")
    if kind == "local":
        where = str(tmp_path / f"warc{ending}")
        (tmp_path / f"warc{ending}").write_bytes(data)
    else:
        bucket.put(f"crawl-data/C/warc{ending}", data)
    found = list_inputs(where, ())
    assert [shard.name for shard in found] == ["1/warc/a.warc.gz", "2/warc/b.warc.gz"]
    assert [shard.path for shard in found] == [bucket.url(path) for path in PATHS]
    assert [shard.size for shard in found] == [len(path) for path in PATHS]
    assert all(shard.etag for shard in found)


def test_a_list_on_a_web_server_begins_at_its_root(bucket: Bucket) -> None:
    lines = [f"{bucket.name}/{path}" for path in PATHS]  # the bucket is a folder of this server
    for path in PATHS:
        bucket.client.put_object(Bucket=bucket.name, Key=path, Body=b"x", ACL="public-read")
    data = gzip.compress("\n".join(lines).encode())
    bucket.client.put_object(Bucket=bucket.name, Key="warc.paths.gz", Body=data, ACL="public-read")
    found = list_inputs(bucket.http("warc.paths.gz"), ())
    assert [shard.path for shard in found] == [bucket.http(path) for path in PATHS]
    assert [shard.size for shard in found] == [1, 1]


def test_a_local_list_of_local_files_and_of_common_crawl(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"abc")
    (tmp_path / "warc.paths").write_text("a.warc.gz\n")
    (found,) = list_inputs(str(tmp_path / "warc.paths"), ())
    assert (found.path, found.name, found.size) == (str(tmp_path / "a.warc.gz"), "a.warc.gz", 3)
    # too many to be looked up, which would need the network
    monkeypatch.setattr("tokenmill.io.pathlist.MAX_LOOKED_UP", 1)
    (tmp_path / "warc.paths").write_text("\n".join(PATHS))
    found_paths = [shard.path for shard in list_inputs(str(tmp_path / "warc.paths"), ())]
    assert found_paths == [f"https://data.commoncrawl.org/{path}" for path in PATHS]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("b.warc.gz", "which does not exist"),
        ("a.warc.gz\na.warc.gz", "names a file twice"),
        ("\n", "names no file"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path: Any, text: str, error: str) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"abc")
    (tmp_path / "warc.paths").write_text(text)
    with pytest.raises(ConfigError, match=error):
        list_inputs(str(tmp_path / "warc.paths"), ())


def test_a_list_that_names_a_missing_object_is_refused(bucket: Bucket) -> None:
    bucket.put("warc.paths", b"nowhere.warc.gz")
    with pytest.raises(ConfigError, match="not there"):
        list_inputs(bucket.url("warc.paths"), ())
