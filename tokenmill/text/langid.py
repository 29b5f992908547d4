"""Language identification with fastText models (Joulin et al. 2016, arXiv:1612.03651; lid.176)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.errors import ConfigError
from tokenmill.text.linear import LinearModel, read_linear, texts_array
from tokenmill.text.linear_folder import linear_digest

BUNDLED = "lid176-ftz"
"""Name of the compressed lid.176 model that comes with this package (0.9 MB)."""
UNDETERMINED = ("und", 0.0)
"""Answer for a text without words (ISO 639-2 code for undetermined)."""
_FILE = Path(__file__).parent / "data" / "lid" / "lid.176.ftz"


class LangId:
    """A loaded model. Labels are those of the model without `__label__`: for lid.176, ISO codes such as "en".

    Scores are rounded to float32, as the library's are.
    """

    def __init__(self, path: str) -> None:
        self._model: LinearModel = read_linear(path)
        self._labels = pa.array(self._model.labels, pa.string())
        self._places = {label: place for place, label in enumerate(self._model.labels)}

    def top(self, text: str) -> tuple[str, float]:
        """The likeliest label and its score; ("und", 0.0) for a text of white space."""
        labels, scores = self.tops(texts_array([text]))
        return labels[0].as_py(), scores[0].as_py()

    def score(self, text: str, label: str) -> float:
        """The score of one label, 0.0 when the model does not know it."""
        return self.scores(text, (label,))[0]

    def scores(self, text: str, labels: Sequence[str]) -> list[float]:
        """The score of each of the labels, 0.0 for those that the model does not know."""
        found = self._probabilities(texts_array([text]))[0]
        return [float(found[self._places[label]]) if label in self._places else 0.0 for label in labels]

    def tops(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The likeliest label of each text and its score, as `top`; a null counts as an empty text."""
        found = self._probabilities(texts)
        best = found.argmax(axis=1) if len(found) else np.zeros(0, np.int64)
        scores = found[np.arange(len(found)), best].astype(np.float64)
        labels = pc.if_else(pa.array(scores > 0), self._labels.take(pa.array(best)), UNDETERMINED[0])
        return labels, pa.array(scores)

    def _probabilities(self, texts: pa.Array) -> npt.NDArray[np.float32]:
        """[n, labels]; 0 for texts without words. Other white space than ASCII's is a word to the model, not here."""
        found = self._model.score(texts).probabilities.astype(np.float32)
        found[pc.utf8_is_space(texts).fill_null(False).to_numpy(zero_copy_only=False)] = 0.0
        return found


def model_path(model: str) -> str:
    """The file of a model: the bundled one by name, otherwise `model` is the path itself."""
    if model == BUNDLED:
        return str(_FILE)
    if not Path(model).exists():
        raise ConfigError(
            f"no language model {model!r}",
            why="it is no file",
            fix=f"give the path of a .bin or .ftz, or {BUNDLED!r}",
        )
    return model


@cache
def load_langid(model: str = BUNDLED) -> LangId:
    """The model, loaded once per process."""
    return LangId(model_path(model))


@cache
def model_digest(model: str = BUNDLED) -> str:
    """SHA-256 of the model's file, hexadecimal."""
    return linear_digest(model_path(model))
