"""Whether a finished token set is what its manifest says, and whether its parts agree with each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ShardError
from tokenmill.tokens.formats.readback import problems_of_layout
from tokenmill.tokens.formats.registry import format_names, token_format
from tokenmill.tokens.tokenset import (
    DOCUMENT_COLUMNS,
    ID_TYPES,
    TOKENIZER_JSON,
    TokenSet,
    TokenShard,
    check_regular,
)

_FILE = {"path", "bytes", "sha256"}
_PLACES = pa.schema([("token_start", pa.int64()), ("token_count", pa.int64())])
_BLOCK = 1 << 22
"""Ids, or bytes, that are looked at in one go."""


def verify_set(location: str | Path, *, digests: bool = True) -> list[str]:
    """What is wrong with a token set, one line for each problem; empty: nothing was found.

    Looked at: files and their sizes, totals, the files of the layout against the tables of documents, whether EOS
    stands behind every document and nowhere else, and whether all ids are in the vocabulary. digests: SHA-256 of all
    files too, so that every byte is read. Sets of libraries (mds, litdata): files only. Memory: 40 bytes a document
    of one shard. ConfigError where there is no set at all.
    """
    return list(problems_of(TokenSet.open(location), digests=digests))


def problems_of(tokens: TokenSet, *, digests: bool = True) -> Iterator[str]:
    """The same as they are found."""
    manifest = tokens.manifest
    yield from _totals(tokens)
    yield from _tokenizer(tokens)
    yield from _strangers(tokens)
    for entry in manifest.shards:
        broken = False
        for kind, file in entry.files.items():
            if not _FILE <= set(file):
                broken = True
                yield f"manifest.json: of the file {kind!r} of shard {entry.name} it does not say {sorted(_FILE)}"
                continue
            for problem in _file(tokens.folder, file, digests):
                broken = True
                yield problem
        if tokens.flat and not broken:
            yield from _shard(TokenShard(tokens.folder, entry, manifest), tokens)


def _totals(tokens: TokenSet) -> Iterator[str]:
    manifest = tokens.manifest
    for name in ("documents", "tokens"):
        said, total = getattr(manifest, name), sum(getattr(shard, name) for shard in manifest.shards)
        if said != total:
            yield f"manifest.json: it says {said:,} {name}, its shards have {total:,}"
    names = [shard.name for shard in manifest.shards]
    if len(set(names)) != len(names):
        yield "manifest.json: two shards have the same name"
    if manifest.dtype not in ID_TYPES:
        yield f"manifest.json: ids of the type {manifest.dtype}"
        return
    about = manifest.tokenizer
    if about.vocab_size > np.iinfo(manifest.dtype).max + 1:
        yield f"manifest.json: {about.vocab_size:,} ids do not fit into {manifest.dtype}"
    if about.eos_id is not None and not 0 <= about.eos_id < about.vocab_size:
        yield f"manifest.json: EOS is {about.eos_id}, ids go up to {about.vocab_size - 1}"


def _tokenizer(tokens: TokenSet) -> Iterator[str]:
    path = tokens.folder / TOKENIZER_JSON
    if not path.is_file():
        yield f"{TOKENIZER_JSON}: it is missing"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != tokens.manifest.tokenizer.sha256:
        yield f"{TOKENIZER_JSON}: it is not the tokenizer of the manifest, its SHA-256 differs"


def _strangers(tokens: TokenSet) -> Iterator[str]:
    """Files that look like shards and are none: many readers take all that the folder has."""
    layout = tokens.manifest.layout
    if layout not in format_names():
        return
    known = {str(file.get("path")) for shard in tokens.manifest.shards for file in shard.files.values()}
    endings = tuple(token_format(layout).files.values())
    for path in sorted(tokens.folder.iterdir()):
        if path.name.endswith(endings) and path.name not in known:
            yield f"{path.name}: it is no file of the set, but readers of {layout} could take it for one"


def _file(folder: Path, file: Mapping[str, Any], digests: bool) -> Iterator[str]:
    name = str(file["path"])
    path = folder / name
    try:
        size = check_regular(path)
        if size != file["bytes"]:
            yield f"{name}: {size:,} bytes, the manifest says {file['bytes']:,}"
        elif digests and _digest(path, size) != file["sha256"]:
            yield f"{name}: its SHA-256 is not that of the manifest"
    except OSError as error:
        yield f"{name}: {error.strerror or error}"


def _digest(path: Path, size: int) -> str:
    """SHA-256 of so many bytes of a file: no more, for a file may grow while it is read."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while size > 0 and (block := stream.read(min(size, _BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


def _shard(shard: TokenShard, tokens: TokenSet) -> Iterator[str]:
    manifest = tokens.manifest
    if manifest.dtype not in ID_TYPES:
        return
    if manifest.layout not in format_names():
        yield f"manifest.json: no layout of token shards is called {manifest.layout!r}"
        return
    kinds = {*token_format(manifest.layout).files, "documents"}
    if set(shard.entry.files) != kinds:
        yield f"{shard.name}: it has files of the kinds {sorted(shard.entry.files)}, not {sorted(kinds)}"
        return
    try:
        table = shard.documents(_PLACES.names).select(_PLACES.names).cast(_PLACES)
    except (ShardError, pa.ArrowException) as error:
        yield f"{shard.documents_path.name}: {' '.join(str(error).split())}"
        return
    width = np.dtype(manifest.dtype).itemsize
    if shard.path.stat().st_size != manifest.offset + shard.tokens * width:
        yield f"{shard.path.name}: {shard.path.stat().st_size:,} bytes for {shard.tokens:,} tokens"
        return
    eos_id = manifest.tokenizer.eos_id
    eos = 0 if eos_id is None else 1
    problems = list(_table(shard, table, eos))
    yield from problems
    if problems:  # without lengths nothing else can be compared
        return
    lengths = table.column("token_count").to_numpy() + eos
    paths = {kind: tokens.folder / str(file["path"]) for kind, file in shard.entry.files.items()}
    yield from problems_of_layout(manifest.layout, paths, width, lengths)
    yield from _ids(shard, shard.ids, np.cumsum(lengths) - 1, eos_id, manifest.tokenizer.vocab_size)


def _table(shard: TokenShard, table: pa.Table, eos: int) -> Iterator[str]:
    name = shard.documents_path.name
    if len(table) != shard.documents_count:
        yield f"{name}: {len(table):,} documents, the manifest says {shard.documents_count:,}"
        return
    missing = sorted(set(DOCUMENT_COLUMNS) - set(pq.read_schema(shard.documents_path).names))
    if missing:
        yield f"{name}: it has no columns {missing}"
    if table.column("token_start").null_count or table.column("token_count").null_count:
        yield f"{name}: places of documents are missing"
        return
    counts = table.column("token_count").to_numpy()
    if len(counts) and counts.min() < 0:
        yield f"{name}: a document has a negative number of tokens"
    lengths = counts + eos
    starts = np.cumsum(lengths) - lengths
    wrong = np.flatnonzero(table.column("token_start").to_numpy() != starts)
    if len(wrong):
        yield f"{name}: document {wrong[0]:,} does not begin where the one before it ends (and {len(wrong) - 1:,} more)"
    if int(lengths.sum()) != shard.tokens:
        yield f"{name}: documents of {int(lengths.sum()):,} tokens, the shard has {shard.tokens:,}"


def _ids(
    shard: TokenShard, ids: npt.NDArray[Any], last: npt.NDArray[np.int64], eos_id: int | None, vocab_size: int
) -> Iterator[str]:
    """Ids that are none, and EOS at other places than `last`, the last token of every document."""
    unknown = missing = surplus = 0
    first: dict[str, int] = {}
    for start in range(0, len(ids), _BLOCK):
        block = np.asarray(ids[start : start + _BLOCK])
        if len(block) and int(block.max()) >= vocab_size:
            places = np.flatnonzero(block >= vocab_size)
            unknown += len(places)
            first.setdefault("unknown", start + int(places[0]))
        if eos_id is None:
            continue
        found = np.flatnonzero(block == eos_id) + start
        wanted = last[np.searchsorted(last, start) : np.searchsorted(last, start + len(block))]
        if np.array_equal(found, wanted):
            continue
        for what, places in (("missing", np.setdiff1d(wanted, found)), ("surplus", np.setdiff1d(found, wanted))):
            if len(places):
                first.setdefault(what, int(places[0]))
        missing += len(np.setdiff1d(wanted, found))
        surplus += len(np.setdiff1d(found, wanted))
    name = shard.path.name
    if unknown:
        yield f"{name}: {unknown:,} ids are not below {vocab_size:,}, the first at offset {first['unknown']:,}"
    if missing:
        yield f"{name}: {missing:,} documents do not end with EOS, the first at offset {first['missing']:,}"
    if surplus:
        yield f"{name}: EOS stands inside of documents {surplus:,} times, first at offset {first['surplus']:,}"
