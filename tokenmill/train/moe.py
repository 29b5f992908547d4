"""Mixture of experts: every token is sent to the few feed-forward networks that a router rates highest.

Nothing is dropped and experts have no capacity: pairs of token and expert are sorted by expert, and each expert
multiplies what came to it, however much that is. What keeps a router from sending all to one expert is the balance loss
over the *global* batch (arXiv:2501.11873): over single micro-batches it would force every one of them, often from a
single domain, to use all experts evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from tokenmill.train.config import ModelConfig


class Routing(NamedTuple):
    """What the router of a layer did with the positions that have a label."""

    counts: Tensor
    """(experts,) pairs of a token and this expert; no gradient."""
    probabilities: Tensor
    """(experts,) router probabilities, summed over tokens; with gradient."""


class Experts(nn.Module):
    """Experts with SwiGLU and their router: softmax over all, the highest k, their weights scaled to a sum of 1.

    The same as Qwen3-MoE's with norm_topk_prob. In bf16, with widths that are multiples of 8, the products of all
    experts are one grouped product; otherwise they are done one by one, and the host waits for their sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.chosen = config.experts_per_token
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.up = nn.Parameter(torch.empty(config.experts, 2 * config.expert_width, config.width))
        self.down = nn.Parameter(torch.empty(config.experts, config.width, config.expert_width))

    def forward(self, x: Tensor, counted: Tensor) -> tuple[Tensor, Routing]:
        """x: (B, T, d); counted: (B, T) 1 where a position counts in the statistics, else 0."""
        tokens = x.flatten(0, 1)
        probabilities = self._rate(tokens)
        weights, experts = probabilities.topk(self.chosen)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        used = F.one_hot(experts, probabilities.shape[1])
        # by expert; within one in the order of tokens, so that sums are the same in every run
        order = experts.flatten().argsort(stable=True)
        raised = self._multiply(tokens[order // self.chosen], self.up, used)
        gate, raised = raised.chunk(2, dim=-1)
        lowered = self._multiply(F.silu(gate) * raised, self.down, used)
        by_token = lowered[order.argsort()].view(len(tokens), self.chosen, -1)
        mixed = (by_token * weights.to(by_token.dtype)[..., None]).sum(dim=1)
        share = counted.flatten().to(probabilities.dtype)
        with torch.no_grad():
            counts = (share[:, None] * used.sum(dim=1)).sum(dim=0)
        return mixed.view_as(x), Routing(counts, (share[:, None] * probabilities).sum(dim=0))

    def _rate(self, tokens: Tensor) -> Tensor:
        """(tokens, experts) probabilities; never in bf16, whose rounding would make ties and change choices."""
        wide = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            return F.softmax(self.router(tokens.to(wide)), dim=-1)

    def _multiply(self, rows: Tensor, weight: Tensor, used: Tensor) -> Tensor:
        """rows: (pairs, in), those of one expert together; weight: (experts, out, in). (pairs, out)."""
        sizes = used.sum(dim=(0, 1))
        if torch.is_autocast_enabled(rows.device.type):
            narrow = torch.get_autocast_dtype(rows.device.type)
            rows, weight = rows.to(narrow), weight.to(narrow)
        if rows.dtype == torch.bfloat16 and not any(size % 8 for size in weight.shape[1:]):
            ends = sizes.cumsum(0).to(torch.int32)
            return F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)
        parts: Sequence[Tensor] = torch.split(rows, sizes.tolist())
        return torch.cat([F.linear(part, matrix) for part, matrix in zip(parts, weight, strict=True)])


class Balance(nn.Module):
    """Balance loss and use of experts over a global batch, for all layers at once.

    The loss of a layer is experts * sum over experts of f * P: f is the share of pairs that an expert got, P the mean
    probability that the router gave it (arXiv:2101.03961). Only P has a gradient, and it is a sum over tokens, so
    micro-batches and ranks add up by themselves. f is counted over all ranks (one all-reduce of layers * experts
    numbers), and over the micro-batches since `begin`: the first of them knows its own counts only, the last those of
    the whole batch.
    """

    counts: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(config.layers, config.experts), persistent=False)

    @torch.no_grad()
    def begin(self) -> None:
        """Forget the counts: a new global batch begins."""
        self.counts.zero_()

    def forward(self, routings: list[Routing], normaliser: Tensor) -> Tensor:
        """The loss, mean over layers. normaliser: labels of the global batch.

        Other ranks are asked, and counts kept, while training only.
        """
        counts = torch.stack([one.counts for one in routings])
        if self.training:  # an evaluation may be that of a single rank
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(counts)
            self.counts += counts
            counts = self.counts.clone()  # the next micro-batch adds to it before the backward pass of this one may end
        share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        mean = torch.stack([one.probabilities for one in routings]) / normaliser
        return share.shape[1] * (share * mean).sum(dim=1).mean()
