"""Texts whose passages repeat, runs that stop at every commit, and a real crawl."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dedup.support import WORDS
from tests.executors.support import rows
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import Filter
from tokenmill.dedup import candidates, groups
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder

CRAWL = Path(__file__).resolve().parents[2] / ".bench" / "crawl_english.parquet"
Write = Callable[..., Path]


class NoDrop(Filter):
    """Drops documents with a mark, so that in annotate mode they are there and take no part."""

    reads = ("text",)

    def judge(self, doc: Any) -> str | None:
        return "mark" if "MARK" in doc.text else None


def passages(count: int, seed: int, *, sentences: int = 40) -> list[str]:
    """Texts of sentences in lines and paragraphs, most of them from a small stock."""
    rng = random.Random(seed)
    stock = [f"{' '.join(rng.choices(WORDS, k=rng.randrange(1, 9))).capitalize()}." for _ in range(sentences)]
    stock += ["--", stock[0].upper()]
    texts = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randrange(1, 12)):
            fresh = " ".join(rng.choices(WORDS, k=5)).capitalize() + "!"
            text += rng.choice([fresh, fresh, rng.choice(stock), " ".join(stock[7:10]), stock[1] + "\n" + stock[2]])
            text += rng.choice([" ", "\n", "\n", "\n\n"])
        texts.append(text)
    return texts


def in_shards(write: Write, documents: list[dict[str, Any]], count: int = 4) -> tuple[Path, list[str]]:
    """Files whose order is that of the documents, one of them empty, and the ids of the documents."""
    bounds = [len(documents) * n // count for n in range(count + 1)]
    ids = []
    folder = write([], "part-0-empty.jsonl")
    for n in range(count):
        mine = documents[bounds[n] : bounds[n + 1]]
        write(mine, f"part-{n}.jsonl")
        ids += [f"part-{n}.jsonl#{at}" for at in range(len(mine))]
    return folder, ids


def cut_small(monkeypatch: pytest.MonkeyPatch, documents: int = 15, records: int = 40) -> None:
    """Many groups of few documents, and many ranges of few records."""
    monkeypatch.setattr(groups, "FEWEST_DOCUMENTS", documents)
    monkeypatch.setattr(candidates, "TASK_RECORDS", records)


def tasks_of(output: Path, step: str) -> int:
    """How many tasks a step had."""
    (folder,) = (output / "phases").glob(f"*.{step}@*")
    return len(list(folder.glob("manifests/*")))


def facts_of(output: Path, step: str) -> list[dict[str, Any]]:
    """What the tasks of a step say about themselves."""
    (folder,) = (output / "phases").glob(f"*.{step}@*")
    return [entry["facts"] for entry in json.loads((folder / "_SUCCESS.json").read_text())["outputs"]]


def kept(output: Path) -> list[str]:
    return [row["text"] for row in rows(output, "data")]


def dropped(output: Path, label: str) -> list[dict[str, Any]]:
    """The documents that a stage dropped, in order of the files that list them."""
    return [row for row in rows(output, "dropped") if row["stage"] == label]


def shown(output: Path, label: str, kind: str) -> list[dict[str, Any]]:
    """What people see of what was removed."""
    return rows(output / "dedup" / label, kind)


def crawl(write: Write, count: int) -> tuple[Path, pa.Array]:
    """The first pages of a real crawl in files; the test is skipped where there is none."""
    if not CRAWL.exists():
        pytest.skip("the developers' crawl is not here")
    texts = pq.read_table(CRAWL, columns=["text"]).column("text").combine_chunks()[:count]
    return in_shards(write, [{"text": text} for text in texts.to_pylist()])[0], texts


def long_runs(numbers: set[tuple[int, int]], least: int) -> set[tuple[int, int]]:
    """Those of the numbers that are in runs of at least so many."""
    found = set()
    for i, n in numbers:
        start, stop = n, n + 1
        while (i, start - 1) in numbers:
            start -= 1
        while (i, stop) in numbers:
            stop += 1
        if stop - start >= least:
            found.add((i, n))
    return found


def annotated(source: Path, output: Path, *stages: Any) -> list[dict[str, Any]]:
    """Run `stages` in annotate mode; the documents."""
    pipeline = Pipeline("annotated", [ReadJsonl(), *stages, WriteParquet()])
    plan = make_plan(pipeline, list_inputs(str(source), (".jsonl",)), Annotation())
    outcome = execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(output)), InlineExecutor())
    assert outcome.failures == {}
    return rows(output, "data")
