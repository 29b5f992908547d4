"""What people and logs are told of a run, fed with events."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.executors.events import Told
from tokenmill.cli.logs import JsonLog
from tokenmill.cli.progress import ProgressView
from tokenmill.executors.base import Notice


def test_plain_lines_have_counts_trouble_and_notices(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told([100, 100, 100, 100, 100])
    view = ProgressView(told.tracker, "out")
    told.watchers.append(view)
    with view:
        told.begin()
        for index in range(5):
            told.start(index, f"node {index}")
        told.retry(4)
        told.tell(Notice(0, "waiting for \x1b[31ma machine"))
        told.clock.now = 30
        for index in range(3):
            told.done(index)
        told.clock.now = 200
        view.tick()
        view.tick()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "run in out",
        "s4: attempt 1 failed, tried again: the disk sighed",
        "note: waiting for [31ma machine",
        "s3 (node 3) has run for 3 min: much longer than others",
        "3/5 shards · 1 tried again · 1 stragglers · 30 documents · kept 18 (60%) · quarantined 3 ·"
        " 0 documents/s · 200 s, about 133 s left",
    ]


def test_drawing_never_waits_for_an_event_that_is_being_taken_in() -> None:
    told = Told([100])
    view = ProgressView(told.tracker, "out")
    told.begin()
    told.start(0)
    told.progress(0, 5, 3)
    first = view._render()
    assert len(first.renderables) == 2
    drawn: list[object] = []
    with told.tracker.lock:
        told.progress(0, 6, 3)
        thread = threading.Thread(target=lambda: drawn.append(view._render()))
        thread.start()
        thread.join(5)
    assert drawn == [first]
    assert view._render() is not first


def test_the_log_limits_progress_and_tells_of_stragglers_once(tmp_path: Path) -> None:
    told = Told([100] * 5)
    log = JsonLog(str(tmp_path / "log"), told.tracker, clock=told.clock)
    told.watchers.append(log)
    log.start(output="out")
    told.begin()
    for index in range(5):
        told.start(index)
    for tenth in range(250):
        told.clock.now = tenth / 10
        told.progress(0, tenth)
    for index in range(3):
        told.done(index)
    told.clock.now = 300
    log.tick()
    log.tick()
    told.tell(Notice(0, "waiting", {"machines": 3}))
    told.end()
    log.end("finished", 0)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert events.count("progress") == 2
    assert [line["shard"] for line in lines if line["event"] == "straggler"] == ["s3", "s4"]
    [notice] = [line for line in lines if line["event"] == "notice"]
    assert (notice["level"], notice["fields"]) == ("warning", {"machines": 3})
    [done] = [line for line in lines if line["event"] == "shard_done" and line["shard"] == "s1"]
    assert (done["documents"], done["kept"], done["bytes"], done["seconds"]) == (10, 6, 100, 24.9)
    assert events[-2:] == ["phase_end", "run_end"]
