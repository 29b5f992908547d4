"""Views of several arms at chosen shares, over the tokens that they have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tokenmill.ablate.prepared import IDENTITY, PreparedArm
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.document_view import DocumentView


def blend(arms: Mapping[str, PreparedArm], weights: Mapping[str, float], tokens: int, seed: int) -> DocumentView:
    """About `tokens` tokens, of each arm as its weight says; documents are drawn by a hash, or repeated.

    weights: arm -> share of the tokens, above 0; they need not add up to 1. An epoch of the view is those tokens once.
    ConfigError where the arms are of different token sets.
    """
    named = {name: weight for name, weight in weights.items() if weight > 0}
    check_together({name: arms[name] for name in named})
    total = sum(named.values())
    times = {name: weight / total * tokens / max(arms[name].tokens, 1) for name, weight in named.items()}
    first = arms[next(iter(named))]
    numbers = np.concatenate([arms[name].numbers for name in named])
    repeats = np.concatenate([np.full(len(arms[name].numbers), times[name]) for name in named])
    return DocumentView(first.set, numbers, seed=seed, weights=repeats, by=IDENTITY)


def check_together(arms: Mapping[str, PreparedArm]) -> None:
    """ConfigError where arms cannot be blended: a view is of one token set."""
    folders = {name: arm.set.folder for name, arm in arms.items()}
    if len(set(folders.values())) > 1:
        one, other = list(dict.fromkeys(folders.values()))[:2]
        raise ConfigError(
            f"the arms {', '.join(arms)} cannot be mixed here",
            why=f"their tokens lie in different sets: {one} and {other}",
            fix="arms of recipes, runs and documents that are begun together in one --output; or use tokenmill mix",
        )
