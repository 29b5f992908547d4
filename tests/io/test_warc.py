"""What `ReadWarc` gives and what it reports, on files as they are and as they should not be."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import time
from pathlib import Path

import fsspec
import pytest
from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from tests.io.archives import (
    Skipped,
    block_length,
    body_of,
    documents,
    foreign,
    member,
    number_of,
    page,
    read,
    record,
    shared,
)
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.schema import INTERNAL, PROVENANCE
from tokenmill.core.stage import InputShard
from tokenmill.io.http import media_type
from tokenmill.io.members import Loss
from tokenmill.io.records import Record, iter_records
from tokenmill.io.warc import ReadWarc

# name: all records, responses, blocks that differ from their Content-Length, losses.
# All but those with a comment are the numbers of the table in warc-quirks/README.md.
QUIRKS: dict[str, tuple[int, int, int, int]] = {
    # dns and three http responses; the header line with the date "null" is the loss.
    "aut-badexample.arc.gz": (5, 4, 2, 1),
    "aut-example.arc.gz": (300, 299, 0, 0),
    "aut-example.docs.warc.gz": (21, 9, 0, 0),
    "aut-example.pdf.warc.gz": (76, 35, 0, 0),
    "aut-example.txt.warc.gz": (6, 2, 0, 0),
    "aut-example.warc.gz": (822, 299, 0, 0),
    "aut-issue-493.warc": (32, 10, 0, 0),
    "aut-issue-514.warc": (8, 2, 0, 0),
    "jwarc-cc.warc.gz": (1, 1, 0, 0),
    "jwarc-gzip_extra_sl.warc.gz": (1, 0, 0, 0),
    "pywb-dupes.warc.gz": (25, 3, 0, 0),
    "pywb-example-extra.warc": (6, 2, 0, 0),
    "pywb-example-url-agnostic-orig.warc.gz": (2, 1, 0, 0),
    "pywb-example-url-agnostic-revisit.warc.gz": (2, 0, 0, 0),
    "pywb-example-wget-1-14.warc.gz": (6, 1, 0, 0),
    "pywb-example-wpull.warc.gz": (4, 1, 0, 0),
    "pywb-httpbin-resource.warc.gz": (1, 0, 0, 0),
    "pywb-iana.warc.gz": (343, 48, 0, 0),
    "pywb-missing-status-text.warc": (1, 1, 0, 0),
    "resiliparse-block-sized-records.warc": (3, 0, 0, 0),
    "resiliparse-block-sized-records.warc.gz": (3, 0, 0, 0),
    "resiliparse-block-sized-records.warc.lz4": (3, 0, 0, 0),
    "resiliparse-clipped.warc.gz": (1, 1, 1, 0),
    "resiliparse-clueweb-quirk.warc.gz": (30, 29, 0, 0),
    "resiliparse-warcfile.warc": (50, 16, 0, 0),
    "resiliparse-warcfile.warc.gz": (50, 16, 0, 0),
    "resiliparse-warcfile.warc.lz4": (50, 16, 0, 0),
    # Lengths -1, 1 and abc.
    "warcio-bad.arc": (4, 3, 3, 0),
    "warcio-example-bad-non-chunked.warc.gz": (6, 1, 0, 0),
    "warcio-example-bad.warc.gz.bad": (6, 2, 0, 0),
    "warcio-example-digest.warc": (4, 0, 0, 0),
    "warcio-example-iana.org-chunked.warc": (3, 1, 0, 0),
    "warcio-example-resource.warc.gz": (3, 0, 0, 0),
    "warcio-example-space-in-target-uri.warc.gz": (2, 0, 0, 0),
    # The length of its version block is wrong.
    "warcio-example-space-in-url.arc": (2, 1, 1, 0),
    "warcio-example-trunc.warc": (4, 1, 0, 0),
    "warcio-example-wget-bad-target-uri.warc.gz": (6, 1, 0, 0),
    "warcio-example-wrong-chunks.warc.gz": (2, 1, 0, 0),
    "warcio-example.arc": (2, 1, 0, 0),
    "warcio-example.arc.gz": (2, 1, 0, 0),
    "warcio-example.warc": (6, 1, 0, 0),
    "warcio-example.warc.gz": (6, 1, 0, 0),
    "warcio-post-test.warc.gz": (6, 3, 0, 0),
    "whirlwind.warc": (4, 1, 0, 0),
    "whirlwind.warc.gz": (4, 1, 0, 0),
}


@pytest.mark.parametrize("name", QUIRKS)
def test_quirks(name: str) -> None:
    path = shared("warc-quirks") / name
    items = list(iter_records(str(path)))
    records = [x for x in items if isinstance(x, Record)]
    responses = sum(x.kind == "response" for x in records)
    losses = sum(isinstance(x, Loss) for x in items)
    assert (len(records), responses, sum(x.short for x in records), losses) == QUIRKS[name]
    # What a document becomes or why it does not: every record once.
    rows, skipped = documents(path)
    assert len(rows) + len(skipped) == len(items)
    assert len({row["doc_id"] for row in rows}) == len(rows)
    if name == "aut-badexample.arc.gz":
        assert sum(x.http is not None for x in records) == 3


def test_quirk_values() -> None:
    folder = shared("warc-quirks")
    wget = [x for x in documents(folder / "aut-issue-514.warc")[0] if x["url"]]
    assert wget
    assert all(x["url"].startswith("http") and not x["url"].endswith(">") for x in wget)
    (clipped,), skipped = documents(folder / "resiliparse-clipped.warc.gz")
    assert clipped["truncated"] == "length"
    assert len(clipped["payload"]) > 10_000
    (crawled,), skipped = documents(folder / "whirlwind.warc.gz")
    assert crawled["warc_offset"] > 0
    assert skipped.reasons == {"not_response": 3}
    (plain,), _ = documents(folder / "whirlwind.warc")
    assert plain["payload"] == crawled["payload"]
    (chunked,), _ = documents(folder / "warcio-example-wrong-chunks.warc.gz")
    assert chunked["payload"].rstrip().endswith(b"</html>")
    # The server announced 1271 bytes and sent 1270.
    assert (len(chunked["payload"]), chunked["truncated"]) == (1270, "length")


def test_crawl_is_complete() -> None:
    path = shared("crawl") / "crawl-00000.warc.gz"
    rows, skipped = documents(path)
    responses = len(rows) + sum(n for reason, n in skipped.reasons.items() if reason != "not_response")
    assert responses == sum(x.kind == "response" for x in iter_records(str(path)) if isinstance(x, Record))
    assert set(skipped.reasons) == {"not_response", "not_200", "not_html"}
    assert {row["truncated"] for row in rows} == {""}
    for row in rows[:20]:
        stored = path.read_bytes()[row["warc_offset"] : row["warc_offset"] + row["warc_length"]]
        assert gzip.decompress(stored).rstrip(b"\r\n").endswith(row["payload"].rstrip(b"\r\n"))


def test_fastwarc_finds_the_same_in_a_good_file() -> None:
    path = str(shared("crawl") / "crawl-00002.warc.gz")
    ours = [x for x in iter_records(path) if isinstance(x, Record)]
    count = 0
    with Path(path).open("rb") as file:
        for mine, theirs in zip(ours, ArchiveIterator(file), strict=True):
            assert mine.offset == theirs.stream_pos
            assert mine.headers["warc-record-id"] == theirs.record_id
            if theirs.is_http:
                assert mine.http is not None
                assert mine.http.status == theirs.http_headers.status_code
                assert body_of(mine) == theirs.reader.read()
                assert media_type(mine.http.get("content-type")) == (theirs.http_content_type or "")
            count += 1
    assert count == len(ours) > 900


def test_warcio_finds_the_same_in_an_arc_file() -> None:
    path = shared("warc-quirks") / "aut-example.arc.gz"
    ours = [x for x in iter_records(str(path)) if isinstance(x, Record)]
    with path.open("rb") as file:
        for mine, theirs in zip(ours, WarcioIterator(file, arc2warc=False), strict=True):
            assert mine.headers["warc-target-uri"] == theirs.rec_headers.get_header("uri")
            if mine.http is not None:
                assert str(mine.http.status) == theirs.http_headers.get_statuscode()
                assert body_of(mine) == theirs.raw_stream.read()


def test_remote_storage() -> None:
    parts = [member(record(n)) for n in range(20)]
    parts[3] = parts[3][:60] + b"\xff\xff\xff" + parts[3][63:]
    with fsspec.open("memory://read-warc/a.warc.gz", "wb") as file:
        file.write(b"".join(parts))
    skipped = Skipped()
    shard = InputShard("memory://read-warc/a.warc.gz", "a.warc.gz", 0, "")
    (batch,) = ReadWarc().read(shard, skipped)
    assert batch.num_rows == 19
    assert [(s["reason"], s["length"]) for s in skipped] == [("corrupt_member", len(parts[3]))]


def test_row_has_the_documented_columns(tmp_path: Path) -> None:
    path = tmp_path / "CC-MAIN-2024-22" / "a.warc.gz"
    path.parent.mkdir()
    extra = "WARC-Identified-Payload-Type: application/xhtml+xml\r\nWARC-Truncated: disconnect\r\n"
    path.write_bytes(member(record(0, b"x", kind="warcinfo")) + member(record(1, b"<p>\xe4", extra=extra)))
    ((row,), skipped) = documents(path)
    offset = len(member(record(0, b"x", kind="warcinfo")))
    assert row == {
        "doc_id": f"a.warc.gz#{offset}",
        "id": f"<urn:uuid:{1:032d}>",
        "dump": "CC-MAIN-2024-22",
        "url": "http://site.example/1",
        "date": "2024-05-19T06:42:53Z",
        "file_path": "a.warc.gz",
        "warc_offset": offset,
        "warc_length": path.stat().st_size - offset,
        "content_type": "application/xhtml+xml",
        "payload": b"<p>\xe4",
        "http_headers": "Content-Type: text/html; charset=utf-8",
        "truncated": "disconnect",
    }
    assert skipped == [
        {
            "reason": "not_response",
            "id": f"<urn:uuid:{0:032d}>",
            "url": "http://site.example/0",
            "offset": 0,
            "length": offset,
            "detail": "warcinfo",
        }
    ]
    assert list(row) == list(ReadWarc.adds)
    for name, dtype in {**PROVENANCE, **INTERNAL}.items():
        assert ReadWarc.adds.get(name, dtype) == dtype


def test_every_reason(tmp_path: Path) -> None:
    html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    parts = [
        record(0),
        record(1, kind="request"),
        record(2, http="HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n"),
        record(3, http="HTTP/1.1 abc\r\nContent-Type: text/html\r\n"),
        record(4, http="HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"),
        record(5, http="HTTP/1.1 200 OK\r\nServer: no type\r\n"),
        record(6, b""),
        record(7, bytes(2000)),
        record(8, http=html + "X: " + "y" * 300_000 + "\r\n"),
        record(9).replace(b"WARC-Type", b"WARC-Tipe"),
        record(10, http=html + "Content-Length: 5000\r\n"),
        record(11, http="20080430204825\nsite.example.\t589\tIN\tA\t207.241.229.39"),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(parts))
    rows, skipped = documents(tmp_path / "a.warc", ReadWarc(max_payload_bytes=1000))
    assert [row["url"].rpartition("/")[2] for row in rows] == ["0", "5", "10"]
    assert [row["content_type"] for row in rows] == ["text/html", "", "text/html"]
    assert [row["truncated"] for row in rows] == ["", "", "length"]
    assert [skip["reason"] for skip in skipped] == [
        "not_response",
        "not_200",
        "not_200",
        "not_html",
        "empty",
        "too_large",
        "malformed",
        "malformed",
        "not_200",
    ]
    rows, _ = documents(tmp_path / "a.warc", ReadWarc(html_only=False, statuses=(200, 404), dump="d"))
    assert [row["url"].rpartition("/")[2] for row in rows] == ["0", "2", "4", "5", "7", "10"]
    assert {row["dump"] for row in rows} == {"d"}


def lengths() -> dict[str, str]:
    """The five kinds of wrong Content-Length, for record 1 of a file of three."""
    true, following = block_length(1), len(record(2))
    return {
        "missing": "",
        "no number": "12a",
        "negative": "-5",
        "too small": str(true - 300),
        "too large by a part of a record": str(true + 120),
        "too large by one record": str(true + following),
        "too large by a few bytes": str(true + 9),
        "past the end of the file": "20000000",
        "absurd": "9" * 15,
    }


@pytest.mark.parametrize("packing", ["plain", "members", "one member"])
@pytest.mark.parametrize("kind", lengths())
def test_wrong_content_length_never_merges_records(kind: str, packing: str) -> None:
    parts = [record(n, length=lengths()[kind] if n == 1 else None) for n in range(4)]
    if packing == "members":
        data = b"".join(map(member, parts))
    else:
        data = b"".join(parts) if packing == "plain" else member(b"".join(parts))
    records, losses = read(data)
    assert losses == []
    assert [number_of(r) for r in records] == [0, 1, 2, 3]
    for item in records:
        assert not foreign(number_of(item), body_of(item)), kind
        whole = number_of(item) != 1 or kind != "too small"
        assert len(body_of(item)) == (600 if whole else 300)
        assert item.short == (number_of(item) == 1)


def test_page_that_shows_a_record_is_not_cut() -> None:
    shown = b"<pre>\r\n\r\n" + record(5) + b"</pre>"
    records, losses = read(record(0, shown) + record(1))
    assert [number_of(r) for r in records] == [0, 1]
    assert body_of(records[0]) == shown
    assert losses == []


def test_archived_archive_is_one_record_when_its_length_is_vouched_for() -> None:
    inner = b"\r\n" + record(5) + record(6)
    digest = base64.b32encode(hashlib.sha1(inner).digest()).decode()
    by_digest = record(0, inner, kind="resource", extra=f"WARC-Block-Digest: sha1:{digest}\r\n")
    for data in (record(0, inner, http_length=True), by_digest):
        records, losses = read(data + record(1))
        assert [number_of(r) for r in records] == [0, 1]
        assert records[0].block.endswith(inner)
        assert losses == []


@pytest.mark.parametrize(
    "line",
    [
        b"WARC/1.0\nA: b\n",
        b"WARC/1.0\r\nA: b\r\n\r\n",
        b"http://a.example/ 1.2.3.4 20080430204825 a b\n",
        b"x:" + b"1.2.3.4 20080430204825 " * 600 + b"\n",
    ],
)
@pytest.mark.parametrize(
    "first",
    [b"", pytest.param(b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 0\n\n", marks=pytest.mark.ci)],
)
def test_false_headers_cost_linear_time(line: bytes, first: bytes) -> None:
    body = line * (3_000_000 // len(line))
    started = time.process_time()
    records, losses = read(first + record(0, body) + record(1))
    assert len(records) + len(losses) >= 1
    # The slowest needs about a second; quadratic work would need minutes.
    assert time.process_time() - started < 10


def test_flips_in_a_plain_file_lose_only_what_they_hit() -> None:
    parts = [record(n, page(n, 300 + 37 * n), http_length=True) for n in range(30)]
    data = b"".join(parts)
    starts = [sum(map(len, parts[:n])) for n in range(30)]
    expected = {n: page(n, 300 + 37 * n) for n in range(30)}
    flips = random.Random(4)
    lost = 0
    for _ in range(300):
        at = flips.randrange(len(data))
        damaged = bytearray(data)
        damaged[at] ^= 1 << flips.randrange(8)
        hit = max(n for n, start in enumerate(starts) if start <= at)
        records, losses = read(bytes(damaged))
        found = {r.headers.get("warc-target-uri", ""): r for r in records}
        for n in set(range(30)) - {hit}:
            item = found.get(f"http://site.example/{n}")
            lost += item is None or item.http is None or body_of(item) != expected[n]
        assert len(records) + len(losses) >= 30, at
    assert lost <= 300 * 29 / 1000


@pytest.mark.parametrize(
    ("name", "data", "reasons"),
    [
        ("empty.warc.gz", b"", {}),
        ("empty.warc", b"", {}),
        ("junk.warc", random.Random(5).randbytes(300_000), {"unreadable_tail": 1}),
        ("junk.warc.gz", random.Random(6).randbytes(300_000), {"unreadable_tail": 1}),
        ("page.html.gz", gzip.compress(b"<html>" * 1000, mtime=0), {"malformed": 1}),
        ("text.warc", b"no record\n" * 1000, {"unreadable_tail": 1}),
    ],
)
def test_files_without_records(tmp_path: Path, name: str, data: bytes, reasons: dict[str, int]) -> None:
    (tmp_path / name).write_bytes(data)
    rows, skipped = documents(tmp_path / name)
    assert rows == []
    assert skipped.reasons == reasons
    assert [(s["offset"], s["length"]) for s in skipped] == [(0, len(data))] * len(skipped)


@pytest.mark.parametrize("packed", [False, True])
def test_header_of_ten_megabytes_is_one_malformed_record(tmp_path: Path, packed: bool) -> None:
    huge = record(1, extra="X-Long: " + "x" * (10 << 20) + "\r\n")
    pack = member if packed else bytes
    path = tmp_path / "a.warc"
    path.write_bytes(pack(record(0)) + pack(huge) + pack(record(2)))
    rows, skipped = documents(path)
    assert [row["url"][-1] for row in rows] == ["0", "2"]
    assert skipped.reasons == {"malformed": 1}


def test_many_tiny_records_come_in_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(record(n, b"%d" % n) for n in range(10_000)), 1, mtime=0))
    sizes, payloads = [], []
    for batch in ReadWarc().read(InputShard(str(path), "a", 0, ""), Skipped()):
        sizes.append(batch.num_rows)
        payloads += batch.column("payload").to_pylist()
    assert payloads == [b"%d" % n for n in range(10_000)]
    assert max(sizes) == 128
    assert len(sizes) == -(-10_000 // 128)


def test_strings_are_clean(tmp_path: Path) -> None:
    odd = record(1, http="HTTP/1.1 200 OK\r\nX-Odd: a\xff\0b\r\nContent-Type: text/html\r\n")
    odd = odd.replace(b"site.example/1", b"site.example/\xed\xa0\x80\0")
    (tmp_path / "a.warc").write_bytes(odd)
    ((row,), _) = documents(tmp_path / "a.warc")
    for value in row.values():
        assert not isinstance(value, str) or "\0" not in value.encode("utf-8").decode()
    assert row["http_headers"].startswith("X-Odd: a")


def test_storage_that_fails_is_a_shard_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="cannot be read"):
        list(ReadWarc().read(InputShard(str(tmp_path / "none.warc"), "none.warc", 0, ""), Skipped()))


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_read_bytes"):
        ReadWarc(max_payload_bytes=64 << 20)
