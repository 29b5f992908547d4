"""Stages that keep benchmark items out of training data.

`FindContamination` adds what was found as columns, and `DropContaminated` behind it decides by a table of rules, so
that annotated runs can be filtered again with other thresholds. `MaskContamination` cuts the items out instead.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop, Rule
from tokenmill.core.stage import Annotate, Filter, Rewrite, Stage
from tokenmill.io.filesystem import absolute_location
from tokenmill.text.overlap import Found, word_hashes
from tokenmill.tokens.decontaminate.answers import answers_behind
from tokenmill.tokens.decontaminate.index import BenchmarkIndex, load_index, prepare_index

MIN_SHARE, MIN_13GRAMS = 0.5, 16
"""Chosen on half of the tasks of a kit of 22 benchmarks: docs/decontamination.md."""
NAMED_SHARE, NAMED_13GRAMS = 0.3, 8
"""From here on `FindContamination` names an item, if it is not told otherwise, so that other thresholds can be tried
on what it found."""
COLUMNS: Mapping[str, pa.DataType] = {
    "contamination": pa.string(),
    "contamination_share": pa.float64(),
    "contamination_13grams": pa.int64(),
}
"""`task:id` of the item of which the largest share was found (null: none), this share, and the largest number of runs
of 13 words that the text has in common with one item."""
_NOTHING: Mapping[str, Any] = {"contamination": None, "contamination_share": 0.0, "contamination_13grams": 0}
_MOST_PASSES = 8
_BRIDGED = 200
"""Characters between two places of items that are cut out with them: a question and its answer have choices between
them, and what is left between two halves of an item is of the item."""
_PIECE_ENDS = re.compile(r"(?<=[.!?\u2026\u3002\uff01\uff1f])[\"'\u201d\u2019)\]]*[ \t]+|[\u3002\uff01\uff1f]|\n+")


class BenchmarkStage(Stage):
    """What stages share that know benchmarks."""

    reads = ("text",)

    against: tuple[str, ...] = ()
    """Benchmark files (JSON Lines, plain or compressed), folders of them, or patterns. At least one."""
    fields: tuple[str, ...] = ()
    """Fields of benchmark objects to look at; empty: the known forms, and of other objects every text."""

    def digests(self) -> Mapping[str, str]:
        """Indexes the benchmarks too, so that what is wrong with them is told before any work, and only one process
        of a machine indexes them."""
        return {"unicode": unicodedata.unidata_version, **prepare_index(self.against, self.fields)}

    def setup(self) -> None:
        self.index.search(pa.array([""]), min_share=1.0, min_runs=1)

    @cached_property
    def index(self) -> BenchmarkIndex:
        """The index of the benchmarks; built once in a process."""
        return load_index(self.against, self.fields)


class FindContamination(BenchmarkStage, Annotate):
    """Finds items of benchmarks in the text, however it is wrapped, and adds what it has found as columns.

    `contamination` is `task:id` of the best match, null where nothing worth a name was found; `contamination_share`
    is the share of the item's runs of 8 words that the text has, 0 to 1; `contamination_13grams` is how many runs of
    13 words the text has in common with one item. See docs/decontamination.md.
    """

    version = 2
    adds: ClassVar[Mapping[str, pa.DataType]] = COLUMNS

    min_share: float = NAMED_SHARE
    """Smallest share of an item's runs of 8 words for which it is named. Unit: 0 to 1. Own choice. A filter behind
    can ask for more, and not for less."""
    min_13grams: int = NAMED_13GRAMS
    """Fewest runs of 13 words in common for which an item is named. Own choice. As above."""

    def __post_init__(self) -> None:
        _check_thresholds(self.name, self.min_share, self.min_13grams, "name")
        if self.min_share > NAMED_SHARE or self.min_13grams > NAMED_13GRAMS:
            raise ConfigError(
                f"{self.name}: min_share = {self.min_share}, min_13grams = {self.min_13grams} names too little",
                why=f"filters behind it count on what is named from {NAMED_SHARE}, {NAMED_13GRAMS} on",
                fix="lower them; to drop less, raise the thresholds of drop_contaminated",
            )

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        found = self.index.search(batch.column("text"), min_share=self.min_share, min_runs=self.min_13grams)
        best, runs = best_matches(found, batch.num_rows)
        labels = [None if place < 0 else self.index.label(int(found.passage[place])) for place in best.tolist()]
        shares = np.where(best >= 0, np.append(found.share, 0.0)[best], 0.0)
        return {
            "contamination": pa.array(labels, pa.string()),
            "contamination_share": pa.array(shares, pa.float64()),
            "contamination_13grams": pa.array(runs, pa.int64()),
        }


class DropContaminated(Filter):
    """Drops documents in which `FindContamination`, which stands before, has found a benchmark item."""

    reads = ("contamination", "contamination_share", "contamination_13grams")

    min_share: float | None = MIN_SHARE
    """Smallest share of an item's runs of 8 words for which the document is dropped. Unit: 0 to 1. None: never.
    Source: own measurements; Tülu 3 (arXiv:2411.15124) takes half of the tokens, in runs of 8."""
    min_13grams: int | None = MIN_13GRAMS
    """Fewest runs of 13 words, which longer items may have in common with the document however small their share is.
    16 of them are 28 words in a row. None: never. Source: own measurements; GPT-3 (arXiv:2005.14165) took 1."""
    noted_share: float = NAMED_SHARE
    """`min_share` of the `FindContamination` before: what is below it was not noted, so nothing less can be asked for.
    Unit: 0 to 1."""
    noted_13grams: int = NAMED_13GRAMS
    """`min_13grams` of the `FindContamination` before."""

    def __post_init__(self) -> None:
        for name, asked, noted in (
            ("share", self.min_share, self.noted_share),
            ("13grams", self.min_13grams, self.noted_13grams),
        ):
            if asked is not None and asked < noted:
                raise ConfigError(
                    f"{self.name}.min_{name} = {asked} asks for more than was looked for",
                    why=f"find_contamination notes items from {noted} on, as noted_{name} says",
                    fix=f"set find_contamination.min_{name} = {asked}, {self.name}.noted_{name} = {asked} as well"
                    " (a finished run cannot be filtered so: run it again)",
                )

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("contamination_share", ">=", self.min_share, "contaminated", note="contamination"),
            Rule(
                "contamination_13grams",
                ">=",
                self.min_13grams,
                "contaminated_in_part",
                note="contamination",
            ),
        )


class MaskContamination(BenchmarkStage, Rewrite):
    """Cuts items of benchmarks out of the text, as whole sentences or lines, and drops what has too little left."""

    version = 2
    adds: ClassVar[Mapping[str, pa.DataType]] = {**COLUMNS, "contamination_masked": pa.int64()}

    min_share: float = MIN_SHARE
    """Smallest share of an item's runs of 8 words for which it is cut out. Unit: 0 to 1. As in `drop_contaminated`."""
    min_13grams: int = MIN_13GRAMS
    """Fewest runs of 13 words in common for which they are cut out. As in `drop_contaminated`."""
    replacement: str = ""
    """What stands in the place of a cut, on a line of its own; empty: nothing."""
    min_words_left: int = 20
    """Fewest words that must be left. Unit: words. Own choice."""
    min_share_left: float = 0.2
    """Smallest share of the characters that must be left. Unit: 0 to 1. Own choice."""

    def __post_init__(self) -> None:
        _check_thresholds(self.name, self.min_share, self.min_13grams, "cut")

    def rewrite(self, doc: Doc) -> Mapping[str, Any] | Drop:
        text = doc.text
        found = self._found(text)
        if not len(found.text):
            return {**_NOTHING, "contamination_masked": 0}
        best, runs = best_matches(found, 1)
        share = float(found.share[best[0]])
        left, pieces, cut = self._cut(text, found)
        too_short = not left.strip() or _words(left) < self.min_words_left
        if too_short or len(text) - cut < self.min_share_left * len(text):
            return Drop("contaminated", "contamination_share", share, self.min_share)
        return {
            "text": left,
            "contamination": self.index.label(int(found.passage[best[0]])),
            "contamination_share": share,
            "contamination_13grams": int(runs[0]),
            "contamination_masked": pieces,
        }

    def _found(self, text: str) -> Found:
        return self.index.search(pa.array([text]), min_share=self.min_share, min_runs=self.min_13grams, spans=True)

    def _places(self, text: str, found: Found) -> list[tuple[int, int]]:
        """What was found, in characters, with the answers behind questions."""
        spans = found.spans
        places = characters(text, spans[:, 1:3])
        for passage in found.passage.tolist():
            if answers := self.index.answers_to(passage):
                for _, end in characters(text, spans[spans[:, 3] == passage, 1:3]):
                    places += answers_behind(text, end, answers)
        return bridged(places)

    def _cut(self, text: str, found: Found) -> tuple[str, int, int]:
        """The text without items, how many pieces were cut out, and how many characters they had.

        What stood around a cut may hold another item now, so it is looked at again; a text that would never be clean
        comes out empty.
        """
        pieces = characters_cut = 0
        for _ in range(_MOST_PASSES):
            spans = widened(text, self._places(text, found))
            text = without(text, spans, self.replacement)
            pieces += len(spans)
            characters_cut += sum(stop - start for start, stop in spans)
            found = self._found(text)
            if not len(found.text):
                return text, pieces, characters_cut
        return "", pieces, characters_cut


def decontamination(
    against: Sequence[str],
    action: str = "drop",
    fields: Sequence[str] = (),
    *,
    min_share: float | None = None,
    min_13grams: int | None = None,
) -> tuple[Stage, ...]:
    """The stages for a recipe: `drop` documents, `mask` items in them, or `find` them only. ConfigError otherwise.

    min_share, min_13grams: other thresholds than `MIN_SHARE` and `MIN_13GRAMS`.
    """
    paths, names = tuple(absolute_location(path) for path in against), tuple(fields)
    share = MIN_SHARE if min_share is None else min_share
    runs = MIN_13GRAMS if min_13grams is None else min_13grams
    if action == "mask":
        return (MaskContamination(against=paths, fields=names, min_share=share, min_13grams=runs),)
    if action == "drop":
        noted, noted_runs = min(share, NAMED_SHARE), min(runs, NAMED_13GRAMS)
        return (
            FindContamination(against=paths, fields=names, min_share=noted, min_13grams=noted_runs),
            DropContaminated(min_share=share, min_13grams=runs, noted_share=noted, noted_13grams=noted_runs),
        )
    if action == "find":
        return (FindContamination(against=paths, fields=names),)
    raise ConfigError(f"no action {action!r} for contaminated documents", fix="drop, mask or find")


def _check_thresholds(name: str, share: float, runs: int, verb: str) -> None:
    if not 0 < share <= 1 or runs < 1:
        raise ConfigError(
            f"{name}: min_share = {share}, min_13grams = {runs} would {verb} everything",
            fix="a share above 0 and at most 1, and at least one run of 13 words",
        )


def best_matches(found: Found, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Per text the place in `found` of the match with the largest share (the most runs of 13 words, then the first
    passage, among equals), -1 where there is none; and the most runs of 13 words of any match.
    """
    best = np.full(rows, -1, np.int64)
    order = np.lexsort((found.passage, -found.thirteens, -found.share))
    best[found.text[order[::-1]]] = order[::-1]
    runs = np.zeros(rows, np.int64)
    np.maximum.at(runs, found.text, found.thirteens)
    return best, runs


def characters(text: str, places: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Spans in bytes of the UTF-8 as spans in characters, `bridged`."""
    spans: list[tuple[int, int]] = []
    data = text.encode("utf-8", "replace")
    at = begin = 0
    for first, last in sorted({(int(first), int(last)) for first, last in places}):
        begin += len(data[at:first].decode())
        at = first
        spans.append((begin, begin + len(data[first:last].decode())))
    return bridged(spans)


def bridged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, sorted; those that overlap or nearly touch are one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1] + _BRIDGED:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def widened(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans, grown to whole sentences; a line break ends one."""
    edges = [0, *(found.end() for found in _PIECE_ENDS.finditer(text)), len(text)]
    grown: list[tuple[int, int]] = []
    for start, stop in spans:
        begin = edges[bisect.bisect_right(edges, start) - 1]
        end = edges[bisect.bisect_left(edges, stop)]
        if grown and begin <= grown[-1][1]:
            grown[-1] = grown[-1][0], max(end, grown[-1][1])
        else:
            grown.append((begin, end))
    return grown


def without(text: str, spans: Sequence[tuple[int, int]], replacement: str) -> str:
    """The text without the spans, a replacement on a line of its own in their places."""
    parts: list[str] = []
    at = 0
    for start, stop in spans:
        parts.append(text[at:start])
        at = stop
        if replacement:
            parts.append(("" if start == 0 or text[start - 1] == "\n" else "\n") + replacement + "\n")
        elif text[start:stop].endswith("\n") and start and text[start - 1] != "\n":
            parts.append("\n")
    return "".join([*parts, text[at:]])


def _words(text: str) -> int:
    return int(word_hashes(pa.array([text]))[1][-1])
