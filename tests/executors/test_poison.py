"""Documents that hang, crash or exhaust the process that reads them cost only themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.support import recipe, rows, run

CAUSES = {
    "segfault": "killed_sigsegv",
    "exit": "process_exit",
    "kill": "killed_sigkill",
    "stop": "timeout",
    "hang": "timeout",
    "sleep": "timeout",
    "memory": "MemoryError",
    "recursion": "RecursionError",
    "raise": "ValueError",
}


def corpus(poison: list[str]) -> list[str]:
    """300 good and short texts with poison among them."""
    texts = [f"document number {i}" if i % 7 else "abc" for i in range(300)]
    for step, text in enumerate(poison):
        texts[20 + 31 * step] = text
    return texts


@pytest.mark.ci  # sample: poison is listed with stage and detail
@pytest.mark.parametrize("name", ["trap", "batch_trap"])
def test_poison_costs_only_itself(tmp_path: Path, write_jsonl: Callable[..., Path], name: str) -> None:
    harms = list(CAUSES) if name == "trap" else ["segfault", "hang", "raise"]
    source = write_jsonl(corpus(harms))
    started = time.monotonic()
    outcome = run(recipe(name), source, tmp_path / "out", workers=1)
    seconds = time.monotonic() - started
    assert outcome.failures == {}
    found = {row["doc_id"]: row["cause"] for row in rows(tmp_path / "out", "quarantine")}
    assert found == {f"a.jsonl#{20 + 31 * step}": CAUSES[harm] for step, harm in enumerate(harms)}
    # with limits of 2 s (8 s by default), a poisoned document costs its limit and a new child
    assert seconds / len(harms) < 15

    # everybody else is as in a run without them
    clean = write_jsonl([text for text in corpus(harms) if text not in CAUSES], "clean.jsonl").parent
    (clean / "in" / "a.jsonl").unlink()
    run(recipe(name), clean / "in", tmp_path / "clean", workers=0)
    kept = [row["text"] for row in rows(tmp_path / "out", "data")]
    assert kept == [row["text"] for row in rows(tmp_path / "clean", "data")]
    assert len(rows(tmp_path / "out", "dropped")) == len(rows(tmp_path / "clean", "dropped"))


def test_poison_is_listed_with_stage_and_detail(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    run(recipe("trap"), write_jsonl(["a good text", "exit"]), tmp_path / "out", workers=1)
    (row,) = rows(tmp_path / "out", "quarantine")
    assert (row["stage"], row["file_path"], row["id"]) == ("trap", "a.jsonl", "a.jsonl#1")
    assert row["detail"] == "the process ended with exit code 3"
