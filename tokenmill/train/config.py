"""What a model is: its shape, and what follows from it. No torch here, so that plans are shown without it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.train.values import settle

ACTIVATIONS = ("swiglu", "relu2")
VOCABULARY_MULTIPLE = 64
"""Rows of the embedding are filled up to a multiple of this, which matrix units want."""

_COUNTS = ("vocab_size", "layers", "width", "heads", "kv_heads", "hidden", "context")
_SHARES = ("init_std", "z_loss", "balance_loss")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape of a decoder in the style of Llama. ConfigError for what cannot work."""

    vocab_size: int
    """Ids of the tokenizer; logits and probabilities are over these alone."""
    layers: int
    width: int
    """Of the residual stream."""
    heads: int
    """Of queries; each has width / heads dimensions."""
    kv_heads: int | None = None
    """Of keys and values, each shared by heads / kv_heads queries; None: as many as `heads`."""
    hidden: int
    """Width of the feed-forward layer."""
    context: int
    """Most positions of a sequence."""
    rope_theta: float = 1e4
    qk_norm: bool = True
    """RMSNorm of every query and key, as in Qwen3."""
    tied: bool = True
    """Whether the embedding is the output matrix as well."""
    activation: str = "swiglu"
    """One of ACTIVATIONS; relu2 is not known to transformers, so such a model cannot be exported."""
    norm_eps: float = 1e-6
    init_std: float = 0.02
    z_loss: float = 1e-4
    """Factor of the mean squared log-partition, which keeps logits from drifting (PaLM, arXiv:2204.02311)."""
    experts: int = 0
    """Feed-forward networks per layer that a router chooses from; 0: a single one, without a router."""
    experts_per_token: int = 2
    expert_hidden: int | None = None
    """Width of an expert; None: `hidden`."""
    balance_loss: float = 0.01
    """Factor of the loss that spreads tokens over experts; 1 is its value at even use (arXiv:2101.03961)."""
    document_mask: bool = False
    """Whether a position sees its own document only, not those before it in the sequence."""

    def __post_init__(self) -> None:
        settle(self)
        for name in _COUNTS:
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"{name}={number!r} of a model is too small", fix="an integer of at least 1")
        for name in _SHARES:
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}={getattr(self, name)} of a model", fix="a number of at least 0")
        if not (0 < self.norm_eps < math.inf and 1 < self.rope_theta < math.inf):
            raise ConfigError(
                "norm_eps and rope_theta are out of range",
                why=f"norm_eps={self.norm_eps}, rope_theta={self.rope_theta}",
                fix="norm_eps above 0, rope_theta above 1",
            )
        if self.width % self.heads or self.head_width % 2:
            raise ConfigError(
                f"width={self.width} does not divide into {self.heads} heads of an even width",
                why="rotary positions turn pairs of dimensions of a head",
                fix="choose width as an even multiple of heads",
            )
        if self.heads % self.key_heads:
            raise ConfigError(f"heads={self.heads} is no multiple of kv_heads={self.kv_heads}")
        if self.activation not in ACTIVATIONS:
            raise ConfigError(
                f"activation={self.activation!r} is not known", why=did_you_mean(self.activation, ACTIVATIONS)
            )
        self._check_experts()

    def _check_experts(self) -> None:
        if self.experts < 0 or (self.experts and not 1 <= self.experts_per_token <= self.experts):
            raise ConfigError(
                f"{self.experts_per_token} of {self.experts} experts per token cannot be",
                fix="experts=0 for a dense model, or experts_per_token from 1 to experts",
            )
        if self.expert_hidden is not None and self.expert_hidden < 1:
            raise ConfigError(f"expert_hidden={self.expert_hidden} is too small", fix="at least 1")
        if self.experts and self.activation != "swiglu":
            raise ConfigError("experts have swiglu only", fix='set activation="swiglu", or experts=0')

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding: vocab_size up to the next multiple of 64. The rows beyond have no probability."""
        return math.ceil(self.vocab_size / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def expert_width(self) -> int:
        return self.hidden if self.expert_hidden is None else self.expert_hidden

    def _layer_matrices(self, experts: int) -> int:
        """Weights in the matrices of a layer that has so many experts."""
        attention = self.width * self.head_width * (2 * self.heads + 2 * self.key_heads)
        gates = 2 if self.activation == "swiglu" else 1
        if not self.experts:
            return attention + (gates + 1) * self.width * self.hidden
        return attention + self.width * self.experts + experts * 3 * self.width * self.expert_width

    @property
    def parameters(self) -> int:
        """All that the module holds: padded rows, norms and every expert included."""
        norms = 2 * self.width + (2 * self.head_width if self.qk_norm else 0)
        embeddings = (1 if self.tied else 2) * self.padded_vocab * self.width
        return embeddings + self.layers * (self._layer_matrices(self.experts) + norms) + self.width

    @property
    def matmul_parameters(self) -> int:
        """Weights that a token is multiplied with: the output matrix (tied or not), of experts those that are used.
        Looking up an embedding is no product."""
        return self.layers * self._layer_matrices(self.experts_per_token) + self.padded_vocab * self.width

    @property
    def flops_per_token(self) -> int:
        """FLOPs of training on a token, forward and backward: 6 matmul_parameters + 12 layers * width * context.

        The convention of nanoGPT and PaLM: attention counts as if every position saw the whole context, though a
        causal mask needs half of it; recomputation does not count. So MFU compares with published figures.
        """
        return 6 * self.matmul_parameters + 12 * self.layers * self.width * self.context

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelConfig:
        """What `to_json` gave. ConfigError for a name that is none of the fields."""
        known = [one.name for one in fields(cls)]
        for name in data:
            if name not in known:
                raise ConfigError(f"a model has no setting {name!r}", why=did_you_mean(name, known))
        missing = [one.name for one in fields(cls) if one.default is MISSING and one.name not in data]
        if missing:
            raise ConfigError(f"the description of a model misses: {', '.join(missing)}")
        return cls(**data)
