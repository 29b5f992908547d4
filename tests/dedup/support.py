"""Small corpora with near-duplicates, runs over them, and a plain Python twin of the whole deduplication."""

from __future__ import annotations

import builtins
import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import digests, run
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Stage
from tokenmill.dedup.verify_kernel import SKETCH
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.text.minhash import MinHash

WORDS = [f"{a}{b}" for a in "b c d f g h k l m n p r s t v w z".split() for b in "an el ir ot us aki emo".split()]


def corpus(count: int, seed: int, *, edits: Sequence[int] = (0, 1, 2, 4, 8, 16), words: int = 120) -> list[str]:
    """Texts of which about half are edited copies of earlier ones; some are short."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.04:
            texts.append(" ".join(rng.choices(WORDS[:3], k=rng.randrange(1, 5))))
        elif kind < 0.5 or not texts:
            texts.append(" ".join(rng.choices(WORDS, k=rng.randrange(words // 2, words))))
        else:
            copy = rng.choice(texts[-60:]).split(" ")
            for _ in range(rng.choice(edits)):
                copy[rng.randrange(len(copy))] = rng.choice(WORDS)
            texts.append(" ".join(copy[: max(1, len(copy) - rng.choice((0, 0, 0, 3, 30)))]))
    return texts


def walk(count: int, seed: int) -> list[str]:
    """Texts of which each is much like the one before, and the last nothing like the first: one component."""
    rng = random.Random(seed)
    words = rng.choices(WORDS, k=120)
    texts = []
    for _ in range(count):
        for _ in range(2):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        texts.append(" ".join(words))
    rng.shuffle(texts)
    return texts


def deduplicate(source: Path, output: Path, *stages: Stage, workers: int = 0) -> dict[str, dict[str, Any]]:
    """Run `stages` over JSON Lines; the rows of the last stage's table by document."""
    pipeline = Pipeline("dedup", [ReadJsonl(), *stages, WriteParquet()])
    outcome = run(pipeline, source, output, workers=workers)
    assert outcome.failures == {}
    return table(output, pipeline.labels[-2])


def table(output: Path, label: str) -> dict[str, dict[str, Any]]:
    files = sorted((output / "dedup" / label).glob("*.parquet"))
    return {row["doc_id"]: row for path in files for row in pq.read_table(path).to_pylist()}


def published(output: Path) -> dict[str, str]:
    """What a run with deduplications promises to reproduce: digests of files, and the seals of its phases."""
    found = digests(output)
    for path in sorted((output / "dedup").rglob("*.parquet")):
        found[str(path.relative_to(output))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted((output / "phases").glob("*/_SUCCESS.json")):
        found[str(path.relative_to(output))] = path.read_text()
    return found


def check_interrupted(source: Path, folder: Path, stages: Sequence[Stage], monkeypatch: pytest.MonkeyPatch) -> int:
    """The run stops before or after each commit, and the next one goes on: same bytes at the end. How many stops."""
    deduplicate(source, folder / "whole", *stages)
    commit = RunFolder.commit
    state = {"commits": 0, "after": False}

    class Stopped(BaseException):
        pass

    def stopping(self: RunFolder, *arguments: Any) -> Any:
        if not state["after"]:
            state["after"] = True
            raise Stopped
        state["after"] = False
        state["commits"] += 1
        manifest = commit(self, *arguments)
        if state["commits"] % 3 == 0:
            raise Stopped
        return manifest

    monkeypatch.setattr(RunFolder, "commit", stopping)
    stops = 0
    while True:
        try:
            deduplicate(source, folder / "out", *stages)
            break
        except Stopped:
            stops += 1
    assert published(folder / "out") == published(folder / "whole")
    assert not list((folder / "out").rglob("attempts"))
    return stops


class Twin:
    """The deduplication as its documentation says it, one document and one pair at a time."""

    def __init__(
        self,
        documents: Mapping[str, str],
        hasher: MinHash,
        *,
        measure: str = "jaccard",
        least: float = 0.7,
        large: int = 500,
        least_large: float = 0.8,
        most: int = 8,
        better: Sequence[str] | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> None:
        """better: all ids in order of preference. scope: id -> value within which documents are compared."""
        self.ids = list(documents)
        self.measure, self.least, self.large, self.least_large = measure, least, large, least_large
        self.most = most
        keys = hasher.keys(pa.array(list(documents.values())))
        values, bounds = hasher.shingles(pa.array(list(documents.values())))
        self.sets = {id: set(values[bounds[i] : bounds[i + 1]].tolist()) for i, id in enumerate(self.ids)}
        self.same = {id: tuple(keys.digests[i].tolist()) for i, id in enumerate(self.ids)}
        in_order = sorted(self.ids, key=lambda id: -len(self.sets[id])) if measure == "containment" else self.ids
        self.better = list(better or in_order)
        owners: dict[Any, list[str]] = {}
        for i, id in enumerate(self.ids):
            within = scope[id] if scope else ""
            owners.setdefault((within, "digest", self.same[id]), []).append(id)
            if keys.words[i] >= hasher.shingle_words:
                for band in range(hasher.bands):
                    owners.setdefault((within, band, int(keys.bands[i, band])), []).append(id)
        self.components = self._connect(owners.values())

    def _connect(self, owners: Iterable[list[str]]) -> list[list[str]]:
        group = {id: {id} for id in self.ids}
        for together in owners:
            for other in together[1:]:
                if group[other] is not group[together[0]]:
                    merged = group[together[0]] | group[other]
                    for id in merged:
                        group[id] = merged
        return [list(members) for members in {builtins.id(members): members for members in group.values()}.values()]

    def table(self) -> dict[str, dict[str, Any]]:
        """doc_id -> representative_id, cluster_id, cluster_size, keep, rule, score."""
        found: dict[str, dict[str, Any]] = {}
        for members in self.components:
            for id, (representative, rule, score) in self._choose(members).items():
                found[id] = {
                    "representative_id": representative,
                    "rule": rule,
                    "score": score,
                    "keep": id == representative,
                }
        for id, row in found.items():
            cluster = [i for i in self.ids if found[i]["representative_id"] == row["representative_id"]]
            row.update(doc_id=id, cluster_id=cluster[0], cluster_size=len(cluster))
        return {id: found[id] for id in self.ids}

    def _choose(self, members: list[str]) -> dict[str, tuple[str, str, float | None]]:
        ordered = sorted(members, key=self.better.index)
        if len(ordered) == 1:
            return {ordered[0]: (ordered[0], "unique", 1.0)}
        if self.measure == "none":
            first = ordered[0]
            rest = {
                i: (first, *(("exact", 1.0) if self.same[i] == self.same[first] else ("unverified", None)))
                for i in ordered
            }
            return {**rest, first: (first, "representative", 1.0)}
        least = self.least_large if len(members) > self.large else self.least
        chosen: dict[str, tuple[str, str, float | None]] = {}
        kept: list[str] = []
        decided: dict[Any, tuple[str, float]] = {}
        for id in ordered:
            verdict = decided.get(self.same[id]) or self._first_similar(id, self._likely(id, kept), least)
            if verdict is None:
                kept.append(id)
                chosen[id] = (id, "representative", 1.0)
                decided[self.same[id]] = (id, 1.0)
            else:
                representative, score = verdict
                rule = "exact" if self.same[id] == self.same[representative] else self.measure
                chosen[id] = (representative, rule, score)
                decided.setdefault(self.same[id], verdict)
        return chosen

    def _likely(self, id: str, kept: list[str]) -> list[str]:
        """Up to `most` representatives: all of them, or those that share most of the smallest hashes."""
        if len(kept) <= self.most:
            return kept
        sketch = set(sorted(self.sets[id])[:SKETCH])
        common = {other: len(sketch & set(sorted(self.sets[other])[:SKETCH])) for other in kept}
        ranked = sorted(
            (other for other in kept if common[other]), key=lambda other: (-common[other], kept.index(other))
        )
        return ranked[: self.most]

    def _first_similar(self, id: str, others: list[str], least: float) -> tuple[str, float] | None:
        for other in others:
            a, b = self.sets[id], self.sets[other]
            if not a or not b:
                continue
            of = len(a) if self.measure == "containment" else len(a | b)
            if len(a & b) / of >= least:
                return other, len(a & b) / of
        return None
