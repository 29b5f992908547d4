"""Settings of one training run. No torch here, so that plans can be shown without it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.pack import PACKINGS
from tokenmill.train.values import settle

SCHEDULES = ("wsd", "cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("fp32", "bf16")
SPIKES = ("none", "clip", "skip")
NOT_DECIDING = ("checkpoint_every", "log_every", "keep_steps", "shard", "track")
"""Settings that say nothing on the weights: a run goes on with other values of them."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a model is trained. ConfigError where a value cannot work.

    A step is one step of the optimizer; a token is a position that was an input.
    """

    steps: int
    batch_tokens: int
    """Tokens of a step, of all devices together."""
    micro_tokens: int
    """Tokens of one forward pass on one device; gradients of several are added up."""
    lr: float
    """Peak learning rate, of AdamW."""
    optimizer: str = "adamw"
    """adamw, muon (hidden matrices; AdamW for the rest), or `module:factory` or `path.py:factory` (optimizers.py)."""
    muon_lr: float | None = None
    """Peak learning rate of hidden matrices with muon; None: `lr`, for its updates are scaled to AdamW's size."""
    weight_decay: float = 0.1
    """Decoupled; of matrices, not of embeddings and norms."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    schedule: str = "wsd"
    """One of SCHEDULES (schedule.py)."""
    warmup_steps: int = 0
    decay_steps: int = 0
    """The last steps, in which wsd goes down."""
    final_lr: float = 0.0
    """What the schedule ends at, as a share of the peak."""
    clip: float | None = 1.0
    """Largest norm of the gradient with spikes="clip" and "skip"; None: not clipped."""
    spikes: str = "clip"
    """none, clip, or skip: also leave out steps whose loss or norm is far above those before (monitor.py)."""
    precision: str = "fp32"
    """Of matrix products: fp32 (on CUDA with TF32), or bf16 (autocast; weights and optimizer stay float32)."""
    compile: bool = False
    """torch.compile, block by block."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: only at the end."""
    keep_steps: tuple[int, ...] = ()
    """Further steps with checkpoints, which are kept: where branches and anneals begin. One that a run has passed
    without a checkpoint is made up for."""
    log_every: int = 20
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more work."""
    packing: str = "concatenate"
    """As of TokenLoader."""
    shard: bool = False
    """With several devices: free gathered weights after each block (FSDP2), instead of keeping them."""
    track: str | None = None
    """trackio or wandb: where to log beside log.jsonl."""

    def __post_init__(self) -> None:
        settle(self)
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is too small", fix=f"at least {least}")
        for name, known in _KNOWN.items():
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(
                    f"{name}={value!r} is not known", why=did_you_mean(str(value), [str(one) for one in known])
                )
        module, _, factory = self.optimizer.rpartition(":")
        if self.optimizer not in OPTIMIZERS and not (module and factory):
            raise ConfigError(
                f"optimizer={self.optimizer!r} is not known",
                why=did_you_mean(self.optimizer, OPTIMIZERS),
                fix="one of these, or a factory of yours as module:factory or path.py:factory",
            )
        for name in ("lr", "weight_decay", "beta1", "beta2", "eps", "final_lr", "muon_lr", "clip"):
            self._check_number(name)
        if self.warmup_steps + (self.decay_steps if self.schedule == "wsd" else 0) > self.steps:
            raise ConfigError(
                f"{self.warmup_steps} steps of warm-up and {self.decay_steps} of decay are more than {self.steps} steps"
            )

        if outside := [step for step in self.keep_steps if not 1 <= step <= self.steps]:
            raise ConfigError(
                f"keep_steps={outside[0]} is no step of a run of {self.steps}",
                why="a checkpoint is made behind a step",
                fix=f"from 1 to {self.steps}",
            )

    def _check_number(self, name: str) -> None:
        value = getattr(self, name)
        if value is None and name in ("muon_lr", "clip"):
            return
        low, high = _RANGES.get(name, (0.0, math.inf))
        if not math.isfinite(value) or not low <= value <= high:
            raise ConfigError(f"{name}={value!r} is out of range", fix=f"a number from {low:g} to {high:g}")

    @property
    def tokens(self) -> int:
        """Trained tokens of the whole run."""
        return self.steps * self.batch_tokens

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the same settings."""
        return {**dataclasses.asdict(self), "keep_steps": list(self.keep_steps)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainSettings:
        """ConfigError for a name that is no setting."""
        known = [one.name for one in dataclasses.fields(cls)]
        for name in data:
            if name not in known:
                raise ConfigError(f"there is no training setting {name!r}", why=did_you_mean(name, known))
        return cls(**data)

    def deciding(self) -> dict[str, Any]:
        """The settings that the weights depend on."""
        return {name: value for name, value in self.to_json().items() if name not in NOT_DECIDING}

    @property
    def digest(self) -> str:
        """SHA-256 of the settings that the weights depend on."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()


_LEAST = {
    **dict.fromkeys(("steps", "batch_tokens", "micro_tokens", "log_every"), 1),
    **dict.fromkeys(("warmup_steps", "decay_steps", "checkpoint_every"), 0),
}
_KNOWN: dict[str, tuple[Any, ...]] = {
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "spikes": SPIKES,
    "packing": PACKINGS,
    "track": (None, "trackio", "wandb"),
}
_RANGES = {"final_lr": (0.0, 1.0), "beta1": (0.0, 0.9999), "beta2": (0.0, 0.999999)}
