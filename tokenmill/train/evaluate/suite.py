"""`Suite`: all that is measured on a model, prepared once and asked again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import torch

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.train.evaluate.chance import Chance, chance
from tokenmill.train.evaluate.kit import Task
from tokenmill.train.evaluate.metrics import from_table, to_table
from tokenmill.train.evaluate.prepare import prepare_tasks, prepare_text
from tokenmill.train.evaluate.requests import Requests, joined
from tokenmill.train.evaluate.score import LanguageModel, score


@dataclass(frozen=True, eq=False)
class Suite:
    """Requests of several kinds, answered together."""

    requests: Mapping[str, Requests]
    """By whatever name; metrics and tables have the names in the requests, which must all be different."""
    batch_tokens: int | None = None
    """Positions in a forward pass; None: as the device wants it."""
    device: str | torch.device = "cpu"
    autocast: torch.dtype | None = None
    """dtype of products, such as torch.bfloat16."""

    def __post_init__(self) -> None:
        names = [name for part in self.requests.values() for name in part.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise ConfigError(
                f"several tasks or texts are named {', '.join(twice)}" if twice else "there is nothing to measure",
                fix="give each a name of its own" if twice else "give a task or a text",
            )
        contexts = {part.context for part in self.requests.values()}
        if len(contexts) > 1:
            raise ConfigError(
                "requests were prepared for different models",
                why=f"contexts of {sorted(contexts)} ids",
                fix="one context",
            )

    @cached_property
    def joined(self) -> Requests:
        """All requests."""
        return joined(list(self.requests.values()))

    @cached_property
    def sha256(self) -> str:
        """Of all that is asked, hexadecimal: equal where metrics compare."""
        digests = sorted(part.sha256 for part in self.requests.values())
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """Of tasks and texts, in order."""
        return self.joined.names

    @property
    def forward_tokens(self) -> int:
        """Ids that go through the model each time."""
        return self.joined.forward_tokens

    def metrics(self, model: LanguageModel) -> tuple[dict[str, float], pa.Table]:
        """(metrics by "<task>/<metric>", the item table that they come from, `metrics.SCHEMA`)."""
        found = score(model, self.joined, batch_tokens=self.batch_tokens, device=self.device, autocast=self.autocast)
        table = to_table(self.joined, found)
        return from_table(table), table

    def chance(self, *, seed: int = 0) -> dict[str, Chance]:
        """Measured baselines of accuracies, by "<task>/<metric>"."""
        return chance(self.joined, seed=seed)


def make_suite(
    tokenizer: LoadedTokenizer,
    context: int,
    *,
    tasks: Sequence[Task] = (),
    texts: Mapping[str, Iterable[str]] | None = None,
    text_bytes: int | None = None,
    batch_tokens: int | None = None,
    device: str | torch.device = "cpu",
    autocast: torch.dtype | None = None,
) -> Suite:
    """A suite of benchmarks and texts for models with this tokenizer and context.

    texts: documents by full name, such as "text/wikitext" or "held_out/raw". text_bytes: of each text, only so much
    from its beginning.
    """
    encoder = Encoder(tokenizer)
    requests = {
        name: prepare_text(name, documents, tokenizer, context, max_bytes=text_bytes, encoder=encoder)
        for name, documents in (texts or {}).items()
    }
    if tasks:
        requests["tasks"] = prepare_tasks(tasks, tokenizer, context, encoder=encoder)
    return Suite(requests, batch_tokens, device, autocast)
