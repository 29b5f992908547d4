"""Edit programs that a model has written, executed passage by passage on the text of their document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.core.rule import Drop
from tokenmill.core.segment import words
from tokenmill.rephrase.assemble import Candidate, Outcome, candidate, lacking
from tokenmill.rephrase.formats import Read
from tokenmill.rephrase.programs.execute import Edit, Guards, apply_diff, execute
from tokenmill.rephrase.programs.parse import parse_program
from tokenmill.rephrase.stitch import MOST_MISSING
from tokenmill.rephrase.style import Style

PASSAGE = Guards(least_words=0, least_words_share=0.0)
"""Of one passage, which may be navigation from end to end; what must be left is asked of the whole document."""


def edited(style: Style, document: Mapping[str, Any], parts: Sequence[Outcome], seed: int) -> Candidate:
    """The document with the programs of its passages executed. A passage without a program stays as it is.

    Synthetic where a replacement has put words of the model into the text. `program` holds
    what was applied and refused, with the diffs in characters of the document: all of them together, in their order,
    make the document what is published (`programs.execute.apply_diff`).
    """
    text: str = document["text"]
    leaves = [(leaf, read) for part in parts for leaf, read in zip(part.leaves, part.read, strict=True)]
    programs = [_executed(leaf, read.text) for leaf, read in leaves if isinstance(read, Read)]
    stripped = _strip(text, programs)
    whole = apply_diff(text, [Edit(**edit) for told in stripped for edit in told["diff"]])
    asked = [part for part in parts if part.wanted]
    missing = sum(part.drop is not None for part in asked)
    most = 0.0 if style.missing == "drop_document" else MOST_MISSING
    drop = None
    if not programs:
        drop = next((part.drop for part in [*asked, *parts] if part.drop is not None), Drop("no_program"))
    elif missing > most * len(asked):
        drop = lacking(asked, missing, f"{missing} of {len(asked)} passages have no answer")
    elif len(programs) == len(leaves) and all(told["dropped"] for told in programs):
        drop = Drop("dropped_by_program")
    elif few_words(text, whole):
        drop = Drop("few_words_left")
    inserted = any(edit["new"].strip() for told in programs for edit in told["diff"])
    return candidate(
        style,
        document,
        parts,
        whole,
        seed=seed,
        drop=drop,
        missing=missing,
        synthetic=inserted,
        program=json.dumps(stripped),
    )


def _executed(leaf: Mapping[str, Any], program: str) -> dict[str, Any]:
    """What became of a passage, with positions in its document."""
    start, end, text = leaf["start"], leaf["end"], leaf["text"]
    result = execute(text, parse_program(program), PASSAGE)
    told = result.to_json()
    if result.dropped:
        told["diff"] = [_edit(start, end, text)]
    else:
        told["diff"] = [{**edit, "start": edit["start"] + start, "end": edit["end"] + start} for edit in told["diff"]]
    return {"start": start, "end": end, **told}


def _edit(start: int, end: int, old: str) -> dict[str, Any]:
    return {"start": start, "end": end, "old": old, "new": ""}


def _strip(text: str, programs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The programs with their diffs widened by white space that they leave at the ends of the text, and an entry with
    the reason `strip` where white space goes that no edit is beside."""
    edits = [edit for told in programs for edit in told["diff"]]
    done = _strip_start(text, edits)
    whole = done >= len(text)  # nothing is left: the edits hold it all
    kept = [edit for edit in edits if edit["start"] >= done] if not whole else []
    begin = len(text) if whole else _strip_end(text, kept, done)
    found: list[dict[str, Any]] = list(programs)
    if done and not any(edit["start"] < done for edit in edits):
        found.insert(0, _strip_entry(text, 0, done))
    if begin < len(text) and not any(edit["end"] > begin for edit in kept):
        found.append(_strip_entry(text, begin, len(text)))
    return found


def _strip_entry(text: str, start: int, end: int) -> dict[str, Any]:
    told = {"applied": [], "refused": [], "dropped": False, "reason": "strip", "malformed": 0}
    return {"start": start, "end": end, **told, "diff": [_edit(start, end, text[start:end])]}


def _strip_start(text: str, edits: Sequence[dict[str, Any]]) -> int:
    """Where the text begins that is left; edits before that reach from one to the next, and the last one up to it."""
    done, inside = 0, list[dict[str, Any]]()
    for edit in [*edits, None]:
        stop = len(text) if edit is None else edit["start"]
        gap = text[done:stop]
        left = stop - len(gap.lstrip())
        if left < stop or edit is None:
            done = left
            break
        done = stop
        edit["new"] = edit["new"].lstrip()
        if edit["new"]:
            break
        done = edit["end"]
        inside.append(edit)
    for number, edit in enumerate(inside):
        edit["start"] = 0 if number == 0 else edit["start"]
        edit["end"] = inside[number + 1]["start"] if number + 1 < len(inside) else done
        edit["old"] = text[edit["start"] : edit["end"]]
    return done


def _strip_end(text: str, edits: Sequence[dict[str, Any]], first: int) -> int:
    """Where the text ends that is left, likewise. first: where it begins; something but white space follows."""
    begin, inside = len(text), list[dict[str, Any]]()
    for edit in [*reversed(edits), None]:
        stop = first if edit is None else edit["end"]
        right = stop + len(text[stop:begin].rstrip())
        if right > stop or edit is None:
            begin = right
            break
        begin = stop
        edit["new"] = edit["new"].rstrip()
        if edit["new"]:
            break
        begin = edit["start"]
        inside.append(edit)
    for number, edit in enumerate(inside):
        edit["end"] = len(text) if number == 0 else edit["end"]
        edit["start"] = inside[number + 1]["end"] if number + 1 < len(inside) else begin
        edit["old"] = text[edit["start"] : edit["end"]]
    return begin


def few_words(before: str, after: str) -> bool:
    """Whether so little is left that the document is better dropped (the guards of ProX)."""
    left = len(words(after))
    return left <= Guards().least_words or left <= Guards().least_words_share * len(words(before))
