"""Several devices: FSDP2 (arXiv:2304.11277), one process per device, as torchrun starts them.

Weights, gradients and optimizer states are sharded over the ranks; each rank trains its sequences of the global batch.
Checkpoints hold whole tensors, so any number of ranks resumes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.train.model import Decoder
from tokenmill.train.settings import TrainSettings

T = TypeVar("T")


class World(NamedTuple):
    """The processes that train together."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files: the first one does."""
        return self.rank == 0


def join(device: torch.device) -> World:
    """The world of this process: of torch.distributed where the caller has started it, else of torchrun's environment.

    device: decides on the backend, nccl or gloo. Without either, a world of one.
    """
    if not dist.is_available():
        return World()
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or "RANK" not in os.environ:
            return World()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size())


def shard(model: Decoder, settings: TrainSettings, world: World) -> None:
    """Shard a model in place, block by block, once; nothing to do for a world of one.

    ConfigError where it is sharded already in another way than these settings want.
    """
    wanted = (settings.shard, settings.precision)
    found = getattr(model, "_sharded_as", None)
    if world.size == 1 or found == wanted:
        reshard(model)  # an evaluation that failed may have left it gathered
        return
    if found is not None:
        raise ConfigError(
            "the model is sharded for other settings",
            why=f"shard, precision were {found}, now they are {wanted}",
            fix="make a new model for each of them",
        )
    # blocks gather their weights in bf16; the stream between them stays float32, as autocast has it on one device
    narrow = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(next(model.parameters()).device.type, (world.size,))
    for block in model.blocks:
        if model.config.experts:  # gathered in float32 (moe.py), as the norms need not be
            exact = MixedPrecisionPolicy(cast_forward_inputs=False)
            router = block.get_submodule("feed.router")
            fully_shard(router, mesh=mesh, mp_policy=exact, reshard_after_forward=settings.shard)
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=settings.shard)
    fully_shard(model, mesh=mesh, mp_policy=MixedPrecisionPolicy(), reshard_after_forward=settings.shard)
    model._sharded_as = wanted  # type: ignore[assignment]


def is_sharded(model: nn.Module) -> bool:
    return isinstance(model, FSDPModule)


def reshard(model: nn.Module) -> None:
    """Free what a forward pass without a backward pass has gathered: until then, parameters are copies of the whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@torch.no_grad()
def initialise(model: Decoder, seed: int) -> None:
    """`Decoder.initialise`, also of a sharded model: the same values for any number of ranks."""
    if not is_sharded(model):
        model.initialise(seed)
        return
    whole = Decoder(model.config)
    whole.initialise(seed)
    load_whole(model, dict(whole.named_parameters()))


@torch.no_grad()
def load_whole(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set parameters from whole tensors by name; of a sharded model every rank keeps its part."""
    for name, parameter in model.named_parameters():
        value = tensors[name].detach().to(parameter.device)
        if isinstance(parameter, DTensor):
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        parameter.copy_(value)


def gather_whole(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, whole and on the CPU. All ranks must call it."""
    found = {}
    for name, parameter in model.named_parameters():
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        found[name] = whole.detach().to("cpu", copy=True).contiguous()
    return found


def sync_gradients(model: nn.Module, wanted: bool) -> None:
    """Whether the next backward pass reduces gradients over ranks: only that of the last micro-batch need."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(wanted)


def total(value: Tensor, world: World) -> Tensor:
    """The sum of a tensor over all ranks; the tensor itself in a world of one."""
    if world.size > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def from_first(value: T, world: World) -> T:
    """What the first rank has, on all of them. Plain values."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def by_first(action: Callable[[], T], world: World) -> T:
    """What the first rank's action gives, on all ranks. They wait for it, and an error of tokenmill is theirs too."""
    if world.size == 1:
        return action()
    value: T | None = None
    error: TokenmillError | None = None
    if world.writes:
        try:
            value = action()
        except TokenmillError as found:
            error = found
    told = from_first((value, None if error is None else error.to_fields()), world)
    if error is not None:
        raise error
    if told[1] is not None:
        raise TokenmillError.from_fields(told[1])
    return cast(T, told[0])


def leave() -> None:
    """End the process group that `join` began, where there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
