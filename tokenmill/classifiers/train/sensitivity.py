"""What a score owes to the place and the length of the piece of text that is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenmill.classifiers.evaluate import Ints, spearman
from tokenmill.classifiers.train.answers import decide, figure, scores
from tokenmill.classifiers.train.crossval import Learner, Validated
from tokenmill.classifiers.train.data import Labelled
from tokenmill.classifiers.train.finetune import FinetuneLearner
from tokenmill.classifiers.train.heads import HeadLearner
from tokenmill.classifiers.train.settings import TrainSettings

Spans = list[tuple[int, int]]
PREFIXES = (25, 50)
"""Percent of the tokens that the model would read."""
_WORD = re.compile(r"\S+")


def sensitivity(learner: Learner, data: Labelled, settings: TrainSettings, first: Validated) -> list[dict[str, Any]]:
    """Rows of {piece, documents, spearman, mean_change, same_decision, figure} on a sample of the documents.

    Each document is scored by the model that did not see its group. `spearman`, `mean_change` and `same_decision`
    compare with the score of the whole text as the model reads it; `figure` (as `settings.picked_by`) with the labels.
    """
    members = _sample(data, settings)
    if not len(members):
        return []
    texts = [data.texts[place] for place in members]
    spans, read = _spans(learner, texts)
    pieces = {f"first {percent} %": [_prefix(*one, percent, read) for one in zip(texts, spans, strict=True)]
              for percent in PREFIXES}  # fmt: skip
    for place, name in enumerate(("start third", "middle third", "last third")):
        pieces[name] = [_third(text, span, place) for text, span in zip(texts, spans, strict=True)]
    classes, problem = len(data.names), settings.problem
    # the whole is scored along the same way as the pieces
    results = {"whole": first.calibrated[members]}
    for name, cut in pieces.items():
        results[name] = _scored(learner, first, members, cut)
    whole = results["whole"]
    rows = []
    for name, found in results.items():
        one, other = (scores(values, problem) for values in (whole, found))
        decided = decide(found, problem, classes)
        rows.append(
            {
                "piece": name,
                "documents": len(members),
                "spearman": spearman(one.max(axis=1), other.max(axis=1)),
                "mean_change": float(np.abs(one - other).mean()),
                "same_decision": float((decided == decide(whole, problem, classes)).mean()),
                "figure": figure(settings.picked_by, data.labels[members], decided),
            }
        )
    return rows


def _sample(data: Labelled, settings: TrainSettings) -> Ints:
    """Documents chosen by a hash of text and seed, in order."""
    keys = [hashlib.sha256(f"{settings.seed}\0{text}".encode()).digest() for text in data.texts]
    order = sorted(range(len(keys)), key=keys.__getitem__)[: settings.sensitivity]
    return np.array(sorted(order), dtype=np.int64)


def _scored(learner: Learner, first: Validated, members: Ints, texts: Sequence[str]) -> Any:
    found = np.empty((len(members), first.calibrated.shape[1]))
    for fold, (model, affine) in enumerate(zip(first.models, first.affines, strict=True)):
        places = np.flatnonzero(first.folds[members] == fold)
        if len(places):
            found[places] = affine(learner.outputs_of(model, [texts[place] for place in places.tolist()]))
    return found


def _spans(learner: Learner, texts: Sequence[str]) -> tuple[list[Spans], int]:
    """Where each token is, in characters, and how many of them a model reads; words for models without a tokenizer."""
    if not isinstance(learner, HeadLearner | FinetuneLearner):
        return [[match.span() for match in _WORD.finditer(text)] for text in texts], 1 << 60
    from tokenmill.classifiers.encoder.tokens import load_tokenizer

    tokenizer = load_tokenizer(learner.folder.path)
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    longest = learner.settings.max_tokens or min(512, learner.folder.longest)
    return [list(one.offsets) for one in encoded], longest


def _prefix(text: str, spans: Spans, percent: int, read: int) -> str:
    count = max(1, min(len(spans), read) * percent // 100)
    return text[: spans[count - 1][1]] if spans else text


def _third(text: str, spans: Spans, place: int) -> str:
    if len(spans) < 3:
        return text
    start, end = len(spans) * place // 3, len(spans) * (place + 1) // 3
    return text[spans[start][0] : spans[end - 1][1]]
