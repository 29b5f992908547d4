"""A small kit of benchmarks in the known forms, and clean texts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenmill.tokens.decontaminate.plant import generated_texts

_THINGS = [
    "copper kettle",
    "rope bridge",
    "paper lantern",
    "stone well",
    "glass bottle",
    "iron gate",
    "wool blanket",
    "tin roof",
]
_DEEDS = [
    "boils over",
    "sways slowly",
    "burns down",
    "runs dry",
    "breaks apart",
    "rusts shut",
    "keeps warm",
    "rattles loudly",
]
_PLACES = [
    "the old mill",
    "a mountain pass",
    "the night market",
    "our back yard",
    "an empty harbour",
    "the castle keep",
]


def _facts(count: int) -> list[tuple[str, str, str]]:
    return [
        (_THINGS[n % 8], _DEEDS[(n // 8 + n) % 8], f"{_PLACES[n // 8 % 6]} number {n} of the valley")
        for n in range(count)
    ]


def multiple_choice(count: int) -> list[dict[str, Any]]:
    """Questions with a label in front, and wrong answers."""
    return [
        {
            "id": f"q{n}",
            "context": f"Question: What happens to the {thing} that somebody left beside {place} last week?\nAnswer:",
            "choices": [" nothing at all", f" it {deed}"],
            "gold": 1,
        }
        for n, (thing, deed, place) in enumerate(_facts(count))
    ]


def continuations(count: int) -> list[dict[str, Any]]:
    """Sentences that go on with their answers."""
    return [
        {
            "id": str(n),
            "context": f"When the evening comes to {place}, everybody can hear how the {thing}",
            "continuation": f" {deed}, as it has done every day for some {n + 3} years",
        }
        for n, (thing, deed, place) in enumerate(_facts(count))
    ]


def short_questions(count: int) -> list[dict[str, Any]]:
    """Questions that are found with their answers only."""
    names = ["Ada Marlow", "Bruno Keller", "Chiara Neri", "Dov Halevi", "Edda Storm", "Farid Aziz"]
    return [
        {
            "id": str(n),
            "context": f"Question: who built {_PLACES[n % 6]} {n}\nAnswer:",
            "continuation": f" {names[n % 6]}",
        }
        for n in range(count)
    ]


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def write_kit(folder: Path) -> Path:
    """Three tasks in a folder, which is given back."""
    write_jsonl(folder / "choices.jsonl.gz", multiple_choice(40))
    write_jsonl(folder / "endings.jsonl", continuations(40))
    write_jsonl(folder / "short.jsonl", short_questions(20))
    (folder / "README.md").write_text("not a benchmark")
    return folder


def clean_texts(count: int, seed: int = 0) -> list[str]:
    return generated_texts(count, 120, seed)
