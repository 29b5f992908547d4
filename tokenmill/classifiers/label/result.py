"""What a labelling leaves: `labels.parquet`, one row per document, `labels.json`, and the estimate before it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.classifiers.corpus.rows import valid_text
from tokenmill.classifiers.evaluate import agreement
from tokenmill.classifiers.label.ledger import CHARS_PER_TOKEN, Entry
from tokenmill.classifiers.label.rubric import Question, Rubric
from tokenmill.classifiers.label.sample import Sample
from tokenmill.classifiers.label.session import READINGS, LabelSettings, Task, pending
from tokenmill.core.errors import FatalError
from tokenmill.io.chat.endpoint import Endpoint

TOKENS_OUT = 60.0
"""Tokens of an answer with its reason, until the ledger has measured figures. A model that thinks aloud takes more."""


@dataclass(frozen=True)
class Estimate:
    """What is to come, before any request."""

    requests: int
    answered: int
    """Requests that the ledger has answers to, or final failures; they cost nothing."""
    tokens_in: int
    tokens_out: int
    dollars: float
    most_dollars: float
    """If no answer could be read: `READINGS` requests each. Longer answers than estimated come on top."""
    measured: bool
    """Whether tokens per character and per answer come from answers in the ledger."""


def estimate(
    tasks: Sequence[Task], chars: Mapping[int, int], entries: Mapping[str, Entry], settings: LabelSettings
) -> Estimate:
    """Tokens and dollars of the requests that are still to be made."""
    waiting = pending(tasks, entries, settings)
    mean_chars = sum(chars.values()) / max(len(tasks), 1)
    found = {task.key: entries[task.key] for task in tasks if task.key in entries}
    known = [one for one in found.values() if not one.without_usage]
    replies = sum(one.attempts for one in known)
    measured = replies >= 20
    per_prompt, per_answer = mean_chars / CHARS_PER_TOKEN, TOKENS_OUT
    if measured:
        per_prompt = sum(one.tokens_in for one in known) / replies
        per_answer = sum(one.tokens_out for one in known) / replies
    tokens_in, tokens_out = len(waiting) * per_prompt, len(waiting) * per_answer
    dollars = settings.dollars(tokens_in, tokens_out)
    return Estimate(
        requests=len(waiting),
        answered=len({task.key for task in tasks}) - len(waiting),
        tokens_in=round(tokens_in),
        tokens_out=round(tokens_out),
        dollars=round(dollars, 4),
        most_dollars=round(READINGS * dollars, 4),
        measured=measured,
    )


def label_table(sample: Sample, rubric: Rubric, tasks: Sequence[Task], entries: Mapping[str, Entry]) -> pa.Table:
    """One row per document, in the order of the sample.

    doc_id, id, url, text, stratum, sample_weight; for every question its label and `<question>_pass<n>`; `reason` (of
    the first pass that has one); `failure` ("pass 2: length", null where all passes are there). The label of a score
    is the mean of its passes (float64), of a choice the one named most often, of equals the earliest; null without any.
    """
    documents = sample.documents
    passes = sorted({task.number for task in tasks})
    by_place = {(task.document.doc_id, task.number): entries.get(task.key, Entry()) for task in tasks}
    rows = [[by_place[document.doc_id, number] for number in passes] for document in documents]
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(document, name) for document in documents], pa.string())
        for name in ("doc_id", "id", "url", "text", "stratum")
    }
    columns["sample_weight"] = pa.array([document.weight for document in documents], pa.float64())
    for question in rubric.questions:
        given = [[(one.answer or {}).get(question.name) for one in row] for row in rows]
        score = question.kind == "score"
        labels = [_label(question, [value for value in values if value is not None]) for values in given]
        columns[question.name] = pa.array(labels, pa.float64() if score else pa.string())
        for place, number in enumerate(passes):
            values = [_plain(question, values[place]) for values in given]
            columns[f"{question.name}_pass{number}"] = pa.array(values, pa.int32() if score else pa.string())
    reasons = [next((one.reason for one in row if one.answer is not None), None) for row in rows]
    columns["reason"] = pa.array([None if reason is None else valid_text(reason) for reason in reasons], pa.string())
    failures = [
        ", ".join(
            f"pass {n}: {one.failure or 'not asked'}" for n, one in zip(passes, row, strict=True) if not one.answer
        )
        for row in rows
    ]
    columns["failure"] = pa.array([failure or None for failure in failures], pa.string())
    return pa.table(columns)


def summary(
    sample: Sample,
    rubric: Rubric,
    tasks: Sequence[Task],
    entries: Mapping[str, Entry],
    endpoint: Endpoint,
    settings: LabelSettings,
) -> dict[str, Any]:
    """Everything of `labels.json`: what was asked, counts, agreement between passes, tokens, dollars, failures."""
    known = [(task, entries.get(task.key, Entry())) for task in tasks]
    failures = Counter(entry.failure for _, entry in known if entry.failure)
    asked = list({task.key: entry for task, entry in known}.values())  # equal pages share one request
    tokens_in, tokens_out = sum(one.tokens_in for one in asked), sum(one.tokens_out for one in asked)
    seconds = sorted(entry.seconds for entry in asked if entry.answer is not None)
    return {
        "rubric": {"name": rubric.name, "version": rubric.version, "sha256": rubric.digest()},
        "model": endpoint.model,
        "base_url": endpoint.base_url,
        "settings": {
            "passes": settings.passes,
            "seed": settings.seed,
            "max_chars": settings.max_chars,
            "sampling": settings.sampling_of(1),
        },
        "sample": {
            "documents": len(sample.documents),
            "strata": {name: {"input": size, "drawn": taken} for name, (size, taken) in sample.strata.items()},
            "skipped": dict(sorted(sample.skipped.items())),
        },
        "complete": not pending(tasks, entries, replace(settings, retry_failed=False)),
        "requests": len(asked),
        "answered": sum(entry.answer is not None for entry in asked),
        "failures": dict(sorted(failures.items())),
        "unparsable": dict(sorted(sum((entry.unparsable for entry in asked), Counter()).items())),
        "faults": dict(sorted(sum((entry.faults for entry in asked), Counter()).items())),
        "counts": {question.name: _counts(question, known) for question in rubric.questions},
        "agreement": {question.name: _agreement(question, sample, known) for question in rubric.questions},
        "tokens": {
            "in": tokens_in,
            "out": tokens_out,
            "answers_without_usage": sum(one.without_usage for one in asked),
        },
        "dollars": round(settings.dollars(tokens_in, tokens_out), 6),
        "prices_per_million": {"in": settings.price_in, "out": settings.price_out},
        "latency_s": {f"p{q}": seconds[min(len(seconds) * q // 100, len(seconds) - 1)] for q in (50, 90, 99)}
        if seconds
        else {},
    }


def publish(folder: Path, table: pa.Table, told: Mapping[str, Any]) -> None:
    """Write both files so that readers see the old or the new ones, never a part. FatalError where that fails."""
    try:
        for name in ("labels.parquet", "labels.json"):
            temporary = folder / f"{name}.{os.getpid()}.tmp"
            try:
                if name.endswith(".parquet"):
                    pq.write_table(table, temporary, compression="zstd")
                else:
                    temporary.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                with open(temporary, "rb") as stream:
                    os.fsync(stream.fileno())
                os.replace(temporary, folder / name)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        fix = "the answers are in the ledger: run the same command again"
        raise FatalError(f"cannot write the labels to {folder}", why=str(error), fix=fix) from error


def _label(question: Question, values: Sequence[str]) -> float | str | None:
    if not values:
        return None
    if question.kind == "score":
        return sum(map(int, values)) / len(values)
    return Counter(values).most_common(1)[0][0]  # of equals the first that was met


def _plain(question: Question, value: str | None) -> int | str | None:
    return int(value) if value is not None and question.kind == "score" else value


def _counts(question: Question, known: Sequence[tuple[Task, Entry]]) -> dict[str, dict[str, int]]:
    """Pass -> option -> answers."""
    found: dict[str, dict[str, int]] = {}
    for task, entry in known:
        counts = found.setdefault(f"pass{task.number}", {option.name: 0 for option in question.options})
        if entry.answer is not None:
            counts[entry.answer[question.name]] += 1
    return found


def _agreement(question: Question, sample: Sample, known: Sequence[tuple[Task, Entry]]) -> dict[str, Any]:
    """For any two passes, over documents that have both; weighted kappa for scores only, NaN as null."""
    places = {option.name: place for place, option in enumerate(question.options)}
    passes: dict[int, dict[str, int]] = {}
    for task, entry in known:
        answers = passes.setdefault(task.number, {})
        if entry.answer is not None:
            answers[task.document.doc_id] = places[entry.answer[question.name]]
    found = {}
    for first, second in combinations(sorted(passes), 2):
        both = [doc.doc_id for doc in sample.documents if doc.doc_id in passes[first].keys() & passes[second].keys()]
        one = np.array([passes[first][doc_id] for doc_id in both], dtype=np.int64)
        two = np.array([passes[second][doc_id] for doc_id in both], dtype=np.int64)
        told = asdict(agreement(one, two))
        if question.kind == "choice":
            del told["within_one"], told["quadratic_kappa"]
        found[f"pass{first}~pass{second}"] = {key: None if value != value else value for key, value in told.items()}
    return found
