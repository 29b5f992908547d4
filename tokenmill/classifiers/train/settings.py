"""Settings of a training, and what kind of answer is learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from tokenmill.classifiers.encoder.settings import LongDocuments, Pooling
from tokenmill.classifiers.fasttext.train import FastTextSettings
from tokenmill.core.errors import ConfigError

Kind = Literal["head", "finetune", "fasttext"]
"""A head on the vectors of a frozen encoder; a whole encoder; a fastText model."""
Problem = Literal["ordinal", "classes", "binary"]
"""Grades 0, 1, 2, ... in an order; one of several classes; yes or no."""
Pick = Literal["auto", "qwk", "macro_f1", "worst_f1"]
"""What decides between candidates; auto: qwk for grades, of scores that are not rounded; else macro_f1."""
_SEEDS = 1 << 32
_SAME_BY_WINDOW = ("ordinal", "windows_mean")
"""Problem and treatment of long documents for which the score of the mean vector is the mean score."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Training of a whole encoder: AdamW, a tenth of the steps to warm up, then linearly down to 0."""

    epochs: int = 3
    learning_rate: float = 5e-5
    """Largest learning rate, of the encoder; its head has ten times as much."""
    batch: int = 16
    """Texts per step."""
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What is learned from what, and how. Everything here is written to `training.json`."""

    kind: Kind = "head"
    problem: Problem = "ordinal"
    label: str = "edu"
    """Column with the labels: numbers from 0 for grades, 0 and 1 (or two names) for binary, else names. A grade that is
    a fraction, such as the mean of two passes, is learned as it is, and counts as the nearest grade (1.5 as 2, 2.5 as
    2) in folds and figures and for fastText."""
    text: str = "text"
    """Column with the texts."""
    group: str = ""
    """Column that says which documents belong together; "": the host of the column `url`, less `www.`."""
    encoder: str = ""
    """Folder or hub id of the encoder; not used by fastText."""
    revision: str = ""
    copy_encoder: bool = False
    """Put the encoder into the model's folder; else it is named by its id or relative path."""
    pooling: Pooling = "mean"
    layers: tuple[int, ...] | None = None
    """Hidden states that the head sees, 0 for the embeddings; None: at a third, two thirds and the end."""
    max_tokens: int | None = None
    """Tokens of a text that are read, special ones included; None: 512, or what the encoder can."""
    long_documents: LongDocuments = "prefix"
    half: bool = True
    """A head learns from the first half of `max_tokens` of each text too, as further documents with the same label. A
    score then depends less on how much of a text there is, and whole texts are scored as well as without."""
    strengths: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Candidates for the regularisation of a head, in units of the mean variance of its inputs (ridge) or per
    document (logistic)."""
    pick: Pick = "auto"
    folds: int = 5
    """Parts of the cross-validation; no group is in two of them."""
    inner_folds: int = 4
    """Parts into which the training folds are cut again, to pick a candidate and to calibrate."""
    repeats: int = 3
    """How often a head is cross-validated, each time with other folds; the others once."""
    seed: int = 0
    threshold: int = 3
    """Grade from which a document counts as good, for grades."""
    compare: tuple[str, ...] = ()
    """Columns with scores of others, to compare with."""
    split: str = ""
    """Column by which the card shows percentiles, such as the sample or the dump."""
    labelled_by: str = "a language model"
    """Who gave the labels; printed in the card."""
    label_agreement: tuple[float, ...] = ()
    """Quadratic-weighted kappas of the labels with a second pass, lowest and highest; printed in the card."""
    sensitivity: int = 200
    """Documents on which the effect of truncation is measured; 0: none."""
    draws: int = 1000
    """Resamples of a bootstrap interval."""
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    fasttext: FastTextSettings = field(
        default_factory=lambda: FastTextSettings(lr=0.5, dim=64, epoch=30, minCount=2, bucket=50_000)
    )
    """The defaults here are for about a thousand documents, not for DCLM's 400,000."""

    @property
    def picked_by(self) -> str:
        """`pick`, decided."""
        return self.pick if self.pick != "auto" else "qwk" if self.problem == "ordinal" else "macro_f1"


def check_settings(settings: TrainSettings) -> None:
    """ConfigError for settings that cannot work, before any work."""
    for name, value, known in (
        ("kind", settings.kind, get_args(Kind)),
        ("problem", settings.problem, get_args(Problem)),
        ("pick", settings.pick, get_args(Pick)),
    ):
        if value not in known:
            raise ConfigError(f"--{name} {value!r} is not known", fix=f"--{name} with one of {', '.join(known)}")
    if settings.kind != "fasttext" and not settings.encoder:
        raise ConfigError(
            "no encoder is named", why=f"kind = {settings.kind!r} needs one", fix="--encoder FOLDER or a hub id"
        )
    if settings.pick == "qwk" and settings.problem != "ordinal":
        raise ConfigError(
            "--pick qwk is for grades",
            why=f"the problem is {settings.problem}",
            fix="--pick macro_f1, worst_f1 or auto",
        )
    _check_windows(settings)
    if not 0 <= settings.seed < _SEEDS:
        raise ConfigError(f"seed = {settings.seed} is no seed", fix=f"--seed 0 to {_SEEDS - 1}")
    for name, number, least in (
        ("folds", settings.folds, 2),
        ("inner_folds", settings.inner_folds, 2),
        ("repeats", settings.repeats, 1),
        ("sensitivity", settings.sensitivity, 0),
        ("draws", settings.draws, 1),
        ("finetune.epochs", settings.finetune.epochs, 1),
        ("finetune.batch", settings.finetune.batch, 1),
    ):
        if number < least:
            raise ConfigError(f"{name} = {number} is too few", fix=f"{least} or more")
    if not settings.strengths or any(not strength > 0 for strength in settings.strengths):
        raise ConfigError(f"strengths = {settings.strengths} regularise nothing", fix="one positive number or more")


def _check_windows(settings: TrainSettings) -> None:
    """ConfigError where a head would be scored otherwise than it is trained."""
    windows = settings.long_documents.startswith("windows")
    if settings.kind != "head" or not windows or (settings.problem, settings.long_documents) == _SAME_BY_WINDOW:
        return
    raise ConfigError(
        f"long_documents = {settings.long_documents!r} cannot be used for a head of the problem {settings.problem!r}",
        why="it is trained on one vector per text, made of those of its windows, but a stage scores each window and"
        " then makes one score of these, which is the same only for grades and the mean",
        fix="--set long_documents=prefix or start_middle_end; or windows_mean with --problem ordinal",
    )
