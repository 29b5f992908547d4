"""`train_classifier`: labelled documents in, a model's folder with its card out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill import __version__
from tokenmill.classifiers.calibrate import fit_thresholds
from tokenmill.classifiers.encoder.folder import digest
from tokenmill.classifiers.train.answers import Affine, fit_affine, scores
from tokenmill.classifiers.train.card import write_card
from tokenmill.classifiers.train.chart import calibration_svg
from tokenmill.classifiers.train.crossval import Learner, Validated, cross_validate, pick
from tokenmill.classifiers.train.data import Labelled, load_labelled
from tokenmill.classifiers.train.fasttext import FastTextLearner
from tokenmill.classifiers.train.figures import figures_of, probability_curves
from tokenmill.classifiers.train.finetune import FinetuneLearner
from tokenmill.classifiers.train.heads import HeadLearner
from tokenmill.classifiers.train.sensitivity import sensitivity
from tokenmill.classifiers.train.settings import TrainSettings, check_settings
from tokenmill.core.errors import ConfigError, TokenmillError

TRAINING, CALIBRATION, CARD, CHART = "training.json", "calibration.json", "README.md", "calibration.svg"
_LIBRARIES = ("numpy", "torch", "transformers", "tokenizers", "safetensors", "fasttext-numpy2")
_CHECKED = 16
_CLOSE = 1e-3
"""Largest difference between the folder's scores (float32) and those of the training (float64)."""

_LEARNERS: dict[str, Callable[[Labelled, TrainSettings], Learner]] = {
    "head": HeadLearner,
    "finetune": FinetuneLearner,
    "fasttext": FastTextLearner,
}


def train_classifier(
    location: str, folder: Path, settings: TrainSettings, *, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train, cross-validate, calibrate, and write the folder; what `training.json` holds.

    location: Parquet or JSON Lines, a file, folder or pattern. Bit for bit the same folder for the same data, settings,
    libraries and number of threads on a CPU. ConfigError for what cannot work, before any work.
    """
    check_settings(settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there already", why="a model's folder is not overwritten", fix="another --output"
        )
    data = load_labelled(location, settings)
    if len(set(data.groups)) < settings.folds * (settings.inner_folds if settings.kind == "head" else 1):
        raise ConfigError(
            f"the documents are of {len(set(data.groups))} groups only",
            where=location,
            why=f"no group may be in two of {settings.folds} folds, each cut into {settings.inner_folds} again",
            fix="more hosts, fewer --folds, or --group with a finer column",
        )
    if settings.problem == "ordinal" and not 1 <= settings.threshold < len(data.names):
        raise ConfigError(
            f"threshold = {settings.threshold} divides nothing",
            where=location,
            why=f"the grades in {settings.label!r} are 0 to {len(data.names) - 1}",
            fix=f"--threshold 1 to {len(data.names) - 1}",
        )
    learner = _LEARNERS[settings.kind](data, settings)
    repeats = []
    for number in range(settings.repeats if settings.kind == "head" else 1):
        say(f"cross-validation {number + 1}: {len(data.texts)} documents in {settings.folds} folds")
        repeats.append(cross_validate(learner, data, settings, settings.seed + number))
    say("figures")
    found = figures_of(data, settings, repeats)
    effects = sensitivity(learner, data, settings, repeats[0])
    say("the final fit on all documents")
    chosen, affine = _final(learner, data, settings, repeats[0], folder)
    facts = _facts(learner, data, settings, chosen, affine) | {"found": found, "sensitivity": effects}
    facts["folds"] = dict(sorted(zip(map(_key, data.texts, data.groups), repeats[0].folds.tolist(), strict=True)))
    _write(folder, facts, data, settings, repeats[0], affine)
    return facts


def _final(
    learner: Learner, data: Labelled, settings: TrainSettings, first: Validated, folder: Path
) -> tuple[float, Affine]:
    """The model on all documents, saved and checked; its candidate and calibration."""
    everyone = np.arange(len(data.labels))
    chosen, affine = pick(learner, data, settings, everyone, settings.seed)
    affine = affine or fit_affine(first.outputs, data.labels, settings.problem)
    (model,) = learner.fit(everyone, [chosen], settings.seed)
    expected = scores(affine(learner.outputs(model, everyone[:_CHECKED])), settings.problem)
    learner.save(folder, model, affine)
    for file in folder.glob("*.safetensors"):
        file.chmod(file.stat().st_mode | 0o044)  # the library writes them for the owner alone; models are shared
    if not isinstance(learner, FastTextLearner):
        _check_folder(folder, data, settings, expected)
    return chosen, affine


def _check_folder(folder: Path, data: Labelled, settings: TrainSettings, expected: Any) -> None:
    """The folder as the engine reads it gives the scores of the training: else it must not be used."""
    from tokenmill.classifiers.encoder.engine import Encoder

    engine = Encoder(
        str(folder), max_tokens=settings.max_tokens, long_documents=settings.long_documents, dtype="float32"
    )
    (found,) = engine.score(data.texts[:_CHECKED]).values()
    difference = float(np.abs(found - expected).max())
    if not difference < _CLOSE:
        raise TokenmillError(
            "the written model gives other scores than the trained one",
            where=str(folder),
            why=f"they differ by up to {difference:.2g}",
            fix="do not use it; report it with training.json",
        )


def _facts(learner: Learner, data: Labelled, settings: TrainSettings, chosen: float, affine: Affine) -> dict[str, Any]:
    counts = Counter(data.labels.tolist())
    good = [group for group, label in zip(data.groups, data.labels, strict=True) if label >= settings.threshold]
    five = sum(count for _, count in Counter(good).most_common(5))
    facts: dict[str, Any] = {
        "format": 1,
        "settings": asdict(settings),
        "names": list(data.names),
        "chosen": chosen,
        "picked_by": settings.picked_by,
        "calibration": asdict(affine),
        "versions": _versions(),
        "data": {
            "documents": len(data.texts),
            "groups": len(set(data.groups)),
            "skipped": data.skipped,
            "digest": data.digest,
            "counts": {name: counts.get(place, 0) for place, name in enumerate(data.names)},
            "good_share_of_five_groups": five / len(good) if good else 0.0,
        },
    }
    if isinstance(learner, HeadLearner | FinetuneLearner):
        encoder = learner.folder
        facts["encoder"] = {
            "model": settings.encoder,
            "digest": digest(encoder),
            "pooling": encoder.pooling if settings.kind == "head" else "of its own head",
            "layers": list(encoder.layers),
            "max_tokens": settings.max_tokens or min(512, encoder.longest),
        }
    return facts


def _versions() -> dict[str, str]:
    found = {"tokenmill": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _key(text: str, group: str) -> str:
    """What names a document in `folds`: a SHA-256, so that no text is published with the model."""
    return hashlib.sha256(f"{group}\0{text}".encode()).hexdigest()[:16]


def _write(
    folder: Path, facts: dict[str, Any], data: Labelled, settings: TrainSettings, first: Validated, affine: Affine
) -> None:
    curves = probability_curves(data, settings, first)
    ordinal = settings.problem == "ordinal"
    cuts = fit_thresholds(first.calibrated[:, 0], data.labels, len(data.names)).cuts if ordinal else ()
    calibration = {
        "affine": asdict(affine),
        "in_the_weights": settings.kind != "fasttext",
        "probability": curves,
        "cuts_of_best_kappa": list(cuts),
    }
    found = facts["found"]["calibration"]
    curve = found["scores"] if ordinal else found["probabilities"]
    chart = calibration_svg(curve, len(data.names) - 1.0 if ordinal else 1.0, "score" if ordinal else "probability")
    for name, value in ((TRAINING, facts), (CALIBRATION, calibration)):
        content = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=name == TRAINING)
        (folder / name).write_text(content + "\n", encoding="utf-8")
    (folder / CHART).write_text(chart, encoding="utf-8")
    (folder / CARD).write_text(write_card(json.loads(json.dumps(facts))), encoding="utf-8")
