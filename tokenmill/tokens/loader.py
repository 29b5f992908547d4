"""`TokenLoader`: batches for training, the same for any number of ranks, and to be resumed at any step.

The order is a stream of sequences that depends on the view, the settings and the seed alone. A global batch is the
next `batch_size * world_size` of them, and rank r takes every `world_size`-th of these from the r-th on. Where the
stream stands is three numbers, so it goes on where it stopped with another number of ranks or another size of batches.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.pack import BOUNDARIES, WINDOW_DOCUMENTS, Batch, PackReport, PackSettings, Rows, pack
from tokenmill.tokens.stream import SHUFFLES, Cursor, SequenceStream, Span
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.views import SourceTokens, TokenView, WholeView

MANY_EPOCHS = 4
"""Repeating data up to here is nearly as good as new data, beyond it soon adds nothing (Muennighoff et al. 2023,
arXiv:2305.16264)."""

_FORMAT = 1
_NOT_DATA = ("boundaries", "dtype")
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Tokens of one document in a shard."""

    shard: str
    start: int
    """Position among the ids of the shard."""
    tokens: int


class TokenLoader(Iterator[Batch]):
    """Batches of a view: dicts of numpy arrays (`pack.Rows.batch`), ready for `torch.from_numpy`.

    A background thread makes `prefetch` batches ahead; what is read does not depend on it. Iterating goes on where it
    stopped, until `epochs` are over. A damaged shard raises ShardError in `next`; a second `next` tries again.
    """

    def __init__(
        self,
        data: TokenView | TokenSet | str | Path,
        *,
        sequence_length: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        packing: str = "concatenate",
        shuffle: str = "sequences",
        epochs: int | None = 1,
        prefetch: int = 2,
        targets: bool = True,
        boundaries: bool | Sequence[str] = True,
        predict_across: bool | None = None,
        last_sequence: str = "drop",
        last_batch: str = "drop",
        window_documents: int = WINDOW_DOCUMENTS,
        dtype: str = "int64",
    ) -> None:
        """data: a view, or where a token set lies (all of it is read then). batch_size: sequences of a rank.
        seed: of the order of sequences. shuffle: "none" reads the view in its order, which is sequential on disk.
        epochs: None never ends. boundaries: True is all of `pack.BOUNDARIES`. last_batch: the global batch that is
        not full, at the end of the last epoch: "drop" it, or "keep" it, with fewer rows (some ranks may have none).
        The other settings: `pack.PackSettings`. ConfigError for settings that cannot work or a view without a
        sequence, ShardError (rank 0) where a file of the set is gone or cut.
        """
        self.view = data.in_epoch(0) if isinstance(data, TokenView) else WholeView(data)
        arrays = (BOUNDARIES if boundaries else ()) if isinstance(boundaries, bool) else tuple(boundaries)
        self.settings = PackSettings(
            sequence_length=sequence_length,
            packing=packing,
            targets=targets,
            predict_across=predict_across,
            last_sequence=last_sequence,
            window_documents=window_documents,
            boundaries=arrays,
            dtype=dtype,
        )
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.seed, self.shuffle, self.epochs = int(seed), shuffle, epochs
        self.prefetch, self.last_batch = prefetch, last_batch
        _check(self)
        if rank == 0:
            self.view.check()  # not all ranks: a thousand of them would ask a shared disk for millions of sizes
        self._begin()
        if epochs is not None and epochs > MANY_EPOCHS:
            _log.warning("%d epochs: beyond %d, repeated data adds little (arXiv:2305.16264)", epochs, MANY_EPOCHS)

    def _begin(self) -> None:
        self._seen = self._before = Cursor()
        self._counted: dict[int | None, int] = {}
        self._reset()
        if not self._stream.packing(0).blocks:
            raise ConfigError(
                "the view has not a single sequence",
                where=str(self.view.set.folder),
                why=f"it has {self.view.tokens} tokens, a sequence {self.settings.sequence_length}",
                fix='choose a smaller sequence_length, or last_sequence="pad"',
            )

    def _reset(self) -> None:
        """Forget what was prefetched; go on behind what was handed out."""
        self._stream = SequenceStream(
            self.view, self.settings, seed=self.seed, shuffle=self.shuffle, epochs=self.epochs
        )
        self._ahead = self._seen
        self._waiting: deque[Future[tuple[Batch, Cursor] | None]] = deque()
        self._thread: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    @property
    def global_batch_size(self) -> int:
        """Sequences of all ranks in one step."""
        return self.batch_size * self.world_size

    def __iter__(self) -> TokenLoader:
        return self

    def __next__(self) -> Batch:
        if self._process != os.getpid():
            self._reset()  # the thread stayed in the process that this one was forked from
        try:
            made = self._next_made()
        except BaseException:
            self.close()
            raise
        if made is None:
            self.close()
            raise StopIteration
        self._before = self._seen
        batch, self._seen = made
        return batch

    def _next_made(self) -> tuple[Batch, Cursor] | None:
        if self.prefetch == 0:
            return self._make()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenmill-loader")
        while len(self._waiting) < self.prefetch:
            self._waiting.append(self._thread.submit(self._make))
        made = self._waiting[0].result()
        self._waiting.popleft()
        if made is not None:
            self._waiting.append(self._thread.submit(self._make))
        return made

    def _make(self) -> tuple[Batch, Cursor] | None:
        """The batch behind the last one that was made; None at the end. One thread at a time."""
        spans, after = self._stream.take(self._ahead, self.global_batch_size)
        count = sum(len(span.numbers) for span in spans)
        if not count or (count < self.global_batch_size and self.last_batch == "drop"):
            return None
        mine = self._mine(spans)
        rows = Rows(sum(len(span.numbers) for span in mine), self.settings.sequence_length, self.view.dtype)
        done = 0
        for block, numbers in mine:
            block.fill(numbers, rows.part(done, done + len(numbers)))
            done += len(numbers)
        self._ahead = after._replace(step=self._ahead.step + 1)
        return rows.batch(self.settings), self._ahead

    def _mine(self, spans: Sequence[Span]) -> list[Span]:
        """Of a global batch, every `world_size`-th sequence."""
        mine, first = [], 0
        for block, numbers in spans:
            mine.append(Span(block, numbers[(self.rank - first) % self.world_size :: self.world_size]))
            first += len(numbers)
        return mine

    def places(self) -> list[list[Place]]:
        """Where the last batch was read: for each of its rows (parts of) documents, in order.

        `tokenmill origin` says what page each of them is. Costs more than the batch did; for looking into loss spikes.
        """
        if self._seen == self._before:
            return []
        stream = SequenceStream(self.view, self.settings, seed=self.seed, shuffle=self.shuffle, epochs=self.epochs)
        spans, _ = stream.take(self._before, self._seen.sequences - self._before.sequences)
        return [
            [place for start, stop in block.pieces_of(number) for place in _places(block.view, start, stop)]
            for block, numbers in self._mine(spans)
            for number in numbers.tolist()
        ]

    def __len__(self) -> int:
        """Steps of all epochs. With packing "best_fit" all windows are packed for it, once."""
        if self.epochs is None:
            raise TypeError("a loader without a number of epochs has no length")
        total = sum(self._sequences_of(epoch) for epoch in range(self.epochs))
        steps = total // self.global_batch_size
        return steps + (self.last_batch == "keep" and total % self.global_batch_size > 0)

    def _sequences_of(self, epoch: int) -> int:
        view = self.view.in_epoch(epoch) if self.settings.packing == "best_fit" else self.view
        key = None if view is self.view else epoch
        if key not in self._counted:
            self._counted[key] = pack(view, self.settings).report.sequences
        return self._counted[key]

    def report(self) -> PackReport:
        """Sequences, padding and fill of the first epoch. With packing "best_fit" all windows are packed for it."""
        return pack(self.view, self.settings).report

    @property
    def step(self) -> int:
        """Batches that were handed out."""
        return self._seen.step

    @property
    def tokens_seen(self) -> int:
        """Tokens of all ranks that were handed out, without padding."""
        return self._seen.tokens

    @property
    def epochs_seen(self) -> float:
        """How often the view was handed out: tokens by tokens of an epoch."""
        return self._seen.tokens / max(self.view.tokens, 1)

    def sources_seen(self) -> dict[str, dict[str, float]]:
        """For every source of the documents (column `source`): `tokens_seen`, and `epochs_seen` of its unique tokens.

        Within an epoch sequences come in random order, and this takes them for evenly mixed; at its end it is exact,
        but for what is dropped there. The first call reads two columns of all tables of documents.
        """
        share = self.epochs_seen
        return {
            name: {"tokens_seen": share * found.tokens, "epochs_seen": share * found.tokens / max(found.unique, 1)}
            for name, found in self._sources.items()
        }

    @cached_property
    def _sources(self) -> dict[str, SourceTokens]:
        return self.view.sources()

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer stands, as plain values for JSON or a checkpoint; the same on all ranks."""
        about = self._about()
        return {"format": _FORMAT, **self._seen._asdict(), "settings": about, "fingerprint": _digest(about)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind the last batch that was handed out before `state_dict`, with any ranks and sizes of batches.

        ConfigError where the state is one of other data or settings, with what differs.
        """
        about = self._about()
        if state.get("format") != _FORMAT or not {"settings", "fingerprint", *Cursor._fields} <= state.keys():
            raise ConfigError("this is no state of a token loader", fix="give load_state_dict what state_dict returned")
        if state["fingerprint"] != _digest(about):
            stored = state["settings"]
            differing = [name for name in sorted({*about, *stored}) if about.get(name) != stored.get(name)]
            raise ConfigError(
                f"the state belongs to other data or settings: {', '.join(differing) or 'its fingerprint'} differs",
                where=str(self.view.set.folder),
                why="; ".join(f"{name} was {stored.get(name)}, now it is {about.get(name)}" for name in differing),
                fix="resume with the same token set, view and settings, or begin without a state",
            )
        self.close()
        self._seen = self._before = Cursor(**{name: int(state[name]) for name in Cursor._fields})
        self._reset()

    def _about(self) -> dict[str, Any]:
        """All that the order and contents of sequences depend on."""
        packing = {one.name: getattr(self.settings, one.name) for one in fields(self.settings)}
        packing |= {"predict_across": self.settings.across}
        if self.settings.packing != "best_fit":
            del packing["window_documents"]
        return {
            "data": self.view.fingerprint,
            "seed": self.seed,
            "shuffle": self.shuffle,
            **{name: value for name, value in packing.items() if name not in _NOT_DATA},
        }

    def close(self) -> None:
        """End the thread; the loader can be used again."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._reset()

    def __enter__(self) -> TokenLoader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_stream", "_ahead", "_waiting", "_thread", "_process")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()


def _check(loader: TokenLoader) -> None:
    for name, value, known in (
        ("shuffle", loader.shuffle, SHUFFLES),
        ("last_batch", loader.last_batch, ("drop", "keep")),
    ):
        if value not in known:
            raise ConfigError(f"{name}={value!r} is not known", why=did_you_mean(str(value), known))
    for name, least in (("batch_size", 1), ("world_size", 1), ("prefetch", 0), ("epochs", 1)):
        number = getattr(loader, name)
        if number is not None and number < least:
            raise ConfigError(f"{name}={number} is too small", fix=f"at least {least}")
    if loader.batch_size * loader.settings.sequence_length >= 2**31:
        raise ConfigError(
            f"batch_size={loader.batch_size} is too large for sequence_length={loader.settings.sequence_length}",
            why="the boundaries of a batch are 32-bit numbers",
            fix="less than 2^31 tokens in a batch",
        )
    if not 0 <= loader.rank < loader.world_size:
        raise ConfigError(
            f"rank={loader.rank} is not one of {loader.world_size} ranks", fix=f"0 to {loader.world_size - 1}"
        )


def _places(view: TokenView, start: int, stop: int) -> Iterator[Place]:
    cuts = sorted({start, stop, *view.boundaries(start, stop).tolist()})
    for low, high in pairwise(cuts):
        yield Place(*view.place(low), high - low)


def _digest(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
