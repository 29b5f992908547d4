"""`FastTextScore`: probabilities of a fastText classifier as columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.classifiers.columns import label_columns
from tokenmill.classifiers.fasttext.models import check_label, digest_of, labels_of, load_model, located
from tokenmill.core.errors import ConfigError
from tokenmill.core.scorer import Scorer
from tokenmill.text.linear import texts_array

CALIBRATION = "calibration.json"
"""Beside a model of grades: {"affine": {"scale": ..., "shift": ...}}."""


class FastTextScore(Scorer):
    """Scores texts with a supervised fastText model, several times faster than the library and equal within 1e-5.

    A text without words gets null: the library would give it what the model says of nothing.
    """

    name: ClassVar[str] = "fasttext_score"
    version: ClassVar[int] = 1

    model: str
    """Path of a `.bin` or `.ftz`, or of a folder that `tokenmill train-classifier` wrote; or a file of the Hugging Face
    hub as `owner/name/file.bin`."""
    label: str = ""
    """Label (without `__label__`) whose probability is the score; "": the columns of all labels."""
    column: str = "fasttext_score"
    """Column of the score; of several labels `<column>_<label>`, in lower case."""
    top: bool = False
    """Add the likeliest label instead: `<column>` is its name, `<column>_score` its probability."""
    grade: bool = False
    """The labels are grades (0, 1, ...): the score is the grade to be expected, calibrated as the folder of
    `tokenmill train-classifier` says, so that its rounded value is the class."""
    text: Literal["spaces", "dclm"] = "spaces"
    """How a text becomes one line. `spaces`: newlines are spaces. `dclm`: as DCLM's classifier wants it,
    `" ".join(text.strip().splitlines())` (arXiv:2406.11794)."""

    def columns_added(self) -> Mapping[str, pa.DataType]:
        if self.top:
            return {self.column: pa.string(), f"{self.column}_score": pa.float32()}
        if self.grade:
            _ = self._grades
            return {self.column: pa.float32()}
        return dict.fromkeys(self._columns(), pa.float32())

    def _columns(self) -> tuple[str, ...]:
        if self.label:
            check_label(self.model, self.label)
            return (self.column,)
        return label_columns(self.column, labels_of(self.model))

    @cached_property
    def _grades(self) -> npt.NDArray[np.float64]:
        """The grade that each label stands for."""
        labels = labels_of(self.model)
        if not all(label.isdecimal() for label in labels):
            raise ConfigError(
                f"the labels of the model are no grades: {', '.join(labels[:8])}",
                where=self.model,
                fix="leave out `grade`, and name a `label`",
            )
        return np.array([float(label) for label in labels])

    @cached_property
    def _calibration(self) -> tuple[float, float]:
        """Scale and shift of the expected grade; (1, 0) for a model without calibration."""
        place = Path(located(self.model))
        file = (place if place.is_dir() else place.parent) / CALIBRATION
        if not file.is_file():
            return 1.0, 0.0
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            if known.get("problem", "ordinal") != "ordinal":
                raise ConfigError(
                    f"the model is not one of grades but of {known['problem']!r}",
                    where=str(file),
                    fix="leave out `grade`, and name a `label`",
                )
            return float(known["affine"]["scale"]), float(known["affine"]["shift"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError("the calibration cannot be read", where=str(file), why=str(error)) from error

    def model_digest(self) -> str:
        return digest_of(self.model)

    def setup(self) -> None:
        load_model(self.model).score(texts_array(["a text"]), self.text)

    def score(self, texts: Sequence[str]) -> Mapping[str, Any]:
        return self.score_column(texts_array(texts))

    def score_column(self, texts: pa.Array) -> Mapping[str, Any]:
        model = load_model(self.model)
        found, judged = model.score(texts, self.text)
        # the library adds 1e-5 to what it gives, so that it may exceed 1
        found = np.minimum(found, 1.0).astype(np.float32)
        empty = ~judged
        if self.top:
            best = found.argmax(axis=1)
            names = pa.array(model.labels, pa.string()).take(pa.array(best, mask=empty))
            scores = pa.array(found[np.arange(len(found)), best], mask=empty)
            return {self.column: names, f"{self.column}_score": scores}
        if self.grade:
            chances = np.clip(found, 1e-6, 1 - 1e-6).astype(np.float64)
            scale, shift = self._calibration
            expected = (chances * self._grades).sum(axis=1) / chances.sum(axis=1)
            return {self.column: pa.array((expected * scale + shift).astype(np.float32), mask=empty)}
        places = [check_label(self.model, self.label)] if self.label else range(len(model.labels))
        columns = zip(self._columns(), places, strict=True)
        return {name: pa.array(found[:, place], mask=empty) for name, place in columns}

    def digests(self) -> Mapping[str, str]:
        if not self.column:
            raise ConfigError(f"{self.name} has no name for its column", fix='column="fasttext_score"')
        if bool(self.label) + self.top + self.grade > 1:
            raise ConfigError(f"{self.name} is given several of `label`, `top` and `grade`", fix="leave one of them")
        found = dict(super().digests())
        if self.grade:
            scale, shift = self._calibration
            found["calibration"] = f"{scale!r} {shift!r}"
        return found
