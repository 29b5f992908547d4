"""A whole ablation that is small enough for tests: real documents, tokens, models and runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill.ablate.spec import Ablation, parse_ablation

WORDS = (
    "the a committee meets to discuss budget of that library with all citizens and visitors who came from far away "
    "because rain fell on hills where old houses stand near rivers that run into cold northern seas every winter"
).split()
JUNK = "Home | Login | Cookie settings | Share | Tweet | 1 2 3 next"
TRAIN = {"layers": 1, "width": 16, "heads": 1, "hidden": 32, "context": 32, "batch_tokens": 256, "lr": 0.01}


def sentences(seed: int, count: int) -> list[str]:
    """Word order is random, but each word is followed by one of few: there is something to learn."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        at, words = int(random.integers(len(WORDS))), []
        for _ in range(int(random.integers(8, 40))):
            words.append(WORDS[at])
            at = (at * 7 + int(random.integers(1, 4))) % len(WORDS)
        found.append(" ".join(words) + ".")
    return found


def write_documents(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": f"page-{number}", "text": text}) for number, text in enumerate(texts)]
    (folder / "part.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_task(folder: Path, items: int = 12) -> Path:
    """A benchmark in cloze form: the right answer is a word that follows, the wrong one does not occur."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, text in enumerate(sentences(99, items)):
        words = text.rstrip(".").split()
        choices = [f" {words[4]}", " qqzx"] if number % 2 else [" qqzx", f" {words[4]}"]
        item = {"id": str(number), "context": " ".join(words[:4]), "choices": choices, "gold": 1 - number % 2}
        lines.append(json.dumps(item))
    (folder / "next_word.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def small_ablation(place: Path, **changes: Any) -> Ablation:
    """clean and junk documents (a third of the lines of junk are navigation), neutral text, a benchmark."""
    texts = sentences(1, 120)
    if not (place / "clean").exists():
        write_documents(place / "clean", texts)
        write_documents(place / "junk", [f"{JUNK}\n{text}\n{JUNK}" for text in texts])
        (place / "neutral.txt").write_text("\n".join(sentences(7, 20)), encoding="utf-8")
        write_task(place / "kit")
    return parse_ablation(small_yaml(**changes), folder=place)


def small_yaml(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "small",
        "tokenizer": {"train": {"vocab_size": 300}},
        "preset": "smoke",
        "tokens": 1536,
        "seeds": 2,
        "train": dict(TRAIN),
        "arms": {"junk": {"documents": "junk"}, "clean": {"documents": "clean"}},
        "evaluate": {
            "texts": {"neutral": "neutral.txt"},
            "kit": "kit",
            "held_out": 0.1,
            "held_out_bytes": 1000,
            "evals": 2,
        },
    }
    return merged(data, changes)


def merged(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of nested mappings are put together; None removes a key."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(data.get(key), dict) and key != "arms":
            merged(data[key], value)
        elif value is None:
            data.pop(key, None)
        else:
            data[key] = value
    return data
