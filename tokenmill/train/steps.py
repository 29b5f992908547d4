"""One step: the gradient of the global batch from micro-batches, whether it is taken, and the step of the optimizer."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from tokenmill.tokens.pack import Batch
from tokenmill.train.data import count_labels, micro_batches
from tokenmill.train.model import Decoder, Loss
from tokenmill.train.monitor import History
from tokenmill.train.optimizers import Optimizers
from tokenmill.train.parallel import World, is_sharded, sync_gradients, total
from tokenmill.train.settings import TrainSettings

SHAPES_AT_A_TIME = 3
"""Models that are compiled side by side: each may need two of the eight versions that a function can have."""
_compiled_shapes: set[tuple[Any, ...]] = set()


class Step(NamedTuple):
    """What a step did; scalars on the device, that nobody has waited for."""

    loss: Tensor
    """Cross-entropy, mean nats over the labels of the global batch."""
    norm: Tensor
    """Of the gradient, before clipping."""
    z: Tensor
    balance: Tensor
    left_out: Tensor
    """1 where the optimizer changed nothing, else 0."""
    spike: Tensor
    """1 where it was left out for a spike."""


class Stepper:
    """Makes the steps of a run. The gradient is the mean over all labels of the global batch, however it is cut."""

    def __init__(
        self,
        model: Decoder,
        settings: TrainSettings,
        optimizers: Optimizers,
        history: History,
        world: World,
        *,
        waits: bool | None = None,
    ) -> None:
        """waits: whether the host looks at loss and norm before the optimizer's step. None: on a CPU, where spikes are
        skipped, and with optimizers that cannot leave out a step by a flag on the device."""
        self.model, self.settings, self.optimizers = model, settings, optimizers
        self.history, self.world = history, world
        self.device = next(model.parameters()).device
        if waits is None:
            waits = self.device.type != "cuda" or settings.spikes == "skip" or not optimizers.can_leave_out
        self.waits = waits
        self.rows = settings.micro_tokens // model.config.context
        self._labels: tuple[int, Tensor] | None = None
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step(self, batch: Batch) -> Step:
        """A step on a rank's batch (as `TokenLoader` gives it). The rates of the optimizers are set before."""
        self.optimizers.zero_grad()
        loss, z, balance = self._gradients(batch)
        norm = gradient_norm(self._parameters)
        if self.waits:
            left_out, spike = self._look(loss, norm)
        else:
            left_out, spike = (~torch.isfinite(loss + norm)).float(), torch.zeros_like(loss)
        flag = None if self.waits else left_out
        if flag is not None or not left_out:
            if self.settings.clip is not None and self.settings.spikes != "none":
                clip_gradients(self._parameters, norm, self.settings.clip)
            self.optimizers.step(flag)
        return Step(loss, norm, z, balance, left_out, spike)

    def _look(self, loss: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the step is left out, and whether for a spike; the host waits for the device."""
        values: list[float] = torch.stack([loss, norm]).tolist()
        finite = all(map(math.isfinite, values))
        spike = finite and self.settings.spikes == "skip" and self.history.is_spike(*values)
        return torch.tensor(float(spike or not finite)), torch.tensor(float(spike))

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Add up gradients of the global batch; (cross-entropy, z, balance), means over it."""
        normaliser = self._normaliser(count_labels(batch))
        self.model.begin_batch()
        micros = list(micro_batches(batch, self.rows, self.device))
        sums = torch.zeros(2, device=self.device)
        balance = torch.zeros((), device=self.device)
        for number, micro in enumerate(micros):
            sync_gradients(self.model, number == len(micros) - 1)
            with autocast(self.device, self.settings):
                loss = self.model(micro.ids, micro.labels, micro.document, normaliser)
            assert isinstance(loss, Loss)
            torch.autograd.backward(loss.total)
            sums += torch.stack([loss.cross_entropy, loss.z]).detach()
            balance = balance + loss.balance.detach()
        whole = total(torch.cat([sums, balance[None]]), self.world) / self.world.size
        return whole[0], whole[1], whole[2]

    def _normaliser(self, labels: int) -> Tensor:
        """Labels of the global batch by ranks: gradients are averaged over ranks, which then is the batch's mean."""
        if self.world.size > 1:
            return total(torch.tensor(float(labels), device=self.device), self.world).clamp(min=1) / self.world.size
        if self._labels is None or self._labels[0] != labels:
            self._labels = (labels, torch.tensor(float(max(labels, 1)), device=self.device))
        return self._labels[1]


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients, over all ranks."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def clip_gradients(parameters: list[nn.Parameter], norm: Tensor, most: float) -> None:
    """Scale gradients so that their norm is `most` at most; the device does it, nobody waits."""
    scale = (most / (norm + 1e-6)).clamp(max=1.0)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    local = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    torch._foreach_mul_(local, scale)


def autocast(device: torch.device, settings: TrainSettings) -> AbstractContextManager[None]:
    """Products in bf16 where the settings say so."""
    return torch.autocast(device.type, torch.bfloat16) if settings.precision == "bf16" else nullcontext()


def logit_max(model: Decoder, batch: Batch) -> float | None:
    """Largest logit of attention, of any layer, on the first sequence of a batch; it grows without bound before a run
    diverges (arXiv:2309.14322). None for a sharded model, whose layers cannot be asked one by one."""
    if is_sharded(model):
        return None
    device = next(model.parameters()).device
    first = {name: array[:1] for name, array in batch.items()}
    micro = next(micro_batches(first, 1, device))
    with eager(model):
        return float(model.max_logits(micro.ids, micro.document).max())


@contextmanager
def steps_of(model: Decoder, settings: TrainSettings) -> Iterator[None]:
    """The state of the process in which steps are made; all of it is as before afterwards.

    Python's garbage collector does not run (it stops the host for half a second at times), float32 products on CUDA
    use TF32, random numbers are the run's own, and blocks are compiled or recomputed as the settings say.
    """
    device = next(model.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(_without_collector())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if device.type == "cuda":
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high")
            stack.callback(torch.set_float32_matmul_precision, before)
        if settings.activation_checkpointing:
            stack.enter_context(_recomputed(model))
        if settings.compile:
            compile_blocks(model, settings)
        else:
            stack.enter_context(eager(model))
        mode = model.training
        stack.callback(model.train, mode)
        model.train()
        yield


def compile_blocks(model: Decoder, settings: TrainSettings) -> None:
    """torch.compile of every block, once per model; all blocks share the code, and all runs of a process do.

    The compiler keeps what it has made per function, and gives up on one at its ninth shape (`recompile_limit`): blocks
    and the loss would run uncompiled from there on, without a word. So it forgets all from time to time.
    """
    shape = (model.config, settings.micro_tokens, settings.precision, settings.activation_checkpointing)
    if shape not in _compiled_shapes and len(_compiled_shapes) >= SHAPES_AT_A_TIME:
        torch._dynamo.reset()
        _compiled_shapes.clear()
    _compiled_shapes.add(shape)
    for block in model.blocks:
        if block._compiled_call_impl is None:
            block.compile(dynamic=False)


@contextmanager
def eager(model: Decoder) -> Iterator[None]:
    """Blocks run as they are written: what has other shapes than training would be compiled anew. Functions that are
    no use without the compiler (attention within documents, on CUDA) stay compiled."""
    kept = [block._compiled_call_impl for block in model.blocks]
    for block in model.blocks:
        block._compiled_call_impl = None
    try:
        yield
    finally:
        for block, compiled in zip(model.blocks, kept, strict=True):
            block._compiled_call_impl = compiled


@contextmanager
def _recomputed(model: Decoder) -> Iterator[None]:
    """Blocks keep no activations but compute them again in the backward pass."""
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block in model.blocks:
            del block.forward  # the method of the class is seen again


@contextmanager
def _without_collector() -> Iterator[None]:
    was_on, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
        if was_on:
            gc.enable()
