"""Training fastText classifiers, reproducibly: a fresh process, one thread, and another try where it meets NaN.

The folder of a model holds `model.bin` (fastText's own format, for other tools), its linear form, which `FastTextScore`
reads, and `fasttext.json` with settings and digests.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tokenmill import __version__
from tokenmill.classifiers.fasttext.trainer import MISSING, NAN
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.text.fasttext_file import read_fasttext
from tokenmill.text.linear import read_linear
from tokenmill.text.linear_folder import save_linear

DISTRIBUTION = "fasttext-numpy2"
"""Of the distributions of `fasttext` the one that is right with numpy 2 and has wheels (extra `fasttext`)."""
TRIES = 4
LEAST_DIM = 40
_LARGEST_WEIGHT = 1e3
"""Weights of a sound model are below 100."""
FACTS = "fasttext.json"
_CONTROL = re.compile(r"(?<!\S)(?:__label__\S*|</s>)(?!\S)")
"""Words of a text that the library would take for a label, or for the end of the line."""


@dataclass(frozen=True)
class FastTextSettings:
    """Settings of the training, named as fastText names them; defaults are those of its trainer and of DCLM."""

    lr: float = 0.1
    """First learning rate; halved after a try that met NaN."""
    dim: int = 100
    """Columns of the vectors, 40 at least: with fewer the library's weights now and then explode, without a word
    (measured for 4 to 34 with fasttext-numpy2 0.10.4), and differ from run to run."""
    epoch: int = 5
    wordNgrams: int = 2
    """Longest run of words that is a feature. DCLM: 2 (arXiv:2406.11794, table 5)."""
    minCount: int = 1
    """Words that occur more seldom are left out."""
    minn: int = 0
    """Shortest character n-gram; 0: none."""
    maxn: int = 0
    """Longest character n-gram."""
    bucket: int = 2_000_000
    """Hash values of runs of words and character n-grams. The file has 4 * dim bytes for each of them."""
    loss: Literal["softmax", "ova", "hs", "ns"] = "softmax"


@dataclass(frozen=True)
class Trained:
    """What came of a training; written as `fasttext.json`."""

    settings: dict[str, Any]
    """Those of the try that succeeded."""
    text: str
    """How texts became lines (`FastTextScore.text`)."""
    documents: dict[str, int]
    """Label -> how many texts."""
    tries: int
    model_md5: str
    """MD5 of model.bin, as others publish it."""
    model_sha256: str
    lines_sha256: str
    """Of the file that the model was trained on."""
    versions: dict[str, str]


def train_fasttext(
    texts: Iterable[str],
    labels: Iterable[str],
    folder: Path,
    settings: FastTextSettings | None = None,
    *,
    text: Literal["spaces", "dclm"] = "dclm",
) -> Trained:
    """Train on texts in the given order and write the model's folder. ConfigError where this cannot be."""
    settings = settings or FastTextSettings()
    if settings.dim < LEAST_DIM:
        raise ConfigError(
            f"dim = {settings.dim} is too small",
            why="the library's weights may explode, or differ from run to run",
            fix=f"dim = {LEAST_DIM} or more; 100 is usual, and scoring costs the same",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".training-") as scratch:
        lines, model = Path(scratch, "lines.txt"), Path(scratch, "model.bin")
        counts = write_lines(texts, labels, lines, text)
        if len(counts) < 2:
            raise ConfigError(
                "a classifier needs texts of two labels at least",
                why=f"there are {sum(counts.values())} texts of {sorted(counts)}",
                fix="look at the column of labels",
            )
        used, tries = _train(lines, model, settings)
        content = model.read_bytes()
        facts = Trained(
            settings=asdict(used),
            text=text,
            documents=dict(sorted(counts.items())),
            tries=tries,
            model_md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            model_sha256=hashlib.sha256(content).hexdigest(),
            lines_sha256=hashlib.sha256(lines.read_bytes()).hexdigest(),
            versions={"tokenmill": __version__, DISTRIBUTION: importlib.metadata.version(DISTRIBUTION)},
        )
        save_linear(read_linear(str(model)), folder)
        os.replace(model, folder / "model.bin")
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def write_lines(texts: Iterable[str], labels: Iterable[str], path: Path, text: str = "dclm") -> Counter[str]:
    """The texts as lines of fastText's training file; how many of each label. Texts without words are left out."""
    counts: Counter[str] = Counter()
    with open(path, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
        for one, label in zip(texts, labels, strict=True):
            if not label or re.search(r"\s", label):
                raise ConfigError(
                    f"{label!r} cannot be a label of fastText",
                    why="labels are words without white space",
                    fix="name the classes otherwise, such as high_quality",
                )
            line = one_line(one, text)
            if line.strip():
                stream.write(f"__label__{label} {line}\n")
                counts[label] += 1
    return counts


def one_line(text: str, preparation: str = "dclm") -> str:
    """A text as a line of a training file, as `FastTextScore` will see it, less what the library takes for control."""
    joined = " ".join(text.strip().splitlines()) if preparation == "dclm" else text.replace("\n", " ")
    return _CONTROL.sub("", joined.replace("\r", " ").replace("\0", " "))


def _train(lines: Path, model: Path, settings: FastTextSettings) -> tuple[FastTextSettings, int]:
    """Train in processes of their own until one succeeds; the settings that did, and the number of tries."""
    said = ""
    for tried in range(TRIES):
        used = FastTextSettings(**{**asdict(settings), "lr": settings.lr / 2**tried})
        command = [sys.executable, "-P", "-m", "tokenmill.classifiers.fasttext.trainer"]
        # names without folders: what the library computes must not depend on where memory lies
        done = subprocess.run(
            [*command, lines.name, model.name, json.dumps(asdict(used))],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=lines.parent,
            env=_environment(),
        )
        said = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        if done.returncode == 0:
            if _is_sound(model):
                return used, tried + 1
            said = "its weights have exploded"
            continue
        if done.returncode == MISSING:
            raise ConfigError(
                "there is no fastText that can train",
                why=f"{said} (module fasttext is of {_owners()})",
                fix="pip install 'tokenmill[fasttext]', and remove other distributions of the module",
            )
        if done.returncode != NAN and done.returncode > 0:
            break  # a signal or NaN may be luck, other errors are not
    raise TokenmillError(
        "fastText could not train the model",
        where=str(model.parent.parent),
        why=said,
        fix="a smaller learning rate or another dim, and look at the texts",
    )


def _environment() -> dict[str, str]:
    """This process's, where the trainer finds this very tokenmill from any folder."""
    paths = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _is_sound(model: Path) -> bool:
    """Whether all weights are numbers of a sensible size: the library writes exploded models as well."""
    file = read_fasttext(str(model))
    for matrix in (file.input, file.output):
        for start in range(0, matrix.shape[0], 1 << 16):
            piece = matrix.rows(start, start + (1 << 16))
            if piece.size and not float(np.abs(piece).max()) < _LARGEST_WEIGHT:  # NaN is not smaller either
                return False
    return True


def _owners() -> str:
    """The distributions that claim the module `fasttext`: several do, and overwrite each other."""
    return ", ".join(sorted(set(importlib.metadata.packages_distributions().get("fasttext", [])))) or "no package"
