"""Labelled documents with a planted signal: the grade is how many of a text's words are of a small set."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from tests.classifiers.encoder.support import texts as random_texts
from tokenmill.classifiers.train.data import Labelled

SIGNAL = "theorem"


def rows(count: int = 120, hosts: int = 40, seed: int = 0) -> list[dict[str, Any]]:
    """Documents of `hosts` hosts, no two texts alike; `grade` 0 to 3, `kind` one of three names, `good` yes or no."""
    drawn = random.Random(seed)
    found = []
    for number, text in enumerate(random_texts(count, longest=40, seed=seed)):
        grade = drawn.randrange(4)
        words = text.split()
        words = [SIGNAL if drawn.random() < grade / 3 else word for word in words] or [SIGNAL] * grade
        found.append(
            {
                "id": f"doc-{number:04d}",
                "url": f"https://host{drawn.randrange(hosts)}.example/{number}",
                "text": " ".join([f"page{number}", *words]),
                "grade": grade,
                "kind": ("none", "some", "some", "all of it")[grade],
                "good": grade >= 2,
                "other": grade + drawn.random(),
                "part": "plain" if number % 2 else "enriched",
            }
        )
    return found


def write_rows(path: Path, found: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


def labelled(labels: list[int], groups: list[str], classes: int) -> Labelled:
    """Documents without texts of meaning, for what looks at labels and groups only."""
    return Labelled(
        texts=tuple(f"text {place}" for place in range(len(labels))),
        labels=np.array(labels, dtype=np.int64),
        targets=np.array(labels, dtype=np.float64),
        names=tuple(map(str, range(classes))),
        groups=tuple(groups),
        splits=("",) * len(labels),
        others={},
        digest="",
        skipped=0,
    )
