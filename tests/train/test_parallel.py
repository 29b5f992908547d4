"""Two processes over gloo against one: the same losses and weights, and checkpoints that go either way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.train.runs import make_model, make_settings, make_view, run
from tokenmill.core.errors import ConfigError
from tokenmill.train.parallel import World, gather_whole, join, load_whole, total

SCRIPT = """
import json, sys, warnings
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.runs import make_model, make_settings, run
from tokenmill.tokens.views import WholeView
from tokenmill.train.parallel import leave
view = WholeView(Path(sys.argv[1]) / "tokens")
given = json.loads(sys.argv[2])
model = make_model(**given["model"])
for folder, changes, stop in given["runs"]:
    run(view, Path(folder), make_settings(**changes), model=model, stop_after=stop)
leave()
"""


def two(view: Path, runs: list[tuple[Path, dict[str, Any], int | None]], **model: Any) -> None:
    """Two ranks, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = json.dumps({"model": model, "runs": [(str(folder), changes, stop) for folder, changes, stop in runs]})
    processes = []
    for rank in range(2):
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, "-c", SCRIPT, str(view), given]
        processes.append(subprocess.Popen(command, env={**os.environ, **world, **place}, stderr=subprocess.PIPE))
    try:
        for process in processes:
            _, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors.decode()[-3000:]
    finally:
        for process in processes:
            process.kill()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((folder / "checkpoints").glob("step-*"))[-1] / "model.safetensors")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("adamw", {"clip": 0.1}, {}),
    ("muon", {"optimizer": "muon", "shard": True, "activation_checkpointing": True}, {"tied": False}),
    ("experts", {"packing": "best_fit"}, {"experts": 4, "balance_loss": 0.0}),
]


@pytest.mark.ci
@pytest.mark.parametrize(("name", "changes", "model"), CASES, ids=[case[0] for case in CASES])
def test_two_ranks_train_as_one(name: str, changes: dict[str, Any], model: dict[str, Any], tmp_path: Path) -> None:
    view = make_view(tmp_path / "set")
    # with an eps as small as usual, AdamW makes steps of full size of gradients that are nothing but rounding
    changes = {"eps": 1e-3, **changes}
    settings = make_settings(**changes)
    run(view, tmp_path / "one", settings, model=make_model(**model))
    run(view, tmp_path / "one-then-two", settings, model=make_model(**model), stop_after=3)
    # one model object, three runs: from the beginning, stopped, and of one rank's checkpoint
    runs: list[tuple[Path, dict[str, Any], int | None]] = [
        (tmp_path / "two", changes, None),
        (tmp_path / "two-then-one", changes, 3),
        (tmp_path / "one-then-two", changes, None),
    ]
    two(tmp_path / "set", runs, **model)
    run(view, tmp_path / "two-then-one", settings, model=make_model(**model))
    wanted = weights(tmp_path / "one")
    for folder in ("two", "two-then-one", "one-then-two"):
        found = weights(tmp_path / folder)
        assert found.keys() == wanted.keys()
        for key, tensor in found.items():
            assert torch.allclose(tensor, wanted[key], atol=1e-5), (folder, key)
        assert losses(tmp_path / folder) == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
        evals = [json.loads(line) for line in (tmp_path / folder / "evals.jsonl").read_text().splitlines()]
        assert [row["step"] for row in evals] == [0, 2, 3, 6]


@pytest.mark.ci
def test_two_ranks_in_bf16_are_near_one(tmp_path: Path) -> None:
    view = make_view(tmp_path / "set")
    changes = {"precision": "bf16", "shard": True}
    run(view, tmp_path / "one", make_settings(**changes))
    two(tmp_path / "set", [(tmp_path / "two", changes, None)])
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=0.02)


def test_alone_there_is_no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(torch.device("cpu")) == World(0, 1)
    value = torch.tensor(3.0)
    assert total(value, World()) is value


def test_whole_tensors_come_back() -> None:
    one, other = make_model(), make_model()
    one.initialise(0)
    other.initialise(1)
    found = gather_whole(one)
    load_whole(other, found)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    with torch.no_grad():
        one.norm.weight.add_(1)
    assert not torch.equal(found["norm.weight"], one.norm.weight)


def test_a_batch_that_ranks_cannot_share_is_refused(tmp_path: Path) -> None:
    from tokenmill.train.data import check_sizes

    view = make_view(tmp_path)
    with pytest.raises(ConfigError, match="cannot be shared out") as caught:
        check_sizes(make_model().config, make_settings(), view, World(0, 3))
    assert "3 ranks" in caught.value.why
