"""The stream of sequences: every epoch all sequences of a view once, in an order that needs no memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tokenmill.tokens.pack import Block, Packing, PackSettings, pack
from tokenmill.tokens.shuffle import Permutation
from tokenmill.tokens.views import Numbers, TokenView

SHUFFLES = ("sequences", "none")


class Cursor(NamedTuple):
    """A place in the stream."""

    epoch: int = 0
    block: int = 0
    """In the order of the epoch."""
    offset: int = 0
    """Sequences of this block that are taken."""
    sequences: int = 0
    """That are taken since the beginning."""
    tokens: int = 0
    """Of these sequences, without padding."""
    step: int = 0
    """Batches that were made."""


class Span(NamedTuple):
    """Sequences of one block that follow each other in the stream."""

    block: Block
    numbers: Numbers


class SequenceStream:
    """All sequences of all epochs, each once an epoch, in an order that needs no memory.

    Blocks follow each other in a random order, and so do the sequences in a block. "concatenate" is a single block;
    blocks of "best_fit" are its windows, of which one is in memory.
    """

    def __init__(self, view: TokenView, settings: PackSettings, *, seed: int, shuffle: str, epochs: int | None) -> None:
        self._view, self._settings = view, settings
        self._seed, self._shuffle, self._epochs = seed, shuffle, epochs
        self._packing: tuple[int, Packing] | None = None
        self._block: tuple[tuple[int, int], Block] | None = None

    def packing(self, epoch: int) -> Packing:
        """The sequences of an epoch; those of the last one asked for are kept."""
        if self._packing is None or self._packing[0] != epoch:
            view = self._view.in_epoch(epoch)
            if self._packing is None or view is not self._packing[1].view:
                self._packing = epoch, pack(view, self._settings)
            else:
                self._packing = epoch, self._packing[1]
        return self._packing[1]

    def take(self, cursor: Cursor, count: int) -> tuple[list[Span], Cursor]:
        """The next `count` sequences, fewer at the end of the last epoch, and the place behind them."""
        spans: list[Span] = []
        missing = count
        while missing and (self._epochs is None or cursor.epoch < self._epochs):
            if cursor.block >= self.packing(cursor.epoch).blocks:
                cursor = cursor._replace(epoch=cursor.epoch + 1, block=0, offset=0)
                continue
            block = self._block_at(cursor.epoch, cursor.block)
            size = min(missing, block.sequences - cursor.offset)
            if size:
                numbers = np.arange(cursor.offset, cursor.offset + size)
                if self._shuffle == "sequences":
                    numbers = Permutation(block.sequences, self._seed, cursor.epoch, cursor.block)(numbers)
                spans.append(Span(block, numbers))
                missing -= size
                cursor = cursor._replace(
                    offset=cursor.offset + size,
                    sequences=cursor.sequences + size,
                    tokens=cursor.tokens + block.tokens_of(numbers),
                )
            if cursor.offset >= block.sequences:
                cursor = cursor._replace(block=cursor.block + 1, offset=0)
        return spans, cursor

    def _block_at(self, epoch: int, place: int) -> Block:
        if self._block is None or self._block[0] != (epoch, place):
            packing = self.packing(epoch)
            number = place
            if self._shuffle == "sequences":
                number = int(Permutation(packing.blocks, self._seed, epoch, "blocks")([place])[0])
            self._block = (epoch, place), packing.block(number)
        return self._block[1]
