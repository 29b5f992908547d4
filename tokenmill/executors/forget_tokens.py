"""The token shards of a run without some documents: their ids go, and where the others begin is counted anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.schema import DOC_ID
from tokenmill.executors.forget_find import NAMED, Targets, goes
from tokenmill.executors.forget_write import Rewrite
from tokenmill.io.runfolder import Attempt, RunFolder
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.sink import write_shard_files
from tokenmill.tokens.tokenset import TOKENS_FOLDER, TokenSet, TokenShard

_ROWS = 10_000


@dataclass(frozen=True)
class _Part:
    """Some documents of a shard, one behind the other."""

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    rows: pa.Table


@dataclass
class _Out:
    """Where a shard is written: files of an attempt are named after their kind."""

    attempt: Attempt

    def path(self, kind: str, extension: str) -> str:
        return self.attempt.path(kind)

    def alive(self) -> None:
        """Nobody waits for a word here."""


def rewrite_tokens(folder: RunFolder, run: Mapping[str, Any], targets: Targets, tombstone: str) -> set[str]:
    """Take documents out of a run's token shards; the directories of phases that have changed. Idempotent."""
    steps = {phase["step"]: phase["directory"] for phase in run["phases"] if phase["stages"][-1] == _sink(run)}
    if "shards" not in steps or not folder.exists(f"{TOKENS_FOLDER}/manifest.json"):
        return set()
    changed: set[str] = set()
    tokens = TokenSet.open(folder.path("").rstrip("/"))
    for shard in tokens:
        rewrite = Rewrite(folder, steps["shards"], shard.name)
        if _rewrite_shard(tokens, shard, rewrite, targets) and rewrite.commit(tombstone):
            changed.add(steps["shards"])
    rewrite = Rewrite(folder, steps["manifest"], "manifest")
    if _rewrite_manifest(folder, steps["shards"], rewrite) and rewrite.commit(tombstone):
        changed.add(steps["manifest"])
    return changed


def _sink(run: Mapping[str, Any]) -> str:
    label: str = run["stages"][-1]["stage"]
    return label


def _rewrite_shard(tokens: TokenSet, shard: TokenShard, rewrite: Rewrite, targets: Targets) -> bool:
    """Write a shard again without documents; False where it has none of them."""
    if not goes(pq.read_table(shard.documents_path, columns=[DOC_ID, *NAMED]), targets).true_count:
        return False
    manifest = tokens.manifest
    info = manifest.tokenizer
    about = ShardAbout(np.dtype(manifest.dtype).newbyteorder("<"), info.eos_id, info.vocab_size, Path(info.name).name)
    schema = pq.read_schema(shard.documents_path)
    parts = _parts(tokens, shard, rewrite, targets)
    facts = write_shard_files(_Out(rewrite.attempt), token_format(manifest.layout), about, schema, parts)
    for file in list(rewrite.manifest["files"]):
        rewrite.replace(file["kind"], facts["documents"] if file["kind"] == "documents" else file["rows"])
    rewrite.manifest["facts"] = {**rewrite.manifest["facts"], **facts}
    return True


def _parts(tokens: TokenSet, shard: TokenShard, rewrite: Rewrite, targets: Targets) -> Iterator[_Part]:
    """The documents that stay, with their ids. The file may be that of before: its manifest says how long it is."""
    eos = tokens.eos_id is not None
    ids = _mapped(tokens, shard, rewrite)
    for batch in pq.ParquetFile(shard.documents_path).iter_batches(batch_size=_ROWS):
        table = pa.Table.from_batches([batch])
        table = table.filter(pc.invert(goes(table, targets)))
        starts = table.column("token_start").to_numpy()
        lengths = table.column("token_count").to_numpy().astype(np.int64) + eos
        chosen = [ids[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        rows = table.drop_columns(["token_start"])
        yield _Part(np.concatenate([ids[:0], *chosen]), lengths, rows)


def _mapped(tokens: TokenSet, shard: TokenShard, rewrite: Rewrite) -> npt.NDArray[Any]:
    """The ids of a shard. Its length is that of the phase's manifest: that of the set is written after all shards."""
    count = int(rewrite.manifest["facts"]["tokens"])
    dtype = np.dtype(tokens.manifest.dtype).newbyteorder("<")
    if not count:
        return np.empty(0, dtype)
    return np.memmap(shard.path, dtype, mode="r", offset=tokens.manifest.offset, shape=(count,))


def _rewrite_manifest(folder: RunFolder, shards: str, rewrite: Rewrite) -> bool:
    """Write the manifest of the set again, with what the shards hold now; False where it says so already."""
    entry = rewrite.entry("manifest")
    assert entry is not None
    content = folder.read_json(entry["path"])
    found = []
    for shard in content["shards"]:
        made = folder.manifest(shards, shard["name"])
        assert made is not None
        files = {
            file["kind"]: {"path": file["path"].removeprefix(f"{TOKENS_FOLDER}/")}
            | {key: file[key] for key in ("bytes", "sha256")}
            for file in made["files"]
        }
        counts = {name: int(made["facts"][name]) for name in ("documents", "tokens")}
        found.append({**shard, **counts, "files": files})
    if found == content["shards"]:
        return False
    totals = {name: sum(shard[name] for shard in found) for name in ("documents", "tokens")}
    new = {**content, **totals, "shards": found}
    text = json.dumps(new, indent=1, sort_keys=True, ensure_ascii=False)
    Path(rewrite.attempt.path("manifest")).write_text(text, encoding="utf-8")
    rewrite.replace("manifest", entry["rows"])
    return True
