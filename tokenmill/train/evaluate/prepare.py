"""Benchmarks and texts as requests to a model.

Every context begins with EOS, as documents do in training, where they stand one behind the other with EOS between them.

Context and continuation are tokenised apart. A continuation begins with the space that separates it, and tokenizers
that take a space with the word behind it (GPT-2 and its heirs) begin a word there in any case: the ids are then those
of the whole. Where they would differ (code that is indented behind a line break), tokenising apart still says exactly
which bytes were scored, and the choices of an item share their context.

What is too long is cut on its left, EOS with it. A continuation longer than the context of the model is scored in
windows that overlap by half, and a text in windows as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError, DocumentError
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.train.evaluate.kit import Item, Task
from tokenmill.train.evaluate.requests import Builder, Requests, windows
from tokenmill.train.evaluate.texts import blocks, cut_off

__all__ = ["ENOUGH_DOCUMENTS", "Requests", "prepare_tasks", "prepare_text"]

ENOUGH_DOCUMENTS = 30
"""Documents of a text from which on they, and not their blocks, are the units to resample."""


def prepare_tasks(
    tasks: Sequence[Task],
    tokenizer: LoadedTokenizer,
    context: int,
    *,
    prefix: str = "task/",
    encoder: Encoder | None = None,
) -> Requests:
    """Requests for all choices of all items. Metrics and tables have the tasks' names behind `prefix`.

    context: most ids that the model takes. A choice with the text of the right one is left out: it is right too,
    and scores the same. ConfigError where a continuation has no token, or a text gives a control token.
    """
    _check_context(context)
    encoder = encoder or Encoder(tokenizer)
    made = Builder(context)
    for task in tasks:
        made.names.append(prefix + task.name)
        ids = _encoded([text for item in task.items for text in (*item.contexts, *item.continuations)], encoder)
        units: dict[str, int] = {}
        for number, item in enumerate(task.items):
            unit = units.setdefault(item.unit, len(units))
            _add_item(made, item, number, unit, ids, np.int64(tokenizer.eos_id), task)
    return made.finish()


def _add_item(
    made: Builder,
    item: Item,
    number: int,
    unit: int,
    ids: dict[str, npt.NDArray[Any]],
    eos: np.int64,
    task: Task,
) -> None:
    right = (item.contexts[item.gold], item.continuations[item.gold])
    for choice, (before, after) in enumerate(zip(item.contexts, item.continuations, strict=True)):
        if choice != item.gold and (before, after) == right:
            continue
        asked = ids[after]
        if not len(asked):
            raise ConfigError(
                f"an answer of {task.name} has no token",
                where=f"{task.path}, item {item.id}, choice {choice}",
                why=f"the tokenizer makes nothing of {after!r}",
                fix="leave the item out, or use a tokenizer that keeps every byte",
            )
        sequence = np.concatenate([[eos], ids[before], asked])
        made.add_answer(item=number, unit=unit, choice=choice, gold=choice == item.gold, text=after, tokens=len(asked))
        first = len(sequence) - len(asked)
        for start, scored_from, end in windows(first, len(sequence), made.context, made.context // 2):
            made.add_request(sequence[start:end], end - scored_from)


def prepare_text(
    name: str,
    documents: Iterable[str],
    tokenizer: LoadedTokenizer,
    context: int,
    overlap: int | None = None,
    *,
    max_bytes: int | None = None,
    encoder: Encoder | None = None,
) -> Requests:
    """Requests that score every token of the documents once, EOS in front of each not counted.

    name: as it is in metrics and tables, such as "text/wikitext". overlap: ids that a window sees besides those that it
    scores, 0 to context - 1; None: a quarter of the context. max_bytes: only so much from the beginning. Items are
    documents, or blocks of about 2 kB of longer ones; units to resample are the documents where there are 30 or more,
    else the items. ConfigError where there is no text, or it gives a control token.
    """
    _check_context(context)
    overlap = context // 4 if overlap is None else overlap
    if not 0 <= overlap < context:
        raise ConfigError(f"overlap={overlap} of windows is out of range", fix=f"0 to {context - 1}, or leave it out")
    cut = [list(blocks(text)) for text in cut_off(documents, max_bytes)]
    cut = [pieces for pieces in cut if pieces]
    if not cut:
        raise ConfigError(f"the text {name} is empty", fix="give documents with some text")
    ids = _encoded([piece for pieces in cut for piece in pieces], encoder or Encoder(tokenizer))
    made = Builder(context, [name])
    item = 0
    for document, pieces in enumerate(cut):
        sequence = np.concatenate([[tokenizer.eos_id], *(ids[piece] for piece in pieces)])
        spans = list(windows(1, len(sequence), context, overlap))
        first = 1
        for piece in pieces:
            stop = first + len(ids[piece])
            unit = document if len(cut) >= ENOUGH_DOCUMENTS else item
            made.add_answer(item=item, unit=unit, text=piece, tokens=stop - first)
            for start, scored_from, end in spans:
                begin, finish = max(scored_from, first), min(end, stop)
                if begin < finish:
                    made.add_request(sequence[start:finish], finish - begin)
            first, item = stop, item + 1
    return made.finish()


def _check_context(context: int) -> None:
    if context < 1:
        raise ConfigError(f"a context of {context} ids is too small", fix="at least 1")


def _encoded(texts: Sequence[str], encoder: Encoder) -> dict[str, npt.NDArray[Any]]:
    """Text -> its ids, each text encoded once."""
    unique = list(dict.fromkeys(texts))
    try:
        ids, lengths = encoder.encode(unique)
    except DocumentError as error:
        raise ConfigError(
            "a text to measure on cannot be encoded", where=error.where, why=f"{error.what}: {error.why}", fix=error.fix
        ) from error
    parts = np.split(ids.astype(np.int32), np.cumsum(lengths)[:-1])
    return dict(zip(unique, parts, strict=True))
