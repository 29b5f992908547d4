"""Drawing as many texts of each class, by a hash of the seed and the text: no order and no file matters.

One pass over each source. Held are the texts that are drawn so far (200,000 pages of 5 kB are 1 GB), and eight bytes
for each text of a class that later classes are compared with.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tokenmill.classifiers.corpus.hashes import SIZE, HashSet, draw_key, text_digest
from tokenmill.classifiers.corpus.rows import PLAIN, Columns, Row, is_run, read_source
from tokenmill.core.errors import ConfigError
from tokenmill.io.runfolder import RunFolder

DOCUMENTS = 200_000
"""Texts of each class; about what DCLM drew (arXiv:2406.11794, section 4.4)."""
_MODULUS = 1 << 8 * SIZE


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the texts of a class come from. Several sources may have one label."""

    label: str
    location: str
    columns: Columns = PLAIN
    keep: Callable[[Row], str | None] | None = None
    """Gives the reason why a document is none of this class, None where it is; None: all are."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text."""

    text: str
    label: str
    doc_id: str
    url: str
    source: str


@dataclass
class Book:
    """What became of the rows of one source: `read` is `drawn` and all of `left_out` together."""

    label: str
    location: str
    read: int = 0
    drawn: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> rows: malformed, no_text, too_short, in_other_class (an earlier class has the text), same_text (the
    class has it already), not_drawn, and those of `Source.keep`."""
    digest: str = ""
    """Of the usable texts, as a multiset: their BLAKE2b (16 bytes) added up, hexadecimal. The order does not count."""
    run: str | None = None
    """Fingerprint of the run that it is."""


@dataclass(frozen=True)
class TrainingSet:
    """Examples of all classes in the order of their hashes, so that classes are mixed; and the books."""

    examples: tuple[Example, ...]
    books: tuple[Book, ...]
    seed: int
    documents: int
    balanced: bool

    def counts(self) -> dict[str, int]:
        """Label -> examples."""
        found = Counter(example.label for example in self.examples)
        return {label: found[label] for label in dict.fromkeys(book.label for book in self.books)}


@dataclass(slots=True)
class _Drawn:
    row: Row
    book: int
    same: list[int]
    """Of each further row with this text the number of its book."""


class _Reservoir:
    """The texts with the smallest keys of one class; of equal texts the row that comes first by its identity."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[int] = []
        self.drawn: dict[int, _Drawn] = {}

    def offer(self, key: int, row: Row, book: int) -> None:
        found = self.drawn.get(key)
        if found is not None:
            if (row.doc_id, row.url, row.source) < (found.row.doc_id, found.row.url, found.row.source):
                found.row, found.book, book = row, book, found.book
            found.same.append(book)
            return
        if len(self._heap) < self._limit:
            heapq.heappush(self._heap, -key)
        elif key > -self._heap[0]:
            return
        else:
            del self.drawn[-heapq.heapreplace(self._heap, -key)]
        self.drawn[key] = _Drawn(row, book, [])


def draw(sources: Sequence[Source], *, documents: int = DOCUMENTS, balanced: bool = True, seed: int = 0) -> TrainingSet:
    """As many texts of each class: `documents`, or what the smallest class has (balanced), or what each has.

    The classes are filled in the order in which their labels are first named: a text of an earlier class is left out
    of the later ones. ConfigError where there are fewer than two labels, or a class has no text.
    """
    labels = list(dict.fromkeys(source.label for source in sources))
    _check(labels, documents)
    books = [Book(source.label, source.location) for source in sources]
    reservoirs = {label: _Reservoir(documents) for label in labels}
    seen: dict[str, HashSet] = {}
    for label in labels:
        last = label == labels[-1]
        own = HashSet()
        for number, source in enumerate(sources):
            if source.label == label:
                _read(source, number, books[number], reservoirs[label], seen, None if last else own, seed)
        if not reservoirs[label].drawn:
            raise _empty(label, [book for book in books if book.label == label])
        seen[label] = own
    size = min(len(reservoir.drawn) for reservoir in reservoirs.values()) if balanced else documents
    return _cut(reservoirs, size, books, seed=seed, documents=documents, balanced=balanced)


def _check(labels: Sequence[str], documents: int) -> None:
    if len(labels) < 2:
        raise ConfigError(
            "a training set needs two classes at least",
            why=f"the only label is {labels[0]!r}" if labels else "there is no source",
            fix="name positives and negatives, or two --source label=path",
        )
    if documents < 1:
        raise ConfigError(f"a training set of {documents} documents of each class", fix="--documents >= 1")
    for label in labels:
        if not label or label.split() != [label] or "=" in label:
            raise ConfigError(
                f"{label!r} cannot be a label",
                why="labels are words without white space (fastText) or equals signs",
                fix="name the class otherwise, such as high_quality",
            )


def _read(
    source: Source,
    number: int,
    book: Book,
    reservoir: _Reservoir,
    seen: dict[str, HashSet],
    own: HashSet | None,
    seed: int,
) -> None:
    """Offer the texts of one source. own: where the hashes of this class go; None where nobody will ask."""
    total = usable = 0
    for row in read_source(source.location, source.columns, book.left_out):
        digest = text_digest(row.text)
        total = (total + int.from_bytes(digest, "little")) % _MODULUS
        usable += 1
        reason = source.keep(row) if source.keep is not None else None
        short = int.from_bytes(digest[:8], "little")
        if reason is None and any(short in hashes for hashes in seen.values()):
            reason = "in_other_class"
        if reason is not None:
            book.left_out[reason] += 1
            continue
        if own is not None:
            own.add(short)
        reservoir.offer(draw_key(digest, seed), row, number)
    book.read = usable + sum(book.left_out[reason] for reason in ("malformed", "no_text", "too_short"))
    book.digest = f"{total:0{2 * SIZE}x}"
    if is_run(source.location):
        run = RunFolder(source.location).read_json("run.json")
        book.run = run.get("fingerprint")


def _cut(
    reservoirs: dict[str, _Reservoir], size: int, books: list[Book], *, seed: int, documents: int, balanced: bool
) -> TrainingSet:
    """The smallest keys of each class, and closed books."""
    found: list[tuple[int, str, Example]] = []
    for label, reservoir in reservoirs.items():
        for key in sorted(reservoir.drawn)[:size]:
            drawn = reservoir.drawn[key]
            row = drawn.row
            found.append((key, label, Example(row.text, label, row.doc_id, row.url, row.source)))
            books[drawn.book].drawn += 1
            for book in drawn.same:
                books[book].left_out["same_text"] += 1
    for one in books:
        # of texts that are not drawn nobody knows how often they occur: what was dropped early is forgotten
        rest = one.read - one.drawn - sum(one.left_out.values())
        if rest:
            one.left_out["not_drawn"] = rest
    found.sort(key=lambda entry: entry[:2])
    return TrainingSet(tuple(example for _, _, example in found), tuple(books), seed, documents, balanced)


def _empty(label: str, books: Sequence[Book]) -> ConfigError:
    left = {book.location: dict(book.left_out) for book in books}
    return ConfigError(
        f"no document for the class {label!r}",
        where=", ".join(book.location for book in books),
        why="; ".join(f"{sum(counts.values()):,} rows left out: {counts}" for counts in left.values()),
        fix="look at the columns (--text-column) and at what the other classes hold",
    )
