"""Views: what is trained on. A token set as it is, or chosen documents of it in an order; many views share one pool.

A view is one array of ids that exists only where it is read: positions 0 to `tokens` - 1 go over its documents one
behind the other, EOS included. Nothing is copied on disk, and shards are mapped when they are first touched.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, ShardError, did_you_mean
from tokenmill.tokens.starts import DocumentStarts
from tokenmill.tokens.tokenset import TokenSet, TokenShard

Numbers = npt.NDArray[np.int64]


class SourceTokens(NamedTuple):
    """One source of the documents of a view."""

    tokens: int
    """In the view, EOS included."""
    unique: int
    """Of these, without the repetitions that a mixture has written (column `epoch`): those of the epoch with the most
    tokens, which is all of them where a view has a whole epoch."""


class TokenView(ABC):
    """Documents of a token set one behind the other."""

    def __init__(self, tokens: TokenSet) -> None:
        self.set = tokens
        self.pool = Pool(tokens)

    tokens: int
    """Length of the view, EOS included."""
    documents: int

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "set"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.set = self.pool.set

    @property
    def eos_id(self) -> int | None:
        return self.set.eos_id

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16 or uint32."""
        return np.dtype(self.set.manifest.dtype)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of the ids that the view reads, by the digests of the shards; locations are not part of it."""

    @abstractmethod
    def read_into(self, start: int, out: npt.NDArray[Any]) -> None:
        """Copy ids from position `start` on until `out` (1-D) is full. ShardError where a shard is damaged."""

    @abstractmethod
    def document_starts(self, first: int, stop: int) -> Numbers:
        """Positions of the documents `first` to `stop` (excluded), and where the last of them ends."""

    @abstractmethod
    def document_at(self, position: int) -> int:
        """Number of the document that has this position."""

    @abstractmethod
    def place(self, position: int) -> tuple[str, int]:
        """(shard, position among its ids) of a position: what `tokenmill origin` is asked with."""

    @abstractmethod
    def in_epoch(self, epoch: int) -> TokenView:
        """The documents in the order of another epoch. Views that have one order give themselves."""

    @abstractmethod
    def sources(self) -> dict[str, SourceTokens]:
        """Tokens of every value of the column `source`; empty where documents have none. One pass over the tables."""

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """A copy of the ids of positions `start` to `stop` (excluded)."""
        if not 0 <= start <= stop <= self.tokens:
            raise ValueError(f"positions {start} to {stop} are not inside 0 to {self.tokens}")
        out = np.empty(stop - start, self.dtype)
        self.read_into(start, out)
        return out

    def boundaries(self, start: int, stop: int) -> Numbers:
        """Positions in `start` to `stop` (excluded) at which a document begins, in order.

        Documents without tokens, in a set without EOS, begin nowhere.
        """
        if start >= stop:
            return np.zeros(0, np.int64)
        starts = self.document_starts(self.document_at(start), self.document_at(stop - 1) + 1)
        return starts[:-1][(starts[:-1] >= start) & (np.diff(starts) > 0)]

    def check(self) -> None:
        """ShardError where a file is gone or has another size than the manifest says; looks at no contents."""
        self.pool.check()


class WholeView(TokenView):
    """All documents of a set, in the order of its shards. Costs nothing, however long the set is.

    shards: names of the shards to read, in this order, such as those of one stage of a mixture; None: all.
    """

    def __init__(self, tokens: TokenSet | str | Path, shards: Sequence[str] | None = None) -> None:
        super().__init__(tokens if isinstance(tokens, TokenSet) else TokenSet.open(tokens))
        if shards is not None:
            self.pool = self.pool.of(shards)
        self.tokens = self.pool.starts[-1]
        self.documents = self.pool.firsts[-1]

    @property
    def fingerprint(self) -> str:
        return self.pool.digest

    def read_into(self, start: int, out: npt.NDArray[Any]) -> None:
        self.pool.read_into(start, out)

    def document_starts(self, first: int, stop: int) -> Numbers:
        return self.pool.document_starts(first, stop)

    def document_at(self, position: int) -> int:
        return self.pool.document_at(position)

    def place(self, position: int) -> tuple[str, int]:
        return self.pool.place(position)

    def in_epoch(self, epoch: int) -> TokenView:
        return self

    def sources(self) -> dict[str, SourceTokens]:
        counter = SourceCounter()
        for number, shard in enumerate(self.pool.shards):
            lengths = np.diff(self.pool.starts_of(number))
            counter.add(shard, lengths, np.ones(len(lengths), np.int64))
        return counter.sources()


class Pool:
    """The shards of a set as one array of ids and one row of documents."""

    def __init__(self, tokens: TokenSet, shards: Sequence[TokenShard] | None = None) -> None:
        self.set = tokens
        self.shards: tuple[TokenShard, ...] = tuple(tokens.shards if shards is None else shards)
        self.starts = _sums(shard.tokens for shard in self.shards)
        """Position of each shard's first id, and the end."""
        self.firsts = _sums(shard.documents_count for shard in self.shards)
        """Number of each shard's first document, and their count."""
        self._ids: list[npt.NDArray[Any] | None] = [None] * len(self.shards)
        self._starts = DocumentStarts(self.shards)

    def __getstate__(self) -> tuple[str, list[str]]:
        # mapped ids must not travel as copies
        return str(self.set.folder), [shard.name for shard in self.shards]

    def __setstate__(self, state: tuple[str, list[str]]) -> None:
        pool = Pool(TokenSet.open(state[0])).of(state[1])
        self.__dict__.update(pool.__dict__)

    def of(self, names: Sequence[str]) -> Pool:
        """The pool of these shards only."""
        known = {shard.name: shard for shard in self.set.shards}
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"the set has no shard named {name!r}",
                    where=str(self.set.folder),
                    why=did_you_mean(name, known),
                )
        return Pool(self.set, [known[name] for name in names])

    @property
    def digest(self) -> str:
        """What the ids are: tokenizer, and the digest of every file of ids."""
        manifest = self.set.manifest
        digest = hashlib.sha256(f"{manifest.tokenizer.sha256}\n{manifest.dtype}\n{self.set.eos_id}\n".encode())
        for shard in self.shards:
            if "sha256" not in shard.entry.files["tokens"]:
                raise ConfigError(
                    "the token set cannot be told from others",
                    where=str(self.set.folder),
                    why=f"its manifest has no digest of the ids of shard {shard.name}",
                    fix="tokenize again",
                )
            digest.update(f"{shard.tokens} {shard.documents_count} {shard.entry.files['tokens']['sha256']}\n".encode())
        return digest.hexdigest()

    def check(self) -> None:
        for shard in self.shards:
            for kind in ("tokens", "documents"):
                path = self.set.folder / str(shard.entry.files[kind]["path"])
                wanted = int(shard.entry.files[kind]["bytes"])
                found = path.stat().st_size if path.is_file() else None
                if found != wanted:
                    raise ShardError(
                        f"{path} is not the file that the manifest describes",
                        why="it is not there" if found is None else f"it has {found} bytes and not {wanted}",
                        fix="copy the set again, or tokenize again",
                    )

    def ids(self, number: int) -> npt.NDArray[Any]:
        """All ids of a shard, mapped."""
        found = self._ids[number]
        if found is None:
            found = self.shards[number].ids.view(np.ndarray)  # slices of a memmap cost three times as much
            self._ids[number] = found
        return found

    def read_into(self, start: int, out: npt.NDArray[Any]) -> None:
        number = bisect_right(self.starts, start) - 1
        done, size = 0, len(out)
        while done < size:
            local = start + done - self.starts[number]
            part = self.ids(number)[local : local + size - done]
            out[done : done + len(part)] = part
            done += len(part)
            number += 1

    def place(self, position: int) -> tuple[str, int]:
        number = self._shard_at(position)
        return self.shards[number].name, position - self.starts[number]

    def _shard_at(self, position: int) -> int:
        if not 0 <= position < self.starts[-1]:
            raise ValueError(f"position {position} is not inside 0 to {self.starts[-1]}")
        return bisect_right(self.starts, position) - 1

    def document_at(self, position: int) -> int:
        number = self._shard_at(position)
        return self.firsts[number] + self._starts.document_at(number, position - self.starts[number])

    def document_starts(self, first: int, stop: int) -> Numbers:
        if first == stop:
            return (
                self.document_starts(first, first + 1)[:1] if first < self.firsts[-1] else np.array([self.starts[-1]])
            )
        found = []
        number = bisect_right(self.firsts, first) - 1
        at = first
        while at < stop:
            end = min(stop, self.firsts[number + 1])
            low, high = at - self.firsts[number], end - self.firsts[number]
            found.append(self._starts.between(number, low, high + (end == stop)) + self.starts[number])
            at = end
            number += 1
        return np.concatenate(found)

    def starts_of(self, number: int) -> Numbers:
        """Where every document of a shard begins among its ids, and their number."""
        return self._starts.whole(number)


def _sums(counts: Iterable[int]) -> list[int]:
    sums = [0]
    for count in counts:
        sums.append(sums[-1] + count)
    return sums


class SourceCounter:
    """Adds up tokens per source, shard by shard."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._epochs: dict[str, dict[int, int]] = {}

    def add(self, shard: TokenShard, lengths: Numbers, times: Numbers) -> None:
        """lengths: of all documents of a shard. times: how often the view has each."""
        names = pq.read_schema(shard.documents_path).names
        if "source" not in names or not len(lengths):
            return
        table = shard.documents(["source", "epoch"] if "epoch" in names else ["source"])
        epochs = np.zeros(len(table), np.int64)
        if "epoch" in names:
            epochs = table.column("epoch").fill_null(0).to_numpy().astype(np.int64)
        coded = table.column("source").cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
        codes, sources = coded.indices.to_numpy(), coded.dictionary.to_pylist()
        for code, tokens in enumerate(np.bincount(codes, lengths * times, len(sources)).tolist()):
            self._tokens[sources[code]] = self._tokens.get(sources[code], 0) + int(tokens)
        width = int(epochs.max()) + 1
        once = np.bincount(codes * width + epochs, lengths * (times > 0), len(sources) * width)
        for place, tokens in enumerate(once.tolist()):
            seen = self._epochs.setdefault(sources[place // width], {})
            seen[place % width] = seen.get(place % width, 0) + int(tokens)

    def sources(self) -> dict[str, SourceTokens]:
        """Sources that have tokens, by name."""
        return {
            name: SourceTokens(tokens, max(self._epochs[name].values()))
            for name, tokens in sorted(self._tokens.items())
            if tokens
        }
