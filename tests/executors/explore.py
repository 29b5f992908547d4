"""Runs over the bundled archive that are quick: what `explain` and `diff` look at."""

from __future__ import annotations

import atexit
import functools
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.extract.text import ExtractText
from tokenmill.filters.c4 import C4Lines, C4Quality
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.language import LanguageFilter
from tokenmill.filters.pii import RedactPii
from tokenmill.filters.repetition import GopherRepetition
from tokenmill.filters.url import UrlFilter
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.warc import ReadWarc

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


def pipeline(settings: Sequence[tuple[str, str, Any]] = ()) -> Pipeline:
    """Every kind of stage, with the fastest extractor; the language by a filter alone, and near-duplicates."""
    stages = [
        ReadWarc(),
        UrlFilter(lists="none", extra_domains=("maven.org",)),
        ExtractText(extractor="resiliparse"),
        LanguageFilter(languages=("en",), min_score=0.65),
        GopherRepetition(),
        GopherQuality(min_alpha_word_share=0.6),
        C4Lines(terminal_punctuation=False),
        C4Quality(min_sentences=3),
        RedactPii(),
        MinHashDedup(min_similarity=0.5, bands=28, rows=4),
        WriteParquet(),
    ]
    return Pipeline("explored", stages).with_settings(settings)


def run_example(
    output: Path,
    settings: Sequence[tuple[str, str, Any]] = (),
    *,
    source: Path = EXAMPLE,
    annotate: bool = False,
    recipe: Pipeline | None = None,
) -> str:
    """Run in this process; the folder of the run."""
    made = recipe if recipe is not None else pipeline(settings)
    plan = make_plan(made, list_inputs(str(source), ReadWarc.suffixes), Annotation() if annotate else None)
    outcome = execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(output)), InlineExecutor())
    assert not outcome.failures
    return str(output)


def published(run: str | Path, kind: str) -> list[dict[str, Any]]:
    """Rows of all published files of a kind."""
    return [row for path in sorted(Path(run, kind).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


@functools.cache
def example_run(name: str = "filter") -> str:
    """One of the runs that several tests look at, made once per process: `filter`, `annotate`, `changed`."""
    folder = tempfile.mkdtemp(prefix=f"tokenmill-explore-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = CHANGED if name == "changed" else ()
    return run_example(Path(folder, "out"), settings, annotate=name == "annotate")


CHANGED = (("gopher_quality", "min_words", 300), ("c4_lines", "min_words", 6))
"""Settings of the run `changed`: other verdicts, and other texts."""


def sampled(run: str, seed: int, most: int) -> list[str]:
    """Record ids for a test: some of every stage and reason, the rest at random; the same for the same seed."""
    groups: dict[tuple[str, str], list[str]] = {}
    for kind in ("data", "dropped", "quarantine"):
        for row in published(run, kind):
            verdicts = [(n, v) for n, v in row.items() if n.endswith("_verdict") and v is not None]
            stage, reason = verdicts[0] if verdicts else (row.get("stage"), row.get("reason") or row.get("cause"))
            if row["id"]:
                groups.setdefault((str(stage), str(reason)), []).append(row["id"])
    random_of = random.Random(seed)
    for ids in groups.values():
        random_of.shuffle(ids)
    stages: dict[str, list[str]] = {}
    for (stage, _), ids in sorted(groups.items()):
        stages.setdefault(stage, []).extend(ids[:1])
    first = [random_of.choice(ids) for ids in stages.values()]
    rest = sorted({id for ids in groups.values() for id in ids} - set(first))
    return [*first, *random_of.sample(rest, max(0, min(len(rest), most - len(first))))]
