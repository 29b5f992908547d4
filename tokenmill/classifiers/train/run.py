"""`train_classifier`: labelled documents in, a model's folder with its card out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill import __version__
from tokenmill.classifiers.calibrate import fit_thresholds
from tokenmill.classifiers.columns import label_columns
from tokenmill.classifiers.encoder.folder import encoder_digest
from tokenmill.classifiers.splits import folds_by_group
from tokenmill.classifiers.train.answers import Affine, fit_affine
from tokenmill.classifiers.train.card import write_card
from tokenmill.classifiers.train.chart import calibration_svg
from tokenmill.classifiers.train.crossval import Learner, Validated, cross_validate, pick
from tokenmill.classifiers.train.data import Labelled, load_labelled
from tokenmill.classifiers.train.fasttext import FastTextLearner
from tokenmill.classifiers.train.figures import figures_of, probability_curves
from tokenmill.classifiers.train.finetune import FinetuneLearner
from tokenmill.classifiers.train.heads import HeadLearner
from tokenmill.classifiers.train.output import new_folder
from tokenmill.classifiers.train.sensitivity import sensitivity
from tokenmill.classifiers.train.settings import TrainSettings, check_settings
from tokenmill.classifiers.train.written import Final, check_written, checked_members
from tokenmill.core.errors import ConfigError

TRAINING, CALIBRATION, CARD, CHART = "training.json", "calibration.json", "README.md", "calibration.svg"
_LIBRARIES = ("numpy", "torch", "transformers", "tokenizers", "safetensors", "fasttext-numpy2")

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
    libraries and number of threads on a CPU. The folder appears when all is done. ConfigError for what cannot work,
    before any work.
    """
    check_settings(settings)
    with new_folder(folder) as part:
        data = load_labelled(location, settings, say)
        _check_data(data, settings, location)
        learner = _LEARNERS[settings.kind](data, settings)
        _check_columns(data, settings, location)
        repeats = []
        for number in range(settings.repeats if settings.kind == "head" else 1):
            say(f"cross-validation {number + 1}: {len(data.texts)} documents in {settings.folds} folds")
            repeats.append(cross_validate(learner, data, settings, settings.seed + number))
        say("figures")
        found = figures_of(data, settings, repeats)
        effects = sensitivity(learner, data, settings, repeats[0])
        say("the final fit on all documents")
        final = _final(learner, data, settings, repeats[0], part)
        facts = _facts(learner, data, settings, final) | {"found": found, "sensitivity": effects}
        facts["folds"] = dict(sorted(zip(map(_key, data.texts, data.groups), repeats[0].folds.tolist(), strict=True)))
        _write(part, facts, data, settings, repeats[0], final.affine)
        check_written(part, learner, data, settings, final)
    return facts


def _check_data(data: Labelled, settings: TrainSettings, location: str) -> None:
    """ConfigError where the documents do not suffice for the folds, or the threshold divides nothing."""
    groups = len(set(data.groups))
    nested = settings.kind == "head"
    if groups < settings.folds * (settings.inner_folds if nested else 1):
        again = f", each cut into {settings.inner_folds} again" if nested else ""
        joined = f"; {data.joined} documents have texts of several groups, which became one" if data.joined else ""
        raise ConfigError(
            f"the documents are of {groups} groups only",
            where=location,
            why=f"no group may be in two of {settings.folds} folds{again}{joined}",
            fix="more hosts, fewer folds (--set folds=3), or --group with a finer column",
        )
    folds = folds_by_group(data.groups, data.labels.tolist(), settings.folds, seed=settings.seed)
    if any(len(np.unique(data.labels[folds != fold])) < 2 for fold in range(settings.folds)):
        raise ConfigError(
            "a model of the cross-validation would see one class only",
            where=location,
            why=f"all other classes in {settings.label!r} are of one group, or of very few",
            fix="documents of every class from more hosts, or --group with a finer column",
        )
    if settings.problem == "ordinal" and not 1 <= settings.threshold < len(data.names):
        raise ConfigError(
            f"threshold = {settings.threshold} divides nothing",
            where=location,
            why=f"the grades in {settings.label!r} are 0 to {len(data.names) - 1}",
            fix=f"--threshold 1 to {len(data.names) - 1}",
        )


def _check_columns(data: Labelled, settings: TrainSettings, location: str) -> None:
    """ConfigError where a stage could not name the columns of the classes: that would come out after the training."""
    if settings.problem == "ordinal" or (settings.problem == "binary" and settings.kind != "fasttext"):
        return
    try:
        label_columns(settings.label, data.names)
    except ConfigError as error:
        raise ConfigError(
            f"the labels in {settings.label!r} cannot all be columns",
            where=location,
            why=f"{error.what}; {error.why}",
            fix="name the classes so that they differ by Latin letters or digits",
        ) from error


def _final(learner: Learner, data: Labelled, settings: TrainSettings, first: Validated, folder: Path) -> Final:
    """The model on all documents, calibrated and saved."""
    everyone = np.arange(len(data.labels))
    chosen, affine = pick(learner, data, settings, everyone, settings.seed)
    affine = affine or fit_affine(first.outputs, data.targets, settings.problem)
    (model,) = learner.fit(everyone, [chosen], settings.seed)
    outputs = learner.outputs(model, checked_members(data))  # before the calibration becomes part of the weights
    learner.save(folder, model, affine)
    for file in folder.glob("*.safetensors"):
        file.chmod(file.stat().st_mode | 0o044)  # the library writes them for the owner alone; models are shared
    return Final(model, chosen, affine, outputs)


def _facts(learner: Learner, data: Labelled, settings: TrainSettings, final: Final) -> dict[str, Any]:
    counts = Counter(data.labels.tolist())
    good = [group for group, label in zip(data.groups, data.labels, strict=True) if label >= settings.threshold]
    five = sum(count for _, count in Counter(good).most_common(5))
    facts: dict[str, Any] = {
        "format": 1,
        "settings": asdict(settings),
        "names": list(data.names),
        "chosen": final.chosen,
        "picked_by": settings.picked_by,
        "calibration": asdict(final.affine),
        "versions": _versions(),
        "data": {
            "documents": len(data.texts),
            "groups": len(set(data.groups)),
            "skipped": data.skipped,
            "ungrouped": data.ungrouped,
            "joined": data.joined,
            "fractions": data.fractions,
            "digest": data.digest,
            "counts": {name: counts.get(place, 0) for place, name in enumerate(data.names)},
            "good_share_of_five_groups": five / len(good) if good else 0.0,
        },
    }
    if isinstance(learner, FastTextLearner):
        facts["fasttext_labels"] = list(learner.labels)
    if isinstance(learner, HeadLearner | FinetuneLearner):
        encoder = learner.folder
        facts["encoder"] = {
            "model": settings.encoder,
            "digest": encoder_digest(encoder),
            "pooling": encoder.pooling if settings.kind == "head" else "of its own head",
            "layers": list(encoder.layers),
            "max_tokens": settings.max_tokens or min(512, encoder.longest),
        }
    return facts


def without_nan(value: Any) -> Any:
    """The same with None for figures that are no numbers, which JSON cannot spell."""
    if isinstance(value, dict):
        return {str(name): without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    calibration: dict[str, Any] = {
        "problem": settings.problem,
        "affine": asdict(affine),
        "in_the_weights": settings.kind != "fasttext",
        "probability": curves,
        "cuts_of_best_kappa": list(cuts),
    }
    found = facts["found"]["calibration"]
    curve = found["scores"] if ordinal else found["probabilities"]
    chart = calibration_svg(curve, len(data.names) - 1.0 if ordinal else 1.0, "score" if ordinal else "probability")
    if "fasttext_labels" in facts:
        calibration["labels"] = facts["fasttext_labels"]
    written = without_nan(facts)
    for name, value in ((TRAINING, written), (CALIBRATION, without_nan(calibration))):
        content = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=name == TRAINING, allow_nan=False)
        (folder / name).write_text(content + "\n", encoding="utf-8")
    (folder / CHART).write_text(chart, encoding="utf-8")
    (folder / CARD).write_text(write_card(written), encoding="utf-8")
