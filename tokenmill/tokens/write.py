"""The sink `WriteTokens`: documents become token shards, in a global shuffled order, with lineage kept.

While documents pass, each input shard leaves sorted runs (`tokens/runs.py`) and `data/<shard>.parquet`, the documents
with `token_count` and without their text. Then the step `shards` gathers every token shard from all runs, and the step
`manifest` says what the set is. All of it is committed and resumed as any other work of a run.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.stage import ShardWriter, Sink, Stage
from tokenmill.io.parquet import ParquetShardWriter, verify_parquet
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.gather import Piece, Ranges, pieces, shuffled_ranges, source_ranges, totals
from tokenmill.tokens.runs import KEY, RUN_FILES, RUN_START, RunFiles, RunsWriter
from tokenmill.tokens.stages import EncodeText
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from tokenmill.tokens.tokenset import DOCUMENT_COLUMNS, DOCUMENTS_SUFFIX, SetManifest, ShardEntry, TokenizerInfo

ORDERS = ("shuffled", "source")
FAN_IN = 256
"""Shards of documents that are gathered from at once. With more, the runs of so many are merged first."""
RESERVED = frozenset({"token_start", KEY, RUN_START})
"""Names of columns that documents may not bring along."""
_ROW_GROUP = 10_000
"""Documents of a row group of a table of documents: a lookup reads one."""
_SCALAR = (pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)


class WriteTokens(Sink):
    """Token shards of all documents, in one of the layouts that trainers read."""

    extension: ClassVar[str] = ".parquet"
    reads = ("doc_id", "text", "token_count", "tokens")
    takes: ClassVar[tuple[str, ...]] = ("doc_id", "tokens")
    leaves: ClassVar[tuple[str, ...]] = ("text",)
    beside: ClassVar[Mapping[str, str]] = RUN_FILES
    steps: ClassVar[tuple[str, ...]] = ("merge", "shards", "manifest")
    place: ClassVar[str] = "tokens"
    published: ClassVar[Mapping[str, str]] = {
        kind: "" for kind in ("tokens", "index", "metadata", "documents", "manifest", "tokenizer")
    }

    tokenizer: str = ""
    """A `tokenizer.json`, a folder with one (or with vocab.json and merges.txt), or a name on the hub."""
    eos: str = ""
    """Token that ends every document; empty: the tokenizer's own."""
    revision: str = ""
    """Revision of the tokenizer on the hub."""
    add_eos: bool = True
    """Whether EOS follows every document."""
    format: str = "ds"
    """Layout of the shards: ds (datatrove, nanotron), megatron, olmo, llmc, nanogpt."""
    order: str = "shuffled"
    """shuffled: documents of all inputs in one random order; source: as they come."""
    seed: int = 0
    """Seed of the order."""
    keep_text: bool = False
    """Whether `data/` has the texts as well: the data set as it was, with `token_count` filled in."""
    shard_tokens: int = 250_000_000
    """Tokens of a shard, about; 500 MB with ids of 16 bits."""

    @property
    def beside_ratio(self) -> float:
        return 0.6 * self._about.dtype.itemsize  # measured: 1.1 with gpt2, on pages as Parquet with zstd

    def columns_left(self) -> Collection[str]:
        return () if self.keep_text else type(self).leaves

    def needs(self) -> tuple[Stage, ...]:
        return (EncodeText(tokenizer=self.tokenizer, eos=self.eos, revision=self.revision),)

    def digests(self) -> Mapping[str, str]:
        self._check()
        return {"tokenizer": self._loaded.sha256}

    def check(self, types: Mapping[str, pa.DataType]) -> None:
        found = sorted(RESERVED & types.keys())
        if found:
            raise ConfigError(
                f"write_tokens cannot carry the column {found[0]!r}",
                why="the tables of documents have one of that name, which means something else",
                fix="leave it out (--tag NAME names those to carry), or give it another name",
            )

    def _check(self) -> None:
        if self.order not in ORDERS:
            raise ConfigError(f"no order {self.order!r}", fix=f"one of {', '.join(ORDERS)}")
        if self.shard_tokens < 1:
            raise ConfigError(f"shards of {self.shard_tokens} tokens", fix="a number above 0, such as 250000000")
        token_format(self.format).check(self._about, self.shard_tokens)

    @cached_property
    def _loaded(self) -> LoadedTokenizer:
        return load_tokenizer(self.tokenizer, eos=self.eos or None, revision=self.revision)

    @cached_property
    def _about(self) -> ShardAbout:
        loaded = self._loaded
        return ShardAbout(
            np.dtype(loaded.dtype), loaded.eos_id if self.add_eos else None, loaded.vocab_size, Path(loaded.name).name
        )

    def open(self, path: str, schema: pa.Schema) -> ShardWriter:
        raise NotImplementedError("WriteTokens writes several files: open_all")

    def open_all(self, paths: Mapping[str, str], schema: pa.Schema) -> ShardWriter:
        return _Writer(paths, schema, self)

    def verify(self, path: str, rows: int) -> None:
        verify_parquet(path, rows)

    def size(self, work: Work) -> int:
        return sum(int(shard.facts["tokens"]) for shard in work.shards) // 500  # as many bytes as small documents

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        if step == "manifest":
            return ["manifest", "tokenizer"]
        if step == "merge":
            groups = -(-len(work.shards) // FAN_IN)
            return [f"{number:05d}" for number in range(groups)] if groups > 1 else []
        total, _ = totals(_runs(work), self.add_eos)
        return [f"{number:05d}" for number in range(max(1, -(-total // self.shard_tokens)))]

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step == "merge":
            return self._merge(_runs(work)[number * FAN_IN : (number + 1) * FAN_IN], out)
        if step == "shards":
            return self._shard(number, work, out)
        if number == 0:
            with open(out.path("manifest", ".json"), "w", encoding="utf-8") as stream:
                json.dump(self._manifest(work).to_json(), stream, indent=1, sort_keys=True, ensure_ascii=False)
        else:
            with open(out.path("tokenizer", ".json"), "wb") as binary:
                binary.write(self._loaded.canonical)
        return {}

    def describe(self) -> Sequence[str]:
        eos = self._loaded.eos_token if self.add_eos else "nothing"
        order = f"shuffled with seed {self.seed}" if self.order == "shuffled" else "in the order of the input"
        return (
            f"{self._loaded.name}: {self._about.vocab_size:,} ids as {self._about.dtype.name}, {eos} after a document",
            f"documents {order}; shards of about {self.shard_tokens:,} tokens in the layout {self.format}",
        )

    def _merge(self, files: Sequence[RunFiles], out: TaskOutput) -> Mapping[str, Any]:
        """The runs of some shards as those of one: with 100,000 shards a piece would be read from as many files."""
        writer: RunsWriter | None = None
        paths = {kind: out.path(kind, ending) for kind, ending in RUN_FILES.items()}
        about = self._about
        for piece in self._pieces(files, 0, 1, out, eos_id=None):
            if writer is None:
                seed = self.seed if self.order == "shuffled" else None
                eos, width = about.eos_id is not None, about.dtype.itemsize
                writer = RunsWriter(paths, piece.rows.schema, seed=seed, eos=eos, width=width)
            writer.write_sorted(piece.keys, piece.rows, piece.ids)
            out.alive()
        if writer is None:
            writer = RunsWriter(paths, _index_schema(pa.schema([])), seed=None, eos=False, width=1)
        writer.close()
        return writer.facts()

    def _shard(self, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        layout = token_format(self.format)
        table = _DocumentsWriter(out.path("documents", DOCUMENTS_SUFFIX))
        writer = layout.open({kind: out.path(kind, ending) for kind, ending in layout.files.items()}, self._about)
        files = _merged(work)
        parts = len(self.tasks("shards", work))
        for piece in self._pieces(files, number, parts, out, eos_id=self._about.eos_id):
            writer.add(piece.ids, piece.lengths)
            table.add(piece)
            out.alive()
        table.close()
        writer.close(table.read(layout.document_columns))
        return {"documents": table.documents, "tokens": table.tokens, "rows_of": {"documents": table.documents}}

    def _pieces(
        self, files: Sequence[RunFiles], number: int, parts: int, out: TaskOutput, *, eos_id: int | None
    ) -> Iterator[Piece]:

        def ranges_of(part: int, parts: int) -> Ranges:
            if self.order == "shuffled":
                return shuffled_ranges(files, part, parts)
            return source_ranges(files, part, parts, self.add_eos)

        return pieces(
            ranges_of,
            number,
            parts,
            totals(files, self.add_eos),
            dtype=self._about.dtype,
            eos_id=eos_id,
            merged=self.order == "shuffled",
            alive=out.alive,
        )

    def _manifest(self, work: Work) -> SetManifest:
        layout = token_format(self.format)
        shards = []
        for task in work.outputs("shards"):
            files = {
                kind: {**file, "path": str(file["path"]).removeprefix(f"{self.place}/")}
                for kind, file in task.files.items()
            }
            for file in files.values():
                del file["rows"]
            shards.append(ShardEntry(task.name, int(task.facts["documents"]), int(task.facts["tokens"]), files))
        loaded = self._loaded
        documents, tokens = sum(s.documents for s in shards), sum(s.tokens for s in shards)
        if (tokens, documents) != totals(_runs(work), self.add_eos):
            raise ShardError(
                "documents or tokens were lost on the way into the shards",
                why=f"{documents:,} documents and {tokens:,} tokens are in them",
                fix="please report this",
            )
        eos = (loaded.eos_id, loaded.eos_token) if self.add_eos else (None, None)
        return SetManifest(
            layout=self.format,
            dtype=self._about.dtype.name,
            offset=layout.offset(self._about),
            tokenizer=TokenizerInfo(loaded.name, loaded.sha256, loaded.vocab_size, *eos),
            documents=documents,
            tokens=tokens,
            shards=shards,
            order={"shuffled": self.order == "shuffled", **({"seed": self.seed} if self.order == "shuffled" else {})},
            made_from=[{"input": work.input}],
            more={"tokenizers": importlib.metadata.version("tokenizers")},
        )


def _runs(work: Work) -> list[RunFiles]:
    return [RunFiles.of(shard.beside, shard.facts) for shard in work.shards]


def _merged(work: Work) -> list[RunFiles]:
    """The runs of all documents in as few files as there are."""
    return [RunFiles.of(task.paths, task.facts) for task in work.outputs("merge")] or _runs(work)


def _index_schema(schema: pa.Schema) -> pa.Schema:
    """Columns of the index, and so of the tables of documents: the usual ones, and what else holds a number or text."""
    usual = [pa.field(name, dtype) for name, dtype in DOCUMENT_COLUMNS.items() if name != "token_start"]
    known = {"text", *DOCUMENT_COLUMNS}
    further = [field for field in schema if field.name not in known and any(is_kind(field.type) for is_kind in _SCALAR)]
    return pa.schema([*usual, *further])


class _Writer:
    """The files of one input shard."""

    def __init__(self, paths: Mapping[str, str], schema: pa.Schema, sink: WriteTokens) -> None:
        self._schema = pa.schema([field for field in schema if field.name not in sink.takes])
        self._data = ParquetShardWriter(
            paths["data"], self._schema, level=3, rows=_ROW_GROUP, size=32 << 20, chunking=True
        )
        about = sink._about
        self._runs = RunsWriter(
            {kind: paths[kind] for kind in RUN_FILES},
            _index_schema(schema),
            seed=sink.seed if sink.order == "shuffled" else None,
            eos=about.eos_id is not None,
            width=about.dtype.itemsize,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        self._data.write(batch.select(self._schema.names))
        self._runs.write(batch)

    def close(self) -> None:
        self._data.close()
        self._runs.close()

    def facts(self) -> dict[str, int]:
        """For the steps: what the shard holds."""
        return self._runs.facts()


class _DocumentsWriter:
    """The table of documents of a token shard."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self.documents = 0
        self.tokens = 0

    def add(self, piece: Piece) -> None:
        starts = self.tokens + np.cumsum(piece.lengths) - piece.lengths
        table = piece.rows.add_column(0, "token_start", pa.array(starts, pa.int64()))
        self._write(table)
        self.documents += table.num_rows
        self.tokens += int(piece.lengths.sum())

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd", write_page_index=True)
        self._writer.write_table(table, row_group_size=_ROW_GROUP)

    def close(self) -> None:
        if self._writer is None:
            self._write(pa.schema(list(DOCUMENT_COLUMNS.items())).empty_table())
        assert self._writer is not None
        self._writer.close()

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of what was written, for layouts that want them."""
        if not columns:
            return pa.table({"token_count": pa.nulls(self.documents, pa.int64())})
        return pq.read_table(self._path, columns=list(columns))
