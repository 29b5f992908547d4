"""`build_training_set`: which sources make which classes, from the words of the command line to a written set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenmill.classifiers.corpus.draw import DOCUMENTS, Source, TrainingSet, draw
from tokenmill.classifiers.corpus.links import LEVELS, Decode, Level, Links, linked, not_linked, read_links
from tokenmill.classifiers.corpus.rows import PLAIN, Columns, read_source
from tokenmill.classifiers.corpus.write import check_output, write_training_set
from tokenmill.core.errors import ConfigError

_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class SetSettings:
    """Which texts are of which class. One of three: `sources`; `positives` and a `negative`; `linked_from` and a
    `negative`."""

    sources: tuple[str, ...] = ()
    """`label=path`, two labels at least."""
    positives: tuple[str, ...] = ()
    """Texts that are known to be good, such as answers to questions (DCLM: OpenHermes 2.5 and ELI5)."""
    negative: str = ""
    """A run, or other documents, of which a random sample are the negatives."""
    linked_from: str = ""
    """A reference set: the pages of `negative` that it links to are the positives. Pages that Wikipedia links to made
    models worse than no classifier in DCLM's runs at 1B and 7B parameters (docs/training-sets.md)."""
    level: Level = "url"
    """url, host or domain: what of a page's address the reference set must name."""
    links_column: str = "links"
    """Column of the links in a reference set of Parquet or JSON Lines."""
    text_columns: tuple[str, ...] = ("text",)
    """Columns that are joined by newlines: of the positives where they are given (the negative then has `text`), else
    of all sources."""
    id_column: str = "id"
    url_column: str = "url"
    """Column of the address, of all sources."""
    lines: bool = False
    """Plain text: a document per line; else per file."""
    min_chars: int = 1
    """Shorter texts are left out. Characters."""
    documents: int = DOCUMENTS
    """Texts of each class at most."""
    balanced: bool = True
    """As many of each class as the smallest has."""
    seed: int = 0
    positive_label: str = "hq"
    """Labels as DCLM names them: of high quality, Common Crawl."""
    negative_label: str = "cc"


def build_training_set(out: str, settings: SetSettings, *, decode: Decode | None = None) -> dict[str, Any]:
    """Draw the set and write it to `out` (.parquet) with the facts beside it (.json); gives the facts.

    decode: see `links.Decode`; the command line gives the one of the extraction. ConfigError before anything is
    written, where settings contradict each other or a class has no text.
    """
    check_output(out)
    found, links = training_set(settings, decode=decode)
    more: dict[str, Any] = {"text_columns": list(settings.text_columns), "min_chars": settings.min_chars}
    if links is not None:
        more["linked_from"] = {
            "location": settings.linked_from,
            "level": links.level,
            "pages": links.pages,
            "links": links.links,
            "counted": links.counted,
            "distinct": len(links.hashes),
            "left_out": dict(sorted(links.left_out.items())),
            "pages_not_read": dict(sorted(links.unread.items())),
        }
    return write_training_set(found, Path(out), more)


def training_set(settings: SetSettings, *, decode: Decode | None = None) -> tuple[TrainingSet, Links | None]:
    """The set, and the links where it was made by them."""
    _check(settings)
    links = None
    if settings.linked_from:
        links = read_links(settings.linked_from, settings.level, column=settings.links_column, decode=decode)
        _check_linked(settings, links)
    sources = _sources(settings, links)
    how = {"documents": settings.documents, "seed": settings.seed}
    return draw(sources, balanced=settings.balanced, **how), links


def _check(settings: SetSettings) -> None:
    named = [bool(settings.sources), bool(settings.positives), bool(settings.linked_from)]
    if sum(named) != 1:
        raise ConfigError(
            "it is not clear what the classes are" if sum(named) else "nothing says what the classes are",
            why=f"{sum(named)} of --source, --positive and --linked-from are given",
            fix="give one: --source label=path (twice or more), or --positive PATH --negative RUN, "
            "or --linked-from REFERENCE --negative RUN",
        )
    if not settings.sources and not settings.negative:
        raise ConfigError("there is nothing to draw negatives from", fix="--negative RUN")
    if settings.sources and settings.negative:
        raise ConfigError("--negative does not go with --source", fix="--source label=path for every class")
    if settings.level not in LEVELS:
        raise ConfigError(f"links at level {settings.level!r}", fix=f"one of {', '.join(LEVELS)}")
    if settings.positive_label == settings.negative_label and not settings.sources:
        raise ConfigError(f"both classes are called {settings.positive_label!r}", fix="--positive-label hq")
    if not settings.text_columns or settings.min_chars < 0:
        raise ConfigError("no column of text, or a negative length", fix="--text-column text --min-chars 1")
    for entry in settings.sources:
        if not all(part.strip() for part in entry.partition("=")):
            raise ConfigError(f"{entry!r} is no source", fix="--source label=path, such as --source good=books.jsonl")


def _sources(settings: SetSettings, links: Links | None) -> list[Source]:
    given = _columns(settings)
    if settings.sources:
        pairs = (entry.partition("=") for entry in settings.sources)
        return [Source(label=label.strip(), location=path.strip(), columns=given) for label, _, path in pairs]
    pool = _pool(settings)
    negative = Source(label=settings.negative_label, location=settings.negative, columns=pool)
    if links is None:
        positives = (Source(label=settings.positive_label, location=path, columns=given) for path in settings.positives)
        return [*positives, negative]
    positive = replace(negative, label=settings.positive_label, keep=linked(links))
    return [positive, replace(negative, keep=not_linked(links))]


def _columns(settings: SetSettings) -> Columns:
    return Columns(
        text=settings.text_columns,
        id=settings.id_column,
        url=settings.url_column,
        lines=settings.lines,
        min_chars=settings.min_chars,
    )


def _pool(settings: SetSettings) -> Columns:
    """Of `negative`: beside given positives as a run publishes documents, whatever theirs are called."""
    return replace(_columns(settings), text=PLAIN.text, id=PLAIN.id) if settings.positives else _columns(settings)


def _check_linked(settings: SetSettings, links: Links) -> None:
    """ConfigError where no document of the run is linked to; it says how many there are of both, with examples."""
    count = 0
    examples: list[str] = []
    for row in read_source(settings.negative, _pool(settings)):
        if row.url in links:
            return
        count += 1
        if len(examples) < _EXAMPLES:
            examples.append(row.url or f"(no address: {row.doc_id})")
    raise ConfigError(
        "the reference set links to no document of the run",
        where=f"{settings.linked_from} and {settings.negative}",
        why=f"{len(links.hashes):,} addresses at level {links.level}, such as {', '.join(links.examples)}; "
        f"{count:,} documents, such as {', '.join(examples) or 'none'}",
        fix="--level host or --level domain, or a larger reference set; --url-column names the column of addresses",
    )
