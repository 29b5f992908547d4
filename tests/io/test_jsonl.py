"""JSON Lines as writers leave them: plain, gzip, Zstandard, of one frame or many, cut and damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import LOOKED_AT, ReadJsonl, _ZstdFrames, open_inflated, scalar_keys

ROWS = [{"id": f"id-{n}", "text": f"page {n} " + "wörter " * n} for n in range(50)]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


def no_skip(reason: str, **known: object) -> None:
    raise AssertionError(reason, known)


def shard(path: Path) -> InputShard:
    (found,) = list_inputs(str(path), ReadJsonl.suffixes)
    return found


def inflated(path: Path) -> list[bytes]:
    with open_inflated(shard(path)) as stream:
        return list(stream)


def streamed(data: bytes) -> bytes:
    """A frame whose header does not say its length, with a checksum, as programs write it that do not know either."""
    packer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return packer.compress(data) + packer.flush()


PACKED: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lambda: LINES,
    "a.ndjson": lambda: LINES,
    "a.jsonl.gz": lambda: gzip.compress(LINES[:99]) + gzip.compress(LINES[99:]),
    "one.jsonl.zst": lambda: zstandard.compress(LINES),
    "many.jsonl.zst": lambda: b"".join(zstandard.compress(line) for line in LINES.splitlines(True)),
    "streamed.jsonl.zst": lambda: SKIPPABLE + streamed(LINES[:99]) + SKIPPABLE + streamed(LINES[99:]) + SKIPPABLE,
    "a.jsonl.bz2": lambda: bz2.compress(LINES),
    "a.jsonl.xz": lambda: lzma.compress(LINES),
    "a.jsonl.lz4": lambda: lz4.frame.compress(LINES),
}


@pytest.mark.parametrize("name", PACKED)
def test_documents_of_every_kind_of_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name]())
    assert b"".join(inflated(tmp_path / name)) == LINES
    batches = list(ReadJsonl().read(shard(tmp_path / name), no_skip))
    assert [row for batch in batches for row in batch.select(["id", "text"]).to_pylist()] == ROWS


def test_empty_files(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", b""), ("b.jsonl.zst", b""), ("c.jsonl.zst", zstandard.compress(b""))):
        (tmp_path / name).write_bytes(content)
        assert inflated(tmp_path / name) == []


@pytest.mark.parametrize("cut", [1, 3, 20, -1, -20])
def test_a_file_that_is_cut_is_never_a_shorter_one(tmp_path: Path, cut: int) -> None:
    for name, whole in (
        ("a.jsonl.zst", zstandard.compress(LINES) + streamed(LINES)),
        ("b.jsonl.zst", streamed(LINES)),
        ("c.jsonl.gz", gzip.compress(LINES, mtime=0)),
    ):
        (tmp_path / name).write_bytes(whole[:cut])
        with pytest.raises((EOFError, OSError)):
            inflated(tmp_path / name)


def test_damaged_files(tmp_path: Path) -> None:
    hurt = bytearray(gzip.compress(LINES))
    hurt[12:40] = b"\xff" * 28
    (tmp_path / "a.jsonl.gz").write_bytes(hurt)
    (tmp_path / "b.jsonl.zst").write_bytes(b"no frame at all")
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(LINES) + b"more that is no frame")
    wrong = bytearray(streamed(LINES))
    wrong[-1] ^= 1
    (tmp_path / "d.jsonl.zst").write_bytes(wrong)
    hurt = bytearray(lzma.compress(LINES))
    hurt[40:60] = b"\xff" * 20
    (tmp_path / "e.jsonl.xz").write_bytes(hurt)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(OSError, match=r"damaged|CRC|checksum"):
            inflated(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.integers(0, 300_000), max_size=6), st.integers(100, 70_000))
def test_any_frames_in_any_pieces(parts: list[bytes | int], size: int) -> None:
    frames = [part if isinstance(part, bytes) else bytes(part) for part in parts]
    packed = b"".join(streamed(part) for part in frames)
    found = bytearray()
    with _ZstdFrames(io.BytesIO(packed)) as stream:
        while part := stream.read(size):
            assert len(part) <= size
            found += part
    assert bytes(found) == b"".join(frames)


def test_a_few_bytes_that_inflate_to_many_are_read_piece_by_piece() -> None:
    with _ZstdFrames(io.BytesIO(zstandard.compress(bytes(64 << 20)))) as stream:
        assert stream.read(10) == bytes(10)
        assert len(stream._out) <= 128 << 10


def test_keys_with_numbers_and_keys_with_texts(tmp_path: Path) -> None:
    rows: list[object] = [
        {"text": "a", "level": 3, "score": 0.5, "mixed": 1, "clean": True, "list": [1], "none": None, "part": 1},
        ["no object"],
        {"text": "b", "level": None, "score": 2, "mixed": "x", "clean": None, "list": "y", "part": {"a": 1}},
        *({"text": "c"} for _ in range(LOOKED_AT - 3)),
        {"level": "late", "later": 1},
    ]
    path = tmp_path / "a.jsonl.gz"
    lines = [json.dumps(row) for row in rows]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert scalar_keys(shard(path)) == (("level", "score"), ("text", "mixed", "clean"))
    path.write_bytes(gzip.compress(b"no JSON\n" + lines[0].encode()))
    assert scalar_keys(shard(path))[0] == ("level", "score", "mixed", "part")
