"""Packing: sequences of one length from the documents of a view, computed where they are read.

concatenate  the view cut every T ids: no token is lost, and documents are cut where they lie
best_fit     documents longer than T are cut into full pieces; what is left, and all others, share sequences so that
             none is cut again. Padding is at the ends of sequences only.

Either way every token is an input once, and sequence boundaries of documents are known, for attention that does not
cross them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.views import Numbers, TokenView

PACKINGS = ("concatenate", "best_fit")
BOUNDARIES = ("cu_seqlens", "document", "position")
IGNORED = -100
"""Label that losses leave out, as in torch's `cross_entropy`."""
WINDOW_DOCUMENTS = 100_000
_DTYPES = ("int32", "int64")

Batch = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """How sequences are made; all of it decides on what is trained on, except `boundaries` and `dtype`."""

    sequence_length: int
    """T: ids of a sequence."""
    packing: str = "concatenate"
    """One of PACKINGS."""
    targets: bool = True
    """Whether batches have `labels`, the next id of every position: a sequence then reads T + 1 ids."""
    predict_across: bool | None = None
    """Whether the last id of a document has the first of the next one as its label, or IGNORED. None: with
    "concatenate" it has, as in plain training on concatenated text; with "best_fit" not: neighbours are strangers."""
    last_sequence: str = "drop"
    """What "concatenate" does with less than a sequence at the end of the view: "drop" or "pad" it."""
    window_documents: int = WINDOW_DOCUMENTS
    """Consecutive documents that "best_fit" packs together. Memory: about 100 bytes for each of them, and for each
    full piece of those that are longer than a sequence."""
    boundaries: tuple[str, ...] = BOUNDARIES
    """Which arrays on documents batches have (`Rows.batch`)."""
    dtype: str = "int64"
    """Of `input_ids` and `labels`."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("packing", self.packing, PACKINGS),
            ("last_sequence", self.last_sequence, ("drop", "pad")),
            ("dtype", self.dtype, _DTYPES),
            *(("boundaries", value, BOUNDARIES) for value in self.boundaries),
        ):
            if value not in known:
                raise ConfigError(f"{name}={value!r} is not known", why=did_you_mean(str(value), known))
        for name in ("sequence_length", "window_documents"):
            if not 1 <= getattr(self, name) < 2**31:
                raise ConfigError(f"{name}={getattr(self, name)} is out of range", fix="at least 1, less than 2^31")

    @property
    def across(self) -> bool:
        return self.packing == "concatenate" if self.predict_across is None else self.predict_across


class Rows:
    """Sequences that are being read, and batches of them."""

    def __init__(self, count: int, length: int, dtype: npt.DTypeLike) -> None:
        self.ids = np.zeros((count, length + 1), dtype)
        """One more than a sequence has: the last label."""
        self.used = np.full(count, length, np.int64)
        """Ids of each sequence before its padding."""
        self.known = np.full(count, length, np.int64)
        """Of these, how many have a next id in `ids`."""
        self.ends = np.zeros((count, length), np.bool_)
        """Where a document has its last token."""

    def part(self, start: int, stop: int) -> Rows:
        """Some of the rows; what is written to it is written here."""
        part = object.__new__(Rows)
        for name, array in vars(self).items():
            setattr(part, name, array[start:stop])
        return part

    def batch(self, settings: PackSettings) -> Batch:
        """Arrays for a model. B sequences of T:

        input_ids   (B, T); padding is id 0
        labels      (B, T): the next ids, IGNORED at padding and where nothing is to be predicted
        cu_seqlens  (k + 1,) int32: where segments begin in the flattened B * T positions, and B * T. Segments are
                    (parts of) documents; they end with their row, and the padding of a row is one of its own
        document    (B, T) int32: number of the segment in its row, -1 at padding
        position    (B, T) int32: place in the segment
        """
        count, length = self.ends.shape
        made: Batch = {"input_ids": self.ids[:, :length].astype(settings.dtype)}
        short = np.flatnonzero((self.used < length) | (self.known < length)).tolist()
        if settings.targets:
            labels = self.ids[:, 1:].astype(settings.dtype)
            if not settings.across:
                labels[self.ends] = IGNORED
            for row in short:
                labels[row, self.known[row] :] = IGNORED
            made["labels"] = labels
        if settings.boundaries:
            begins = np.empty((count, length), np.bool_)
            begins[:, :1] = True
            begins[:, 1:] = self.ends[:, :-1]
            for row in short:
                begins[row, self.used[row] :] = False
                begins[row, self.used[row] : self.used[row] + 1] = True
            starts = np.flatnonzero(begins)
            every = {"cu_seqlens": np.append(starts, begins.size).astype(np.int32)}
            if "position" in settings.boundaries:
                every["position"] = positions(every["cu_seqlens"], count, length)
            if "document" in settings.boundaries:
                every["document"] = segment_numbers(every["cu_seqlens"], count, length)
                for row in short:
                    every["document"][row, self.used[row] :] = -1
            made |= {name: every[name] for name in settings.boundaries}
        return made


def positions(cu_seqlens: npt.NDArray[np.int32], count: int, length: int) -> npt.NDArray[np.int32]:
    """(count, length) int32: the place of every position in its segment, from 0."""
    starts = np.repeat(cu_seqlens[:-1], np.diff(cu_seqlens))
    return (np.arange(count * length, dtype=np.int32) - starts).reshape(count, length)


def segment_numbers(cu_seqlens: npt.NDArray[np.int32], count: int, length: int) -> npt.NDArray[np.int32]:
    """(count, length) int32: the number of every position's segment in its row, from 0. Segments end with rows."""
    starts = cu_seqlens[:-1]
    numbers = np.arange(len(starts), dtype=np.int32)
    before = np.searchsorted(starts, np.arange(count, dtype=np.int32) * np.int32(length)).astype(np.int32)
    numbers -= before[starts // max(length, 1)]
    return np.repeat(numbers, np.diff(cu_seqlens)).reshape(count, length)


class Block(ABC):
    """Sequences that are found by their number."""

    view: TokenView
    sequences: int

    @abstractmethod
    def tokens_of(self, numbers: Numbers) -> int:
        """Tokens of these sequences, without padding."""

    @abstractmethod
    def pieces_of(self, number: int) -> list[tuple[int, int]]:
        """(start, stop) in the view of what a sequence has."""

    @abstractmethod
    def fill(self, numbers: Numbers, rows: Rows) -> None:
        """Read sequences into rows, as many as there are numbers. ShardError where a shard is damaged."""


class Packing(ABC):
    """A view in blocks of sequences. What a block holds follows from its number alone."""

    def __init__(self, view: TokenView, settings: PackSettings) -> None:
        self.view = view
        self.settings = settings
        self.blocks = 0

    @abstractmethod
    def block(self, number: int) -> Block:
        """Block 0 to `blocks` - 1. It may be computed here."""

    @cached_property
    def report(self) -> PackReport:
        """Counts of the whole view. "best_fit" packs all windows for it: seconds for 100 million documents."""
        sequences = tokens = 0
        for number in range(self.blocks):
            block = self.block(number)
            sequences += block.sequences
            tokens += block.tokens_of(np.arange(block.sequences)) if self.settings.packing == "best_fit" else 0
        room = sequences * self.settings.sequence_length
        tokens = tokens if self.settings.packing == "best_fit" else min(room, self.view.tokens)
        return PackReport(sequences, tokens, room - tokens, self.view.tokens - tokens)


class PackReport(NamedTuple):
    """What a packing makes of a view."""

    sequences: int
    tokens: int
    """That are inputs of sequences, each once."""
    padding: int
    dropped: int
    """Tokens of the view in no sequence: less than one and its last label, at the end."""

    @property
    def fill(self) -> float:
        """Share of positions that are tokens; 1 where there are none."""
        return self.tokens / max(self.tokens + self.padding, 1) if self.tokens else 1.0


def pack(view: TokenView, settings: PackSettings) -> Packing:
    """The sequences of a view."""
    return (Concatenated if settings.packing == "concatenate" else BestFit)(view, settings)


class Concatenated(Packing, Block):
    """Sequence i is ids i * T to i * T + T (and one more, the last label): nothing is stored."""

    def __init__(self, view: TokenView, settings: PackSettings) -> None:
        super().__init__(view, settings)
        length = settings.sequence_length
        if settings.last_sequence == "pad":
            self.sequences = -(-view.tokens // length)
        else:
            self.sequences = max(view.tokens - settings.targets, 0) // length
        self.blocks = min(self.sequences, 1)

    def block(self, number: int) -> Block:
        return self

    def tokens_of(self, numbers: Numbers) -> int:
        length = self.settings.sequence_length
        missing = max(self.sequences * length - self.view.tokens, 0)
        return len(numbers) * length - missing * int(np.count_nonzero(numbers == self.sequences - 1))

    def pieces_of(self, number: int) -> list[tuple[int, int]]:
        start = number * self.settings.sequence_length
        return [(start, min(start + self.settings.sequence_length, self.view.tokens))]

    def fill(self, numbers: Numbers, rows: Rows) -> None:
        length, total, targets = self.settings.sequence_length, self.view.tokens, self.settings.targets
        eos = self.view.eos_id
        for row, number in enumerate(numbers.tolist()):
            start = number * length
            stop = min(start + length + targets, total)
            self.view.read_into(start, rows.ids[row, : stop - start])
            if stop < start + length + targets:
                rows.used[row] = min(stop - start, length)
                rows.known[row] = stop - start - 1
            if eos is None:
                begins = self.view.boundaries(start + 1, min(start + length + 1, total))
                rows.ends[row, begins - start - 1] = True
        if eos is not None:
            np.equal(rows.ids[:, :length], eos, out=rows.ends)


class BestFit(Packing):
    """Windows of consecutive documents, packed each by itself when they are read."""

    def __init__(self, view: TokenView, settings: PackSettings) -> None:
        super().__init__(view, settings)
        self.blocks = -(-view.documents // settings.window_documents)

    def block(self, number: int) -> Block:
        first = number * self.settings.window_documents
        starts = self.view.document_starts(first, min(first + self.settings.window_documents, self.view.documents))
        return Window(self.view, self.settings, starts)


class Window(Block):
    """Documents that were packed together."""

    def __init__(self, view: TokenView, settings: PackSettings, starts: Numbers) -> None:
        """starts: positions of the documents in the view, and the end of the last."""
        self.view, self.settings = view, settings
        self.pieces = best_fit_pieces(starts, settings.sequence_length)
        self.sequences = len(self.pieces.offsets) - 1
        self._tokens = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.pieces.lengths, dtype=np.int64)])

    def tokens_of(self, numbers: Numbers) -> int:
        offsets = self.pieces.offsets
        return int((self._tokens[offsets[numbers + 1]] - self._tokens[offsets[numbers]]).sum())

    def pieces_of(self, number: int) -> list[tuple[int, int]]:
        low, high = self.pieces.offsets[number : number + 2].tolist()
        starts = self.pieces.starts[low:high]
        return list(zip(starts.tolist(), (starts + self.pieces.lengths[low:high]).tolist(), strict=True))

    def fill(self, numbers: Numbers, rows: Rows) -> None:
        pieces = self.pieces
        for row, number in enumerate(numbers.tolist()):
            low, high = pieces.offsets[number : number + 2].tolist()
            at = 0
            for start, size, end in zip(
                pieces.starts[low:high].tolist(),
                pieces.lengths[low:high].tolist(),
                pieces.ends[low:high].tolist(),
                strict=True,
            ):
                # a piece that is no end of its document is as long as a sequence, so the extra id has its place
                self.view.read_into(start, rows.ids[row, at : at + size + (not end and self.settings.targets)])
                at += size
                rows.ends[row, at - 1] = end
            rows.used[row] = at
            rows.known[row] = at - bool(rows.ends[row, at - 1])


class Pieces(NamedTuple):
    """n pieces of documents in m sequences."""

    starts: Numbers
    """(n,): position of the first id of each, sequence after sequence."""
    lengths: npt.NDArray[np.int32]
    """(n,)"""
    ends: npt.NDArray[np.bool_]
    """(n,): whether the document ends with it. If not, it fills its sequence."""
    offsets: Numbers
    """(m + 1,): the pieces of sequence i are offsets[i] to offsets[i + 1] (excluded)."""


def best_fit_pieces(starts: Numbers, length: int) -> Pieces:
    """Best-fit decreasing over consecutive documents, after those longer than `length` were cut into full pieces.

    starts: (documents + 1,): where each begins, and the end of the last; documents without tokens are left out. The
    full pieces come first. Equally long pieces are packed in the order of their documents.
    """
    from tokenmill.text.pack_kernel import best_fit

    sizes = np.diff(starts)
    whole, rest = sizes // length, (sizes % length).astype(np.int32)
    cut = np.flatnonzero(whole)
    times = whole[cut]
    nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    full = np.repeat(starts[cut], times) + nth * length
    full_ends = np.zeros(len(full), np.bool_)
    full_ends[np.cumsum(times) - 1] = rest[cut] == 0
    left = np.flatnonzero(rest)
    # 16 bits are sorted in linear time
    missing = (length - rest[left]).astype(np.uint16 if length <= 0xFFFF else np.uint32)
    left = left[np.argsort(missing, kind="stable")]
    bins = np.empty(len(left), np.int32)
    count = best_fit(rest[left].astype(np.int64), length, bins)
    left = left[np.argsort(bins, kind="stable")]
    offsets = np.zeros(len(full) + count + 1, np.int64)
    offsets[: len(full) + 1] = np.arange(len(full) + 1)
    offsets[len(full) + 1 :] = len(full) + np.cumsum(np.bincount(bins, minlength=count))
    return Pieces(
        starts=np.concatenate([full, starts[left] + whole[left] * length]),
        lengths=np.concatenate([np.full(len(full), length, np.int32), rest[left]]),
        ends=np.concatenate([full_ends, np.ones(len(left), np.bool_)]),
        offsets=offsets,
    )
