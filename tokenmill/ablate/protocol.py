"""The protocol: all that decides on the result of an ablation except the data, derived from one dial and printed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenmill.ablate.spec import Ablation
from tokenmill.core.plan import canonical_json
from tokenmill.train.config import ModelConfig
from tokenmill.train.presets import derive
from tokenmill.train.settings import TrainSettings

FINAL_EVALS = 3
FINAL_SPACING = 0.02
"""The last evaluations stand so far apart, as a share of the run. The learning rate is nearly 0 there, so their mean is
the score of the end with less noise (Heineman et al. 2025, arXiv:2508.13144), not that of an earlier model."""
LOW_LR = 0.25
"""Learning rate of the check on sensitivity, as a share: rankings of recipes flip with small changes of it
(arXiv:2512.24503)."""
_OF_THE_MACHINE = ("micro_tokens", "compile", "activation_checkpointing")
"""Settings that change the last bits of the weights, and that another machine chooses differently: not the protocol."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How every run of a study is trained and measured."""

    size: str
    """Name of the preset, or a number of parameters."""
    model: ModelConfig
    settings: TrainSettings
    seeds: tuple[int, ...]
    evals: int
    """Evaluations in a run, without those before the first step and at the end."""
    match: str
    tokenizer: str
    """SHA-256."""
    device: str
    lines: tuple[str, ...] = ()
    """Every derived value with its formula."""

    @property
    def final_steps(self) -> tuple[int, ...]:
        """Steps of the evaluations whose mean is the score of a run, the last step last."""
        return final_steps(self.settings.steps)

    @property
    def eval_steps(self) -> tuple[int, ...]:
        """Before training, evenly spaced, and the final ones."""
        return eval_steps(self.settings.steps, self.evals)

    def with_settings(self, **changes: Any) -> Protocol:
        """The same with other settings of the training."""
        return replace(self, settings=replace(self.settings, **changes))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the record; `hash` is over what decides on results, wherever the runs are made."""
        settings = {name: v for name, v in self.settings.deciding().items() if name not in _OF_THE_MACHINE}
        decides = {
            "preset": self.size,
            "model": self.model.to_json(),
            "settings": settings,
            "tokenizer": self.tokenizer,
            "match": self.match,
            "seeds": list(self.seeds),
            "evals": self.evals,
            "final_evals": len(self.final_steps),
        }
        digest = hashlib.sha256(canonical_json(decides)).hexdigest()
        return {
            "hash": digest,
            **decides,
            "settings": self.settings.to_json(),
            "parameters": self.model.parameters,
            "flops_per_token": self.model.flops_per_token,
            "tokens": self.settings.tokens,
            "device": self.device,
            "lines": list(self.lines),
        }


def final_steps(steps: int) -> tuple[int, ...]:
    """The steps whose evaluations are averaged, for a run of so many."""
    spacing = max(1, round(FINAL_SPACING * steps))
    return tuple(sorted({max(1, steps - back * spacing) for back in range(FINAL_EVALS)}))


def eval_steps(steps: int, evals: int) -> tuple[int, ...]:
    """Steps at which a run is measured: 0, `evals` - 1 evenly spaced between, and the final ones."""
    between = {round(steps * place / evals) for place in range(1, evals)}
    return tuple(sorted({0, *between, *final_steps(steps)}))


def make_protocol(
    ablation: Ablation,
    *,
    vocab_size: int,
    tokenizer: str = "",
    device: str = "cpu",
    gpus: int = 1,
    size: str | None = None,
    tokens: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Protocol:
    """The protocol of an ablation. ConfigError for settings that are not known or cannot work.

    tokenizer: SHA-256 of the tokenizer. size, tokens, changes: other than the ablation's own, as studies want them.
    """
    wanted = size or ablation.preset
    derived = derive(
        wanted,
        vocab_size=vocab_size,
        tokens=tokens or ablation.tokens,
        device=device,
        gpus=gpus,
        overrides={**ablation.train, **(changes or {})},
    )
    return Protocol(
        size=wanted,
        model=derived.model,
        settings=derived.settings,
        seeds=tuple(range(ablation.seeds)),
        evals=ablation.evaluate.evals,
        match=ablation.match,
        tokenizer=tokenizer,
        device=device,
        lines=tuple(derived.lines),
    )
