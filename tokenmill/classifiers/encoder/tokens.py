"""Texts to token ids, in Rust threads, without tokenising what is cut off anyway.

Long texts are cut at white space before they are tokenised, far enough behind the limit that the ids that are kept are
those of the whole text. A text is tokenised further, or whole, where that cannot be known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from tokenmill.classifiers.encoder.settings import LongDocuments
from tokenmill.core.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = np.ndarray[Any, np.dtype[Any]]

MARGIN = 16
"""Tokens that must come behind the last one that is kept: a tokenizer may look a few characters ahead of a token, so
those next to the cut are not trusted."""
FIRST_CUT = 5
"""Characters per token at the first try. English web pages have about 4.4 with a vocabulary of 30,000."""
_BOUNDARY = re.compile(r"(?<=\S)[ \n]")


@dataclass(frozen=True)
class TokenRows:
    """Token sequences, special tokens included, one behind the other."""

    ids: Ids
    """int32, all sequences."""
    offsets: Ids
    """int64, one more than there are sequences: sequence i is ids[offsets[i]:offsets[i + 1]]."""
    owners: Ids
    """int64, the text of each sequence; those of one text are neighbours, in order."""

    @property
    def lengths(self) -> Ids:
        """Tokens per sequence, int64."""
        return np.diff(self.offsets)


class TextTokenizer:
    """The tokenizer of a model folder with our own truncation.

    `max_tokens` counts special tokens. `long_documents` says what becomes of longer texts (docs/encoders.md).
    """

    def __init__(
        self, path: Path, max_tokens: int, long_documents: LongDocuments = "prefix", max_windows: int = 8
    ) -> None:
        if long_documents not in get_args(LongDocuments):
            raise ConfigError(
                f"long_documents = {long_documents!r} is not known", fix=f"one of {', '.join(get_args(LongDocuments))}"
            )
        self._tokenizer = load_tokenizer(path)
        self._before, self._after = special_ids(self._tokenizer)
        self.content = max_tokens - len(self._before) - len(self._after)
        """Tokens of a sequence that are the text's own."""
        if self.content < 3 or max_windows < 1:
            raise ConfigError(
                f"max_tokens = {max_tokens} and max_windows = {max_windows} leave no room for a text",
                why=f"{len(self._before) + len(self._after)} tokens of a sequence are special tokens",
                fix="at least 3 tokens more than that, and one window",
            )
        self._kind = long_documents
        self._windows = max_windows

    def rows(self, texts: Sequence[str]) -> TokenRows:
        """The sequences of all texts; an empty text has its special tokens only."""
        windows = self._kind in ("windows_mean", "windows_max")
        limit = None if self._kind == "start_middle_end" else self.content * (self._windows if windows else 1)
        pieces: list[Ids] = []
        owners: list[int] = []
        for number, ids in enumerate(first_ids(self._tokenizer, texts, limit)):
            cuts = self._pieces(ids)
            owners += [number] * len(cuts)
            for piece in cuts:
                pieces += [self._before, piece, self._after]
        lengths = np.array([len(piece) for piece in pieces], dtype=np.int64).reshape(-1, 3).sum(axis=1)
        flat = np.concatenate(pieces) if pieces else np.empty(0, np.int32)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        return TokenRows(flat, offsets, np.array(owners, dtype=np.int64))

    def _pieces(self, ids: Ids) -> list[Ids]:
        size = self.content
        if len(ids) <= size:
            return [ids]
        if self._kind == "start_middle_end":
            return [start_middle_end(ids, size)]
        return [ids[start : start + size] for start in range(0, len(ids), size)]


def start_middle_end(ids: Ids, size: int) -> Ids:
    """`size` of the ids in three runs, from the start, around the middle and at the end; the first takes the rest."""
    third = size // 3
    first = size - 2 * third
    middle = (first + len(ids) - third) // 2 - third // 2  # the centre of what the other two leave
    return np.concatenate([ids[:first], ids[middle : middle + third], ids[len(ids) - third :]])


def first_ids(tokenizer: Tokenizer, texts: Sequence[str], limit: int | None) -> list[Ids]:
    """For each text its first `limit` ids (None: all), int32 and without special tokens, as if tokenised whole."""
    found: list[Ids] = [np.empty(0, np.int32)] * len(texts)
    waiting = list(range(len(texts)))
    characters = None if limit is None else (limit + MARGIN) * FIRST_CUT
    while waiting:
        cut = [cut_text(texts[number], characters) for number in waiting]
        encoded = tokenizer.encode_batch_fast(cut, add_special_tokens=False)
        short = []
        for number, piece, encoding in zip(waiting, cut, encoded, strict=True):
            if limit is not None and len(piece) < len(texts[number]) and len(encoding) < limit + MARGIN:
                short.append(number)
            else:
                found[number] = np.array(encoding.ids[:limit], dtype=np.int32)
        waiting = short
        characters = characters and characters * 3
    return found


def cut_text(text: str, characters: int | None) -> str:
    """The text up to the first white space behind that many characters; whole where there is none, or for None."""
    if characters is None or len(text) <= characters:
        return text
    boundary = _BOUNDARY.search(text, characters)
    return text[: boundary.start()] if boundary else text


def load_tokenizer(path: Path) -> Tokenizer:
    """The fast tokenizer of a folder, without truncation and padding; ConfigError where it cannot be read."""
    from tokenizers import Tokenizer

    file = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(
            "the tokenizer cannot be read", where=str(file), why=str(error), fix="download the model again"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> tuple[Ids, Ids]:
    """The ids that the tokenizer puts before and behind a text, int32."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return np.array(full[:start], np.int32), np.array(full[start + len(plain) :], np.int32)
    raise ConfigError(
        "the tokenizer's special tokens are not before and behind the text",
        why=f"'a' is {plain}, with special tokens {full}",
        fix="use an encoder of the BERT family",
    )
