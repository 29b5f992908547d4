"""Texts as token ids, by the package `tokenizers`: what it makes of each whole text, with three precautions.

Control tokens. A page may hold the text `<|endoftext|>`; it must never become the id that ends documents. Added tokens
that are special, or look like control tokens (`is_control`), are therefore read as the plain text that they are. Other
added tokens (runs of spaces, placeholders such as `|||EMAIL_ADDRESS|||`) stay what they are.

Unbroken runs. Stretches of more than 10,000 characters without white space are encoded in pieces, cut where the
pre-tokenizer cuts as well, so that the ids stay the same; only a single word longer than that is cut within. Longer
stretches of white space are one word; they are cut where a look at the surroundings shows no change, if there is such a
place nearby.

Memory. The library gets about 256 kB of text at a time, on the thread that calls. A text above 1 MB is cut between two
words, lines or sentences, where a look at the surroundings shows that this changes no id; where none can be found it is
encoded whole.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import DocumentError
from tokenmill.tokens.formats.base import Ids
from tokenmill.tokens.memo import PROBE, Memo, awkward_tokens, in_groups
from tokenmill.tokens.tokenizer import LoadedTokenizer, give_back_memory, one_thread
from tokenmill.tokens.untrusted import SEPARATOR, encoding_tokenizer, is_control, word_tokenizer, working_tokenizers

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray

LONGEST_RUN = 10_000
"""Characters without white space, or of nothing else, that are encoded in one piece."""
CHUNK = 1 << 20
"""Bytes of UTF-8 that are encoded in one piece: some 100 MB for what the library notes of each token."""
_MARGIN = 64
"""Characters between a cut and the end of the window that it was found in: no pre-tokenizer looks farther ahead."""
_JOINED = 256
"""Short texts in one call of the library."""
_SURROUNDINGS = 384
"""Characters on both sides of a cut that are encoded to see whether it changes ids. Runs of white space are cut after
multiples of it: 128 * 3, for tokens of 2, 4, 8 ... and of 24 spaces."""
_TRIES = 16
_TRIES_IN_WHITE = 8
_MISSES = 16
"""Windows without a safe place after which a text is taken for one that has none."""
_RUNS = re.compile(r"\S+|\s{2,}")
_STOPS = (
    "\u3001\u3002\uff0c\uff01\uff1f\uff1b\uff1a\uff0e\uff61\uff64\u2026\u201c\u201d\u300a-\u3011\uff08\uff09"
    "\u0964\u0965\u104a\u104b\u0e2f\u0e5a\u17d4\u17d5\u060c\u061b\u061f"
)
"""Punctuation of scripts that put no space between words, or none behind it: 。，！ and others, danda, khan ..."""
_PLACES = (
    re.compile(r"(?<=\S)(?=[ \n]\w)"),
    re.compile(r"(?<=\S)(?=\s)"),
    re.compile(r"(?<=\n)(?=[^\r\n])"),
    re.compile(rf"(?<=[{_STOPS}])(?=\w)|(?<=\w)(?=[{_STOPS}])"),
)
"""Where a word of many tokenizers begins, the best first: before a word, before white space, at the beginning of a line
(some patterns take the line end with the punctuation before it), beside punctuation."""
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
        self._cuts_white = not working.strips
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
                self._check(found)
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
            if isinstance(pieces := self._pieces(text), list):
                return self._remembered(pieces, int(bounds[0]), data, lengths)
        return self._memo.encode(bounds, data, lengths)

    def _remembered(
        self, pieces: list[str], start: int, data: npt.NDArray[np.uint8], length: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Ids of a text that begins at `start` and was cut between words, each piece by the memo: what it notes of a
        text, and what it gives to the library, grows with the text."""
        assert self._memo is not None
        parts, here = [], np.zeros(1, np.int64)
        for piece in pieces:
            stop = start + len(piece.encode())
            parts.append(self._memo.encode(np.array([start, stop]), data, here))
            start = stop
        length[0] = sum(map(len, parts))
        return np.concatenate(parts)

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
        first = self._ids(self._whole, pieces[:1], np.empty(1, np.int64))
        rest = self._ids(self._rest, pieces[1:], np.empty(len(pieces) - 1, np.int64))
        length[0] = len(first) + len(rest)
        return np.concatenate([first, rest])

    def _ids(self, tokenizer: Tokenizer, texts: list[str], lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        parts, done = [np.empty(0, self.dtype)], 0
        for some in in_groups(texts):
            encodings = tokenizer.encode_batch_fast(some, add_special_tokens=False)
            counts = list(map(len, encodings))
            lengths[done : done + len(some)] = counts
            parts.append(np.fromiter(chain.from_iterable(e.ids for e in encodings), self.dtype, count=sum(counts)))
            done += len(some)
        return np.concatenate(parts)

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
        for run in _RUNS.finditer(text):
            if run.end() - run.start() <= self.longest_run:
                continue
            if text[run.start()].isspace():
                at = max(at, run.start())
                while self._cuts_white and run.end() - at > self.longest_run:
                    at = self._cut_in_white(text, at)
                    yield at
                continue
            at = max(at, run.start() - 1)  # with the white space before it, which may belong to the first word
            while run.end() - at > self.longest_run:
                at += self._cut(text[at : at + self.longest_run])
                yield at

    def _cut_in_white(self, text: str, start: int) -> int:
        """Where to cut white space that goes on for more than `longest_run` characters behind `start`."""
        usual = start + self.longest_run - (self.longest_run % _SURROUNDINGS) * (self.longest_run > _SURROUNDINGS)
        places = range(usual, max(start, usual - _TRIES_IN_WHITE), -1)
        return next((place for place in places if self._is_same(text, place)), usual)

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
        size = self.chunk // 4  # in characters, which may have four bytes
        misses = 0
        while stop - start > size and misses < _MISSES:
            found = self._safe_place(text, start + size // 2, min(start + size, stop - 1))
            if found:
                yield found
            misses = 0 if found else misses + 1
            start = found or start + size // 2

    def _safe_place(self, text: str, start: int, stop: int) -> int:
        """A place between two others where a cut is known to change nothing, else 0."""
        for pattern in _PLACES:
            for place in islice(pattern.finditer(text, start, stop), _TRIES):
                if self._is_safe(text, place.start()):
                    return place.start()
        return 0

    def _is_safe(self, text: str, place: int) -> bool:
        """Whether a cut there changes no id near it, and a word of the pre-tokenizer begins there, so that none farther
        away changes either. The word before must begin in sight, for it might end elsewhere if seen in full."""
        begin = max(0, place - _SURROUNDINGS)
        encoding = self._rest.encode(text[begin : place + _SURROUNDINGS], add_special_tokens=False)
        words, offsets = encoding.word_ids, encoding.offsets
        number = next((n for n, (first, _) in enumerate(offsets) if first >= place - begin), 0)
        begins = number > 0 and words[number] != words[number - 1] and (begin == 0 or words[number - 1] != words[0])
        return begins and self._is_same(text, place)

    def _is_same(self, text: str, place: int) -> bool:
        """Whether a cut there changes no id near it."""
        left, right = text[max(0, place - _SURROUNDINGS) : place], text[place : place + _SURROUNDINGS]
        whole, *apart = (self._rest.encode(some, add_special_tokens=False).ids for some in (left + right, left, right))
        return bool(whole == apart[0] + apart[1])

    def _check(self, ids: Ids) -> None:
        """DocumentError where control tokens came out after all."""
        for start in range(0, len(ids), CHUNK):  # looking up takes four times the room of ids
            if self._forbidden[ids[start : start + CHUNK]].any():
                raise self._escaped(ids[start : start + CHUNK])

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
    """Texts that may have to be cut: longer than a chunk, or with more bytes between two ASCII spaces than `run`, or
    more ASCII spaces than that in a row."""
    sizes = np.diff(offsets)
    found = sizes > chunk
    for row in np.flatnonzero((sizes > run) & ~found).tolist():
        spaces = np.flatnonzero(_IS_SPACE[data[offsets[row] : offsets[row + 1]]])
        unbroken = np.diff(spaces, prepend=-1, append=sizes[row]).max() - 1 > run
        found[row] = unbroken or bool((spaces[run:] - spaces[:-run] == run).any())
    return found
