"""`Requests`: what a model is asked, as flat arrays; `Likelihoods`: what it says.

Made by `prepare`, answered by `score`, summed up by `metrics`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int32s: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Requests:
    """Sequences of ids, of each of which the last few are scored; and the answers that they are parts of.

    An answer is a choice of an item, or a block of a text. It has one request, or several where it is longer than the
    context of the model or does not begin with a window.
    """

    names: tuple[str, ...]
    """Of tasks and texts, by number, as they are in tables: "task/arc_easy", "text/wikitext"."""
    context: int
    """Most ids that go into the model at once."""
    ids: Int32s
    """Of all requests, one behind the other. The last id of a request is asked for and never goes in."""
    offsets: npt.NDArray[np.int64]
    """(requests + 1,): where each begins in `ids`."""
    scored: Int32s
    """(requests,): how many of its last ids are scored."""
    answer: Int32s
    """(requests,): the answer that it is a part of."""
    task: Int32s
    """(answers,), as the following: number of the name."""
    item: Int32s
    """Number of the item within its task, from 0."""
    unit: Int32s
    """Number of the unit within its task: items of the same one are not independent."""
    choice: npt.NDArray[np.int16]
    """Number among the choices of its item."""
    gold: npt.NDArray[np.bool_]
    """Whether it is the right choice; exactly one of every item."""
    bytes: Int32s
    """UTF-8 bytes that are scored."""
    characters: Int32s
    tokens: Int32s

    def __len__(self) -> int:
        return len(self.scored)

    @property
    def answers(self) -> int:
        return len(self.task)

    @cached_property
    def hosts(self) -> npt.NDArray[np.int64]:
        """(requests,): for each request the one whose forward pass serves it: one that begins with the same input.

        A causal model says the same of a prefix as of the whole, so choices of one token need a single pass for all,
        and the turns of a conversation one pass for the passage. A request that serves itself has its own number.
        """
        data = np.ascontiguousarray(self.ids, np.int32).tobytes()
        bounds = (self.offsets * 4).tolist()
        inputs = [data[start : stop - 4] for start, stop in pairwise(bounds)]
        # sorted as strings, all that begin with one stand right behind it
        order = sorted(range(len(inputs)), key=lambda number: (inputs[number], -number))
        hosts = np.arange(len(inputs), dtype=np.int64)
        for one, following in zip(order[-2::-1], order[:0:-1], strict=True):
            if inputs[following].startswith(inputs[one]):
                hosts[one] = hosts[following]
        return hosts

    @property
    def forward_tokens(self) -> int:
        """Ids that go through the model in one evaluation, without padding."""
        lengths = np.diff(self.offsets) - 1
        return int(lengths[np.unique(self.hosts)].sum()) if len(self) else 0

    @cached_property
    def sha256(self) -> str:
        """Of all that decides what is measured, hexadecimal."""
        digest = hashlib.sha256(repr((self.names, self.context)).encode())
        for one in fields(self)[2:]:
            array = np.ascontiguousarray(getattr(self, one.name))
            digest.update(f"{one.name} {array.dtype.str} {len(array)}\n".encode() + array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """What a model says of requests."""

    nats: npt.NDArray[np.float64]
    """(requests,): minus the sum of the natural log-probabilities of the scored ids."""
    greedy: npt.NDArray[np.bool_]
    """(requests,): whether each scored id is the most probable one at its place."""


@dataclass
class Builder:
    """Collects answers with their requests."""

    context: int
    names: list[str] = field(default_factory=list)
    _ids: list[npt.NDArray[Any]] = field(default_factory=list)
    _requests: list[tuple[int, int]] = field(default_factory=list)
    _answers: list[tuple[int, int, int, int, bool, int, int, int]] = field(default_factory=list)

    def add_answer(self, *, item: int, unit: int, text: str, tokens: int, choice: int = 0, gold: bool = True) -> None:
        """An answer of the last name; requests that follow belong to it. tokens: that are scored in all of them."""
        size, characters = len(text.encode()), len(text)
        self._answers.append((len(self.names) - 1, item, unit, choice, gold, size, characters, tokens))

    def add_request(self, ids: npt.NDArray[Any], scored: int) -> None:
        self._ids.append(ids)
        self._requests.append((scored, len(self._answers) - 1))

    def finish(self) -> Requests:
        """The arrays of all that was added."""
        requests = np.array(self._requests, np.int32).reshape(-1, 2)
        answers = np.array(self._answers, np.int64).reshape(-1, 8)
        columns = [answers[:, n].astype(np.int32) for n in range(8)]
        lengths = np.array([len(ids) for ids in self._ids], np.int64)
        return Requests(
            names=tuple(self.names),
            context=self.context,
            ids=np.concatenate([np.empty(0, np.int32), *self._ids]).astype(np.int32),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            scored=requests[:, 0].copy(),
            answer=requests[:, 1].copy(),
            task=columns[0],
            item=columns[1],
            unit=columns[2],
            choice=columns[3].astype(np.int16),
            gold=columns[4].astype(np.bool_),
            bytes=columns[5],
            characters=columns[6],
            tokens=columns[7],
        )


def windows(first: int, stop: int, context: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """(start, scored from, end) of the windows that score the ids [first, stop) of a sequence, each once.

    A window has at most context + 1 ids, of which the last is not put in. What fits into one has all ids before it that
    fit as well. Else each window begins `overlap` ids (0 <= overlap < context) before the one that stands in front of
    what it scores, or where the sequence begins. first is at least 1: the first id of a sequence is never scored.
    """
    if stop - first <= context:
        yield max(0, stop - 1 - context), first, stop
        return
    while first < stop:
        start = max(0, first - 1 - overlap)
        end = min(stop, start + context + 1)
        yield start, first, end
        first = end


def joined(parts: Sequence[Requests]) -> Requests:
    """Requests of several kinds as one. The parts must have different names and the same context."""
    base = np.cumsum([0, *(len(part.names) for part in parts)])
    answers = np.cumsum([0, *(part.answers for part in parts)])
    places = np.cumsum([0, *(len(part.ids) for part in parts)])
    arrays: dict[str, Any] = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])
        for one in fields(Requests)[2:]
        if one.name not in ("offsets", "answer", "task")
    }
    return Requests(
        names=tuple(name for part in parts for name in part.names),
        context=parts[0].context,
        offsets=np.concatenate(
            [np.zeros(1, np.int64), *(part.offsets[1:] + place for part, place in zip(parts, places, strict=False))]
        ),
        answer=np.concatenate([part.answer + first for part, first in zip(parts, answers, strict=False)]).astype(
            np.int32
        ),
        task=np.concatenate([part.task + first for part, first in zip(parts, base, strict=False)]).astype(np.int32),
        **arrays,
    )
