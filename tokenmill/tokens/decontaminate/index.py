"""The index of benchmark items: which passages are looked for, and to which items they belong.

Of an item these passages are looked for, each once however many items share it:

- its question, of 8 words and more; with the answer behind it where that goes on with the sentence;
- its other pieces (a passage to read, a background), of 13 words and more; of 8 where the form of the file is not
  known, so that any of them may ask;
- its answer alone, of 13 words and more, or of 8 where the question has less;
- a question of 4 to 7 words, together with the answer behind it, where there is no passage to read; a sentence of 6
  to 7 words with its answer. The beginning of a sentence, of 4 to 7 words, also counts with the answer apart from it,
  as in lists of choices.

Items of which nothing of this holds are not covered: fewer words would be found in many clean texts.
"""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core import segment
from tokenmill.io.cache import cache_folder
from tokenmill.text import overlap, overlap_tables
from tokenmill.text.overlap import NGRAM, SEED_WORDS, Found, OverlapIndex, word_hashes
from tokenmill.tokens.decontaminate import benchmarks, forms
from tokenmill.tokens.decontaminate.benchmarks import file_digests, read_items
from tokenmill.tokens.decontaminate.forms import Item
from tokenmill.tokens.decontaminate.kept import is_kept, locked, read_parts, write_parts

LONG_WORDS = 13
"""Words of a passage that is no question, at least. GPT-3 and most since compare runs of 13 words."""
SENTENCE_WORDS = 6
"""Words of a short sentence that holds its answer, at least."""
WHOLE = "item"
"""Field of a passage that is the question with its answer."""
ANSWER = "answer"
"""Field of a passage that is an answer."""
_MAX_OWNERS = 16
_OWN = ("task_of", "covered", "field_of", "reads", "members", "cuts", "told", "told_cuts")


@dataclass(frozen=True)
class _Passage:
    item: int
    field: str
    text: str
    answer: str = ""
    short: bool = False
    asks: bool = True
    """Whether it is of the question or its answer, and not a passage to read."""


class BenchmarkIndex:
    """Which benchmark items texts contain. Same items, same index; it does not change."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], words: Mapping[str, Sequence[str]]) -> None:
        """What `arrays` and `words` gave. KeyError where a part is missing. Use `build` or `load_index`."""
        self.tasks: tuple[str, ...] = tuple(words["tasks"])
        self.names: tuple[str, ...] = tuple(words["names"])
        """Per item, `task:id`."""
        self.task_of: npt.NDArray[np.int32] = arrays["task_of"]
        """Per item, its place in `tasks`."""
        self.covered: npt.NDArray[np.bool_] = arrays["covered"]
        """Per item, whether anything of it can be found."""
        self.overlap = OverlapIndex.of(arrays)
        self._fields = tuple(words["fields"])
        self._own = {name: arrays[name] for name in _OWN}

    @classmethod
    def build(cls, items: Sequence[Item], *, max_owners: int = _MAX_OWNERS) -> BenchmarkIndex:
        """max_owners: runs of 8 words that belong to more items than this are phrases and not counted."""
        tasks = {task: number for number, task in enumerate(dict.fromkeys(item.task for item in items))}
        passages = [*_passages(items)]
        long, members = _distinct([p for p in passages if not p.short])
        short, short_members = _distinct([p for p in passages if p.short])
        chosen, members = [*long, *short], [*members, *short_members]
        fields = {name: number for number, name in enumerate(dict.fromkeys(p.field for p in chosen))}
        built = OverlapIndex.build(
            _strings(p.text for p in long),
            [p.item for p in long],
            _strings(p.text for p in short),
            _strings(p.answer for p in short),
            max_owners=max_owners,
        )
        covered = np.zeros(len(items), bool)
        for number in np.flatnonzero(built.findable).tolist():
            covered[members[number]] = True
        told, told_cuts = word_hashes(_strings(item.answer for item in items))
        arrays: dict[str, npt.NDArray[Any]] = {
            "told": told,
            "told_cuts": told_cuts,
            "task_of": np.array([tasks[item.task] for item in items], np.int32),
            "covered": covered,
            "field_of": np.array([fields[p.field] for p in chosen], np.int32),
            "reads": np.array([not p.asks for p in chosen], bool),
            "members": np.array([item for some in members for item in some], np.int32),
            "cuts": np.cumsum([0, *map(len, members)]),
        }
        words = {"tasks": [*tasks], "names": [item.name for item in items], "fields": [*fields]}
        return cls({**built.arrays(), **arrays}, words)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that it is made of, by name."""
        return {**self.overlap.arrays(), **self._own}

    def words(self) -> dict[str, Sequence[str]]:
        """The strings that it is made of, by name."""
        return {"tasks": self.tasks, "names": self.names, "fields": self._fields}

    def items_of(self, passage: int) -> Sequence[int]:
        """Numbers of the items that share a passage."""
        first, last = self._own["cuts"][passage : passage + 2].tolist()
        items: list[int] = self._own["members"][first:last].tolist()
        return items

    def answers_to(self, passage: int) -> set[tuple[int, ...]]:
        """The answers to a question, as hashes of words; none for passages that hold theirs or ask nothing."""
        if not self.asks(passage) or self.field(passage) in (WHOLE, ANSWER):
            return set()
        cuts, told = self._own["told_cuts"], self._own["told"]
        found = {tuple(told[cuts[item] : cuts[item + 1]].tolist()) for item in self.items_of(passage)[:_MAX_OWNERS]}
        return found - {()}

    def label(self, passage: int) -> str:
        """`task:id` of the first item that has the passage."""
        return self.names[int(self._own["members"][self._own["cuts"][passage]])]

    def field(self, passage: int) -> str:
        """The field of its items that a passage is."""
        return self._fields[int(self._own["field_of"][passage])]

    def asks(self, passage: int) -> bool:
        """Whether a passage is of the question or its answer, and not a passage to read."""
        return not self._own["reads"][passage]

    def search(self, texts: pa.Array, *, min_share: float, min_runs: int, spans: bool = False) -> Found:
        """`OverlapIndex.search` for the passages of all items."""
        return self.overlap.search(texts, min_share=min_share, min_runs=min_runs, spans=spans)

    def coverage(self) -> Mapping[str, tuple[int, int]]:
        """Task -> (items, items that can be found)."""
        every = np.bincount(self.task_of, minlength=len(self.tasks)).tolist()
        found = np.bincount(self.task_of[self.covered], minlength=len(self.tasks)).tolist()
        return dict(zip(self.tasks, zip(every, found, strict=True), strict=True))


def load_index(against: Sequence[str], fields: Sequence[str] = ()) -> BenchmarkIndex:
    """The index of benchmark files; a machine reads and indexes the same files once. ConfigError as `read_items`."""
    return _loaded(tuple(against), tuple(fields), tuple(file_digests(against).items()))


def prepare_index(against: Sequence[str], fields: Sequence[str] = ()) -> Mapping[str, str]:
    """`file_digests`, once the index is where all processes of this machine find it. ConfigError as `read_items`."""
    digests = file_digests(against)
    given = tuple(against), tuple(fields), tuple(digests.items())
    if not is_kept(_place(*given[1:])):
        _loaded(*given)
    return digests


@lru_cache(maxsize=2)
def _loaded(against: tuple[str, ...], fields: tuple[str, ...], digests: tuple[tuple[str, str], ...]) -> BenchmarkIndex:
    place = _place(fields, digests)
    found = read_parts(place)
    if found is None:
        with locked(place.parent.with_suffix(".lock")):  # it takes hundreds of MB, and one is enough for all
            found = read_parts(place)
            if found is None:
                made = BenchmarkIndex.build(read_items(against, fields, sources=False))
                write_parts(place, made.arrays(), made.words())
                found = read_parts(place)  # mapped, and shared with other processes
                if found is None:
                    return made  # a cache that cannot be written costs time and memory, no more
    return BenchmarkIndex(*found)


def _place(fields: tuple[str, ...], digests: tuple[tuple[str, str], ...]) -> Path:
    return cache_folder() / "benchmarks" / _key(fields, digests)


def _key(fields: tuple[str, ...], digests: tuple[tuple[str, str], ...]) -> str:
    """What the index of these files depends on, the code that makes it included."""
    digest = hashlib.sha256(repr((unicodedata.unidata_version, np.__version__, fields, digests)).encode())
    for module in (benchmarks, forms, sys.modules[__name__], overlap, overlap_tables, segment):
        digest.update(Path(str(module.__file__)).read_bytes())
    for path in sorted(Path(str(overlap.__file__)).parent.glob("overlap*_kernel.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _passages(items: Sequence[Item]) -> Iterable[_Passage]:
    joined = [f"{item.question} {item.answer}" if item.flows else "" for item in items]
    counts = [_counts(item.question for item in items), _counts(item.answer for item in items), _counts(joined)]
    others = [(number, piece) for number, item in enumerate(items) for piece in item.pieces[:-1]]
    least = np.array([NGRAM if items[number].loose else LONG_WORDS for number, _ in others], np.int64)
    words = _counts(text for _, (_, text) in others)
    passages = [
        _Passage(others[place][0], *others[place][1], asks=items[others[place][0]].loose)
        for place in np.flatnonzero(words >= least).tolist()
    ]
    reading = {others[place][0] for place in np.flatnonzero(words >= LONG_WORDS).tolist()}
    for number, item in enumerate(items):
        if not item.pieces:
            continue
        asks, tells, both = (int(count[number]) for count in counts)
        field = item.pieces[-1][0]
        if asks >= NGRAM:
            passages.append(_Passage(number, field, item.question))
        if both >= NGRAM:
            passages.append(_Passage(number, WHOLE, joined[number]))
        elif both >= SENTENCE_WORDS:
            passages.append(_Passage(number, WHOLE, joined[number], short=True))
        apart = not item.flows or both >= NGRAM  # a sentence of 6 or 7 words is looked for as it is, above
        if apart and SEED_WORDS <= asks < NGRAM and tells and number not in reading:
            passages.append(_Passage(number, field, item.question, item.answer, short=True))
        if not item.flows and tells >= (LONG_WORDS if asks >= NGRAM else NGRAM):
            passages.append(_Passage(number, ANSWER, item.answer))
    return passages


def _distinct(passages: Sequence[_Passage]) -> tuple[list[_Passage], list[list[int]]]:
    """Passages that differ in their words, each with the items that have it; too short ones are left out."""
    hashes, cuts = word_hashes(_strings(p.text for p in passages))
    answers, answer_cuts = word_hashes(_strings(p.answer for p in passages))
    known: dict[tuple[bytes, bytes], int] = {}
    chosen: list[_Passage] = []
    members: list[list[int]] = []
    for number, passage in enumerate(passages):
        words = hashes[cuts[number] : cuts[number + 1]]
        if not passage.short and len(words) < NGRAM:
            continue
        key = words.tobytes(), answers[answer_cuts[number] : answer_cuts[number + 1]].tobytes()
        place = known.setdefault(key, len(chosen))
        if place == len(chosen):
            chosen.append(passage)
            members.append([])
        if not members[place] or members[place][-1] != passage.item:
            members[place].append(passage.item)
    return chosen, members


def _strings(texts: Iterable[str]) -> pa.Array:
    return pa.array(list(texts), pa.large_string())


def _counts(texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """Words of each text."""
    return np.diff(word_hashes(_strings(texts))[1])
