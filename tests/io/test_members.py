"""Damage costs what is damaged and no more."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from tests.io.archives import body_of, member, number_of, page, read, record
from tokenmill.io.members import StoredFile

COUNT = 40


@pytest.fixture(scope="module")
def members() -> list[bytes]:
    # Random bodies: pages of one repeated line would give members of a few bytes.
    noise = random.Random(1)
    return [member(record(n, noise.randbytes(noise.randrange(200, 3000)))) for n in range(COUNT)]


def test_members_have_offsets_and_lengths_of_the_stored_file(members: list[bytes]) -> None:
    records, losses = read(b"".join(members))
    assert losses == []
    assert [number_of(r) for r in records] == list(range(COUNT))
    assert [r.length for r in records] == [len(m) for m in members]
    assert [r.offset for r in records] == [sum(map(len, members[:n])) for n in range(COUNT)]


def test_truncation_keeps_all_records_before_the_cut(members: list[bytes]) -> None:
    data = b"".join(members)
    ends = [sum(map(len, members[: n + 1])) for n in range(COUNT)]
    cuts = random.Random(2)
    for cut in [0, 1, 2, 3, 10, 17, *ends[:3], *(cuts.randrange(len(data)) for _ in range(120))]:
        records, losses = read(data[:cut], "x.warc.gz")
        whole = sum(end <= cut for end in ends)
        assert [number_of(r) for r in records[:whole]] == list(range(whole)), cut
        assert not any(r.short for r in records[:whole])
        rest = cut - (ends[whole - 1] if whole else 0)
        # What is left of a cut member is a record marked as short, or a counted loss of that many bytes.
        assert len(records) - whole + len(losses) == (1 if rest else 0), cut
        for loss in losses:
            assert (loss.reason, loss.length) == ("unreadable_tail", rest)
        for item in records[whole:]:
            assert number_of(item) == whole
            # A cut inside the checksum leaves the record whole.
            assert item.short or rest >= len(members[whole]) - 8


def test_every_undamaged_record_survives_random_flips(members: list[bytes]) -> None:
    data = b"".join(members)
    starts = [sum(map(len, members[:n])) for n in range(COUNT)]
    expected = {number_of(r): r.block for r in read(data)[0]}
    flips = random.Random(3)
    for _ in range(250):
        at = flips.randrange(len(data))
        damaged = bytearray(data)
        damaged[at] ^= 1 << flips.randrange(8)
        hit = max(n for n, start in enumerate(starts) if start <= at)
        records, losses = read(bytes(damaged), "x.warc.gz")
        found = {number_of(r): r.block for r in records}
        assert len(found) == len(records)
        assert all(found[n] == expected[n] for n in range(COUNT) if n != hit), at
        # A flip in the unused fields of a gzip header harms nothing; any other loses one member, and says so.
        if hit not in found:
            assert sum(x.reason in ("corrupt_member", "unreadable_tail") for x in losses) == 1
        else:
            assert found[hit] == expected[hit]


def test_loss_counts_the_bytes_passed_over(members: list[bytes]) -> None:
    damaged = [*members]
    for n in (5, 6):
        damaged[n] = damaged[n][:40] + b"\xff" * (len(damaged[n]) - 40)
    damaged[-1] = damaged[-1][:20] + b"\0" * 30 + damaged[-1][50:]
    records, losses = read(b"".join(damaged))
    assert [number_of(r) for r in records] == [n for n in range(COUNT - 1) if n not in (5, 6)]
    assert [(x.reason, x.offset, x.length) for x in losses] == [
        ("corrupt_member", sum(map(len, members[:5])), len(members[5]) + len(members[6])),
        ("unreadable_tail", sum(map(len, members[:-1])), len(members[-1])),
    ]


def test_destroyed_first_bytes_do_not_hide_the_file(members: list[bytes]) -> None:
    data = b"\xaa" * 20 + b"".join(members)[20:]
    records, losses = read(data, "a/b.warc.gz")
    assert [number_of(r) for r in records] == list(range(1, COUNT))
    assert [(x.reason, x.offset, x.length) for x in losses] == [("corrupt_member", 0, len(members[0]))]


def test_gzip_member_inside_a_body_is_not_a_record() -> None:
    body = member(b"<html>packed</html>") * 3
    stored = zlib.compressobj(0, zlib.DEFLATED, 31)
    first = stored.compress(record(0, body)) + stored.flush()
    broken = first[:-8] + b"\0" * 8
    records, losses = read(broken + member(record(1)))
    assert [number_of(r) for r in records] == [1]
    assert [(x.reason, x.length) for x in losses] == [("corrupt_member", len(first))]


def test_whole_file_gzip_gives_all_records_unique_places(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(record(n, page(n, 5000)) for n in range(300)), mtime=0)
    records, losses = read(data)
    assert losses == []
    assert [number_of(r) for r in records] == list(range(300))
    assert all(body_of(r) == page(n, 5000) for n, r in enumerate(records))
    assert {r.offset for r in records} == {0}
    assert len({r.inner for r in records}) == 300
    assert {r.length for r in records} == {-1}


def test_member_that_ends_inside_a_record_continues_in_the_next() -> None:
    whole = record(7, page(7, 3000))
    for cut in (3, 30, whole.index(b"\r\n\r\n") + 2, 1000, len(whole) - 2):
        data = member(record(6)) + member(whole[:cut]) + member(whole[cut:]) + member(record(8))
        records, losses = read(data)
        assert [number_of(r) for r in records] == [6, 7, 8], cut
        assert body_of(records[1]) == page(7, 3000)
        assert losses == []


def test_padding_with_zeros_is_no_loss(members: list[bytes]) -> None:
    records, losses = read(b"".join(members) + b"\0" * 10_000)
    assert (len(records), losses) == (COUNT, [])


@pytest.mark.parametrize("codec", ["lz4", "zstd", "zstd-dictionary", "zstd-one-frame"])
def test_other_codecs(codec: str) -> None:
    plain = [record(n, page(n, 200_000 if n == 3 else 700)) for n in range(COUNT)]
    frames: list[bytes]
    if codec == "lz4":
        frames = [lz4.frame.compress(x, content_checksum=True) for x in plain]
    elif codec == "zstd":
        frames = [zstandard.ZstdCompressor(write_checksum=True).compress(x) for x in plain]
    elif codec == "zstd-one-frame":
        frames = [zstandard.ZstdCompressor().compress(b"".join(plain))]
    else:
        dictionary = zstandard.ZstdCompressionDict(b"".join(plain[:3]))
        packed = zstandard.ZstdCompressor().compress(dictionary.as_bytes())
        compressor = zstandard.ZstdCompressor(dict_data=dictionary)
        frames = [b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(packed)) + packed]
        frames += [compressor.compress(x) for x in plain]
    records, losses = read(b"".join(frames))
    assert losses == []
    assert [number_of(r) for r in records] == list(range(COUNT))
    assert body_of(records[3]) == page(3, 200_000)
    if codec in ("lz4", "zstd"):
        assert [r.length for r in records] == [len(f) for f in frames]
        at = sum(map(len, frames[:8])) + 100
        damaged = b"".join(frames)[:at] + b"\xff\xff\xff\xff" + b"".join(frames)[at + 4 :]
        records, losses = read(damaged)
        assert [x.reason for x in losses] == ["corrupt_member"]
        assert {number_of(r) for r in records} >= set(range(COUNT)) - {8}


@pytest.mark.ci  # sample: bombs in tests/extract/test_http.py
def test_bomb_costs_little_memory(tmp_path: Path) -> None:
    # Blocks after a full flush do not depend on what was before, so that one of them can be repeated.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    http = len(record(1, b"")) - record(1, b"").index(b"HTTP/") - 4
    head, zeros = record(1, b"", length=str((1 << 30) + http))[:-4], bytes(4 << 20)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)) * 256
    packed += packer.compress(b"\r\n\r\n") + packer.flush()
    crc = zlib.crc32(head)
    for _ in range(256):
        crc = zlib.crc32(zeros, crc)
    crc = zlib.crc32(b"\r\n\r\n", crc)
    size = len(head) + (1 << 30) + 4
    bomb = b"\x1f\x8b\x08" + bytes(7) + packed + struct.pack("<II", crc, size & 0xFFFFFFFF)
    assert len(bomb) < 2 << 20
    (tmp_path / "bomb.warc.gz").write_bytes(member(record(0)) + bomb + member(record(2)))
    script = """
        import resource, sys
        from tests.io.archives import documents
        from pathlib import Path
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows, skipped = documents(Path(sys.argv[1]))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(len(rows), dict(skipped.reasons), grown)
        assert [r["url"][-1] for r in rows] == ["0", "2"]
        assert [(s["reason"], s["detail"]) for s in skipped] == [("too_large", "%d bytes" % (1 << 30))]
        assert grown < 64 << 10, grown
    """
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "bomb.warc.gz")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr


class OddFile(io.BytesIO):
    """A storage that gives few bytes at a time, as networks do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 37))


def test_pieces_do_not_depend_on_how_the_storage_answers() -> None:
    data = bytes(range(256)) * 8
    stored = StoredFile(OddFile(data))
    for offset in (0, 5, 100, 99, 2000, 2040, 2048):
        piece = stored.piece(offset, 64)
        assert piece == data[offset : offset + 64]
    assert stored.exactly(3, 1000) == data[3:1003]
    assert stored.exactly(2000, 1000) == data[2000:]
