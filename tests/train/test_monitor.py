"""Spikes, speed, the log and trackers."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.train.runs import make_settings
from tokenmill.core.errors import ConfigError
from tokenmill.train.monitor import LEAST, SIGMAS, WINDOW, History, Lines, Meter, Tracker

STAND_IN = """
calls = []
def init(**given): calls.append(("init", given))
def log(values, step): calls.append(("log", step, values))
def finish(): calls.append(("finish",))
"""


def history(losses: list[float], norm: float = 1.0) -> History:
    made = History()
    for loss in losses:
        made.add(loss, norm)
    return made


def test_a_spike_is_six_sigmas_above_the_last_steps() -> None:
    steady = [3.0, 3.2] * (LEAST // 2)  # mean 3.1, standard deviation 0.1
    assert history(steady).is_spike(3.1 + 0.1 * SIGMAS + 0.01, 1.0)
    assert not history(steady).is_spike(3.1 + 0.1 * SIGMAS - 0.01, 1.0)
    assert history(steady).is_spike(3.0, 1.01)  # norms were all 1
    assert not history(steady).is_spike(0.0, 0.5)
    assert not history(steady[:-1]).is_spike(100.0, 100.0)


@examples(20, 100)
@given(st.lists(st.floats(0, 10), min_size=LEAST, max_size=2 * WINDOW))
def test_only_the_last_steps_count_and_json_keeps_them(losses: list[float]) -> None:
    one = history([1000.0] * 5 + losses) if len(losses) >= WINDOW else history(losses)
    other = History()
    other.load(one.to_json())
    assert list(other.losses) == losses[-WINDOW:]
    for value in (0.0, 10.0, 60.0, 1e6):
        assert one.is_spike(value, 1.0) == other.is_spike(value, 1.0)
    assert other.last_loss(4) == pytest.approx(math.fsum(losses[-4:]) / 4)


def test_what_is_no_number_is_left_out() -> None:
    made = history([1.0, math.nan, math.inf, 2.0])
    made.add(3.0, math.nan)
    assert list(made.losses) == [1.0, 2.0]
    assert math.isnan(History().last_loss())


def test_the_meter_counts_neither_first_steps_nor_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tokenmill.train.monitor.time.perf_counter", lambda: now[0])
    meter = Meter()
    meter.start()
    for _ in range(Meter.LEFT_OUT):
        now[0] += 50
        meter.step(100)
    assert meter.rate() is None
    for _ in range(4):
        now[0] += 2
        meter.step(100)
    assert meter.rate() == 50
    meter.stop()
    now[0] += 1000
    meter.start()
    now[0] += 2
    meter.step(100)
    meter.stop()
    assert meter.rate() == 50


def test_lines_are_restarted_and_unfinished_ones_forgotten(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log.jsonl")
    for step in range(4):
        lines.add({"step": step})
    with open(tmp_path / "log.jsonl", "a") as stream:
        stream.write('{"st')
    assert [row["step"] for row in lines.rows()] == [0, 1, 2, 3]
    lines.restart(lines.rows()[:2])
    lines.add({"step": 9})
    assert [row["step"] for row in lines.rows()] == [0, 1, 9]
    nowhere = Lines(None)
    nowhere.restart([{"step": 1}])
    nowhere.add({"step": 2})
    assert nowhere.rows() == []


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_are_called_with_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{name}.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    tracker = Tracker(name)
    calls = sys.modules.pop(name).calls
    assert calls == []
    tracker.begin("seed-0", make_settings(lr=0.25))
    tracker.log({"step": 3, "loss": 1.5, "mfu": None}, 3)
    tracker.finish()
    assert [call[0] for call in calls] == ["init", "log", "finish"]
    assert calls[0][1]["name"] == "seed-0"
    assert calls[0][1]["config"]["lr"] == 0.25
    assert calls[1][1:] == (3, {"loss": 1.5})


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match="trackio"):
        Tracker("trackio")
