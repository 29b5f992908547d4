"""Files of the kinds that training sets are made from."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenmill.classifiers.corpus.draw import Book, TrainingSet


def jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as JSON Lines, compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else open(path, "w", encoding="utf-8")
    with opened as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return str(path)


def warc(path: Path, pages: Iterable[tuple[str, bytes, Mapping[str, str]]]) -> str:
    """HTTP responses (address, body as archived, headers), a gzip member each. warcio leaves its own files open."""
    with open(path, "wb") as stream:
        for url, body, headers in pages:
            lines = {"Content-Type": "text/html; charset=utf-8", **headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            block = f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body
            fields = f"WARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url)}>\r\n"
            fields += f"WARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\nContent-Length: {len(block)}\r\n"
            stream.write(gzip.compress(f"WARC/1.0\r\n{fields}\r\n".encode() + block + b"\r\n\r\n"))
    return str(path)


def balanced(book: Book) -> bool:
    """Whether the books of a source add up."""
    return book.read == book.drawn + sum(book.left_out.values())


def texts(found: TrainingSet, label: str) -> list[str]:
    """The texts of a class, in order."""
    return [example.text for example in found.examples if example.label == label]
