"""Rebuild `examples/ablation/kit` and `examples/ablation/neutral.txt.gz` from the developers' benchmarks.

    python tools/build_example_kit.py ../shared/eval-kit examples/ablation

Samples of tasks whose licences clearly allow it, drawn by hashes of their ids, and English prose from WikiText-2 whose
marks are undone. The same sources give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ITEMS = {"arc_easy": 120, "commonsense_qa": 120, "hellaswag": 120, "openbookqa": 120, "squad": 40}
"""Task -> items of its sample."""
TEXT = "neutral-text/wikitext-2-valid.txt.gz"
SENTENCES = 3
"""Sentences in a row without an unknown word that make a paragraph."""
LEFT_OUT = ("sha256", "statistics", "second_copy_check", "zero_shot_check", "bytes_unpacked")
"""What the manifest says of a whole file."""
_SENTENCE = re.compile(r'(?<= [.?!]) (?=[A-Z"])|(?<= [.?!] ") (?=[A-Z])')
_JOINED = re.compile(r" @([-.,])@ ")
_BEFORE = re.compile(r" ([,.;:?!)\]%]|'(?:s|t|m|d|ll|re|ve)\b|'(?=\s|$)|n't\b)")
_BEHIND = re.compile(r"([(\[$£]) ")


def main(source: Path, target: Path) -> None:
    """Write the kit with its manifest, and the text."""
    kit = target / "kit"
    kit.mkdir(parents=True, exist_ok=True)
    listed = {entry["task"]: entry for entry in json.loads((source / "MANIFEST.json").read_text())["tasks"]}
    entries = []
    for task, count in ITEMS.items():
        lines = [line for line in gzip.decompress((source / f"{task}.jsonl.gz").read_bytes()).splitlines() if line]
        chosen = sorted(sorted(range(len(lines)), key=lambda number: _hash(task, lines[number]))[:count])
        data = pack(b"".join(lines[number] + b"\n" for number in chosen))
        (kit / f"{task}.jsonl.gz").write_bytes(data)
        entries.append({**_about(listed[task]), "items": count, "bytes": len(data), "sha256": _sha256(data)})
    manifest = {"format": 1, "sample": "the items with the smallest BLAKE2b of task and line", "tasks": entries}
    (kit / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    wiki = gzip.decompress((source / TEXT).read_bytes()).decode()
    text = pack("\n\n".join(paragraphs(wiki)).encode() + b"\n")
    (target / "neutral.txt.gz").write_bytes(text)
    print(f"{sum(entry['bytes'] for entry in entries):,} bytes of tasks, {len(text):,} of text in {target}")


def _about(entry: dict[str, Any]) -> dict[str, Any]:
    """What holds for a sample too."""
    return {key: value for key, value in entry.items() if key not in LEFT_OUT}


def _hash(task: str, line: bytes) -> bytes:
    return hashlib.blake2b(task.encode() + b"\0" + line, digest_size=16).digest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(data: bytes) -> bytes:
    """gzip without a time."""
    return gzip.compress(data, 9, mtime=0)


def paragraphs(wiki: str) -> Iterator[str]:
    """Stretches of sentences that have all their words, as they were before WikiText split them into tokens."""
    for line in wiki.splitlines():
        run: list[str] = []
        for sentence in [*_SENTENCE.split(line.strip()), "<unk>"]:
            if "<unk>" not in sentence and not line.strip().startswith("="):
                run.append(sentence)
                continue
            text = " ".join(run)
            if len(run) >= SENTENCES and text.count('"') % 2 == 0:
                yield plain(text)
            run = []


def plain(text: str) -> str:
    """WikiText's tokens as plain English: `0 @.@ 7` is `0.7`, `( 24 in )` is `(24 in)`, and quotation marks stand at
    their words. There must be an even number of these."""
    parts = _BEHIND.sub(r"\1", _BEFORE.sub(r"\1", _JOINED.sub(r"\1", text))).split('"')
    for number in range(1, len(parts), 2):  # within quotation marks
        parts[number] = parts[number].strip()
        parts[number + 1] = re.sub(r"^ (?=[,.;:?!)])", "", parts[number + 1])
    return '"'.join(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
