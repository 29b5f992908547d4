"""Messages between processes: lengths, a JSON header, and a body of Arrow IPC streams. No pickle."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

import pyarrow as pa

LENGTHS = struct.Struct("<IQ")


def message_head(header: dict[str, Any], body: bytes | memoryview) -> bytes:
    """What stands before the body of a message: both lengths and the header."""
    encoded = json.dumps(header).encode()
    return LENGTHS.pack(len(encoded), len(body)) + encoded


def write_message(stream: BinaryIO, header: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Write one message: lengths, header, body."""
    stream.write(message_head(header, body))
    stream.write(body)
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None at the end of the stream. EOFError when it ends inside a message."""
    lengths = stream.read(LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < LENGTHS.size:
        raise EOFError("the stream ends inside a message")
    header_length, body_length = LENGTHS.unpack(lengths)
    header = stream.read(header_length)
    body = stream.read(body_length)
    if len(header) < header_length or len(body) < body_length:
        raise EOFError("the stream ends inside a message")
    return json.loads(header), body


def pack_batches(*batches: pa.RecordBatch) -> tuple[list[int], memoryview]:
    """Batches as Arrow IPC streams, one after another, and the length of each."""
    sink = pa.BufferOutputStream()
    lengths = []
    for batch in batches:
        start = sink.tell()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        lengths.append(sink.tell() - start)
    return lengths, memoryview(sink.getvalue())


def unpack_batches(lengths: list[int], body: bytes) -> list[pa.RecordBatch]:
    """What `pack_batches` packed. Each has memory of its own, so that a small one does not keep a large one."""
    batches = []
    start = 0
    for length in lengths:
        with pa.ipc.open_stream(body[start : start + length]) as reader:
            batches.append(reader.read_next_batch())
        start += length
    return batches
