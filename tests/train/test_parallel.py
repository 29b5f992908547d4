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
import torch.distributed as dist
from safetensors.torch import load_file
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.train.runs import make_model, make_settings, make_view, run
from tokenmill.core.errors import ConfigError
from tokenmill.train.checkpoint import path_of
from tokenmill.train.export import load_hf
from tokenmill.train.parallel import World, gather_whole, join, leave, load_whole, shard, total
from tokenmill.train.start import load_weights
from tokenmill.train.steps import autocast

SCRIPT = """
import json, sys, warnings
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.train.runs import make_model, make_settings, run
from tokenmill.tokens.views import WholeView
from tokenmill.train.export import export_hf
from tokenmill.train.parallel import leave
view = WholeView(Path(sys.argv[1]) / "tokens")
given = json.loads(sys.argv[2])
model = make_model(**given["model"])
for folder, changes, stop in given["runs"]:
    run(view, Path(folder), make_settings(**changes), model=model, stop_after=stop)
    # what the first rank has written is there for all of them
    assert (Path(folder) / "checkpoints").is_dir() and (stop or (Path(folder) / "result.json").is_file())
if given["export"]:
    export_hf(model, Path(given["export"]))
leave()
"""


def two(view: Path, runs: list[tuple[Path, dict[str, Any], int | None]], export: str = "", **model: Any) -> None:
    """Two ranks, as torchrun starts them. export: where the model goes at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [(str(folder), changes, stop) for folder, changes, stop in runs]
    given = json.dumps({"model": model, "runs": told, "export": export})
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
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


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
@pytest.mark.parametrize(
    ("name", "changes", "model"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])],
    ids=[case[0] for case in CASES],
)
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


@pytest.mark.slow
def test_two_ranks_in_bf16_are_near_one(tmp_path: Path) -> None:
    view = make_view(tmp_path / "set")
    changes = {"precision": "bf16", "shard": True}
    run(view, tmp_path / "one", make_settings(**changes))
    two(tmp_path / "set", [(tmp_path / "two", changes, None)], export=str(tmp_path / "hf"))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=0.02)
    exported, trained = load_hf(tmp_path / "hf"), make_model()
    load_weights(trained, tmp_path / "two")
    assert all(torch.equal(one, other) for one, other in zip(exported.parameters(), trained.parameters(), strict=True))


@pytest.mark.slow
def test_ranks_wait_for_the_first_and_hear_its_errors(tmp_path: Path) -> None:
    """A call on a finished folder, one with keep_steps that were not made, and one that is refused: no rank hangs."""
    view = make_view(tmp_path / "set")
    run(view, tmp_path / "done", make_settings(checkpoint_every=0))
    kept: dict[str, Any] = {"checkpoint_every": 0, "keep_steps": [3]}
    two(tmp_path / "set", [(tmp_path / "done", {"checkpoint_every": 0}, None), (tmp_path / "done", kept, None)])
    assert path_of(tmp_path / "done", 3).is_dir()
    with pytest.raises(AssertionError, match="with other settings"):
        two(tmp_path / "set", [(tmp_path / "done", {"lr": 0.5}, None)])


@pytest.mark.filterwarnings("ignore")  # of the stand-in for a group
def test_a_router_is_not_gathered_in_bf16() -> None:
    """Rounding would make ties, and change which experts are chosen."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        model = make_model(experts=4)
        settings = make_settings(precision="bf16", shard=True)
        shard(model, settings, World(0, 2))
        seen: dict[str, set[torch.dtype]] = {"router": set(), "qkv": set()}
        for name, module in model.named_modules():
            if (last := name.rpartition(".")[2]) in seen:
                module.register_forward_hook(lambda one, *_, last=last: seen[last].add(one.weight.dtype))
        ids = torch.zeros((1, 8), dtype=torch.int64)
        with autocast(torch.device("cpu"), settings), torch.no_grad():
            model.eval()(ids)
        assert seen == {"router": {torch.float32}, "qkv": {torch.bfloat16}}
    finally:
        leave()


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
