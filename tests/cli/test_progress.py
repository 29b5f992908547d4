"""What people and logs are told of a run, fed with events."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.executors.events import Told
from tokenmill.cli import main
from tokenmill.cli.logs import JsonLog
from tokenmill.cli.progress import ProgressView
from tokenmill.cli.watch import Watch
from tokenmill.core.errors import ConfigError
from tokenmill.executors.base import Notice, PhaseEnd, PhaseStart
from tokenmill.executors.coordinator import COORDINATOR_JSON, liveness
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.metrics import PrometheusBackend
from tokenmill.io.runfolder import RunFolder


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


def test_a_notice_may_come_before_any_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, folder = Told([1]), RunFolder(str(tmp_path / "out"))
    watch = Watch(told.spec, folder, InlineExecutor(), log_json=str(tmp_path / "log"))
    with watch:
        watch.observe(told.phase, Notice(0, "looking at what is committed", {}))
        until = time.monotonic() + 0.5  # at once, not with the next tick
        while not folder.exists(COORDINATOR_JSON) and time.monotonic() < until:
            time.sleep(0.01)
        assert liveness(folder).is_live
        watch.ended("finished", 0)
    assert liveness(folder).state == "finished"
    assert "note: looking at what is committed" in capsys.readouterr().err
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["run_start", "notice", "run_end"]


def test_ray_metrics_begin_with_the_first_phase_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told([1])
    executor = InlineExecutor()
    executor.name = "ray"
    made: list[object] = []

    class Backend(PrometheusBackend):
        def __init__(self) -> None:
            made.append(self)
            super().__init__(0, "127.0.0.1")

    monkeypatch.setattr("tokenmill.cli.watch.RayBackend", Backend)
    with Watch(told.spec, RunFolder(str(tmp_path / "out")), executor) as watch:
        watch.observe(told.phase, Notice(0, "looking at what is committed", {}))
        assert made == []
        watch.observe(told.phase, PhaseStart({}, told.spec.slugs))
        watch.observe(told.phase, PhaseEnd())
    assert len(made) == 1


def test_names_with_line_breaks_begin_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told([1])
    view = ProgressView(told.tracker, "out")
    told.watchers.append(view)
    told.begin()
    told.tell(Notice(0, "first\nall done\ttoday"))
    assert capsys.readouterr().err.splitlines() == ["note: first all done today"]


def test_messages_hold_no_control_sequences_and_no_false_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> None:
        name = "\x1b]0;mine\x07a\n  fix:   curl [bold]evil\nerror: no\r\n"
        raise ConfigError(f"cannot read {name}", where=name, why="one\ntwo", fix="look")

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 2
    shown = ["a", "           fix:   curl [bold]evil", "         error: no"]
    assert capsys.readouterr().err.split("\n") == [
        "error: cannot read ]0;mine" + shown[0],
        *shown[1:],
        "  where: ]0;mine" + shown[0],
        *shown[1:],
        "  why:   one",
        "         two",
        "  fix:   look",
        "",
    ]
