"""Checkpoints: all or nothing, the newest whole one, and no more than are wanted."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from tokenmill.core.errors import ConfigError
from tokenmill.train import checkpoint as checkpoints
from tokenmill.train.checkpoint import Checkpoint


def make(step: int) -> Checkpoint:
    weight = torch.full((3, 4), float(step))
    state = {"step": step, "loader": {"tokens": step * 10}}
    return Checkpoint({"weight": weight}, [{"state": {0: {"m": weight * 2}}}], state, {"cpu": torch.get_rng_state()})


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, make(7))
    found = checkpoints.load(path)
    assert path.name == "step-00000007"
    assert checkpoints.step_of(path) == 7
    assert torch.equal(found.model["weight"], torch.full((3, 4), 7.0))
    assert torch.equal(found.optimizers[0]["state"][0]["m"], torch.full((3, 4), 14.0))
    assert found.state == {"step": 7, "loader": {"tokens": 70}}
    assert torch.equal(found.random["cpu"], torch.get_rng_state())


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "state.json", "random.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_one_is_skipped_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    older, newer = checkpoints.save(tmp_path, make(3)), checkpoints.save(tmp_path, make(5))
    assert checkpoints.newest(tmp_path) == newer
    data = bytearray((newer / file).read_bytes())
    if damage == "gone":
        (newer / file).unlink()
    elif damage == "cut":
        (newer / file).write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        (newer / file).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest(tmp_path) == older
    assert "step-00000005 is damaged" in caplog.text
    with pytest.raises(ConfigError, match="cannot be used"):
        checkpoints.load(newer)


def test_a_stopped_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, make(3))
    shutil.copytree(path, path.with_name(".step-00000009.partial"))
    assert checkpoints.newest(tmp_path) == path
    checkpoints.discard_old(tmp_path, ())
    assert [one.name for one in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert checkpoints.newest(tmp_path / "nowhere") is None


def test_the_same_step_again_replaces(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, make(3))
    digest = checkpoints.digest(path)
    assert checkpoints.save(tmp_path, make(3)) == path
    assert checkpoints.digest(path) == digest
    assert json.loads((path / "manifest.json").read_text())["files"].keys() == {
        "model.safetensors",
        "optimizer.pt",
        "random.pt",
        "state.json",
    }


def test_old_ones_go_but_those_that_are_asked_for(tmp_path: Path) -> None:
    for step in range(1, 8):
        checkpoints.save(tmp_path, make(step))
        checkpoints.discard_old(tmp_path, (2, 5))
    left = sorted(checkpoints.step_of(one) for one in (tmp_path / "checkpoints").iterdir())
    assert left == [2, 5, 6, 7]


def test_damaged_ones_that_are_newer_do_not_push_out_what_was_just_written(tmp_path: Path) -> None:
    """As after a crash that damaged the last two: the run went on from 3, and wrote 4."""
    for step in (2, 3, 8, 9):
        checkpoints.save(tmp_path, make(step))
    for step in (8, 9):
        (checkpoints.path_of(tmp_path, step) / "random.pt").unlink()
    checkpoints.save(tmp_path, make(4))
    checkpoints.discard_old(tmp_path, (9,), 4)
    assert sorted(one.name for one in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


def test_the_digest_is_of_what_others_begin_from(tmp_path: Path) -> None:
    one, times = make(3), {**make(3).state, "seconds": 7.5}
    path = checkpoints.save(tmp_path, one)
    digest = checkpoints.digest(path)
    checkpoints.save(tmp_path, Checkpoint(one.model, one.optimizers, times, one.random))
    assert checkpoints.digest(path) == digest
    for other in (
        Checkpoint({"weight": torch.ones(3, 4)}, one.optimizers, times, one.random),
        Checkpoint(one.model, [{"state": {0: {"m": torch.ones(3, 4)}}}], times, one.random),
        Checkpoint(one.model, one.optimizers, {**times, "loader": {"tokens": 0}}, one.random),
    ):
        checkpoints.save(tmp_path, other)
        assert checkpoints.digest(path) != digest


def test_no_checkpoint_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint"):
        checkpoints.digest(tmp_path / "step-00000001")
