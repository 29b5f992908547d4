"""From settings to optimizers: AdamW, Muon with AdamW beside it, or one of yours.

A factory of yours is called with a list of (name, parameter) and the TrainSettings, and returns a torch optimizer whose
groups have the peak rate as `lr`; the loop multiplies it by the schedule. That is how Shampoo and SOAP come in:

    # my_optimizer.py; settings: optimizer="my_optimizer.py:soap"
    def soap(named_parameters, settings):
        from pytorch_optimizer import SOAP
        return SOAP([p for _, p in named_parameters], lr=settings.lr, weight_decay=settings.weight_decay)
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import load_file
from tokenmill.train.config import ModelConfig
from tokenmill.train.muon import Muon
from tokenmill.train.schedule import multiplier
from tokenmill.train.settings import TrainSettings

Named = list[tuple[str, nn.Parameter]]
Factory = Callable[[Named, TrainSettings], torch.optim.Optimizer]


class Optimizers:
    """The optimizers of a run as one. They share its parameters out among them."""

    def __init__(self, each: Iterable[torch.optim.Optimizer], settings: TrainSettings) -> None:
        self.each = list(each)
        self.settings = settings
        self._peaks = [[float(group["lr"]) for group in one.param_groups] for one in self.each]
        self._begun = [[_values(group) for group in one.param_groups] for one in self.each]

    @property
    def can_leave_out(self) -> bool:
        """Whether all of them take a flag on the device that leaves a step out, so that the host need not wait."""
        return all(isinstance(one, Muon) or _is_fused(one) for one in self.each)

    def set_rate(self, step: int) -> float:
        """Rates of a step; returns that of AdamW (`lr` of the settings, scaled)."""
        share = multiplier(self.settings, step)
        for one, peaks in zip(self.each, self._peaks, strict=True):
            for group, peak in zip(one.param_groups, peaks, strict=True):
                group["lr"] = peak * share
        return self.settings.lr * share

    def step(self, leave_out: Tensor | None = None) -> None:
        """One step. leave_out: a scalar float32 on the device, 1 where nothing is to be changed (`can_leave_out`)."""
        for one in self.each:
            if leave_out is not None:
                one.found_inf = leave_out  # type: ignore[attr-defined]
                if not isinstance(one, Muon):
                    one.grad_scale = None  # type: ignore[attr-defined]
            one.step()

    def zero_grad(self) -> None:
        for one in self.each:
            one.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """States on the CPU; sharded tensors whole. All ranks must call it."""
        return [
            _mapped({**one.state_dict(), "begun": begun}, _whole)
            for one, begun in zip(self.each, self._begun, strict=True)
        ]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """What `state_dict` gave, of any number of ranks, settings, and kinds of device.

        torch would put the decay, the betas and all else of the checkpoint's run in the place of what these optimizers
        were made with. Here a value of a group comes from the checkpoint only where both runs began with the same one:
        then it can differ only because the optimizer keeps state there, as those without schedules do.
        """
        for one, state, fresh in zip(self.each, states, self._begun, strict=True):
            parameters = [parameter for group in one.param_groups for parameter in group["params"]]
            spread = {
                number: _mapped(values, partial(_spread, like=parameters[number]))
                for number, values in state["state"].items()
            }
            one.load_state_dict({**{key: value for key, value in state.items() if key != "begun"}, "state": spread})
            before = state.get("begun") or [{} for _ in fresh]
            for group, own, old in zip(one.param_groups, fresh, before, strict=True):
                group.update({key: value for key, value in own.items() if key not in old or not _same(value, old[key])})


def build_optimizers(model: nn.Module, config: ModelConfig, settings: TrainSettings) -> Optimizers:
    """The optimizers that the settings ask for. ConfigError for a factory that is not there or returns no optimizer."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if settings.optimizer == "adamw":
        return Optimizers([_adamw(named, settings)], settings)
    if settings.optimizer == "muon":
        hidden = [(name, parameter) for name, parameter in named if is_hidden(name, parameter)]
        rest = [(name, parameter) for name, parameter in named if not is_hidden(name, parameter)]
        return Optimizers([_muon(hidden, config, settings), _adamw(rest, settings)], settings)
    made = _factory(settings.optimizer)(named, settings)
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigError(
            f"{settings.optimizer} gave no optimizer",
            why=f"it gave a {type(made).__name__}",
            fix="return a torch.optim.Optimizer",
        )
    return Optimizers([made], settings)


def is_hidden(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix inside the blocks, whose updates Muon makes. Routers, embeddings and heads are
    not: their rows stand for experts and ids."""
    return parameter.dim() >= 2 and name.startswith("blocks.") and "router" not in name


def fused_rows(name: str, parameter: Tensor, config: ModelConfig) -> list[int] | None:
    """Rows of the matrices that are fused in a parameter; None where it is one matrix."""
    if name.endswith("attention.qkv.weight"):
        return [config.head_width * heads for heads in (config.heads, config.key_heads, config.key_heads)]
    if name.removesuffix(".weight").endswith("feed.up") and config.activation == "swiglu":
        return [parameter.shape[-2] // 2] * 2
    return None


def _adamw(named: Named, settings: TrainSettings) -> torch.optim.Optimizer:
    """Weight decay for matrices only: not for norms and embeddings, as in OLMo's ladder, nor for a tied head."""
    decayed = [parameter for name, parameter in named if parameter.dim() >= 2 and not name.startswith("embedding.")]
    plain = [parameter for name, parameter in named if parameter.dim() < 2 or name.startswith("embedding.")]
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, settings.weight_decay), (plain, 0.0))
        if parameters
    ]
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=betas, eps=settings.eps, fused=True)


def _muon(named: Named, config: ModelConfig, settings: TrainSettings) -> Muon:
    group = {
        "params": [parameter for _, parameter in named],
        "pieces": [fused_rows(name, parameter, config) for name, parameter in named],
    }
    rate = settings.lr if settings.muon_lr is None else settings.muon_lr
    return Muon([group], lr=rate, weight_decay=settings.weight_decay)


def _is_fused(optimizer: torch.optim.Optimizer) -> bool:
    return isinstance(optimizer, torch.optim.AdamW) and all(group["fused"] for group in optimizer.param_groups)


def _factory(place: str) -> Factory:
    module, _, name = place.rpartition(":")
    try:
        found = load_file(module) if module.endswith(".py") else importlib.import_module(module)
    except ConfigError:
        raise
    except Exception as error:  # whatever a file of yours does when it is imported
        raise ConfigError(
            f"the optimizer {place} cannot be imported",
            why=f"{type(error).__name__}: {error}",
            fix="import it with python, or install its package",
        ) from error
    factory = getattr(found, name, None)
    if not callable(factory):
        known = [key for key, value in vars(found).items() if inspect.isfunction(value) or inspect.isclass(value)]
        raise ConfigError(f"{module} has no {name}", why=f"functions in it: {', '.join(sorted(known)) or 'none'}")
    return factory  # type: ignore[no-any-return]


def _values(group: dict[str, Any]) -> dict[str, Any]:
    """What a group is set to, as it is now."""
    return {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one.cpu(), other.cpu())
    return bool(one == other)


def _mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(one, change) for one in value)
    return value


def _whole(tensor: Tensor) -> Tensor:
    """On the CPU, and a copy: the next step changes the original."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to("cpu", copy=True)


def _spread(tensor: Tensor, like: Tensor) -> Tensor:
    if isinstance(like, DTensor) and tensor.shape == like.shape:
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor
