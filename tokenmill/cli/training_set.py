"""`tokenmill training-set`: labelled texts to train a classifier on."""

from __future__ import annotations

import json

from tokenmill.classifiers.corpus.build import SetSettings, build_training_set
from tokenmill.cli.console import error_console, make_table, output_console, safe_line
from tokenmill.extract.http import Headers, TooLarge, Undecodable, decode_body

_LARGEST = 5 << 20


def make_training_set(out: str, settings: SetSettings, *, as_json: bool = False) -> None:
    """Draw, write and print what became of every row."""
    if settings.linked_from and not as_json:
        error_console().print(
            "training-set: pages that Wikipedia links to made worse models than no classifier in DCLM's runs "
            "(docs/training-sets.md): compare with given positives",
            highlight=False,
        )
    facts = build_training_set(out, settings, decode=_decode)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    table = make_table("label", "source", "rows", "drawn", "left out")
    for source in facts["sources"]:
        left = ", ".join(f"{reason} {count:,}" for reason, count in source["left_out"].items())
        numbers = f"{source['read']:,}", f"{source['drawn']:,}"
        table.add_row(safe_line(source["label"]), safe_line(source["location"]), *numbers, left)
    output_console().print(table)
    counts = ", ".join(f"{count:,} {label}" for label, count in facts["labels"].items())
    output_console().print(safe_line(f"{out}: {counts}"), highlight=False)


def _decode(body: bytes, headers: str) -> bytes:
    """The body of an archived page without chunking and compression."""
    try:
        return decode_body(body, Headers.parse(headers), _LARGEST)
    except (TooLarge, Undecodable) as error:
        raise ValueError(type(error).__name__) from error
