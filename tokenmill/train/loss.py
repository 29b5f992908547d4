"""Cross-entropy of next ids, without the logits of a whole batch in memory.

Logits of 64 sequences of 1,024 over 32,768 ids take 8.6 GB in float32, more than the rest of a small model. Here they
exist for one chunk of positions at a time: its loss is added up, the gradient of its logits is turned into that of
the hidden states and of the output matrix, and the logits are gone. The gradient is exact, and the backward pass only
scales it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORED = -100
"""Label that has no loss, as in torch's `cross_entropy`. Every label below 0 has none."""
_CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""Logits of a chunk in float32: on a CPU what stays in its caches, on a GPU enough rows for full matrix units."""

_Settings = tuple[int, float, int, bool]


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    normaliser: Tensor,
    vocab_size: int,
    z_loss: float = 0.0,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, cross_entropy, z): scalars, summed over labels and divided by `normaliser`; total has the gradient.

    hidden: (N, width) states; weight: (rows, width), rows beyond vocab_size take no probability; labels: (N,) int64,
    below 0 where there is none. cross_entropy: nats. z: squared log-partition, not yet times z_loss;
    total = cross_entropy + z_loss * z. chunk: most positions at a time, None: as memory wants it; it changes the
    result by rounding alone. Products are in the dtype of autocast where that is on, all else in float32 or better.
    """
    if chunk is None:
        chunk = max(64, _CHUNK_BYTES.get(hidden.device.type, 64 << 20) // (4 * weight.shape[0]))
    chunks = max(1, math.ceil(len(hidden) / chunk))
    learns = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    settings = (vocab_size, z_loss, max(1, math.ceil(len(hidden) / chunks)), learns)
    apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _ChunkedCrossEntropy.apply
    return apply(hidden, weight, labels, normaliser, settings)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Its forward pass makes the gradients too, so that logits are computed once and kept for a chunk only."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, normaliser: Tensor, settings: _Settings
    ) -> tuple[Tensor, Tensor, Tensor]:
        vocab_size, z_loss, chunk, learns = settings
        device = hidden.device.type
        wide = torch.promote_types(hidden.dtype, torch.float32)
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        scale = normaliser.to(wide).reciprocal()
        sums = torch.zeros(2, dtype=wide, device=hidden.device)
        terms = _compiled(_terms) if hidden.is_cuda else _terms
        grad_hidden = torch.empty_like(hidden) if learns else hidden.new_empty(0)
        grad_weight = torch.zeros_like(weight) if learns else weight.new_empty(0)
        with torch.autocast(device, enabled=False):
            rows = weight.to(narrow)
            for start in range(0, len(hidden), chunk):
                part = slice(start, start + chunk)
                states = hidden[part].to(narrow)
                logits = states @ rows.t()
                sums += terms(logits, labels[part], scale, vocab_size, z_loss)
                if learns:
                    _add_product(grad_weight, logits.t(), states)
                    grad_hidden[part] = logits @ rows
        entropy, z = (sums * scale).unbind()
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(entropy, z)
        return entropy + z_loss * z, entropy, z

    @staticmethod
    @once_differentiable  # a second derivative would be that of constants, and no word of it
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = upstream[0]
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight * scale.to(grad_weight.dtype), None, None, None


def _terms(logits: Tensor, labels: Tensor, scale: Tensor, vocab_size: int, z_loss: float) -> Tensor:
    """(2,) sums of cross-entropy and squared log-partition of a chunk; `logits` become the gradient of the total."""
    exact = logits.to(scale.dtype)
    exact[:, vocab_size:] = -torch.inf
    kept = (labels >= 0).to(exact.dtype)
    target = labels.clamp(min=0)[:, None]
    wanted = exact.gather(1, target)[:, 0]
    peak = exact.amax(dim=1)
    powers = exact.sub_(peak[:, None]).exp_()
    whole = powers.sum(dim=1)
    partition = peak + whole.log()
    entropy = ((partition - wanted) * kept).sum()
    square = (partition.square() * kept).sum()
    share = kept * scale
    # softmax * (1 + 2 z_loss * log-partition), less 1 at the label
    gradient = powers.mul_((share * (1 + 2 * z_loss * partition) / whole)[:, None])
    if torch.compiler.is_compiling():
        # a scatter would end the fusion, and write the chunk once more
        columns = torch.arange(exact.shape[1], device=exact.device)
        gradient = gradient - torch.where(columns == target, share[:, None], 0.0)
    else:
        gradient.scatter_add_(1, target, -share[:, None])
    if gradient is not logits:
        logits.copy_(gradient)
    return torch.stack([entropy, square])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
    return compiled
