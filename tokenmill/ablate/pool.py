"""The pool: the union of the documents of arms, tokenized once; an arm is a list of numbers of documents in it.

    <folder>/take/<arm>.<n>.parquet   rows of input n that the pool has from this arm, with their numbers
    <folder>/arms/<arm>.parquet       the documents of an arm that are trained on, in its own order: number and place
    <folder>/union.json               how many there are; written last
    <folder>/tokens, phases, ...      the run of `WriteTokens` over take/

Memory: about 60 bytes for each document of all arms together while the union is found, 30 for each of the pool later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.ablate import held_out
from tokenmill.ablate.arms import Observe, run_spec
from tokenmill.ablate.listing import Keys, file_of, read_keys
from tokenmill.ablate.taken import BYTES, NUMBER, ReadTaken, write_list
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.bpe import BpeSettings, train_on_documents
from tokenmill.tokens.tokenizer import TOKENIZER, LoadedTokenizer, load_tokenizer
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.write import WriteTokens

UNION_JSON = "union.json"
SAMPLE_BYTES = 200_000_000
"""Bytes of text that a tokenizer is trained on, unless settings say something else."""

Numbers = npt.NDArray[np.int64]


def find_union(lists: Mapping[str, Sequence[Path]], folder: Path, *, share: float) -> None:
    """Write what the pool takes from which input, and what each arm has. Done once; a second call does nothing.

    lists: arm -> its lists of keys (`list_documents`). share: of the documents that are held out. ConfigError where an
    arm has none to train on, or none held out.
    """
    if (folder / UNION_JSON).is_file():
        return
    files = [(name, number, path) for name, paths in lists.items() for number, path in enumerate(paths)]
    keys = [read_keys(path) for _, _, path in files]
    trained = [found.place >= held_out.limit(share) for found in keys]
    _check_arms(lists, files, trained, share)
    numbers, firsts = _numbered(keys, trained)
    ends = np.cumsum([0, *(int(mask.sum()) for mask in trained)])
    own: dict[str, list[tuple[Numbers, Numbers]]] = {name: [] for name in lists}
    for position, (name, number, path) in enumerate(files):
        mask, here = trained[position], slice(ends[position], ends[position + 1])
        own[name].append((numbers[here], keys[position].place[mask]))
        chosen = firsts[here]
        if chosen.any():
            table = pa.table({"row": keys[position].row[mask][chosen], NUMBER: numbers[here][chosen]})
            write_list(folder / "take" / f"{name}.{number:05d}.parquet", table, *file_of(path))
    (folder / "arms").mkdir(parents=True, exist_ok=True)
    for name, parts in own.items():
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        pq.write_table(pa.table(columns, names=["number", "place"]), folder / "arms" / f"{name}.parquet")
    union = {"arms": {name: int(sum(len(n) for n, _ in parts)) for name, parts in own.items()}}
    RunFolder(str(folder)).write_json(UNION_JSON, {**union, "documents": int(firsts.sum()), "held_out": share})


def _check_arms(
    lists: Mapping[str, Sequence[Path]],
    files: Sequence[tuple[str, int, Path]],
    trained: Sequence[npt.NDArray[np.bool_]],
    share: float,
) -> None:
    for name in lists:
        masks = [mask for (arm, _, _), mask in zip(files, trained, strict=True) if arm == name]
        documents, kept = sum(len(mask) for mask in masks), sum(int(mask.sum()) for mask in masks)
        check_split(name, documents - kept, kept, share)


def check_split(name: str, held: int, trained: int, share: float) -> None:
    """ConfigError where an arm has no documents to train on, or none held out though it should."""
    if not trained:
        raise ConfigError(
            f"arm {name} has no documents to train on",
            why=f"{held} documents in all" + (", all held out" if held else ""),
            fix="look at its report.html for what dropped them, or give it more input",
        )
    if share and not held:
        raise ConfigError(
            f"arm {name} has no held-out documents",
            where="evaluate.held_out",
            why=f"a share of {share:g} of {trained} documents, by a hash of their ids, is none",
            fix=f"a larger share, such as {min(0.5, max(0.05, 5 / trained)):.2g}, or 0 to hold out nothing"
            " (in another --output where this one has arms that are ready); or more input",
        )


def _numbered(keys: Sequence[Keys], trained: Sequence[npt.NDArray[np.bool_]]) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """(number in the pool of every document, whether it is the first of its number), numbered as they come first."""
    high = np.concatenate([found.high[mask] for found, mask in zip(keys, trained, strict=True)])
    low = np.concatenate([found.low[mask] for found, mask in zip(keys, trained, strict=True)])
    order = np.lexsort((low, high))  # stable: of equal keys the first document comes first
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    firsts = np.zeros(len(order), np.bool_)
    firsts[order[begins]] = True
    of_first = np.cumsum(firsts) - 1
    numbers = np.empty(len(order), np.int64)
    leaders = order[begins]
    numbers[order] = of_first[leaders][np.cumsum(begins) - 1]
    return numbers, firsts


def trained_tokenizer(settings: Mapping[str, Any], pool: Path, folder: Path, observe: Observe) -> LoadedTokenizer:
    """A tokenizer of the documents of a pool, in `folder`; trained where it is not there yet.

    settings: of `BpeSettings`. ConfigError where they are wrong or there is no text.
    """
    place = folder / TOKENIZER
    if place.is_file():
        return load_tokenizer(str(place))
    observe("training a tokenizer on the documents of all arms")
    trained = train_on_documents(_batches(pool), bpe_settings(settings), name="bpe")
    out = RunFolder(str(folder))
    out.write_json("report.json", dict(trained.report))
    out.write_text(TOKENIZER, trained.tokenizer.canonical.decode())
    return load_tokenizer(str(place))


def bpe_settings(settings: Mapping[str, Any]) -> BpeSettings:
    """Settings of the training of a tokenizer. ConfigError where they are wrong."""
    return BpeSettings(**{"sample_bytes": SAMPLE_BYTES, "held_out_bytes": 1_000_000, **settings})


def _batches(pool: Path) -> Iterator[pa.RecordBatch]:
    source = ReadTaken()
    for shard in list_inputs(str(pool / "take"), source.suffixes):
        yield from source.read(shard, lambda reason, **about: None)


def tokenize_pool(pool: Path, wanted: LoadedTokenizer, *, workers: int, observe: Observe) -> TokenSet:
    """The token set of a pool, made or finished where it is not; by the executors, so the workers change no byte.

    ConfigError where it has been made with another tokenizer.
    """
    try:
        done = TokenSet.open(pool)
    except ConfigError:
        observe(f"tokenizing {json.loads((pool / UNION_JSON).read_text())['documents']:,} documents")
        source = ReadTaken()
        pipeline = Pipeline("pool", [source, WriteTokens(tokenizer=wanted.name, eos=wanted.eos_token)])
        inputs = list_inputs(str(pool / "take"), source.suffixes)
        spec = RunSpec.of(make_plan(pipeline, inputs), Options(), str(pool / "take"))
        run_spec(spec, RunFolder(str(pool)), workers=workers, what="the pool", observe=observe)
        done = TokenSet.open(pool)
    check_tokenizer(done, wanted, "the pool")
    return done


def check_tokenizer(tokens: TokenSet, wanted: LoadedTokenizer, what: str) -> None:
    """ConfigError where a set has been made with another tokenizer."""
    theirs = tokens.manifest.tokenizer
    if theirs.sha256 != wanted.sha256 or theirs.eos_id != wanted.eos_id:
        raise ConfigError(
            f"{what} has been made with another tokenizer",
            where=str(tokens.folder),
            why=f"{theirs.name} ({theirs.sha256[:12]}, EOS {theirs.eos_id}) there,"
            f" {wanted.name} ({wanted.sha256[:12]}, EOS {wanted.eos_id}) for this ablation",
            fix="all arms need one tokenizer: tokenize again, or name that one as `tokenizer`",
        )


@dataclass(frozen=True)
class PoolTable:
    """What is known of the documents of a pool, by their numbers."""

    document: Numbers
    """Number in the order of the set; -1 where the document could not be encoded."""
    tokens: Numbers
    """EOS included."""
    bytes: Numbers
    """UTF-8 of its text."""

    @classmethod
    def of(cls, tokens: TokenSet, documents: int) -> PoolTable:
        """Of a pool with so many documents. Reads three columns of all tables."""
        found = np.full((3, documents), -1, np.int64)
        first = 0
        for shard in tokens.shards:
            table = shard.documents([NUMBER, "token_count", BYTES])
            numbers = table.column(NUMBER).to_numpy()
            found[0][numbers] = np.arange(first, first + len(table))
            found[1][numbers] = table.column("token_count").to_numpy() + (tokens.eos_id is not None)
            found[2][numbers] = table.column(BYTES).to_numpy()
            first += len(table)
        return cls(*found)
