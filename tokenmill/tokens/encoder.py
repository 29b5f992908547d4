"""Texts as token ids, by the package `tokenizers`: what it makes of each whole text, with three precautions.

Control tokens. A page may hold the text `<|endoftext|>`; it must never become the id that ends documents. Added tokens
that are special, or look like control tokens (`is_control`), are therefore read as the plain text that they are. Other
added tokens (runs of spaces, placeholders such as `|||EMAIL_ADDRESS|||`) stay what they are.

Unbroken runs. Stretches of more than 10,000 characters without white space are encoded in pieces, cut where the
pre-tokenizer cuts as well, so that the ids stay the same; only a single word longer than that is cut within.

Memory. The library gets about 1 MB of text at a time, on the thread that calls. A longer text is cut between two words,
where a look at the surroundings shows that this changes no id; where none can be found it is encoded whole.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import DocumentError
from tokenmill.tokens.formats.base import Ids
from tokenmill.tokens.memo import PROBE, Memo, awkward_tokens
from tokenmill.tokens.tokenizer import LoadedTokenizer, give_back_memory, one_thread
from tokenmill.tokens.untrusted import SEPARATOR, encoding_tokenizer, is_control, word_tokenizer, working_tokenizers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

LONGEST_RUN = 10_000
"""Characters without white space that are encoded in one piece."""
CHUNK = 1 << 20
"""Bytes of UTF-8 for one call of the library: some 100 MB for what it notes of each token."""
_MARGIN = 64
"""Characters between a cut and the end of the window that it was found in: no pre-tokenizer looks farther ahead."""
_JOINED = 256
"""Short texts in one call of the library."""
_SURROUNDINGS = 256
"""Characters on both sides of a cut between words that are encoded to see whether it changes ids."""
_TRIES = 32
_UNBROKEN = re.compile(r"\S+")
_BETWEEN_WORDS = re.compile(r"(?<=\S)[ \n](?=\w)")
_IS_SPACE = np.zeros(256, np.bool_)
_IS_SPACE[[9, 10, 11, 12, 13, 32]] = True


class Encoder:
    """Encodes texts with a tokenizer. Equal texts give equal ids, whatever stands beside them."""

    def __init__(
        self, loaded: LoadedTokenizer, *, longest_run: int = LONGEST_RUN, chunk: int = CHUNK, remember: bool = True
    ) -> None:
        """longest_run: characters, see `LONGEST_RUN`. chunk: bytes, see `CHUNK`. remember: encode no word twice
        (`tokens/memo.py`) where the tokenizer allows it; the ids are the same.

        ConfigError where a control token would come out of its text whatever is done.
        """
        self.loaded = loaded
        self.longest_run = longest_run
        self.chunk = chunk
        self.dtype: np.dtype[Any] = np.dtype(loaded.dtype)
        with one_thread():
            working = working_tokenizers(loaded)
        self.control_ids = working.control
        """Ids that no text may give."""
        self._whole = working.whole
        self._continuing = working.continuing
        self._joining = working.joining
        self._separator = working.joining.token_to_id(SEPARATOR)
        self._margin = max(_MARGIN, working.longest_added + 1)
        self._forbidden = np.zeros(loaded.vocab_size, np.bool_)
        self._forbidden[sorted(self.control_ids)] = True
        self._awkward = awkward_tokens(
            json.loads(loaded.canonical), lambda content, special: not is_control(content, special)
        )
        self._memo = Memo(self._library, self.dtype) if remember and self._awkward is not None else None
        if self._memo is not None and not self._same(PROBE):
            self._memo = None
        del working
        give_back_memory()

    @cached_property
    def _plain(self) -> Tokenizer:
        return self.loaded.make()

    @cached_property
    def _rest(self) -> Tokenizer:
        """For pieces that continue a text. Made when the first such text comes, as few do."""
        return encoding_tokenizer(self._continuing, self.loaded)

    @cached_property
    def _words(self) -> Tokenizer:
        return word_tokenizer(self._continuing, self.loaded)

    def encode(self, texts: Texts) -> tuple[Ids, npt.NDArray[np.int64]]:
        """(ids of all texts one behind the other, tokens of each text), without EOS. A null counts as an empty text.

        ids: 1-D, uint16 or uint32 by the vocabulary; lengths: one per text. DocumentError where a text gives the id of
        a control token after all (a vocabulary that spells one out of its parts).
        """
        array = _strings(texts)
        lengths = np.zeros(len(array), np.int64)
        parts: list[npt.NDArray[Any]] = [np.empty(0, self.dtype)]
        offsets, data = _buffers(array)
        alone = _suspects(offsets, data, self.longest_run, self.chunk)
        with one_thread():
            for start, stop in _chunks(offsets, self.chunk, alone):
                some = slice(start, stop)
                found = self._encode_chunk(array[some], offsets[start : stop + 1], data, lengths[some], alone[start])
                if self._forbidden[found].any():
                    raise self._escaped(found)
                parts.append(found)
        return np.concatenate(parts), lengths

    def _encode_chunk(
        self,
        array: pa.Array,
        bounds: npt.NDArray[np.int64],
        data: npt.NDArray[np.uint8],
        lengths: npt.NDArray[np.int64],
        suspect: np.bool_,
    ) -> npt.NDArray[Any]:
        """Ids of some texts, or of one that may have to be cut; writes the tokens of each into `lengths`."""
        if self._memo is None or self._has_awkward(data, bounds):
            return self._encode([self._pieces(text) if suspect else text for text in array.to_pylist()], lengths)
        if suspect:
            text = array[0].as_py()
            if next(self._cuts_in_runs(text), None) is not None:
                return self._encode([self._pieces(text)], lengths)
        return self._memo.encode(bounds, data, lengths)

    def _has_awkward(self, data: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64]) -> bool:
        if not self._awkward:
            return False
        text = data[bounds[0] : bounds[-1]].tobytes()
        return any(token in text for token in self._awkward)

    def _library(self, texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """(ids of texts, tokens of each), many texts with one call, which costs more than a word."""
        groups = [texts[start : start + _JOINED] for start in range(0, len(texts), _JOINED)]
        joined = [SEPARATOR.join(some) for some in groups]
        if any(one.count(SEPARATOR) != len(some) - 1 for one, some in zip(joined, groups, strict=True)):
            lengths = np.zeros(len(texts), np.int64)  # a page has the separator
            return self._ids(self._whole, texts, lengths), lengths
        parts, counts = [np.empty(0, self.dtype)], [np.empty(0, np.int64)]
        for encoding in self._joining.encode_batch_fast(joined, add_special_tokens=False):
            ids = np.array(encoding.ids, np.uint32)
            between = ids == self._separator
            parts.append(ids[~between].astype(self.dtype))
            counts.append(np.diff(np.flatnonzero(between), prepend=-1, append=len(ids)) - 1)
        return np.concatenate(parts), np.concatenate(counts)

    def _same(self, text: str) -> bool:
        """Whether a text encoded in pieces has the ids of the whole."""
        assert self._memo is not None
        lengths = np.zeros(1, np.int64)
        offsets, data = _buffers(_strings([text]))
        with one_thread():
            whole, _ = self._library([text])
            return np.array_equal(self._memo.encode(offsets, data, lengths), whole)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids, control tokens included. What is no UTF-8 becomes U+FFFD."""
        with one_thread():
            return self._plain.decode(np.asarray(ids).tolist(), skip_special_tokens=False)

    def _encode(self, texts: Sequence[str | list[str]], lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Ids of texts, of which some are in pieces; writes the tokens of each into `lengths`."""
        parts: list[npt.NDArray[Any]] = []
        whole: list[str] = []
        first = 0
        for row, text in enumerate(texts):
            if isinstance(text, str):
                whole.append(text)
                continue
            parts.append(self._ids(self._whole, whole, lengths[first:row]))
            parts.append(self._joined(text, lengths[row : row + 1]))
            whole, first = [], row + 1
        parts.append(self._ids(self._whole, whole, lengths[first:]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _joined(self, pieces: list[str], length: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Ids of a text in pieces: only the first of them is the beginning of a text."""
        rest = [self._ids(self._whole, pieces[:1], np.empty(1, np.int64))]
        first, size = 1, 0
        for number, piece in enumerate(pieces[1:], start=2):
            size += len(piece)
            if size >= self.chunk or number == len(pieces):
                rest.append(self._ids(self._rest, pieces[first:number], np.empty(number - first, np.int64)))
                first, size = number, 0
        ids = np.concatenate(rest)
        length[0] = len(ids)
        return ids

    def _ids(self, tokenizer: Tokenizer, texts: list[str], lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        lengths[:] = list(map(len, encodings))
        return np.fromiter(chain.from_iterable(e.ids for e in encodings), self.dtype, count=int(lengths.sum()))

    def _pieces(self, text: str) -> str | list[str]:
        """The text, or what it is cut into."""
        cuts = [0, *self._cuts_in_runs(text), len(text)]
        bounds = [0]
        for cut in cuts[1:]:
            bounds.extend(self._cuts_between_words(text, bounds[-1], cut))
            bounds.append(cut)
        return [text[a:b] for a, b in pairwise(bounds)] if len(bounds) > 2 else text

    def _cuts_in_runs(self, text: str) -> Iterator[int]:
        """Where to cut runs that are too long."""
        at = 0
        for run in _UNBROKEN.finditer(text):
            if run.end() - run.start() <= self.longest_run:
                continue
            at = max(at, run.start() - 1)  # with the white space before it, which may belong to the first word
            while run.end() - at > self.longest_run:
                at += self._cut(text[at : at + self.longest_run])
                yield at

    def _cut(self, window: str) -> int:
        """The last place in a window where a word of the pre-tokenizer begins, else its end: the window is one word."""
        encoding = self._words.encode(window, add_special_tokens=False)
        words, offsets = encoding.word_ids, encoding.offsets
        for number in range(len(words) - 1, 0, -1):
            place: int = offsets[number][0]
            if words[number] != words[number - 1] and 0 < place <= len(window) - self._margin:
                return place
        end = len(window) - 1
        while end > len(window) - self._margin and unicodedata.category(window[end]).startswith("M"):
            end -= 1  # an accent stays with its letter, for normalisation joins them
        return max(1, end)

    def _cuts_between_words(self, text: str, start: int, stop: int) -> Iterator[int]:
        """Where to cut what is longer than a chunk; nothing where no place is known to be safe."""
        size = self.chunk // 2  # in characters, which may have several bytes
        while stop - start > size:
            for number, space in enumerate(_BETWEEN_WORDS.finditer(text, start + size // 2, start + size)):
                if number == _TRIES:
                    return
                if self._is_safe(text, space.start()):
                    break
            else:
                return
            start = space.start()
            yield start

    def _is_safe(self, text: str, place: int) -> bool:
        """Whether a cut there changes no id near it, and a word of the pre-tokenizer begins there, so that none farther
        away changes either."""
        begin = max(0, place - _SURROUNDINGS)
        left, right = text[begin:place], text[place : place + _SURROUNDINGS]
        encoding = self._rest.encode(left + right, add_special_tokens=False)
        ids, words, offsets = encoding.ids, encoding.word_ids, encoding.offsets
        number = next((n for n, (first, _) in enumerate(offsets) if first >= len(left)), 0)
        apart = self._rest.encode(left, add_special_tokens=False).ids
        apart += self._rest.encode(right, add_special_tokens=False).ids
        return number > 0 and words[number] != words[number - 1] and apart == ids

    def _escaped(self, ids: Ids) -> DocumentError:
        first = int(ids[np.argmax(self._forbidden[ids])])
        return DocumentError(
            f"a text gives the control token {self._plain.id_to_token(first)!r} (id {first})",
            where=f"tokenizer {self.loaded.name}",
            why="its vocabulary spells that token out of ordinary parts",
            fix="use a tokenizer whose control tokens are added tokens only",
        )


def _strings(texts: Texts) -> pa.Array:
    """Texts as one array of large strings without nulls."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not isinstance(texts, pa.Array):
        texts = pa.array(texts, pa.large_string())
    return texts.cast(pa.large_string()).fill_null("")


def _buffers(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """(offsets: one more than texts, UTF-8 of all texts that the offsets point into)."""
    _, offsets, data = array.buffers()
    if len(array) == 0 or offsets is None:
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return bounds, np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)


def _chunks(offsets: npt.NDArray[np.int64], size: int, alone: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(first text, end) of stretches of at most `size` bytes, or of one text that is longer or wants to be `alone`."""
    start, last = 0, len(offsets) - 1
    single = [*np.flatnonzero(alone).tolist(), last]
    passed = 0
    while start < last:
        if single[passed] < start:
            passed += 1
        stop = int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
        stop = min(max(stop, start + 1), start + 1 if single[passed] == start else single[passed])
        yield start, stop
        start = stop


def _suspects(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], run: int, chunk: int
) -> npt.NDArray[np.bool_]:
    """Texts that may have to be cut: longer than a chunk, or with more bytes between two ASCII spaces than `run`."""
    sizes = np.diff(offsets)
    found = sizes > chunk
    for row in np.flatnonzero((sizes > run) & ~found).tolist():
        spaces = np.flatnonzero(_IS_SPACE[data[offsets[row] : offsets[row + 1]]])
        found[row] = np.diff(spaces, prepend=-1, append=sizes[row]).max() - 1 > run
    return found
