"""`ReadWet`: conversion records as text."""

from __future__ import annotations

from pathlib import Path

from tests.io.archives import Skipped, member, record
from tokenmill.core.stage import InputShard
from tokenmill.io.wet import ReadWet


def wet(number: int, text: bytes, media: bytes = b"text/plain") -> bytes:
    made = record(number, text, kind="conversion")
    return made.replace(b"application/http; msgtype=response", media)


def test_conversion_records_become_text(tmp_path: Path) -> None:
    path = tmp_path / "CC-MAIN-2025-05.warc.wet.gz"
    parts = [
        record(0, b"x", kind="warcinfo"),
        wet(1, "Grüße\n\0".encode()),
        wet(2, b""),
        wet(3, b"x" * 200),
        wet(4, b"{}", b"application/json"),
        wet(5, b"bad \xff byte"),
    ]
    path.write_bytes(b"".join(map(member, parts)))
    skipped = Skipped()
    batches = list(ReadWet(max_text_bytes=100).read(InputShard(str(path), "a.wet.gz", 0, ""), skipped))
    rows = batches[0].to_pylist()
    assert len(batches) == 1
    assert batches[0].schema.names == list(ReadWet.adds)
    assert [row["text"] for row in rows] == ["Grüße\n", "bad \ufffd byte"]
    assert {row["dump"] for row in rows} == {"CC-MAIN-2025-05"}
    assert rows[0]["doc_id"] == f"a.wet.gz#{len(member(parts[0]))}"
    assert [skip["reason"] for skip in skipped] == ["not_conversion", "empty", "too_large", "not_text"]
