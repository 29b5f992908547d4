"""Small token sets for tests, written by the formats themselves."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.tokenset import (
    DOCUMENT_COLUMNS,
    DOCUMENTS_SUFFIX,
    MANIFEST_JSON,
    TOKENIZER_JSON,
    TOKENS_FOLDER,
    SetManifest,
    ShardEntry,
    TokenizerInfo,
    TokenSet,
)

WORDS: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "model": {"type": "WordLevel", "vocab": {"<eos>": 0} | {f"w{n}": n for n in range(1, 100)}, "unk_token": "<eos>"},
}
"""A tokenizer whose id n is the word "wn", up to 99."""
Documents = Sequence[Sequence[int]]
"""Ids of documents, without EOS."""


def make_set(
    folder: Path,
    documents: Sequence[Documents],
    layout: str = "ds",
    eos_id: int | None = 0,
    vocab_size: int = 65_536,
    tags: Mapping[str, Sequence[Any]] | None = None,
    *,
    row_group_rows: int = 10_000,
    tokenizer: Path | None = None,
    made_from: Sequence[Mapping[str, Any]] = (),
    facts: Sequence[Mapping[str, Any]] = (),
    order: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> TokenSet:
    """A finished set in `folder`/tokens.

    documents: for each shard its documents, each a list of ids without EOS. tags: further columns of the tables of
    documents, or other values for those of DOCUMENT_COLUMNS (except token_start and token_count); one value for each
    document of the set, shard after shard. tokenizer: a tokenizer.json to lie beside the shards, WORDS where it is
    None. facts: of each shard.
    Document n of the set has by itself the id "<urn:uuid:n>", the doc_id "a.warc.gz#<n * 1000>" and so on.
    """
    root = folder / TOKENS_FOLDER
    root.mkdir(parents=True)
    dtype = np.dtype("<u2" if vocab_size <= 65_536 else "<u4")
    about = ShardAbout(dtype=dtype, eos_id=eos_id, vocab_size=vocab_size, tokenizer="tests")
    entries, first = [], 0
    for number, shard in enumerate(documents):
        table = documents_table(shard, eos_id, first, tags or {})
        entry = write_shard(root, f"{number:05d}", shard, table, layout, about, row_group_rows)
        entries.append(entry if not facts else ShardEntry(**{**vars(entry), "facts": dict(facts[number])}))
        first += len(shard)
    if tokenizer is not None:
        shutil.copyfile(tokenizer, root / TOKENIZER_JSON)
    else:
        (root / TOKENIZER_JSON).write_text(json.dumps(WORDS), encoding="utf-8")
    manifest = SetManifest(
        layout=layout,
        dtype=dtype.newbyteorder("=").name,
        offset=token_format(layout).offset(about),
        tokenizer=TokenizerInfo(
            "tests", _digest(root / TOKENIZER_JSON), vocab_size, eos_id, None if eos_id is None else "<eos>"
        ),
        documents=sum(entry.documents for entry in entries),
        tokens=sum(entry.tokens for entry in entries),
        shards=tuple(entries),
        order=order or {"shuffled": False, "seed": 0},
        made_from=tuple(made_from),
        more=more or {},
    )
    save(root, manifest)
    return TokenSet.open(folder)


def save(root: Path, manifest: SetManifest) -> None:
    """Write (or replace) the manifest in the folder of the shards."""
    (root / MANIFEST_JSON).write_text(json.dumps(manifest.to_json(), indent=1), encoding="utf-8")


def documents_table(
    shard: Documents, eos_id: int | None, first: int = 0, tags: Mapping[str, Sequence[Any]] | None = None
) -> pa.Table:
    """The table of documents of a shard whose first document is number `first` of the set."""
    counts = np.array([len(ids) for ids in shard], np.int64)
    starts = np.cumsum(counts + (eos_id is not None)) - counts - (eos_id is not None)
    numbers = range(first, first + len(shard))
    columns: dict[str, Any] = {
        "token_start": starts,
        "token_count": counts,
        "doc_id": [f"a.warc.gz#{n * 1000}" for n in numbers],
        "id": [f"<urn:uuid:{n}>" for n in numbers],
        "url": [f"https://example.org/{n}" for n in numbers],
        "dump": ["CC-MAIN-2024-10"] * len(shard),
        "date": ["2024-03-01T00:00:00Z"] * len(shard),
        "file_path": ["a.warc.gz"] * len(shard),
        "warc_offset": [n * 1000 for n in numbers],
        "warc_length": [900] * len(shard),
        "language": ["en"] * len(shard),
    }
    columns |= {name: list(values)[first : first + len(shard)] for name, values in (tags or {}).items()}
    arrays = {name: pa.array(values, DOCUMENT_COLUMNS.get(name)) for name, values in columns.items()}
    return pa.table(arrays)


def write_shard(
    root: Path,
    name: str,
    shard: Documents,
    table: pa.Table,
    layout: str,
    about: ShardAbout,
    row_group_rows: int = 10_000,
    batch: int = 3,
) -> ShardEntry:
    """A shard, given to its writer in a few documents at a time, and what the manifest says of it."""
    form = token_format(layout)
    paths = {kind: root / f"{name}{ending}" for kind, ending in form.files.items()}
    writer = form.open({kind: str(path) for kind, path in paths.items()}, about)
    eos = [] if about.eos_id is None else [about.eos_id]
    tokens = 0
    for at in range(0, len(shard), batch):
        ids = [[*ids, *eos] for ids in shard[at : at + batch]]
        flat = np.array([one for some in ids for one in some], about.dtype)
        writer.add(flat, np.array([len(some) for some in ids], np.int64))
        tokens += len(flat)
    writer.close(table)
    paths["documents"] = root / f"{name}{DOCUMENTS_SUFFIX}"
    pq.write_table(table, paths["documents"], row_group_size=row_group_rows)
    files = {
        kind: {"path": path.name, "bytes": path.stat().st_size, "sha256": _digest(path)} for kind, path in paths.items()
    }
    return ShardEntry(name=name, documents=len(shard), tokens=tokens, files=files)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
