"""The status file: when it is written, and how it is read."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.executors.events import Told
from tokenmill.executors import coordinator
from tokenmill.executors.base import Notice
from tokenmill.executors.coordinator import COORDINATOR_JSON, CoordinatorFile, liveness, span
from tokenmill.executors.local import InlineExecutor
from tokenmill.io.runfolder import RunFolder


def _file(tmp_path: Path) -> tuple[Told, CoordinatorFile, RunFolder]:
    told, folder = Told([1, 1]), RunFolder(str(tmp_path / "out"))
    file = CoordinatorFile(folder, told.tracker, InlineExecutor(), clock=told.clock)
    told.watchers.append(file)
    return told, file, folder


def test_nothing_is_written_before_a_phase_begins(tmp_path: Path) -> None:
    _, file, folder = _file(tmp_path)
    file.tick()
    file.end("error", 2)
    assert not folder.exists(COORDINATOR_JSON)
    assert liveness(folder).state == "unknown"


def test_it_is_written_at_starts_ends_and_intervals(tmp_path: Path) -> None:
    told, file, folder = _file(tmp_path)
    told.begin()
    file.tick()
    first = folder.read_json(COORDINATOR_JSON)
    assert first["phases"][0]["shards"] == 2
    told.start(0, "process 7")
    told.clock.now = 5
    file.tick()
    assert folder.read_json(COORDINATOR_JSON) == first
    told.clock.now = 11
    file.tick()
    assert folder.read_json(COORDINATOR_JSON)["phases"][0]["active"][0]["where"] == "process 7"
    told.end()
    file.tick()
    assert folder.read_json(COORDINATOR_JSON)["phases"][0]["state"] == "complete"
    file.end("finished", 0)
    assert liveness(folder).state == "finished"


def test_age_and_process_tell_live_from_silent_and_dead(tmp_path: Path) -> None:
    told, file, folder = _file(tmp_path)
    told.begin()
    file.tick()
    assert liveness(folder).is_live
    late = datetime.now(UTC) + timedelta(minutes=5)
    assert liveness(folder, now=late).state == "silent"
    assert "5 min" in liveness(folder, now=late).text
    content: dict[str, Any] = folder.read_json(COORDINATOR_JSON)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder.write_json(COORDINATOR_JSON, {**content, "pid": gone.pid})
    assert liveness(folder).state == "dead"
    folder.write_json(COORDINATOR_JSON, {**content, "pid": gone.pid, "host": "elsewhere"})
    assert liveness(folder).is_live
    folder.write_text(COORDINATOR_JSON, '{"time": ')
    assert liveness(folder).state == "unknown"


def test_a_folder_that_cannot_be_written_to_stops_nothing(tmp_path: Path) -> None:
    told, file, _ = _file(tmp_path)
    (tmp_path / "out").write_text("a file in its place")
    told.begin()
    file.tick()
    file.end("finished", 0)


def test_spans_for_people() -> None:
    assert [span(s) for s in (42, 720, 12_240, 200_000)] == ["42 s", "12 min", "3.4 h", "2.3 days"]


class SlowFolder(RunFolder):
    """Writes of the file wait until they may."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.begun, self.may = threading.Event(), threading.Event()

    def write_json(self, relative: str, value: Any) -> None:
        self.begun.set()
        assert self.may.wait(30)
        super().write_json(relative, value)


def test_a_late_word_never_stands_over_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "END_SECONDS", 0.1)
    told, folder = Told([1]), SlowFolder(str(tmp_path))
    file = CoordinatorFile(folder, told.tracker, InlineExecutor(), clock=told.clock)
    told.watchers.append(file)
    told.begin()
    ticking = threading.Thread(target=file.tick)
    ticking.start()
    assert folder.begun.wait(10)
    told.end()
    file.tick()  # one is under way: not waited for
    ending = threading.Thread(target=file.end, args=("finished", 0))
    ending.start()
    ending.join(10)
    assert not ending.is_alive(), "the end of a run waits for a store that does not answer"
    folder.may.set()
    ticking.join(10)
    for thread in threading.enumerate():
        if thread.name == "last word":
            thread.join(10)
    assert liveness(folder).state == "finished"
    told.clock.now = 1000
    file.tick()
    assert liveness(folder).state == "finished"


def test_a_notice_before_any_phase_says_that_the_run_lives(tmp_path: Path) -> None:
    told, file, folder = _file(tmp_path)
    told.tell(Notice(0, "looking at what is committed"))
    file.tick()
    assert liveness(folder).is_live
    content = folder.read_json(COORDINATOR_JSON)
    assert content["phases"] == []
    assert content["notices"][0]["text"] == "looking at what is committed"
