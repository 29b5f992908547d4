"""Compiling a kernel is no document's fault, however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.support import rows, run
from tokenmill.core.pipeline import load_file
from tokenmill.executors.heartbeat import COMPILING, IDLE, Heartbeat

STAGE = '''
import numba
import numpy as np

from tokenmill import Pipeline, ReadJsonl, Rewrite, WriteParquet


class CompilesLate(Rewrite):
    """Compiles at its first document, and keeps nothing for the next process."""

    reads = ("text",)

    def rewrite(self, doc):
        @numba.njit
        def total(values):
            found = {0: 0.0}
            for value in np.sort(values):
                found[int(value)] = value * 2
            return len(found)

        return {"text": f"{doc.text} {total(np.arange(4.0))}"}


late = Pipeline("late", [ReadJsonl(), CompilesLate(), WriteParquet()])
'''


@pytest.mark.ci
def test_a_document_does_not_pay_for_a_compiler(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    path = tmp_path / "compiles_late.py"
    path.write_text(STAGE)
    source = write_jsonl(["one", "two"])
    outcome = run(load_file(str(path)).late, source, tmp_path / "out", workers=1, seconds=1.0)
    assert outcome.failures == {}
    assert rows(tmp_path / "out", "quarantine") == []
    assert [row["text"] for row in rows(tmp_path / "out", "data")] == ["one 4", "two 4"]


def test_the_heartbeat_tells_of_the_compiler() -> None:
    from numba.core import event

    beat = Heartbeat()
    beat(3, 7)
    listener = beat.watch_compiler()
    try:
        before = beat.read()
        with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
            assert (beat.read().stage, beat.read().row) == (3, COMPILING)
        after = beat.read()
    finally:
        event.unregister("numba:compile", listener)
    assert (after.stage, after.row) == (3, 7)
    assert after.ticks > before.ticks
    beat.idle()
    assert beat.read().row == IDLE
