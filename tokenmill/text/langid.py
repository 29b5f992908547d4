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
from tokenmill.core.kernels import Kernel
from tokenmill.text.linear import LinearModel, fixed, read_linear, texts_array
from tokenmill.text.linear_folder import linear_digest
from tokenmill.text.measure import utf8 as utf8_of

BUNDLED = "lid176-ftz"
"""Name of the compressed lid.176 model that comes with this package (0.9 MB)."""
UNDETERMINED = ("und", 0.0)
"""Answer for a text without words (ISO 639-2 code for undetermined)."""
_rounded = np.float32
_FILE = Path(__file__).parent / "data" / "lid" / "lid.176.ftz"


class LangId:
    """A loaded model. Labels are those of the model without `__label__`: for lid.176, ISO codes such as "en".

    Scores are rounded to float32, as the library's are.
    """

    def __init__(self, path: str) -> None:
        self._model: LinearModel = read_linear(path)
        self._labels = pa.array(self._model.labels, pa.string())
        self._places = {label: place for place, label in enumerate(self._model.labels)}
        self._wanted: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}

    def warm_up(self) -> None:
        """Compile what identifies texts, for the first time on a machine; otherwise load it."""
        self.tops(texts_array(["a"]))
        self.likelihood(b"a", (next(iter(self._places)),))

    def top(self, text: str) -> tuple[str, float]:
        """The likeliest label and its score; ("und", 0.0) for a text of white space."""
        labels, scores = self.tops(texts_array([text]))
        return labels[0].as_py(), scores[0].as_py()

    def score(self, text: str, label: str) -> float:
        """The score of one label, 0.0 when the model does not know it."""
        return self.scores(text, (label,))[0]

    def scores(self, text: str, labels: Sequence[str]) -> list[float]:
        """The score of each of the labels, 0.0 for those that the model does not know."""
        names = tuple(labels)
        known = [label for label in names if label in self._places]
        found = dict(zip(known, self._scores(text.encode("utf-8", "replace"), tuple(known)), strict=True))
        return [found.get(label, 0.0) for label in names]

    def likelihood(self, utf8: bytes | npt.NDArray[np.uint8], labels: tuple[str, ...]) -> float:
        """The greatest score of these labels, that of `scores`; 0.0 when the model knows none of them.

        utf8: a text without character references, as bytes or contiguous uint8.
        """
        return max(self._scores(utf8, labels), default=0.0)

    def tops(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The likeliest label of each text and its score, as `top`; a null counts as an empty text."""
        data, offsets = (fixed(array) for array in utf8_of(texts))
        best, found = self._model.likeliest(data, offsets)
        scores = found.astype(np.float32).astype(np.float64)
        scores[_blank(data, offsets)] = 0.0
        labels = pc.if_else(pa.array(scores > 0), self._labels.take(pa.array(best)), UNDETERMINED[0])
        return labels, pa.array(scores)

    def _scores(self, text: bytes | npt.NDArray[np.uint8], labels: tuple[str, ...]) -> list[float]:
        """Of those labels that the model knows, in their order. For short texts each call here counts."""
        wanted = self._wanted.get(labels)
        if wanted is None:
            places = [self._places[label] for label in labels if label in self._places]
            wanted = self._wanted[labels] = fixed(np.array(places, np.int64))
        size = len(text)
        if size == 0 or len(wanted) == 0:
            return [0.0] * len(wanted)
        data = np.frombuffer(text, np.uint8) if isinstance(text, bytes) else fixed(text)
        offsets = np.array((0, size))
        offsets.setflags(write=False)
        if not 32 < text[0] < 127 and _blank(data, offsets)[0]:
            return [0.0] * len(wanted)
        (found,) = self._model.label_scores(data, offsets, wanted).tolist()
        return [float(_rounded(score)) for score in found]


def _blank(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """[n]: whether a text is white space. Other than ASCII's is a word to the model, not here."""
    from tokenmill.text.tree_kernel import blanks

    found = np.zeros(len(offsets) - 1, np.bool_)
    blanks(data, offsets, found)
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


KERNEL = Kernel("tokenmill.text.langid:warm_up", 25)


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    load_langid().warm_up()


@cache
def load_langid(model: str = BUNDLED) -> LangId:
    """The model, loaded once per process."""
    return LangId(model_path(model))


@cache
def model_digest(model: str = BUNDLED) -> str:
    """SHA-256 of the model's file, hexadecimal."""
    return linear_digest(model_path(model))
