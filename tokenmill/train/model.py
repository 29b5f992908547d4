"""A decoder in the style of Llama: pre-norm RMSNorm, rotary positions, grouped queries, SwiGLU, no bias anywhere.

Letters in shapes: B sequences, T positions, d width, D head width.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokenmill.train.attention import Mask, attend, document_mask, max_logit, visible
from tokenmill.train.config import ModelConfig
from tokenmill.train.loss import IGNORED, chunked_cross_entropy
from tokenmill.train.moe import Balance, Experts, Routing
from tokenmill.train.norm import RMSNorm
from tokenmill.train.rotary import rotary_table, rotate

__all__ = ["IGNORED", "Block", "Decoder", "Loss", "ModelConfig"]

_EXCESS = 0.009
"""Most that the first loss may be above ln(vocab_size), as a share of it."""


class Loss(NamedTuple):
    """Of a batch; scalars. All are sums over labels, divided by the number of labels or by `normaliser`."""

    total: Tensor
    """cross_entropy + z_loss * z + balance_loss * balance: the one with a gradient."""
    cross_entropy: Tensor
    """Nats per label."""
    tokens: Tensor
    """Labels of this batch, int64."""
    z: Tensor
    """Squared log-partition."""
    balance: Tensor
    """1 where experts are used evenly, up to the number of experts; 0 for a dense model."""


def tied_gain(config: ModelConfig) -> float:
    """Weight of the last norm at the start, at most 1, that keeps the first loss near ln(vocab_size).

    Where the input's embedding comes out as it went in, its product with itself is `init_std * width`: 11 for a width
    of 576, and every id would predict itself. Other logits have the variance init_std^2 * width. The gain is the
    largest of 1/256, 2/256, ... with a loss within _EXCESS. No smaller: it slows the first hundred steps (measured:
    80 steps of width 320 end at 3.74 nats with 0.72, at 3.46 with 1). muP divides by the width (arXiv:2203.03466).
    """
    own = config.init_std * config.width
    limit = (1 + _EXCESS) * math.log(config.vocab_size)
    for step in range(256, 1, -1):
        gain = step / 256
        others = (config.vocab_size - 1) * math.exp((gain * config.init_std) ** 2 * config.width / 2)
        if gain * own < 700 and math.log(others + math.exp(gain * own)) <= limit:
            return gain
    return 1 / 256


class Attention(nn.Module):
    """Causal self-attention; queries, keys and values come from one product."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width = config.heads, config.key_heads, config.head_width
        self.qkv = nn.Linear(config.width, (self.heads + 2 * self.key_heads) * self.head_width, bias=False)
        self.query_norm = RMSNorm(self.head_width, config.norm_eps) if config.qk_norm else nn.Identity()
        self.key_norm = RMSNorm(self.head_width, config.norm_eps) if config.qk_norm else nn.Identity()
        self.output = nn.Linear(config.width, config.width, bias=False)

    def split(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, D), normed and turned."""
        mixed: Tensor = self.qkv(x).view(*x.shape[:2], -1, self.head_width)
        query, key, value = mixed.split_with_sizes((self.heads, self.key_heads, self.key_heads), dim=2)
        query, key = rotate(self.query_norm(query), table), rotate(self.key_norm(key), table)
        return query.to(value.dtype).transpose(1, 2), key.to(value.dtype).transpose(1, 2), value.transpose(1, 2)

    def forward(self, x: Tensor, table: Tensor, mask: Mask) -> Tensor:
        seen = attend(*self.split(x, table), mask)
        projected: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return projected


class FeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202), or the square of a ReLU (arXiv:2109.08668)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.activation == "swiglu"
        self.up = nn.Linear(config.width, (2 if self.gated else 1) * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        raised: Tensor = self.up(x)
        if self.gated:
            gate, raised = raised.chunk(2, dim=-1)
            raised = F.silu(gate) * raised
        else:
            raised = F.relu(raised).square()
        lowered: Tensor = self.down(raised)
        return lowered


class Block(nn.Module):
    """One layer: attention and feed-forward, each added to the stream that passes through."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(config)
        self.feed_norm = RMSNorm(config.width, config.norm_eps)
        self.feed = Experts(config) if config.experts else FeedForward(config)

    def forward(self, x: Tensor, table: Tensor, mask: Mask, counted: Tensor) -> tuple[Tensor, Routing | None]:
        x = x + self.attention(self.attention_norm(x), table, mask)
        normed = self.feed_norm(x)
        if isinstance(self.feed, Experts):
            mixed, routing = self.feed(normed, counted)
            return x + mixed, routing
        return x + self.feed(normed), None


class Decoder(nn.Module):
    """Ids to logits, or to the loss of labels. Compile `blocks` one by one: they share one compilation."""

    table: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.head = None if config.tied else nn.Linear(config.width, config.padded_vocab, bias=False)
        table = rotary_table(config.context, config.head_width, config.rope_theta)
        self.register_buffer("table", table, persistent=False)
        self.balance = Balance(config) if config.experts else None
        self.initialise(0)

    @property
    def head_weight(self) -> Tensor:
        """(padded_vocab, d) output matrix."""
        return self.embedding.weight if self.head is None else self.head.weight

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """All parameters anew, in place, the same on every device and whatever was before.

        Matrices are normal with `init_std`, norms 1; what is added to the stream (outputs of attention and
        feed-forward) and the head begin at 0, so every layer is the identity. A tied head cannot: there, the weights
        of the last norm are `tied_gain`.
        """
        generator = torch.Generator().manual_seed(seed)
        config = self.config
        for name, parameter in self.named_parameters():
            if name.endswith(("output.weight", "down.weight", "feed.down", "head.weight")):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                drawn = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                parameter.copy_(drawn.normal_(0.0, config.init_std, generator=generator))
        self.embedding.weight[config.vocab_size :] = 0.0
        if self.head is None:
            self.norm.weight.fill_(tied_gain(config))

    def begin_batch(self) -> None:
        """A new global batch begins: forget how experts were used. To be called before the first micro-batch."""
        if self.balance is not None:
            self.balance.begin()

    def expert_use(self) -> Tensor | None:
        """(layers, experts) shares of the tokens of this global batch that went to each expert; None for a dense model.

        A layer's sum is 1, even use 1 / experts. Counted over all ranks, while training.
        """
        if self.balance is None:
            return None
        return self.balance.counts / self.balance.counts.sum(dim=1, keepdim=True).clamp(min=1)

    def _states(self, ids: Tensor, mask: Mask, counted: Tensor) -> tuple[Tensor, list[Routing]]:
        """(B, T, d) states behind the last norm."""
        x = self.embedding(ids)
        routings: list[Routing] = []
        for block in self.blocks:
            x, routing = block(x, self.table, mask, counted)
            if routing is not None:
                routings.append(routing)
        return self.norm(x), routings

    def forward(
        self,
        ids: Tensor,
        labels: Tensor | None = None,
        document: Tensor | None = None,
        normaliser: Tensor | None = None,
    ) -> Tensor | Loss:
        """ids: (B, T) int64. Without labels: logits (B, T, vocab_size) float32. labels: (B, T) int64, the id that
        follows each position, below 0 (IGNORED) where there is none. document: (B, T), for `document_mask`.
        normaliser: what sums over labels are divided by instead of their number: give the labels of all micro-batches
        (and ranks), and their losses add up to the mean of the whole.
        """
        counted = torch.ones_like(ids, dtype=torch.bool) if labels is None else labels >= 0
        states, routings = self._states(ids, self._mask(document), counted)
        if labels is None:
            return _wide(F.linear(states, self.head_weight)[..., : self.config.vocab_size])
        tokens = counted.sum()
        if normaliser is None:
            normaliser = tokens.clamp(min=1)
        total, entropy, z = chunked_cross_entropy(
            states.flatten(0, 1),
            self.head_weight,
            labels.flatten(),
            normaliser=normaliser,
            vocab_size=self.config.vocab_size,
            z_loss=self.config.z_loss,
        )
        if self.balance is None:
            return Loss(total, entropy, tokens, z, torch.zeros_like(z))
        balance = self.balance(routings, normaliser)
        return Loss(total + self.config.balance_loss * balance, entropy, tokens, z, balance.detach())

    def states(self, ids: Tensor) -> Tensor:
        """(B, T, d) states behind the last norm: `head_weight` makes logits of them, where only some are wanted."""
        return self._states(ids, None, torch.ones_like(ids, dtype=torch.bool))[0]

    def _mask(self, document: Tensor | None) -> Mask:
        return document_mask(document) if document is not None and self.config.document_mask else None

    @torch.no_grad()
    def max_logits(self, ids: Tensor, document: Tensor | None = None) -> Tensor:
        """(layers,) the largest product of a query and a key that sees it, scaled as in the softmax.

        Grows without bound before a run diverges (arXiv:2309.14322). Costs a forward pass and (B, heads, T, T) numbers
        per layer: give it a few sequences now and then.
        """
        mask = self._mask(document)
        seen = visible(ids.shape[1], document if self.config.document_mask else None, ids.device)
        x, found = self.embedding(ids), []
        counted = torch.ones_like(ids, dtype=torch.bool)
        for block in cast(list[Block], self.blocks):
            query, key, _ = block.attention.split(block.attention_norm(x), self.table)
            found.append(max_logit(query, key, seen))
            x, _ = block(x, self.table, mask, counted)
        return torch.stack(found)


def _wide(x: Tensor) -> Tensor:
    """In float32, or in float64 where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
