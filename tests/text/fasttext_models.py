"""Small fastText models, trained and quantised by the library in processes of their own, and its answers."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

WORDS = {
    "tea": "kettle leaf water cup steam green black honey pour été 作者 warm".split(),
    "sea": "wave boat salt wind harbour sail gull tide Straße δελφίνι deep".split(),
    "code": "loop array print() return; == None 0x1f class def while {} ключ".split(),
}
COMMON = "the a of and to in is it that was for on with as are this be".split()

_TRAIN = """
import json, sys, fasttext
fasttext.FastText.eprint = lambda *a: None
lines, path, settings, quantised = sys.argv[1:5]
model = fasttext.train_supervised(input=lines, thread=1, verbose=0, **json.loads(settings))
if not abs(model.get_input_matrix()).max() < 1000:
    sys.exit("the weights have exploded")
if quantised == "1":
    model.quantize(input=lines, retrain=False, qnorm=True, cutoff=400, dsub=2, thread=1, verbose=False)
model.save_model(path)
"""

KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"wordNgrams": 2, "bucket": 3000},
    "quantised": {"wordNgrams": 2, "bucket": 3000, "minn": 2, "maxn": 3},
    "ova": {"wordNgrams": 3, "bucket": 500, "minn": 2, "maxn": 4, "loss": "ova"},
    "hs": {"wordNgrams": 1, "bucket": 1000, "minn": 3, "maxn": 3, "loss": "hs"},
    "ns": {"wordNgrams": 2, "bucket": 3000, "loss": "ns"},
}


def sentences(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(label, text) of a made-up language with three topics."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        label = chance.choice(list(WORDS))
        words = [chance.choice(WORDS[label] if chance.random() < 0.4 else COMMON) for _ in range(chance.randint(3, 25))]
        made.append((label, " ".join(words)))
    return made


def train(kind: str, folder: Path) -> Path:
    """The model's file."""
    lines = folder / "lines.txt"
    lines.write_text("".join(f"__label__{label} {text}\n" for label, text in sentences(600)), encoding="utf-8")
    path = folder / (f"{kind}.ftz" if kind == "quantised" else f"{kind}.bin")
    for lr, dim in ((0.5, 48), (0.1, 48), (0.1, 64), (0.1, 100)):  # the library may meet NaN
        settings = json.dumps({"dim": dim, "epoch": 8, "lr": lr, **KINDS[kind]})
        command = [sys.executable, "-c", _TRAIN, str(lines), str(path), settings, str(int(kind == "quantised"))]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return path
    raise AssertionError(f"the library could not train {kind}")


def predicted(model: Any, text: str) -> dict[str, float]:
    """The library's probability of each label. Newlines are spaces, as the caller of the library has to see to."""
    answers = model.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict")
    return {label.removeprefix("__label__"): score for score, label in answers}
