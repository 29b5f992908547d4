"""The folder of a run: whose it is, what is made up for in it, and what in it may be damaged."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.runs import CONFIG, CONTEXT, make_model, make_settings, make_view, run, traces
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.views import TokenView
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.lock import locked
from tokenmill.train.loop import Start, _Run
from tokenmill.train.monitor import Meter
from tokenmill.train.steps import Stepper

TRUNK = make_settings(steps=12, decay_steps=4, keep_steps=(4,), checkpoint_every=0)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> TokenView:
    return make_view(tmp_path_factory.mktemp("set"))


def kept(folder: Path) -> list[int]:
    return sorted(checkpoints.step_of(path) for path in (folder / "checkpoints").iterdir())


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("stop", [None, pytest.param(10, marks=pytest.mark.ci)])
def test_checkpoints_that_are_asked_for_later_are_made_up_for(
    stop: int | None, view: TokenView, tmp_path: Path
) -> None:
    """Before and behind one that is there, of a run that is finished or has passed them: the bits are the same."""
    wanted = make_settings(steps=12, decay_steps=4, keep_steps=(3, 4, 7), checkpoint_every=0)
    run(view, tmp_path / "whole", wanted)
    first = run(view, tmp_path / "later", TRUNK, stop_after=stop)
    before = everything(tmp_path / "later")
    again = run(view, tmp_path / "later", wanted, stop_after=stop)
    assert again.to_json() == first.to_json() or stop
    if stop is None:
        assert everything(tmp_path / "later") == before
    assert {3, 4, 7} <= set(kept(tmp_path / "later"))
    for step in (3, 4, 7):
        one, other = (checkpoints.path_of(tmp_path / name, step) for name in ("whole", "later"))
        assert checkpoints.digest(one) == checkpoints.digest(other)
        assert checkpoints.load(one).state["evals"] == checkpoints.load(other).state["evals"]
        assert checkpoints.load(one).state["window"] == checkpoints.load(other).state["window"]
    run(view, tmp_path / "later", wanted)
    assert traces(tmp_path / "later") == traces(tmp_path / "whole")


@pytest.mark.ci
def test_a_kept_checkpoint_that_is_damaged_is_made_again(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path, TRUNK)
    path = checkpoints.path_of(tmp_path, 4)
    digest = checkpoints.digest(path)
    (path / "optimizer.pt").write_bytes(b"")
    run(view, tmp_path, TRUNK)
    assert checkpoints.load(path)
    assert checkpoints.digest(path) == digest


@pytest.mark.ci  # sample: a branch outlives its trunk
def test_a_branch_keeps_its_own_settings(view: TokenView, tmp_path: Path) -> None:
    """Decay and betas of the branch, also beside a state that was made with others."""
    run(view, tmp_path / "trunk", TRUNK)
    start = Start(checkpoints.path_of(tmp_path / "trunk", 4))
    for optimizer in ("adamw", "muon"):
        if optimizer == "muon":
            run(view, tmp_path / "muons", make_settings(**vars(TRUNK) | {"optimizer": "muon"}))
            start = Start(checkpoints.path_of(tmp_path / "muons", 4))
        found = []
        for number, decay in enumerate((0.1, 0.9)):
            folder = tmp_path / f"{optimizer}{number}"
            settings = make_settings(steps=8, decay_steps=4, weight_decay=decay, beta1=0.8, optimizer=optimizer)
            run(view, folder, settings, start=start)
            saved = checkpoints.load(checkpoints.path_of(folder, 8))
            groups = [group for one in saved.optimizers for group in one["param_groups"]]
            assert decay in {group["weight_decay"] for group in groups}
            assert {group["betas"] for group in groups if "betas" in group} == {(0.8, 0.95)}
            found.append(traces(folder)["model"])
        assert found[0] != found[1]


@pytest.mark.ci
def test_tokens_before_the_start_are_counted_as_they_were(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path / "trunk", TRUNK)
    settings = make_settings(steps=6, batch_tokens=4 * CONTEXT, decay_steps=2, checkpoint_every=1)
    start = Start(checkpoints.path_of(tmp_path / "trunk", 4), data="new")
    run(view, tmp_path / "branch", settings, start=start, stop_after=5)
    result = run(view, tmp_path / "branch", settings, start=start)
    assert result.tokens == 4 * 8 * CONTEXT + 2 * 4 * CONTEXT
    assert result.flops == result.tokens * CONFIG.flops_per_token
    assert json.loads((tmp_path / "branch/log.jsonl").read_text().splitlines()[-1])["tokens"] == result.tokens


def test_a_branch_outlives_its_trunk(view: TokenView, tmp_path: Path) -> None:
    """Finished or not; and a trunk that was made again, at another speed, is the same one."""
    run(view, tmp_path / "trunk", TRUNK)
    start = Start(checkpoints.path_of(tmp_path / "trunk", 4))
    short = make_settings(steps=8, decay_steps=4)
    run(view, tmp_path / "whole", short, start=start)
    run(view, tmp_path / "cut", short, start=start, stop_after=6)
    shutil.rmtree(tmp_path / "trunk")
    for folder in ("whole", "cut"):
        assert run(view, tmp_path / folder, short, start=start).steps == 8
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")
    with pytest.raises(ConfigError, match="no checkpoint"):
        run(view, tmp_path / "new", short, start=start)
    run(view, tmp_path / "trunk", TRUNK)
    assert run(view, tmp_path / "whole", short, start=start).steps == 8


def test_a_folder_is_claimed_by_a_run_that_can_be_made(view: TokenView, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(named, settings): return None\n")
    run(view, tmp_path / "trunk", TRUNK)
    start = Start(checkpoints.path_of(tmp_path / "trunk", 4))
    for options in (
        {"settings": make_settings(optimizer=f"{tmp_path}/mine.py:broken")},
        {"settings": make_settings(steps=8), "start": start, "model": make_model(width=32)},
        {"settings": make_settings(steps=8, optimizer="muon"), "start": start},
        {"settings": make_settings(steps=8), "start": Start(tmp_path / "trunk")},
        {"settings": make_settings(steps=8), "start": Start(str(tmp_path / "trunk"))},  # type: ignore[arg-type]
        {"seed": 0.5},
        {"seed": True},
    ):
        with pytest.raises(ConfigError):
            run(**{"view": view, "folder": tmp_path / "a", **options})
        assert not (tmp_path / "a").exists()
    run(view, tmp_path / "a", seed=np.int64(1), eval_steps=np.array([0, 2]))
    assert json.loads((tmp_path / "a/run.json").read_text())["eval_steps"] == [0, 2]


def test_one_process_at_a_time(view: TokenView, tmp_path: Path) -> None:
    with locked(tmp_path / "a"), pytest.raises(ConfigError, match="another process trains in"):
        run(view, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    run(view, tmp_path / "a", stop_after=2)
    with locked(tmp_path / "a"), pytest.raises(ConfigError, match="another process trains in"):
        run(view, tmp_path / "a")
    run(view, tmp_path / "a")
    with locked(tmp_path / "a"):
        assert run(view, tmp_path / "a").steps == 6  # a result is read by anybody
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        run(view, tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written"):
        run(view, tmp_path / "file/below")


@pytest.mark.ci
def test_what_lies_in_the_folder_may_be_odd(view: TokenView, tmp_path: Path) -> None:
    run(view, tmp_path / "whole")
    run(view, tmp_path / "cut", stop_after=4)
    for name in ("step-x", "step-00000002.bak", "steps", "step-000"):
        (tmp_path / "cut/checkpoints" / name).mkdir()
    (tmp_path / "cut/checkpoints/step-00000009").write_text("")
    with open(tmp_path / "cut/log.jsonl", "ab") as stream:
        stream.write(b"\0\0\0\n\xff{}\n" + b'{"step": 4}\n')
    run(view, tmp_path / "cut")
    for name in ("step-x", "step-00000002.bak", "steps", "step-000"):
        (tmp_path / "cut/checkpoints" / name).rmdir()
    (tmp_path / "cut/checkpoints/step-00000009").unlink()
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")
    (tmp_path / "cut/result.json").write_text("{}")
    with pytest.raises(ConfigError, match="not the result of a run") as caught:
        run(view, tmp_path / "cut")
    assert "delete it" in caught.value.fix


@pytest.mark.ci
def test_numbers_that_are_none_are_null_in_files(view: TokenView, tmp_path: Path) -> None:
    def odd(model: Any, progress: Any) -> dict[str, float]:
        return {"nan": math.nan, "infinite": math.inf, "step": progress.step}

    whole = run(view, tmp_path / "whole", evaluate=odd, eval_steps=(0, 3, 6))
    run(view, tmp_path / "cut", evaluate=odd, eval_steps=(0, 3, 6), stop_after=4)
    run(view, tmp_path / "cut", evaluate=odd, eval_steps=(0, 3, 6))
    assert traces(tmp_path / "cut") == traces(tmp_path / "whole")
    assert math.isnan(whole.evals[0]["metrics"]["nan"])
    found = run(view, tmp_path / "whole", evaluate=odd, eval_steps=(0, 3, 6))
    assert math.isnan(found.evals[0]["metrics"]["nan"])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for path in (tmp_path / "whole").rglob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=refuse)


def test_speed_is_taken_when_the_device_has_made_the_steps(
    view: TokenView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU runs behind the host: the clock stops for an evaluation when the values of all steps have come."""
    told: list[str] = []

    def telling(of: type, name: str) -> None:
        method = getattr(of, name)

        def tell(*given: Any, **named: Any) -> Any:
            told.append(name)
            return method(*given, **named)

        monkeypatch.setattr(of, name, tell)

    monkeypatch.setattr("tokenmill.train.loop.Stepper", partial(Stepper, waits=False))
    for of, name in ((Stepper, "step"), (_Run, "_read"), (Meter, "stop")):
        telling(of, name)

    def look(model: Any, progress: Any) -> dict[str, float]:
        since = told[len(told) - told[::-1].index("step") :]
        assert since == ["_read", "stop"]
        return {}

    run(view, tmp_path, make_settings(log_every=6, checkpoint_every=0), evaluate=look, eval_steps=(3,))
    assert told.count("_read") == 3
