"""The mathematics of the decoder once more, for reading: float64, one position and one head at a time.

Shares no code with tokenmill.train: turns are products of complex numbers, attention adds up over the keys that are
seen, experts are asked token by token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from tokenmill.train.config import ModelConfig


class Weights(dict[str, Tensor]):
    """Parameters by name, and of each layer what its router did: probabilities and chosen experts, token by token."""

    def __init__(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        super().__init__(parameters)
        self.routed: dict[str, list[tuple[Tensor, list[int]]]] = {}


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).sum() / len(x) + eps) * weight


def turn(x: Tensor, position: int, theta: float) -> Tensor:
    """Dimensions i and i + half are a complex number, turned by position * theta^(-i / half)."""
    half = len(x) // 2
    angles = torch.tensor([position * theta ** (-i / half) for i in range(half)], dtype=torch.float64)
    turned = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag])


def swiglu(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    hidden = len(up) // 2
    gate = up[:hidden] @ x
    return down @ (gate * torch.sigmoid(gate) * (up[hidden:] @ x))


def naive_block(w: Weights, name: str, config: ModelConfig, stream: list[Tensor], document: list[int]) -> list[Tensor]:
    """One layer, over a single sequence; what its router did goes to `w.routed`."""
    size, heads, groups = config.head_width, config.heads, config.heads // config.key_heads
    queries, keys, values = [], [], []
    for position, x in enumerate(stream):
        mixed = w[name + "attention.qkv.weight"] @ norm(x, w[name + "attention_norm.weight"], config.norm_eps)
        parts = list(mixed.view(-1, size))
        if config.qk_norm:
            for head in range(heads + config.key_heads):
                kind = "query" if head < heads else "key"
                parts[head] = norm(parts[head], w[f"{name}attention.{kind}_norm.weight"], config.norm_eps)
        for head in range(heads + config.key_heads):
            parts[head] = turn(parts[head], position, config.rope_theta)
        queries.append(parts[:heads])
        keys.append(parts[heads : heads + config.key_heads])
        values.append(parts[heads + config.key_heads :])
    after = []
    for position, x in enumerate(stream):
        seen = [j for j in range(position + 1) if document[j] == document[position]]
        found = []
        for head in range(heads):
            scores = [queries[position][head] @ keys[j][head // groups] / math.sqrt(size) for j in seen]
            weights = torch.exp(torch.stack(scores) - max(scores))
            weights = weights / weights.sum()
            found.append(sum(weights[i] * values[j][head // groups] for i, j in enumerate(seen)))
        after.append(x + w[name + "attention.output.weight"] @ torch.cat(found))
    return [x + feed(w, name, config, norm(x, w[name + "feed_norm.weight"], config.norm_eps)) for x in after]


def feed(w: Weights, name: str, config: ModelConfig, x: Tensor) -> Tensor:
    if not config.experts:
        up, down = w[name + "feed.up.weight"], w[name + "feed.down.weight"]
        return swiglu(x, up, down) if config.activation == "swiglu" else down @ torch.clamp(up @ x, min=0) ** 2
    chances = torch.exp(w[name + "feed.router.weight"] @ x)
    chances = chances / chances.sum()
    best = sorted(range(config.experts), key=chances.tolist().__getitem__)[-config.experts_per_token :]
    w.routed.setdefault(name, []).append((chances, best))
    whole = sum(chances[expert] for expert in best)
    return sum(chances[e] / whole * swiglu(x, w[name + "feed.up"][e], w[name + "feed.down"][e]) for e in best)


def naive_loss(
    w: Weights, config: ModelConfig, ids: Tensor, labels: Tensor, document: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(total, cross-entropy, z, balance) of a batch."""
    head = w["embedding.weight"] if config.tied else w["head.weight"]
    entropies, squares = [], []
    for row in range(len(ids)):
        stream = [w["embedding.weight"][i] for i in ids[row].tolist()]
        for layer in range(config.layers):
            stream = naive_block(w, f"blocks.{layer}.", config, stream, document[row].tolist())
        for x, label in zip(stream, labels[row].tolist(), strict=True):
            logits = head[: config.vocab_size] @ norm(x, w["norm.weight"], config.norm_eps)
            partition = torch.log(torch.exp(logits).sum())
            if label != -100:
                entropies.append(partition - logits[label])
                squares.append(partition**2)
    entropy, z = torch.stack(entropies).mean(), torch.stack(squares).mean()
    balance = naive_balance(w, config, labels) if config.experts else torch.zeros_like(z)
    return entropy + config.z_loss * z + config.balance_loss * balance, entropy, z, balance


def naive_balance(w: Weights, config: ModelConfig, labels: Tensor) -> Tensor:
    """experts * sum of (share of pairs * mean probability), over positions with a label, mean over layers."""
    kept = [index for index, label in enumerate(labels.flatten().tolist()) if label != -100]
    losses = []
    for layer in range(config.layers):
        routed = w.routed[f"blocks.{layer}."]
        pairs = [expert for index in kept for expert in routed[index][1]]
        mean = sum(routed[index][0] for index in kept) / len(kept)
        share = torch.tensor([pairs.count(e) / len(pairs) for e in range(config.experts)], dtype=torch.float64)
        losses.append(config.experts * (share * mean).sum())
    return torch.stack(losses).mean()
