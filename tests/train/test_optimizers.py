"""Which parameters go where, rates, factories of users, and states that come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.runs import CONFIG, make_model, make_settings
from tokenmill.core.errors import ConfigError
from tokenmill.train.model import Decoder
from tokenmill.train.muon import Muon
from tokenmill.train.optimizers import Optimizers, build_optimizers, fused_rows, is_hidden

FACTORY = '''
import torch

class Factored(torch.optim.Optimizer):
    """Shampoo with both roots, of matrices: small enough to be checked by hand."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is None:
                    continue
                if one.dim() != 2:
                    one.add_(one.grad.sign(), alpha=-group["lr"])
                    continue
                state = self.state[one]
                for side, gram in (("left", one.grad @ one.grad.T), ("right", one.grad.T @ one.grad)):
                    state[side] = state.get(side, 1e-3 * torch.eye(len(gram))) + gram
                one.add_(root(state["left"]) @ one.grad @ root(state["right"]), alpha=-group["lr"])

def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=1e-12) ** -0.25) @ vectors.T

def shampoo(named_parameters, settings):
    return Factored([one for _, one in named_parameters], lr=settings.lr)

def nothing(named_parameters, settings):
    return None
'''


def learn(model: Decoder, optimizers: Optimizers, steps: range) -> list[float]:
    ids = torch.randint(0, CONFIG.vocab_size, (4, CONFIG.context), generator=torch.Generator().manual_seed(1))
    losses = []
    for step in steps:
        optimizers.zero_grad()
        loss = model(ids, ids.roll(-1, 1)).total
        loss.backward()
        optimizers.set_rate(step)
        optimizers.step()
        losses.append(float(loss.detach()))
    return losses


def test_decay_is_for_hidden_matrices_alone() -> None:
    model = make_model(tied=False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    (adamw,) = build_optimizers(model, model.config, make_settings(weight_decay=0.3)).each
    decays = {names[id(one)]: group["weight_decay"] for group in adamw.param_groups for one in group["params"]}
    assert len(decays) == len(names)
    for name, decay in decays.items():
        assert decay == (0.0 if "norm" in name or name == "embedding.weight" else 0.3)


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = make_model(experts=4, tied=False)
    optimizers = build_optimizers(model, model.config, make_settings(optimizer="muon", muon_lr=0.5))
    muon, adamw = optimizers.each
    assert isinstance(muon, Muon)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    mine = sorted(names[id(one)] for one in muon.param_groups[0]["params"])
    assert mine == sorted(
        f"blocks.{layer}.{name}"
        for layer in range(2)
        for name in ("attention.qkv.weight", "attention.output.weight", "feed.up", "feed.down")
    )
    assert len(mine) + sum(len(group["params"]) for group in adamw.param_groups) == len(names)
    assert muon.param_groups[0]["lr"] == 0.5
    assert optimizers.set_rate(0) == make_settings().lr / 2
    assert muon.param_groups[0]["lr"] == 0.25


def test_fused_matrices_are_told_apart() -> None:
    model = make_model(kv_heads=1)
    rows = {name: fused_rows(name, one, model.config) for name, one in model.named_parameters() if is_hidden(name, one)}
    assert rows["blocks.0.attention.qkv.weight"] == [16, 8, 8]
    assert rows["blocks.1.feed.up.weight"] == [32, 32]
    assert rows["blocks.1.feed.down.weight"] is None
    for name, sizes in rows.items():
        assert sizes is None or sum(sizes) == model.get_parameter(name).shape[0]
    model = make_model(activation="relu2")
    assert fused_rows("blocks.0.feed.up.weight", model.get_parameter("blocks.0.feed.up.weight"), model.config) is None


@pytest.mark.parametrize("kind", ["adamw", "muon", "file"])
def test_it_learns_and_its_state_comes_back(kind: str, tmp_path: Path) -> None:
    if kind == "file":
        (tmp_path / "mine.py").write_text(FACTORY)
        kind = f"{tmp_path / 'mine.py'}:shampoo"
    settings = make_settings(optimizer=kind, steps=12, decay_steps=0)
    whole = make_model()
    whole.initialise(0)
    optimizers = build_optimizers(whole, CONFIG, settings)
    losses = learn(whole, optimizers, range(12))
    assert losses[-1] < losses[0] - 0.2

    first = make_model()
    first.initialise(0)
    before = build_optimizers(first, CONFIG, settings)
    learn(first, before, range(5))
    saved = before.state_dict()
    second = make_model()
    second.load_state_dict(first.state_dict())
    learn(first, before, range(5, 7))  # what was saved is a copy
    after = build_optimizers(second, CONFIG, settings)
    after.load_state_dict(saved)
    assert learn(second, after, range(5, 12)) == losses[5:]


def test_settings_are_those_of_the_run_and_state_in_groups_is_that_of_the_checkpoint() -> None:
    """A checkpoint of other settings, and an optimizer that counts steps in its groups, as schedule-free ones do."""

    def made(**changes: Any) -> Optimizers:
        one = torch.optim.SGD(make_model().parameters(), **{"lr": 0.1, "weight_decay": 0.1, **changes})
        one.param_groups[0]["k"] = 0
        return Optimizers([one], make_settings())

    first = made()
    first.each[0].param_groups[0]["k"] = 7
    saved = first.state_dict()
    cases: list[tuple[dict[str, float], float, float]] = [
        ({}, 0.1, 0),
        ({"weight_decay": 0.5, "momentum": 0.9}, 0.5, 0.9),
    ]
    for changes, decay, momentum in cases:
        again = made(**changes)
        again.load_state_dict(saved)
        group = again.each[0].param_groups[0]
        assert (group["weight_decay"], group["momentum"], group["k"]) == (decay, momentum, 7)
        twice = made(**changes)
        twice.load_state_dict(again.state_dict())
        assert twice.each[0].param_groups[0]["k"] == 7


def test_factories_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "odd.py").write_text("1 / 0")
    model = make_model()
    for place, said in (
        (f"{tmp_path / 'mine.py'}:shampo", "has no shampo"),
        (f"{tmp_path / 'mine.py'}:nothing", "gave no optimizer"),
        ("not_a_module_of_anyone:soap", "cannot be imported"),
        (f"{tmp_path / 'odd.py'}:soap", "cannot be imported"),
        (f"{tmp_path / 'other.py'}:soap", "no Python file"),
    ):
        with pytest.raises(ConfigError, match=said):
            build_optimizers(model, CONFIG, make_settings(optimizer=place))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_is_left_out_by_a_flag_on_the_device(optimizer: str) -> None:
    model = make_model()
    model.initialise(0)
    optimizers = build_optimizers(model, CONFIG, make_settings(optimizer=optimizer))
    assert optimizers.can_leave_out
    learn(model, optimizers, range(2))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    for one in model.parameters():
        one.grad = torch.full_like(one, torch.nan)
    optimizers.step(torch.tensor(1.0))
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())
    twin = make_model()
    twin.load_state_dict(model.state_dict())
    plain = build_optimizers(twin, CONFIG, make_settings(optimizer=optimizer))
    plain.load_state_dict(optimizers.state_dict())
    for some in (model, twin):
        generator = torch.Generator().manual_seed(4)
        for one in some.parameters():
            one.grad = torch.randn(one.shape, generator=generator)
    optimizers.step(torch.tensor(0.0))
    plain.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7)
