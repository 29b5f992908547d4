"""From what became of passages to candidates: texts that are to be checked, or rejected already and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenmill.core.rule import Drop
from tokenmill.rephrase.checks.run import Pair
from tokenmill.rephrase.formats import Read, read_format
from tokenmill.rephrase.render import instruction_of
from tokenmill.rephrase.stitch import JOINED, MISSING_PASSAGES, stitch
from tokenmill.rephrase.style import Style

if TYPE_CHECKING:
    from tokenmill.rephrase.stage import WriteRephrased


BUDGET = "budget"
"""Failure of a passage that nobody was asked about, because the run had spent what it may."""


@dataclass(frozen=True)
class Outcome:
    """What became of one passage: rows of `columns.OUTCOME_COLUMNS`, one unless it was cut for the model's context."""

    leaves: Sequence[Mapping[str, Any]]
    read: Sequence[Read | Drop]
    """What each of the answers says, or why there is none."""

    @property
    def number(self) -> int:
        number: int = self.leaves[0]["number"]
        return number

    @property
    def start(self) -> int:
        start: int = self.leaves[0]["start"]
        return start

    @property
    def end(self) -> int:
        end: int = self.leaves[-1]["end"]
        return end

    @property
    def source(self) -> str:
        """The passage."""
        return "".join(leaf["text"] + leaf["gap"] for leaf in self.leaves)

    @property
    def drop(self) -> Drop | None:
        """Why there is no whole answer; None where there is."""
        return next((found for found in self.read if isinstance(found, Drop)), None)

    @property
    def wanted(self) -> bool:
        """Whether the model was to be asked about it: it is not too short."""
        return self.leaves[0]["key"] is not None

    @property
    def answer(self) -> str:
        """What the answers say, one behind the other; raw where one of them could not be read."""
        if self.drop is None:
            return JOINED.join(found.text for found in self.read if isinstance(found, Read))
        return JOINED.join(leaf["response"] for leaf in self.leaves if leaf["response"])


def was_asked(leaf: Mapping[str, Any]) -> bool:
    """Whether a row of `columns.OUTCOME_COLUMNS` is about a request that was made."""
    return leaf["key"] is not None and leaf["failure"] != BUDGET


def outcomes_of(style: Style, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """The passages of a document, in the order of its text, from their rows. Each answer is read on its own."""
    passages: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        passages.setdefault(row["number"], []).append(row)
    found = []
    for leaves in passages.values():
        leaves.sort(key=lambda leaf: leaf["leaf"])
        found.append(Outcome(leaves, [_read(style, leaf) for leaf in leaves]))
    return sorted(found, key=lambda outcome: (outcome.start, outcome.number))


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
    spans: Sequence[tuple[int, int]]
    """Stretches of the document that the text was made of."""
    missing: int = 0
    drop: Drop | None = None
    """Why it is rejected before any check: nobody was asked, no answer came, or it has not the form asked for."""
    synthetic: bool = True
    program: str | None = None


def assemble(
    stage: WriteRephrased, style: Style, document: Mapping[str, Any], parts: Sequence[Outcome]
) -> Iterator[Candidate]:
    """The candidates of one document and style: one per passage, or one of all."""
    if style.kind == "edit":
        from tokenmill.rephrase.editing import edited

        yield edited(style, document, parts, stage.seed)
    elif style.per == "document":
        yield from _stitched(style, document, parts, stage.seed)
    else:
        for part in parts:
            yield _single(style, document, part, stage.seed)


def _read(style: Style, leaf: Mapping[str, Any]) -> Read | Drop:
    """What an answer says, or why there is none."""
    if leaf["failure"] is not None:
        return Drop(leaf["failure"], detail=leaf["detail"] or "")
    found = read_format(style, leaf["response"])
    return Drop(found.kind, detail=found.detail) if found.kind else found


def _single(style: Style, document: Mapping[str, Any], part: Outcome, seed: int) -> Candidate:
    return candidate(style, document, [part], part.answer, seed=seed, drop=part.drop, passage=part.number)


def _stitched(style: Style, document: Mapping[str, Any], parts: Sequence[Outcome], seed: int) -> Iterator[Candidate]:
    """One row of all passages; those that are too short to be asked about are not missed, and are rows of their own."""
    wanted = [part for part in parts if part.wanted]
    for part in parts:
        if not part.wanted:
            yield _single(style, document, part, seed)
    if not wanted:
        return
    texts = [None if part.drop is not None else part.answer for part in wanted]
    joined = stitch(texts, style, [part.source for part in wanted])
    drop = lacking(wanted, joined.missing, joined.detail) if joined.reason else None
    whole = style.missing == "keep_source" and drop is None
    yield candidate(
        style,
        document,
        wanted,
        joined.text or JOINED.join(text.strip() for text in texts if text),
        seed=seed,
        drop=drop,
        missing=joined.missing,
        held=wanted if whole else [part for part in wanted if part.drop is None],
    )


def lacking(parts: Sequence[Outcome], missing: int, detail: str) -> Drop:
    """Why a document is rejected of which so many passages have no answer."""
    drops = [part.drop for part in parts if part.drop is not None]
    spent = next((drop for drop in drops if drop.reason == BUDGET), None)
    if spent is not None:
        return spent
    return drops[0] if drops and missing == len(parts) else Drop(MISSING_PASSAGES, detail=detail)


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
    held: Sequence[Outcome] | None = None,
    synthetic: bool = True,
    program: str | None = None,
) -> Candidate:
    """A candidate with the pair that is checked. held: the passages that it has been made of, its source; None: all."""
    held = parts if held is None else held
    leaves = [leaf for part in held for leaf in part.leaves]
    reasons = [leaf["finish_reason"] for leaf in leaves if leaf["finish_reason"]]
    doc_id: str = parts[0].leaves[0]["doc_id"]
    pair = Pair(
        source=JOINED.join(part.source for part in held),
        output=text,
        style=style,
        instruction=instruction_of(style, doc_id, seed=seed),
        finish_reason=next((reason for reason in reasons if reason != "stop"), reasons[0] if reasons else ""),
        tokens_in=round(sum(leaf["tokens_in"] or 0 for leaf in leaves)),
        tokens_out=round(sum(leaf["tokens_out"] or 0 for leaf in leaves)),
        source_language=document.get("language"),
    )
    return Candidate(
        document=document,
        doc_id=doc_id,
        style=style,
        outcomes=parts,
        text=text,
        pair=pair,
        passage=passage,
        spans=[(part.start, part.end) for part in held],
        missing=missing,
        drop=drop,
        synthetic=synthetic,
        program=program,
    )
