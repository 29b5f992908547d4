"""The sink `WriteTokens`: documents become token shards, in a global shuffled order, with lineage kept.

While documents pass, each input shard leaves sorted runs (`tokens/runs.py`) and `data/<shard>.parquet`, the documents
with `token_count` and without their text. Then the step `shards` gathers every token shard from all runs, and the step
`manifest` says what the set is. All of it is committed and resumed as any other work of a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import ShardWriter, Stage
from tokenmill.io.parquet import ParquetShardWriter
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.gather import Piece, Ranges, pieces, shuffled_ranges, source_ranges, totals
from tokenmill.tokens.runs import KEY, RUN_FILES, RUN_START, RunFiles, RunsWriter
from tokenmill.tokens.sink import ROW_GROUP, SMALL_TOKENS, TokenSink, shard_entries, write_shard_files
from tokenmill.tokens.stages import EncodeText
from tokenmill.tokens.tokenizer import LoadedTokenizer, library_version, load_tokenizer
from tokenmill.tokens.tokenset import DOCUMENT_COLUMNS, SetManifest, TokenizerInfo

ORDERS = ("shuffled", "source")
FAN_IN = 256
"""Shards of documents that are gathered from at once. With more, the runs of so many are merged first."""
RESERVED = frozenset({"token_start", KEY, RUN_START})
"""Names of columns that documents may not bring along."""
_SCALAR = (pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)


class WriteTokens(TokenSink):
    """Token shards of all documents, in one of the layouts that trainers read."""

    reads = ("doc_id", "text", "token_count", "tokens")
    takes: ClassVar[tuple[str, ...]] = ("doc_id", "tokens")
    leaves: ClassVar[tuple[str, ...]] = ("text",)
    beside: ClassVar[Mapping[str, str]] = RUN_FILES
    steps: ClassVar[tuple[str, ...]] = ("merge", "shards", "manifest")

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

    def open(self, paths: Mapping[str, str], schema: pa.Schema) -> ShardWriter:
        return _Writer(paths, schema, self)

    def size(self, work: Work) -> int:
        return sum(int(shard.facts["tokens"]) for shard in work.shards) // SMALL_TOKENS

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        if step == "merge":
            groups = -(-len(work.shards) // FAN_IN)
            return [f"{number:05d}" for number in range(groups)] if groups > 1 else []
        return super().tasks(step, work)

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        if step == "merge":
            return self._merge(_runs(work)[number * FAN_IN : (number + 1) * FAN_IN], out)
        return super().run_task(step, number, work, out)

    def shard_names(self, work: Work) -> Sequence[str]:
        tokens, _ = totals(_runs(work), self.add_eos)
        return [f"{number:05d}" for number in range(max(1, -(-tokens // self.shard_tokens)))]

    def tokenizer_json(self) -> bytes:
        return self._loaded.canonical

    def describe(self) -> Sequence[str]:
        eos = self._loaded.eos_token if self.add_eos else "nothing"
        order = f"shuffled with seed {self.seed}" if self.order == "shuffled" else "in the order of the input"
        return (
            f"{self._loaded.name}: {self._about.vocab_size:,} ids as {self._about.dtype.name}, {eos} after a document",
            f"documents {order}; shards of about {self.shard_tokens:,} tokens in the layout {self.format}",
        )

    def _merge(self, files: Sequence[RunFiles], out: TaskOutput) -> Mapping[str, Any]:
        """The runs of some shards as those of one: with 100,000 shards a piece would be read from as many files."""
        writer = self._runs_writer({kind: out.path(kind, end) for kind, end in RUN_FILES.items()}, files[0].schema)
        for piece in self._pieces(files, 0, 1, out, eos_id=None):
            writer.write_sorted(piece.keys, piece.rows, piece.ids)
            out.alive()
        writer.close()
        return writer.facts()

    def _runs_writer(self, paths: Mapping[str, str], columns: pa.Schema) -> RunsWriter:
        about = self._about
        seed = self.seed if self.order == "shuffled" else None
        return RunsWriter(paths, columns, seed=seed, eos=about.eos_id is not None, width=about.dtype.itemsize)

    def write_shard(self, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        files = _merged(work)
        schema = pa.schema([("token_start", pa.int64()), *files[0].schema])
        pieces = self._pieces(files, number, len(self.shard_names(work)), out, eos_id=self._about.eos_id)
        return write_shard_files(out, token_format(self.format), self._about, schema, pieces)

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

    def set_manifest(self, work: Work) -> SetManifest:
        tokens, documents = totals(_runs(work), self.add_eos)
        loaded = self._loaded
        eos = (loaded.eos_id, loaded.eos_token) if self.add_eos else (None, None)
        return SetManifest(
            layout=self.format,
            dtype=self._about.dtype.name,
            offset=token_format(self.format).offset(self._about),
            tokenizer=TokenizerInfo(loaded.name, loaded.sha256, loaded.vocab_size, *eos),
            documents=documents,
            tokens=tokens,
            shards=shard_entries(work.outputs("shards"), tokens, documents),
            order={"shuffled": True, "seed": self.seed} if self.order == "shuffled" else {"shuffled": False},
            made_from=[{"input": work.input}],
            more={"tokenizers": library_version()},
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
            paths["data"], self._schema, level=3, rows=ROW_GROUP, size=32 << 20, chunking=True
        )
        self._runs = sink._runs_writer(paths, _index_schema(schema))

    def write(self, batch: pa.RecordBatch) -> None:
        self._data.write(batch.select(self._schema.names))
        self._runs.write(batch)

    def close(self) -> None:
        self._data.close()
        self._runs.close()

    def facts(self) -> dict[str, int]:
        """For the steps: what the shard holds."""
        return self._runs.facts()
