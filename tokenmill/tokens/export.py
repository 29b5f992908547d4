"""A finished token set in the layout of a library that has its own folders of samples (`formats/samples.py`)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.formats.samples import CUTS_ITSELF, SAMPLE_WRITERS
from tokenmill.tokens.tokenset import MANIFEST_JSON, TOKENIZER_JSON, SetManifest, ShardEntry, TokenSet

Sample = tuple[npt.NDArray[Any], str, int]
"""(ids, name of the shard, offset in it)."""
_BLOCK = 1 << 20
_LARGEST_FILE = (1 << 32) - 1


def export_set(
    location: str | Path, output: str | Path, *, layout: str, sequence_length: int = 0, shard_bytes: int = 1 << 26
) -> SetManifest:
    """Write a finished set as samples into a new folder, which appears when it is complete; its manifest.

    layout: mds or litdata. sequence_length: 0 makes a sample of every document that has tokens, EOS included; else
    documents are joined in the order of the set and cut into samples of so many tokens, and the rest at the end is
    left out. shard_bytes: about the bytes of a file. The same set gives the same bytes. Samples of mds know their
    shard and offset, for `tokenmill origin`. ConfigError where the library is missing or the folder is there already.
    """
    source, target = TokenSet.open(location), Path(output)
    _check(target, layout, sequence_length, shard_bytes)
    shards = source.shards
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        folder = Path(scratch) / "set"
        writer = SAMPLE_WRITERS[layout](folder, source.manifest.dtype, shard_bytes)
        count = written = 0
        for ids, shard, offset in samples(source, sequence_length):
            writer.add(ids, shard, offset)
            count, written = count + 1, written + len(ids)
        writer.close()
        files = {path.name: _entry(path) for path in sorted(folder.iterdir())}
        tokens = sum(shard.tokens for shard in shards)
        manifest = replace(
            source.manifest,
            layout=layout,
            offset=-1,
            tokens=written,
            shards=(ShardEntry("all", source.manifest.documents, written, files),),
            made_from=({"set": str(source.folder.absolute())},),
            more={"samples": count, "sequence_length": sequence_length, "tokens_left_out": tokens - written},
        )
        shutil.copyfile(source.folder / TOKENIZER_JSON, folder / TOKENIZER_JSON)
        text = json.dumps(manifest.to_json(), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / MANIFEST_JSON).write_text(text, encoding="utf-8")
        os.replace(folder, target)
    return manifest


def _check(target: Path, layout: str, sequence_length: int, shard_bytes: int) -> None:
    if layout not in SAMPLE_WRITERS:
        raise ConfigError(
            f"a set is not exported as {layout!r}",
            why=did_you_mean(layout, SAMPLE_WRITERS),
            fix="ds, megatron, olmo, llmc and nanogpt are written by: tokenmill tokenize --format",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already", fix="give a folder that is not there yet")
    if sequence_length < 0:
        raise ConfigError(f"samples of {sequence_length} tokens", fix="a number above 0; 0: a sample is a document")
    if sequence_length and layout in CUTS_ITSELF:
        raise ConfigError(
            f"{layout} cuts sequences when it reads",
            fix="leave the length out, and give it to TokensLoader(block_size)",
        )
    if not 1 <= shard_bytes <= _LARGEST_FILE:
        raise ConfigError(f"files of {shard_bytes:,} bytes", why=f"they have 1 to {_LARGEST_FILE:,}")


def samples(tokens: TokenSet, sequence_length: int) -> Iterator[Sample]:
    """Documents that have tokens (sequence_length 0), or sequences of so many tokens, in the order of the set."""
    return _sequences(tokens, sequence_length) if sequence_length else _documents(tokens)


def _documents(tokens: TokenSet) -> Iterator[Sample]:
    eos = 0 if tokens.eos_id is None else 1
    for shard in tokens:
        table = shard.documents(["token_start", "token_count"])
        starts, counts = (table.column(name).to_numpy() for name in ("token_start", "token_count"))
        for place in np.flatnonzero(counts + eos).tolist():
            start = int(starts[place])
            yield shard.ids[start : start + int(counts[place]) + eos], shard.name, start


def _sequences(tokens: TokenSet, length: int) -> Iterator[Sample]:
    parts: list[npt.NDArray[Any]] = []
    have, begin = 0, ("", 0)
    for shard in tokens:
        at = 0
        while at < shard.tokens:
            if not have:
                begin = (shard.name, at)
            some = shard.ids[at : at + length - have]
            parts.append(some)
            have, at = have + len(some), at + len(some)
            if have == length:
                yield (np.concatenate(parts) if len(parts) > 1 else some), *begin
                parts, have = [], 0


def _entry(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}
