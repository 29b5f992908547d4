"""A planted corruption is found: real text, real training, three seeds; the clean arm must win on other text."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ablate.small import write_documents
from tokenmill.ablate.run import run
from tokenmill.ablate.spec import parse_ablation

JUNK_LINES = 0.25
SMALL = {"layers": 2, "width": 64, "heads": 2, "hidden": 160, "context": 128, "batch_tokens": 2048, "lr": 0.01}


def paragraphs(shared: Path, part: str) -> list[str]:
    packed = (shared / f"eval-kit/neutral-text/wikitext-2-{part}.txt.gz").read_bytes()
    return [line.strip() for line in gzip.decompress(packed).decode().split("\n") if len(line) > 200]


def corrupted(texts: list[str], junk: Callable[[int], str]) -> list[str]:
    """A quarter of the lines, sentences being lines, is junk of about the same length."""
    random = np.random.default_rng(3)
    found = []
    for text in texts:
        lines = []
        for line in text.split("\n"):
            lines.append(line)
            if random.random() < JUNK_LINES / (1 - JUNK_LINES):
                lines.append(junk(len(line)))
        found.append("\n".join(lines))
    return found


def compared(place: Path, shared: Path, junk: Callable[[int], str], **changes: Any) -> dict[str, Any]:
    """The pair of an ablation of clean and corrupted WikiText, measured on other articles."""
    texts = [re.sub(r"(?<= [.!?]) (?=[A-Z])", "\n", text) for text in paragraphs(shared, "test")]
    write_documents(place / "clean", texts)
    write_documents(place / "junk", corrupted(texts, junk))
    neutral = [json.dumps({"text": text}) for text in paragraphs(shared, "valid")[:180]]
    (place / "neutral.jsonl").write_text("\n".join(neutral), encoding="utf-8")
    data = {
        "name": "planted",
        "preset": "smoke",
        "seeds": 3,
        "match": "pool",
        "arms": {"junk": {"documents": "junk"}, "clean": {"documents": "clean"}},
        "evaluate": {"texts": {"neutral": "neutral.jsonl"}, "held_out": 0.1, "held_out_bytes": 2000, "evals": 1},
        **changes,
    }
    (pair,) = run(parse_ablation(data, folder=place), place / "out", workers=0).decision["pairs"]
    return dict(pair)


@pytest.mark.slow
def test_a_quarter_of_noise_loses(tmp_path: Path, shared: Path) -> None:
    random = np.random.default_rng(5)

    def junk(length: int) -> str:
        return " ".join(random.bytes(int(random.integers(2, 6))).hex() for _ in range(max(1, length // 9)))

    tokenizer = {"train": {"vocab_size": 1024}}
    pair = compared(tmp_path, shared, junk, tokens=120 * 2048, train=SMALL, tokenizer=tokenizer)
    assert (pair["verdict"], pair["better"]) == ("WIN", "clean"), pair
