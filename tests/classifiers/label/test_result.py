"""What a labelling leaves: the table, the figures beside it, and the estimate before it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.classifiers.label.server import MODEL, serving
from tests.classifiers.label.support import label, pages
from tokenmill.classifiers.evaluate import agreement
from tokenmill.classifiers.label.ledger import Ledger, read_entries
from tokenmill.classifiers.label.result import estimate, label_table, publish
from tokenmill.classifiers.label.rubric import load_rubric
from tokenmill.classifiers.label.session import READINGS, LabelSettings, plan
from tokenmill.core.errors import FatalError

EDU = load_rubric("educational")


def test_labels_of_several_passes(tmp_path: Path) -> None:
    """Answers are put into the ledger by hand: means of scores, null where a pass has none."""
    sample, settings = pages(4), LabelSettings(passes=3)
    tasks, _ = plan(sample.documents, EDU, MODEL, settings)
    given = {1: "3310", 2: "3420", 3: "35x0"}
    with Ledger(tmp_path / "l.jsonl") as ledger:
        for task in tasks:
            value = given[task.number][int(task.document.id[1:])]
            row = {"key": task.key, "event": "answer", "faults": {}, "latency_s": 1.0, "usage": {}, "prompt_chars": 4}
            row |= {"response": "", "finish_reason": "stop", "answer": {"edu": value}, "reason": f"r{task.number}"}
            failed = {"key": task.key, "event": "failed", "error": {"kind": "value", "detail": ""}}
            ledger.append([row if value != "x" else failed])
        table = label_table(sample, EDU, tasks, ledger.entries)
    assert table["edu"].to_pylist() == [3.0, 4.0, 1.5, 0.0]
    assert table["edu_pass3"].to_pylist() == [3, 5, None, 0]
    assert table["failure"].to_pylist() == [None, None, "pass 3: value", None]
    assert table["reason"].to_pylist() == ["r1"] * 4
    assert table.column_names[:6] == ["doc_id", "id", "url", "text", "stratum", "sample_weight"]


def test_choices_by_majority_then_by_the_earliest(tmp_path: Path) -> None:
    rubric = load_rubric("topic")
    sample, settings = pages(2), LabelSettings(passes=3)
    tasks, _ = plan(sample.documents, rubric, MODEL, settings)
    given = {1: ("health", "games"), 2: ("travel", "travel"), 3: ("travel", "sports")}
    with Ledger(tmp_path / "l.jsonl") as ledger:
        for task in tasks:
            value = given[task.number][int(task.document.id[1:])]
            row = {"key": task.key, "event": "answer", "faults": {}, "latency_s": 1.0, "usage": {}, "prompt_chars": 4}
            row |= {"response": "", "finish_reason": "stop", "answer": {"topic": value}, "reason": ""}
            ledger.append([row])
        table = label_table(sample, rubric, tasks, ledger.entries)
    assert table["topic"].to_pylist() == ["travel", "games"]


def test_agreement_is_that_of_the_answers(tmp_path: Path) -> None:
    """In the second pass the levels stand the other way round, and this rater then gives one point more."""

    def script(prompt: str, before: int) -> str:
        place = prompt.find("page 5.")
        return 'say {"reason": "", "edu": 5}' if place >= 0 and prompt.find("\n5: ") < prompt.find("\n0: ") else ""

    with serving(script) as rater:
        done = label(rater, tmp_path, pages(10), passes=2)
    first, second = (done.table[f"edu_pass{n}"].to_numpy() for n in (1, 2))
    wanted = agreement(first, second)
    found = done.told["agreement"]["edu"]["pass1~pass2"]
    assert (found["count"], found["equal"]) == (10, 0.9)
    assert found["quadratic_kappa"] == wanted.quadratic_kappa < 1
    assert done.told["counts"]["edu"]["pass1"] == {str(n): list(first).count(n) for n in range(6)}
    assert done.told["answered"] == done.told["requests"] == 20


def test_an_estimate_before_and_with_measured_figures(tmp_path: Path) -> None:
    sample, settings = pages(30), LabelSettings(price_in=2.0, price_out=8.0)
    tasks, chars = plan(sample.documents, EDU, MODEL, settings)
    blind = estimate(tasks, chars, {}, settings)
    assert (blind.requests, blind.answered, blind.measured) == (30, 0, False)
    assert blind.tokens_in == round(chars[1] / 4)
    assert blind.dollars == pytest.approx((blind.tokens_in * 2 + 30 * 60 * 8) / 1e6, abs=1e-4)
    assert blind.most_dollars == pytest.approx(READINGS * blind.dollars, abs=1e-3)
    with serving() as rater:
        label(rater, tmp_path, pages(24))
    known = estimate(tasks, chars, read_entries(tmp_path / "ledger.jsonl"), settings)
    assert (known.requests, known.answered, known.measured) == (6, 24, True)
    assert known.tokens_in == pytest.approx(6 * chars[1] / 30 / 5, rel=0.02)  # the server counts 5 characters a token
    assert read_entries(tmp_path / "none.jsonl") == {}


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    with serving() as rater:
        done = label(rater, tmp_path, pages(3))
    publish(tmp_path, done.table, done.told)
    before = (tmp_path / "labels.parquet").read_bytes()
    publish(tmp_path, done.table, done.told)
    assert (tmp_path / "labels.parquet").read_bytes() == before
    assert pq.read_table(tmp_path / "labels.parquet") == done.table
    assert json.loads((tmp_path / "labels.json").read_text()) == done.told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.json", "labels.parquet", "ledger.jsonl"]
    with pytest.raises(FatalError, match="answers are in the ledger"):
        publish(tmp_path / "gone", done.table, done.told)
