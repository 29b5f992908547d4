"""A training set as Parquet, and what it was made of as JSON beside it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill import __version__
from tokenmill.classifiers.corpus.draw import TrainingSet
from tokenmill.core.errors import ConfigError

SCHEMA = pa.schema({name: pa.string() for name in ("text", "label", "doc_id", "url", "source")})
_ROWS = 1000


def check_output(out: str) -> None:
    """Make the folder. ConfigError where a training set cannot be written; before the sources are read."""
    path = Path(out)
    if "://" in out or path.suffix != ".parquet":
        raise ConfigError(
            f"a training set cannot be written to {out}",
            why="it is no file of this machine that ends in .parquet",
            fix="--out set.parquet",
        )
    for file in (path, path.with_suffix(".json")):
        if file.is_dir():
            raise ConfigError(
                f"a training set cannot be written to {path}", why=f"{file} is a folder", fix="name another file"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"a training set cannot be written to {path}",
            why=f"{type(error).__name__}: {error}",
            fix="name a file in a folder that can be written",
        ) from error


def facts_of(found: TrainingSet, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `write_training_set` says of a set: counts, seed, and the books of every source."""
    return {
        "tokenmill": __version__,
        "labels": found.counts(),
        "documents": len(found.examples),
        "wanted_of_each": found.documents,
        "balanced": found.balanced,
        "seed": found.seed,
        "sources": [{**asdict(book), "left_out": dict(sorted(book.left_out.items()))} for book in found.books],
        **(more or {}),
    }


def write_training_set(found: TrainingSet, path: Path, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write `path` (.parquet, the columns of `SCHEMA`), and the facts with its SHA-256 to the .json beside it.

    more: further facts, such as those of links. The same sources and settings give the same bytes.
    """
    check_output(str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
            for start in range(0, len(found.examples), _ROWS):
                rows = found.examples[start : start + _ROWS]
                columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        with open(part, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    facts = {**facts_of(found, more), "sha256": digest}
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts
