"""The sink `WriteMixture`: the shards of a mixture, stage by stage, from the token sets of its sources.

Its phase of documents only counts (`ReadTokenDocuments`). Then the step `schedule` says what each stage takes of each
stream, `shards` copies documents window by window, reading no more than it writes, and `manifest` says what the set is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from tokenmill.core.barrier import TaskOutput, Work
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.schema import DOC_ID, FINEWEB, PROVENANCE
from tokenmill.core.stage import ShardWriter
from tokenmill.io.parquet import ParquetShardWriter
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.source import COUNTS, ReadTokenDocuments, SourceSet, open_sets, set_digests
from tokenmill.tokens.mix.spec import Mixture, parse_mixture
from tokenmill.tokens.mix.stream import CACHE_BYTES, SetReader, Stream
from tokenmill.tokens.mix.window import (
    StageSchedule,
    WindowMaker,
    documents_schema,
    parts_of,
    schedule,
)
from tokenmill.tokens.sink import ROW_GROUP, SMALL_TOKENS, TokenSink, shard_entries, write_shard_files
from tokenmill.tokens.tokenset import TOKENIZER_JSON, SetManifest, TokenizerInfo


def mixture_pipeline(mixture: Mixture) -> Pipeline:
    """The pipeline that makes a mixture of token sets; its inputs are `inputs_of` its sets."""
    settings = mixture.to_json()
    return Pipeline(mixture.name, [ReadTokenDocuments(mixture=settings), WriteMixture(mixture=settings)])


class WriteMixture(TokenSink):
    """Token shards of a mixture, in one of the layouts that trainers read."""

    reads = (DOC_ID, *COUNTS)
    leaves: ClassVar[tuple[str, ...]] = (*FINEWEB, *PROVENANCE)
    version: ClassVar[int] = 2
    steps: ClassVar[tuple[str, ...]] = ("schedule", "shards", "manifest")

    mixture: dict[str, Any] = field(default_factory=dict)
    """The mixture, as plain values."""

    def digests(self) -> Mapping[str, str]:
        token_format(self._mixture.format).check(self._about, self._mixture.shard_tokens)
        documents_schema(self._sets)
        return set_digests(self._sets)

    @cached_property
    def _mixture(self) -> Mixture:
        return parse_mixture(self.mixture)

    @cached_property
    def _sets(self) -> tuple[SourceSet, ...]:
        return open_sets(self._mixture)

    @cached_property
    def _atoms(self) -> dict[str, Atom]:
        """By name, in the order of the mixture's sources."""
        of_source = {source: one for one in self._sets for source in one.sources}
        atoms = (atom for source in self._mixture.sources for atom in of_source[source].selector.atoms[source])
        return {atom.name: atom for atom in atoms}

    @cached_property
    def _about(self) -> ShardAbout:
        manifest = self._sets[0].tokens.manifest
        tokenizer = manifest.tokenizer
        name = Path(tokenizer.name).name  # as `WriteTokens` tells it: the folders are nobody's business
        return ShardAbout(np.dtype(manifest.dtype), tokenizer.eos_id, tokenizer.vocab_size, name)

    @cached_property
    def _memory(self) -> dict[str, Any]:
        """What tasks of one process share: the streams, and readers with what they have read."""
        return {}

    def open(self, paths: Mapping[str, str], schema: pa.Schema) -> ShardWriter:
        return _CountsWriter(paths["data"], schema)

    def size(self, work: Work) -> int:
        taken = sum(stage.tokens or 0 for stage in self._mixture.stages)
        return max(taken, sum(_tokens(shard.facts) for shard in work.shards)) // SMALL_TOKENS

    def tasks(self, step: str, work: Work) -> Sequence[str]:
        return ["schedule"] if step == "schedule" else super().tasks(step, work)

    def run_task(self, step: str, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        return self._schedule(work) if step == "schedule" else super().run_task(step, number, work, out)

    def shard_names(self, work: Work) -> Sequence[str]:
        return [f"{stage.name}-{part:05d}" for stage, part, _, _ in self._parts(work)]

    def tokenizer_json(self) -> bytes:
        return (self._sets[0].tokens.folder / TOKENIZER_JSON).read_bytes()

    def describe(self) -> Sequence[str]:
        stages = (f"{stage.name}: {stage.tokens or 0:,} tokens" for stage in self._mixture.stages)
        return (f"shards of about {self._mixture.shard_tokens:,} tokens in the layout {self._mixture.format}", *stages)

    def _streams(self, work: Work) -> dict[Atom, Stream]:
        """The streams with what phase one has counted."""
        if "streams" not in self._memory:
            held = {(shard.facts["set"], shard.facts["shard"]): shard.facts["streams"] for shard in work.shards}
            streams = {}
            for atom in self._atoms.values():
                one = self._set_of(atom.source)
                counts = [held.get((one.key, name), {}).get(atom.name, (0, 0)) for name in one.shards]
                documents = sum(documents for documents, _ in counts)
                tokens = [tokens for _, tokens in counts]
                streams[atom] = Stream(atom, list(one.shards), tokens, self._mixture.seed, documents)
            self._memory["streams"] = streams
        found: dict[Atom, Stream] = self._memory["streams"]
        return found

    def _set_of(self, source: str) -> SourceSet:
        return next(one for one in self._sets if source in one.sources)

    def _readers(self, work: Work) -> dict[str, SetReader]:
        """Source -> the reader of its set."""
        if "readers" not in self._memory:
            of_set = {}
            for one in self._sets:
                counts = {s.facts["shard"]: s.path for s in work.shards if s.facts["set"] == one.key}
                of_set[one.key] = SetReader(one, counts, CACHE_BYTES // len(self._sets))
            self._memory["readers"] = {source: of_set[one.key] for one in self._sets for source in one.sources}
        found: dict[str, SetReader] = self._memory["readers"]
        return found

    def _schedule(self, work: Work) -> Mapping[str, Any]:
        readers = self._readers(work)
        found = schedule(
            self._mixture, self._streams(work), lambda stream, at: readers[stream.atom.source].end_of(stream, at)
        )
        return {"stages": [stage.to_json() for stage in found]}

    def _scheduled(self, work: Work) -> list[StageSchedule]:
        facts = work.outputs("schedule")[0].facts
        return [StageSchedule.from_json(stage, self._atoms) for stage in facts["stages"]]

    def _parts(self, work: Work) -> list[tuple[StageSchedule, int, int, int]]:
        """(stage, number of the shard in it, its shards, windows of a shard) of each shard of the mixture."""
        found = []
        for stage in self._scheduled(work):
            shards, windows = parts_of(stage, self._mixture.shard_tokens, self._about.dtype.itemsize)
            found += [(stage, part, shards, windows) for part in range(shards)]
        return found

    def write_shard(self, number: int, work: Work, out: TaskOutput) -> Mapping[str, Any]:
        stage, part, shards, windows = self._parts(work)[number]
        schema = documents_schema(self._sets)
        maker = WindowMaker(self._mixture, self._sets, self._streams(work), self._readers(work), schema)
        made = (maker.window(stage, fine, shards * windows) for fine in range(part * windows, (part + 1) * windows))
        written = write_shard_files(out, token_format(self._mixture.format), self._about, schema, made)
        return {**written, "stage": stage.name}

    def set_manifest(self, work: Work) -> SetManifest:
        scheduled, tasks = self._scheduled(work), work.outputs("shards")
        lengths = {stage.name: stage.sequence_length for stage in self._mixture.stages}
        tokens = sum(stage.tokens for stage in scheduled)
        shards = [
            replace(entry, facts={"stage": task.facts["stage"], "sequence_length": lengths[task.facts["stage"]]})
            for entry, task in zip(shard_entries(tasks, tokens), tasks, strict=True)
        ]
        first = self._sets[0].tokens.manifest
        return SetManifest(
            layout=self._mixture.format,
            dtype=first.dtype,
            offset=token_format(self._mixture.format).offset(self._about),
            tokenizer=TokenizerInfo(**vars(first.tokenizer)),
            documents=sum(shard.documents for shard in shards),
            tokens=tokens,
            shards=shards,
            order={"shuffled": True, "seed": self._mixture.seed, "stages": [stage.name for stage in scheduled]},
            made_from=self._made_from(),
            more={"mixture": {**self._mixture.to_json(), "taken": self._taken(work, scheduled)}},
        )

    def _made_from(self) -> list[dict[str, Any]]:
        """Where the documents of the sources came from, as their sets say it."""
        found = []
        for source in self._mixture.sources:
            one = self._set_of(source)
            found += [
                {**entry, "source": source, "set": str(one.tokens.folder)}
                for entry in one.tokens.manifest.made_from or [{}]
            ]
        return found

    def _taken(self, work: Work, scheduled: Sequence[StageSchedule]) -> list[dict[str, Any]]:
        """Shares, unique tokens and epochs of each stream in each stage."""
        streams = self._streams(work)
        return [
            {
                "stage": stage.name,
                "stream": taking.atom.name,
                "source": taking.atom.source,
                "tokens": taking.tokens,
                "share": taking.tokens / stage.tokens,
                "unique_tokens": streams[taking.atom].unique,
                "epochs": taking.tokens / streams[taking.atom].unique,
                "epochs_before": taking.start / streams[taking.atom].unique,
                "epochs_so_far": (taking.start + taking.tokens) / streams[taking.atom].unique,
            }
            for stage in scheduled
            for taking in stage.takings
        ]


def _tokens(facts: Mapping[str, Any]) -> int:
    return sum(int(tokens) for _, tokens in facts["streams"].values())


class _CountsWriter:
    """What phase one leaves of a shard of a set."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self._schema = schema
        self._data = ParquetShardWriter(path, schema, level=3, rows=ROW_GROUP, size=32 << 20, chunking=False)
        self._facts: dict[str, Any] = {"set": "", "shard": "", "streams": {}}

    def write(self, batch: pa.RecordBatch) -> None:
        self._data.write(batch.select(self._schema.names))
        for row in batch.to_pylist():
            self._facts |= {"set": row["set"], "shard": row["shard"]}
            documents, tokens = self._facts["streams"].get(row["stream"], (0, 0))
            self._facts["streams"][row["stream"]] = (documents + row["documents"], tokens + row["token_total"])

    def close(self) -> None:
        self._data.close()

    def facts(self) -> dict[str, Any]:
        """For the steps: which shard it is, and stream -> documents and tokens."""
        return self._facts
