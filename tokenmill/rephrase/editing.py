"""Edit programs that a model has written, executed passage by passage on the text of their document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.core.rule import Drop
from tokenmill.core.segment import words
from tokenmill.rephrase.assemble import Candidate, Outcome, candidate
from tokenmill.rephrase.formats import Read
from tokenmill.rephrase.programs.execute import Guards, execute
from tokenmill.rephrase.programs.parse import parse_program
from tokenmill.rephrase.style import Style

PASSAGE = Guards(least_words=0, least_words_share=0.0)
"""Of one passage, which may be navigation from end to end; what must be left is asked of the whole document."""


def edited(
    style: Style, document: Mapping[str, Any], parts: Sequence[Outcome], read: Sequence[Read | Drop], seed: int
) -> Candidate:
    """The document with the programs of its passages executed. A passage without a program stays as it is.

    Synthetic only where a replacement has put words of the model into the text. `program` holds what was applied and
    refused, with the diffs in characters of the document.
    """
    text: str = document["text"]
    programs, done, pieces = [], 0, list[str]()
    for part, one in zip(parts, read, strict=True):
        start, end = part.row["start"], part.row["end"]
        pieces.append(text[done:start])
        done = end
        if isinstance(one, Drop):
            pieces.append(text[start:end])
            continue
        result = execute(text[start:end], parse_program(one.text), PASSAGE)
        pieces.append("" if result.dropped else result.text)
        told = result.to_json()
        told["diff"] = [{**edit, "start": edit["start"] + start, "end": edit["end"] + start} for edit in told["diff"]]
        programs.append({"start": start, "end": end, **told})
    pieces.append(text[done:])
    whole = "".join(pieces).strip()
    asked = sum(part.row["key"] is not None for part in parts)
    drop = None
    if not programs:
        drop = next((one for one in read if isinstance(one, Drop)), Drop("no_program"))
    elif all(told["dropped"] for told in programs) and len(programs) == len(parts):
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
        missing=asked - len(programs),
        synthetic=inserted,
        program=json.dumps(programs),
    )


def few_words(before: str, after: str) -> bool:
    """Whether so little is left that the document is better dropped (the guards of ProX)."""
    left = len(words(after))
    return left <= Guards().least_words or left <= Guards().least_words_share * len(words(before))
