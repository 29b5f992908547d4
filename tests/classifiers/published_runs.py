"""Small finished runs whose scores and labels are known: they stand in the addresses of the pages."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pyarrow as pa

from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import Annotate, Stage
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder

DOMAINS = ("a.co.uk", "www.b.com", "x.c.org", "192.0.2.7")
LANGUAGES = ("en", "de", "no")
TOPICS = ("science", "sports")


class GivenScores(Annotate):
    """Adds what the query of a page's address says: `http://e.org/?edu=1.5&dclm=0.2&topic=science`."""

    reads = ("url",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {
        "edu_score": pa.float32(),
        "dclm_score": pa.float64(),
        "topic": pa.string(),
    }

    def digests(self) -> Mapping[str, str]:
        return {"model": "0123abcd"}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        found = [
            {key: values[0] for key, values in parse_qs(urlsplit(url or "").query).items()}
            for url in batch.column("url").to_pylist()
        ]

        def numbers(key: str, dtype: pa.DataType) -> pa.Array:
            return pa.array([float(one[key]) if key in one else None for one in found], dtype)

        return {
            "edu_score": numbers("edu", pa.float32()),
            "dclm_score": numbers("dclm", pa.float64()),
            "topic": pa.array([one.get("topic") for one in found], pa.string()),
        }


def page(number: int, edu: float | None, domain: str = "e.org", text: str = "a page", **more: Any) -> dict[str, Any]:
    """One document. more: `dclm`, `topic`, or columns of the input such as `language` and `token_count`."""
    query = {"edu": edu, "dclm": more.pop("dclm", None), "topic": more.pop("topic", None)}
    given = urlencode({key: value for key, value in query.items() if value is not None})
    return {"text": text, "url": f"http://{domain}/{number}?{given}", **more}


def pages(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Documents of all languages, domains and topics; scores have ties, a tenth has none, one is NaN."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        topic, language = rng.choice(TOPICS), rng.choice(LANGUAGES)
        edu = float(np.float32(round(rng.gauss(1.5 + (topic == "science") + (language == "de") / 2, 1), 2)))
        text = f"page {number} " + "wörter " * rng.randint(1, 60)
        given = None if rng.random() < 0.1 else float("nan") if number == 11 else edu
        found.append(
            page(
                number,
                given,
                rng.choice(DOMAINS),
                text,
                dclm=round(rng.random() ** 3, 4),
                topic=topic,
                language=language,
                token_count=len(text.split()) + 2,
            )
        )
    return found


def published(
    rows: Iterable[Mapping[str, Any]], folder: Path, *stages: Stage, files: int = 1, annotate: bool = False
) -> Path:
    """A finished run of these documents: `GivenScores`, then the stages. `files`: input files, so shards."""
    (folder / "in").mkdir(parents=True)
    lines = [json.dumps(row) + "\n" for row in rows]
    for number in range(files):
        (folder / "in" / f"{number}.jsonl").write_text("".join(lines[number::files]), encoding="utf-8")
    pipeline = Pipeline("scored", [ReadJsonl(), GivenScores(), *stages, WriteParquet()])
    inputs = list_inputs(str(folder / "in"), ReadJsonl.suffixes)
    plan = make_plan(pipeline, inputs, Annotation(()) if annotate else None)
    spec = RunSpec.of(plan, Options(), str(folder / "in"))
    outcome = execute(spec, RunFolder(str(folder / "out")), InlineExecutor())
    assert outcome.failures == {}
    return folder / "out"
