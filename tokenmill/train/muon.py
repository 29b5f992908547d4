"""Muon: momentum, orthogonalised (Jordan et al. 2024), for the matrices inside a model.

The algorithm of torch.optim.Muon, to which it is compared in the tests. That one takes a matrix at a time and nothing
else; here fused matrices (queries, keys and values; gate and up) are orthogonalised piece by piece, stacks of matrices
(experts) are taken as they are, all pieces of one shape go through one batched product, sharded matrices (DTensor) are
gathered for it, and a step can be left out by a flag on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration; five of them bring singular values to 0.5 - 1.5."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Parameters with two or more dimensions; the last two are a matrix.

    A group may have `pieces`: for each of its parameters the rows of the matrices that are fused in it, None where it
    is one. Updates have the size of AdamW's (0.2 sqrt(larger side), arXiv:2502.16982): its rates and decays serve.
    """

    found_inf: Tensor | None = None
    """A scalar on the device: where it is 1, `step` changes nothing."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "pieces": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        keep = None if self.found_inf is None else self.found_inf == 0
        for group in self.param_groups:
            pieces = group["pieces"] or [None] * len(group["params"])
            moved = [
                (parameter, self._direction(parameter, group["momentum"], keep), rows)
                for parameter, rows in zip(group["params"], pieces, strict=True)
                if parameter.grad is not None
            ]
            for (parameter, _, _), update in zip(moved, _orthogonalised(moved), strict=True):
                local, update = _local(parameter), _local_part(update, parameter)
                decay, change = 1 - group["lr"] * group["weight_decay"], -group["lr"]
                if keep is None:
                    local.mul_(decay).add_(update, alpha=change)
                else:
                    local.copy_(torch.where(keep, local * decay + change * update, local))

    def _direction(self, parameter: Tensor, momentum: float, keep: Tensor | None) -> Tensor:
        """Nesterov's momentum of a gradient."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer, gradient = state["momentum_buffer"], parameter.grad
        assert gradient is not None
        if keep is None:
            buffer.lerp_(gradient, 1 - momentum)
        else:
            mine, given = _local(buffer), _local(gradient)
            mine.copy_(torch.where(keep, mine.lerp(given, 1 - momentum), mine))
        direction: Tensor = gradient.lerp(buffer, momentum)
        return direction


def _orthogonalised(moved: list[tuple[Tensor, Tensor, list[int] | None]]) -> list[Tensor]:
    """The update of each parameter, whole: its pieces orthogonalised, all of one shape at once."""
    shapes: dict[tuple[int, int], list[Tensor]] = {}
    places: list[list[tuple[tuple[int, int], int, int]]] = []
    for _, direction, rows in moved:
        whole = direction.full_tensor() if isinstance(direction, DTensor) else direction
        mine = []
        for piece in torch.split(whole, rows or whole.shape[-2], dim=-2):
            matrices = piece.reshape(-1, *piece.shape[-2:])
            if matrices.is_cuda:  # where it is fast; five iterations are no more than rough in any case
                matrices = matrices.to(torch.bfloat16)
            stack = shapes.setdefault((matrices.shape[1], matrices.shape[2]), [])
            mine.append(((matrices.shape[1], matrices.shape[2]), len(stack), len(matrices)))
            stack.extend(matrices)
        places.append(mine)
    solved = {shape: newton_schulz(torch.stack(stack)) * (0.2 * max(shape) ** 0.5) for shape, stack in shapes.items()}
    return [
        torch.cat([solved[shape][at : at + count] for shape, at, count in mine], dim=1)
        .reshape(direction.shape)
        .to(direction.dtype)
        for (_, direction, _), mine in zip(moved, places, strict=True)
    ]


def newton_schulz(matrices: Tensor) -> Tensor:
    """About U V^T of each matrix U S V^T. matrices: (count, rows, columns); the same shape and dtype."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        mixed = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    return x if wide else x.mT


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _local_part(whole: Tensor, like: Tensor) -> Tensor:
    """The part of a tensor, known to all ranks, that this rank has of `like`."""
    if not isinstance(like, DTensor):
        return whole
    mesh = like.device_mesh
    known = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return known.redistribute(mesh, like.placements).to_local()
