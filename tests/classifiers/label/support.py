"""A whole labelling in one call, as the command does it, with waits that tests can afford."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.classifiers.label.server import MODEL, Rater
from tokenmill.classifiers.label.ledger import Entry, Ledger
from tokenmill.classifiers.label.result import label_table, summary
from tokenmill.classifiers.label.rubric import load_rubric
from tokenmill.classifiers.label.sample import Document, Sample
from tokenmill.classifiers.label.session import LabelSettings, Task, ask_all, plan
from tokenmill.io.chat.endpoint import Endpoint


@dataclass
class Labelling:
    """What has come of it."""

    tasks: list[Task]
    entries: dict[str, Entry]
    table: pa.Table
    told: dict[str, Any]


def pages(count: int, text: Callable[[int], str] = lambda n: "learn " * (n % 5)) -> Sample:
    """Documents whose right grades a reader of `server.WORDS` knows."""
    documents = [Document(f"d{n}", f"a#{n}", f"http://h{n}/", f"page {n}. {text(n)}", "all", 1.0) for n in range(count)]
    return Sample(documents, {"all": (count, count)})


def label(rater: Rater, folder: Path, sample: Sample, rubric: str = "educational", **settings: Any) -> Labelling:
    """Ask what the ledger in `folder` lacks; keywords of `Endpoint` and `LabelSettings`."""
    mine = {name: settings.pop(name) for name in ("tries", "timeout") if name in settings}
    fields = {"tries": 6, "timeout": 5.0, **mine}
    endpoint = Endpoint(base_url=rater.url, model=MODEL, first_wait=0.001, longest_wait=0.01, **fields)
    asked, wanted = load_rubric(rubric), LabelSettings(**settings)
    tasks, _ = plan(sample.documents, asked, MODEL, wanted)
    with Ledger(folder / "ledger.jsonl") as ledger:
        ask_all(tasks, asked, endpoint, wanted, ledger)
        told = summary(sample, asked, tasks, ledger.entries, endpoint, wanted)
        return Labelling(tasks, ledger.entries, label_table(sample, asked, tasks, ledger.entries), told)
