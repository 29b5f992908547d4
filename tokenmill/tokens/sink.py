"""What all sinks of token shards share: how a shard, its table of documents and the manifest of the set are written."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskFiles, TaskOutput, Work
from tokenmill.core.errors import ShardError
from tokenmill.core.stage import SteppedSink
from tokenmill.io.parquet import verify_parquet
from tokenmill.tokens.formats.base import FormatWriter, ShardAbout, TokenFormat
from tokenmill.tokens.tokenset import DOCUMENTS_SUFFIX, TOKENS_FOLDER, SetManifest, ShardEntry

ROW_GROUP = 10_000
"""Documents of a row group of a table of documents: a lookup reads one."""
SMALL_TOKENS = 500
"""Tokens that count as one document when the engine asks whether steps are small: as many bytes."""
_FILES = ("tokens", "index", "metadata", "documents", "manifest", "tokenizer")
_LAST = ("manifest", "tokenizer")
"""Tasks of the step `manifest`."""


class Documents(Protocol):
    """Documents in their final order."""

    @property
    def ids(self) -> npt.NDArray[Any]:
        """Of all, EOS included."""
        ...

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document, EOS included."""
        ...

    @property
    def rows(self) -> pa.Table:
        """Their rows of the table of documents, without `token_start`."""
        ...


class TokenSink(SteppedSink):
    """A sink whose last steps are `shards` and `manifest`: the files of a token set."""

    extension: ClassVar[str] = ".parquet"
    place: ClassVar[str] = TOKENS_FOLDER
    published: ClassVar[Mapping[str, str]] = dict.fromkeys(_FILES, "")

    @abstractmethod
    def shard_names(self, work: Work) -> Sequence[str]:
        """Names of the token shards, in order."""

    @abstractmethod
    def write_shard(self, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        """Write a token shard; the facts of it."""

    @abstractmethod
    def set_manifest(self, work: Work) -> SetManifest:
        """The manifest of the set."""

    @abstractmethod
    def tokenizer_json(self) -> bytes:
        """The tokenizer that lies beside the shards."""

    def verify(self, path: str, rows: int) -> None:
        verify_parquet(path, rows)

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        return _LAST if step == "manifest" else self.shard_names(work)

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step == "shards":
            return self.write_shard(number, work, out)
        kind = _LAST[number]
        content = self.tokenizer_json() if kind == "tokenizer" else _json(self.set_manifest(work))
        with open(out.path(kind, ".json"), "wb") as stream:
            stream.write(content)
        return {}


def _json(manifest: SetManifest) -> bytes:
    return json.dumps(manifest.to_json(), indent=1, sort_keys=True, ensure_ascii=False).encode()


def write_shard_files(
    out: TaskOutput, layout: TokenFormat, about: ShardAbout, schema: pa.Schema, parts: Iterable[Documents]
) -> dict[str, Any]:
    """A token shard and its table of documents, from documents as they come; {documents, tokens, rows_of}.

    schema: of the table, `token_start` first.
    """
    path = out.path("documents", DOCUMENTS_SUFFIX)
    documents = tokens = 0
    with ExitStack() as stack:
        table = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd", write_page_index=True))
        writer: FormatWriter = layout.open({kind: out.path(kind, end) for kind, end in layout.files.items()}, about)
        stack.callback(writer.abandon)  # after an error; a writer that is closed has nothing to abandon
        for part in parts:
            writer.add(part.ids, part.lengths)
            starts = tokens + np.cumsum(part.lengths) - part.lengths
            table.write_table(part.rows.add_column(0, "token_start", pa.array(starts, pa.int64())), ROW_GROUP)
            documents += part.rows.num_rows
            tokens += int(part.lengths.sum())
            out.alive()
        table.close()
        writer.close(_columns(path, layout.document_columns, documents))
    return {"documents": documents, "tokens": tokens, "rows_of": {"documents": documents}}


def _columns(path: str, columns: Collection[str], documents: int) -> pa.Table:
    """Columns of the table that was written, for layouts that want them."""
    if not columns:
        return pa.table({"token_count": pa.nulls(documents, pa.int64())})
    return pq.read_table(path, columns=list(columns))


def shard_entries(tasks: Iterable[TaskFiles], tokens: int, documents: int | None = None) -> list[ShardEntry]:
    """The shards of a set, from what the tasks of the step `shards` have left.

    ShardError unless they hold so many tokens, EOS included, and documents (None: as many as there are).
    """
    found = []
    for task in tasks:
        files = {
            kind: {"path": str(file["path"]).removeprefix(f"{TOKENS_FOLDER}/")}
            | {k: file[k] for k in ("bytes", "sha256")}
            for kind, file in task.files.items()
        }
        found.append(ShardEntry(task.name, int(task.facts["documents"]), int(task.facts["tokens"]), files))
    held = sum(shard.tokens for shard in found), sum(shard.documents for shard in found)
    if held != (tokens, held[1] if documents is None else documents):
        raise ShardError(
            "documents or tokens were lost on the way into the shards",
            why=f"{held[0]:,} tokens of {held[1]:,} documents are in them, and {tokens:,} tokens were to be",
            fix="please report this",
        )
    return found
