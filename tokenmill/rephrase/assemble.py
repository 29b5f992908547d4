"""From what became of passages to candidates: texts that are to be checked, or rejected already and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenmill.core.rule import Drop
from tokenmill.rephrase.checks.run import Pair
from tokenmill.rephrase.formats import Read, read_format
from tokenmill.rephrase.render import instruction_of
from tokenmill.rephrase.stitch import stitch
from tokenmill.rephrase.style import Style

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased


@dataclass(frozen=True)
class Outcome:
    """What became of one passage (`columns.OUTCOME_COLUMNS`, and the passage itself)."""

    row: Mapping[str, Any]

    @property
    def failure(self) -> str | None:
        failure: str | None = self.row["failure"]
        return failure


@dataclass(frozen=True)
class Candidate:
    """One row to be: a text with the outcomes that it is made of."""

    document: Mapping[str, Any]
    doc_id: str
    style: Style
    outcomes: Sequence[Outcome]
    text: str
    pair: Pair
    passage: int | None
    start: int
    end: int
    missing: int = 0
    drop: Drop | None = None
    """Why it is rejected before any check: nobody was asked, no answer came, or it has not the form asked for."""
    synthetic: bool = True
    program: str | None = None


def assemble(
    stage: WriteRephrased, style: Style, document: Mapping[str, Any], parts: Sequence[Outcome]
) -> Iterator[Candidate]:
    """The candidates of one document and style: one per passage, or one of all."""
    read = [_read(style, part) for part in parts]
    if style.kind == "edit":
        from tokenmill.rephrase.editing import edited

        yield edited(style, document, parts, read, stage.seed)
    elif style.per == "document":
        yield from _stitched(style, document, parts, read, stage.seed)
    else:
        for part, found in zip(parts, read, strict=True):
            yield _single(style, document, part, found, stage.seed)


def _read(style: Style, part: Outcome) -> Read | Drop:
    """What an answer says, or why there is none."""
    if part.failure is not None:
        return Drop(part.failure, detail=part.row["detail"] or "")
    found = read_format(style, part.row["response"])
    return Drop(found.kind, detail=found.detail) if found.kind else found


def _single(style: Style, document: Mapping[str, Any], part: Outcome, found: Read | Drop, seed: int) -> Candidate:
    drop = found if isinstance(found, Drop) else None
    text = (part.row["response"] or "") if isinstance(found, Drop) else found.text
    return candidate(style, document, [part], text, seed=seed, drop=drop, passage=part.row["number"])


def _stitched(
    style: Style, document: Mapping[str, Any], parts: Sequence[Outcome], read: Sequence[Read | Drop], seed: int
) -> Iterator[Candidate]:
    """One row of all passages; those that nobody was asked about are not missed, and are rows of their own."""
    asked = [place for place, part in enumerate(parts) if part.row["key"]]
    for place, part in enumerate(parts):
        if place not in asked:
            yield _single(style, document, part, read[place], seed)
    if not asked:
        return
    texts = [None if isinstance(found := read[place], Drop) else found.text for place in asked]
    joined = stitch(texts, style, [parts[place].row["text"] for place in asked])
    first = next((found for place in asked if isinstance(found := read[place], Drop)), None)
    drop = None
    if joined.reason:
        drop = (
            first if first is not None and joined.missing == len(asked) else Drop(joined.reason, detail=joined.detail)
        )
    yield candidate(
        style,
        document,
        [parts[place] for place in asked],
        joined.text,
        seed=seed,
        drop=drop,
        missing=joined.missing,
        read=texts,
    )


def candidate(
    style: Style,
    document: Mapping[str, Any],
    parts: Sequence[Outcome],
    text: str,
    *,
    seed: int,
    drop: Drop | None = None,
    passage: int | None = None,
    missing: int = 0,
    read: Sequence[str | None] | None = None,
    synthetic: bool = True,
    program: str | None = None,
) -> Candidate:
    """A candidate with the pair that is checked: only passages that it holds are its source."""
    held = [part for place, part in enumerate(parts) if read is None or read[place] is not None]
    rows = [part.row for part in held]
    reasons = [row["finish_reason"] for row in rows if row["finish_reason"]]
    pair = Pair(
        source="\n\n".join(row["text"] for row in rows),
        output="" if drop is not None else text,
        style=style,
        instruction=instruction_of(style, parts[0].row["doc_id"], seed=seed),
        finish_reason=next((reason for reason in reasons if reason != "stop"), reasons[0] if reasons else ""),
        tokens_in=sum(row["tokens_in"] or 0 for row in rows),
        tokens_out=sum(row["tokens_out"] or 0 for row in rows),
        source_language=document.get("language"),
    )
    every = [part.row for part in parts]
    return Candidate(
        document=document,
        doc_id=every[0]["doc_id"],
        style=style,
        outcomes=parts,
        text=text,
        pair=pair,
        passage=passage,
        start=min(row["start"] for row in every),
        end=max(row["end"] for row in every),
        missing=missing,
        drop=drop,
        synthetic=synthetic,
        program=program,
    )
