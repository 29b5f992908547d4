"""Small mixtures for tests, and a slow twin of what they must give."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.tokens.support import make_set
from tokenmill.core.plan import make_plan
from tokenmill.executors.base import Executor
from tokenmill.executors.local import InlineExecutor, LocalExecutor
from tokenmill.executors.run import RunOutcome, execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.mix.source import inputs_of, open_sets
from tokenmill.tokens.mix.spec import Mixture, parse_mixture
from tokenmill.tokens.mix.write import mixture_pipeline
from tokenmill.tokens.order import document_key
from tokenmill.tokens.tokenset import TokenSet

SHUFFLED = {"shuffled": True, "seed": 1}
EOS = 0


def random_set(
    folder: Path,
    counts: Sequence[int],
    *,
    seed: int = 0,
    eos_id: int | None = EOS,
    longest: int = 40,
    shortest: int = 0,
    row_group_rows: int = 7,
    first: int = 0,
    **options: Any,
) -> TokenSet:
    """A shuffled set of random documents, as many in each shard as `counts` say, with the tags `topic` and `score`.

    first: number of its first document, which its id, URL and position come from.
    """
    generator = random.Random(seed)
    shards = [
        [[generator.randrange(1, 60_000) for _ in range(generator.randint(shortest, longest))] for _ in range(count)]
        for count in counts
    ]
    numbers = range(first, first + sum(counts))
    tags: dict[str, Sequence[Any]] = {
        "topic": [generator.choice(["software", "news", "news", "sport", None]) for _ in numbers],
        "score": [generator.uniform(0, 5) for _ in numbers],
        "doc_id": [f"{folder.name}.warc.gz#{n}" for n in numbers],
        "id": [f"<urn:uuid:{hashlib.md5(str(n).encode()).hexdigest()}>" for n in numbers],
        "url": [f"https://www.site{n % 5}.co.uk/{n}" for n in numbers],
    }
    tokenizer = folder.parent / "tokenizer.json"
    tokenizer.write_text("{}")
    return make_set(
        folder,
        shards,
        eos_id=eos_id,
        tags={**tags, **options.pop("tags", {})},
        order=options.pop("order", SHUFFLED),
        tokenizer=tokenizer,
        made_from=[{"input": f"/archives/{folder.name}"}],
        row_group_rows=row_group_rows,
        **options,
    )


def mixture_of(folder: Path, sources: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], **more: Any) -> Mixture:
    """A mixture of sets in `folder`; a source that is a string is the name of its set."""
    given = {name: {"tokens": source} if isinstance(source, str) else source for name, source in sources.items()}
    return parse_mixture({"name": "mine", "sources": given, "stages": list(stages), **more}, "test.yaml", folder)


def specified(mixture: Mixture) -> RunSpec:
    sets = open_sets(mixture)
    return RunSpec.of(make_plan(mixture_pipeline(mixture), inputs_of(sets)), Options(), str(sets[0].tokens.folder))


def make(mixture: Mixture, output: Path, workers: int = 0) -> TokenSet:
    """Make the mixture, and open it."""
    executor: Executor = LocalExecutor(workers) if workers else InlineExecutor()
    outcome: RunOutcome = execute(specified(mixture), RunFolder(str(output)), executor)
    assert not outcome.failures, outcome.failures
    return TokenSet.open(output)


def published(output: Path) -> dict[str, bytes]:
    """What a run promises to reproduce."""
    files = [path for place in ("tokens", "data") for path in sorted((output / place).rglob("*")) if path.is_file()]
    return {str(path.relative_to(output)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Row:
    """A document of a mixture."""

    source: str
    doc_id: str
    epoch: int
    cut: bool
    ids: tuple[int, ...]
    """EOS included."""


def rows_of(tokens: TokenSet, stage: str | None = None) -> list[Row]:
    """All documents of a mixture (or of one stage), in order, read by token_start and token_count."""
    found = []
    for shard in tokens:
        if stage not in (None, shard.entry.facts["stage"]):
            continue
        eos = int(tokens.eos_id is not None)
        for row in shard.documents().to_pylist():
            assert row["stage"] == shard.entry.facts["stage"]
            ids = shard.ids[row["token_start"] : row["token_start"] + row["token_count"] + eos]
            found.append(Row(row["source"], row["doc_id"], row["epoch"], row["cut"], tuple(ids.tolist())))
    return found


def expected(mixture: Mixture, windows: Mapping[str, int]) -> dict[str, list[Row]]:
    """The documents of each stage of a mixture without upweights and tags, document by document in plain Python.

    windows: of each stage.
    """
    sets = {name: TokenSet.open(source.tokens) for name, source in mixture.sources.items()}
    streams = {name: _stream(mixture, name, tokens) for name, tokens in sets.items()}
    unique = {name: sum(len(ids) for _, ids, epoch in stream if epoch == 0) for name, stream in streams.items()}
    at = dict.fromkeys(sets, 0)
    found: dict[str, list[Row]] = {}
    for stage in mixture.stages:
        weights = {n: Fraction(str(w)) for n, w in stage.weights.items()} or {n: Fraction(u) for n, u in unique.items()}
        total = stage.tokens or sum(unique.values())
        tokens = _largest_remainder(total, weights)
        placed: list[tuple[int, int, Row]] = []
        for name in weights:
            position = 0
            for doc_id, ids, epoch in streams[name]:
                relative = position - at[name]
                if 0 <= relative < tokens[name]:
                    left = min(len(ids), tokens[name] - relative)
                    cut = left < len(ids)
                    kept = (*ids[: left - 1], EOS) if sets[name].eos_id is not None else ids[:left]
                    window = next(
                        n
                        for n in range(windows[stage.name])
                        if relative < tokens[name] * (total * (n + 1) // windows[stage.name]) // total
                    )
                    key = document_key(mixture.seed, f"{stage.name} {name} {epoch} {doc_id} {position}")
                    placed.append((window, key, Row(name, doc_id, epoch, cut, kept if cut else ids)))
                    last = position + len(ids)
                position += len(ids)
            assert position >= at[name] + tokens[name], "the twin lays out too few epochs"
            at[name] = last if tokens[name] else at[name]
        found[stage.name] = [row for _, _, row in sorted(placed, key=lambda one: one[:2])]
    return found


def _stream(mixture: Mixture, name: str, tokens: TokenSet) -> list[tuple[str, tuple[int, ...], int]]:
    """(doc_id, ids with EOS, epoch) of twelve epochs."""
    eos = int(tokens.eos_id is not None)
    found = []
    for epoch in range(12):
        shards = list(tokens)
        if epoch:
            shards.sort(key=lambda shard: document_key(mixture.seed, f"epoch {epoch} {shard.name}"))
        for shard in shards:
            for row in shard.documents().to_pylist():
                ids = shard.ids[row["token_start"] : row["token_start"] + row["token_count"] + eos]
                if len(ids):
                    found.append((row["doc_id"], tuple(np.asarray(ids).tolist()), epoch))
    return found


def _largest_remainder(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    shares = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    found = {name: int(share) for name, share in shares.items()}
    while sum(found.values()) < total:
        name = max(shares, key=lambda one: shares[one] - found[one])
        found[name] += 1
    return found
