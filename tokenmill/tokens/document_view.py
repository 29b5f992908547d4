"""`DocumentView`: chosen documents of a token set in an order of their own, such as an arm of an ablation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.tokens.order import document_keys
from tokenmill.tokens.shuffle import mixed, round_keys
from tokenmill.tokens.tokenset import TokenSet, TokenShard
from tokenmill.tokens.views import Numbers, Pool, SourceCounter, SourceTokens, TokenView

Keys = npt.NDArray[np.uint64]

_FORMAT = 1
_ABOUT = b"tokenmill.view"
_COLUMNS = ("shard", "start", "length", "key")
_SHOWN = 5


class _Chosen(NamedTuple):
    """The documents of a view in the order in which they were given: 20 bytes each."""

    positions: Numbers
    """Of their first tokens, in the whole set."""
    lengths: npt.NDArray[np.int32]
    """EOS included."""
    keys: Keys
    """From `doc_id`, or the columns that were asked for; the n-th copy of a document has another key than the first."""


class DocumentView(TokenView):
    """Chosen documents of one set, EOS with each. Many such views share the shards of their set.

    Documents follow each other by a hash of (seed, epoch, `doc_id`), the same on every machine: two views with one seed
    have the documents that they share in the same order, and every epoch has another order. Memory: 36 bytes a
    document, 20 of them shared by all epochs of the view; 16 for each epoch that is in use.
    """

    def __init__(
        self,
        tokens: TokenSet | str | Path,
        documents: npt.ArrayLike,
        *,
        seed: int | None = 0,
        weights: npt.ArrayLike | None = None,
        by: Sequence[str] = (DOC_ID,),
    ) -> None:
        """documents: 1-D, numbers of documents in the order of the set (0 is the first of the first shard); one that
        comes twice is read twice an epoch. seed: of the order; None keeps the order that was given, in every epoch.
        weights: one for each of `documents`, how often it is read an epoch: 2.5 is twice, and for half of such
        documents, by the hash, once more. by: columns of text by which the order hashes a document, of each the first
        that is not null: with ("id", "doc_id") pages have one order in sets that were made of other files. ConfigError
        for numbers that the set does not have.
        """
        super().__init__(tokens if isinstance(tokens, TokenSet) else TokenSet.open(tokens))
        numbers = np.asarray(documents, np.int64).reshape(-1)
        chosen = _look_up(self.pool, _checked(numbers, self.pool), by)
        if weights is not None:
            chosen = _repeated(chosen, np.asarray(weights, np.float64).reshape(-1))
        self._take(chosen, None if seed is None else int(seed))

    def _take(self, chosen: _Chosen, seed: int | None, epoch: int = 0) -> None:
        self.seed, self._chosen, self._epoch = seed, chosen, epoch
        order: slice | Numbers = slice(None)
        if seed is not None:
            order = np.argsort(_scrambled(chosen.keys, seed, epoch), kind="stable")
        self._positions = chosen.positions[order]
        self._ends = np.cumsum(chosen.lengths[order], dtype=np.int64)
        self.documents = len(self._ends)
        self.tokens = int(self._ends[-1]) if self.documents else 0

    @classmethod
    def of_ids(
        cls,
        tokens: TokenSet | str | Path,
        ids: Iterable[str],
        *,
        column: str = "doc_id",
        seed: int | None = 0,
        missing: str = "refuse",
    ) -> DocumentView:
        """The documents with these values of a column of the tables; several may share one.

        missing: "refuse": ConfigError where ids are not in the set; "ignore" them. Order: that of the set, where
        `seed` is None.
        """
        if missing not in ("refuse", "ignore"):
            raise ConfigError(f"missing={missing!r} is not known", fix='"refuse" or "ignore"')
        wanted = pa.array(ids, pa.string()).unique()
        seen = np.zeros(len(wanted), np.bool_)

        def has(table: pa.Table) -> Any:
            places = pc.index_in(table.column(0).cast(pa.string()), value_set=wanted)
            seen[places.drop_null().to_numpy()] = True
            return places.is_valid()

        view = cls.where(tokens, has, columns=[column], seed=seed)
        if missing == "refuse" and not seen.all():
            lost = wanted.filter(pa.array(~seen))
            raise ConfigError(
                f"{len(lost)} of {len(wanted)} ids are not in the token set",
                where=str(view.set.folder),
                why=f"no document has the {column} {', '.join(lost[:_SHOWN].to_pylist())}",
                fix='name the column that holds them, tokenize these documents, or say missing="ignore"',
            )
        return view

    @classmethod
    def where(
        cls,
        tokens: TokenSet | str | Path,
        condition: pc.Expression | Callable[[pa.Table], Any],
        *,
        columns: Iterable[str] | None = None,
        seed: int | None = 0,
    ) -> DocumentView:
        """The documents for which a condition on the columns of their tables holds, one shard at a time.

        condition: `pc.field("language") == "de"`, or a function that gives a boolean per row of a table; null is
        false. columns: those that it reads; None: all.
        """
        opened = tokens if isinstance(tokens, TokenSet) else TokenSet.open(tokens)
        return cls(opened, np.concatenate([np.zeros(0, np.int64), *_holding(opened, condition, columns)]), seed=seed)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.pool.digest}\n{self.seed}\n".encode())
        for part in (self._chosen.positions, self._chosen.lengths, self._chosen.keys):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def read_into(self, start: int, out: npt.NDArray[Any]) -> None:
        stop = start + len(out)
        if stop <= start:
            return
        first = int(self._ends.searchsorted(start, "right"))
        last = int(self._ends.searchsorted(stop, "left")) + 1
        done = start
        skip = start - (int(self._ends[first - 1]) if first else 0)
        read = self.pool.read_into
        for position, end in zip(self._positions[first:last].tolist(), self._ends[first:last].tolist(), strict=True):
            until = min(end, stop)
            if until > done:
                read(position + skip, out[done - start : until - start])
                done = until
            skip = 0

    def document_starts(self, first: int, stop: int) -> Numbers:
        if first > 0:
            return self._ends[first - 1 : stop]
        return np.concatenate([np.zeros(1, np.int64), self._ends[:stop]])

    def document_at(self, position: int) -> int:
        if not 0 <= position < self.tokens:
            raise ValueError(f"position {position} is not inside 0 to {self.tokens}")
        return int(self._ends.searchsorted(position, "right"))

    def place(self, position: int) -> tuple[str, int]:
        number = self.document_at(position)
        skip = position - (int(self._ends[number - 1]) if number else 0)
        return self.pool.place(int(self._positions[number]) + skip)

    def in_epoch(self, epoch: int) -> TokenView:
        if epoch == self._epoch or self.seed is None:
            return self
        view = object.__new__(type(self))
        view.set, view.pool = self.set, self.pool
        view._take(self._chosen, self.seed, epoch)
        return view

    def sources(self) -> dict[str, SourceTokens]:
        counter = SourceCounter()
        positions = np.sort(self._chosen.positions)
        cuts = np.searchsorted(positions, self.pool.starts)
        for number, shard in enumerate(self.pool.shards):
            starts = self.pool.starts_of(number)
            mine = positions[cuts[number] : cuts[number + 1]] - self.pool.starts[number]
            places = np.searchsorted(starts, mine, side="right") - 1
            counter.add(shard, np.diff(starts), np.bincount(places, minlength=len(starts) - 1))
        return counter.sources()

    def save(self, path: str | Path) -> None:
        """Write the view as Parquet: shard, start, length and key of each document; `load` reads it."""
        shards = np.searchsorted(self.pool.starts, self._chosen.positions, side="right") - 1
        starts = self._chosen.positions - np.asarray(self.pool.starts)[shards]
        table = pa.table([shards.astype(np.int32), starts, *self._chosen[1:]], names=list(_COLUMNS))
        about = {"format": _FORMAT, "set": self.pool.digest, "seed": self.seed}
        pq.write_table(table.replace_schema_metadata({_ABOUT: json.dumps(about)}), path, compression="zstd")

    @classmethod
    def load(cls, path: str | Path, tokens: TokenSet | str | Path) -> DocumentView:
        """The view that `save` wrote. ConfigError where it is one of another set."""
        view = object.__new__(cls)
        TokenView.__init__(view, tokens if isinstance(tokens, TokenSet) else TokenSet.open(tokens))
        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[_ABOUT])
        except (OSError, KeyError, ValueError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise ConfigError(f"{path} is no view of a token set", why=str(error), fix="save it again") from error
        if about["format"] != _FORMAT or about["set"] != view.pool.digest:
            raise ConfigError(
                f"{path} is a view of another token set",
                where=str(view.set.folder),
                why=f"it was made of the set {about['set'][:16]}, this one is {view.pool.digest[:16]}",
                fix="name the set that the view was made of, or make the view again from ids",
            )
        shards, starts, lengths, keys = (table.column(name).to_numpy() for name in _COLUMNS)
        positions = np.asarray(view.pool.starts)[shards] + starts
        view._take(_Chosen(positions, lengths, keys), about["seed"])
        return view


def _holding(tokens: TokenSet, condition: Any, columns: Iterable[str] | None) -> Iterator[Numbers]:
    """Numbers of the documents for which a condition holds, shard by shard."""
    names = list(columns) if columns is not None else None
    first = 0
    for shard in tokens.shards:
        table = _columns_of(shard, names)
        if isinstance(condition, pc.Expression):
            rows = pa.array(np.arange(first, first + len(table)))
            yield table.append_column("_number", rows).filter(condition).column("_number").to_numpy()
        else:
            held = condition(table)
            held = held if isinstance(held, pa.ChunkedArray | pa.Array) else pa.array(held)
            yield first + np.flatnonzero(held.fill_null(False).to_numpy(zero_copy_only=False))
        first += len(table)


def _columns_of(shard: TokenShard, names: list[str] | None) -> pa.Table:
    if names is not None:
        known = pq.read_schema(shard.documents_path).names
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"the documents of the token set have no column {unknown[0]!r}",
                where=str(shard.documents_path),
                why=f"their columns are {', '.join(known)}",
            )
    return shard.documents(names)


def _checked(numbers: Numbers, pool: Pool) -> Numbers:
    """The numbers, or ConfigError where the set has no such documents."""
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < pool.firsts[-1]:
        wrong = numbers[(numbers < 0) | (numbers >= pool.firsts[-1])]
        raise ConfigError(
            f"the token set has no document number {wrong[0]}",
            where=str(pool.set.folder),
            why=f"it has the documents 0 to {pool.firsts[-1] - 1}",
        )
    return numbers


def _look_up(pool: Pool, numbers: Numbers, by: Sequence[str]) -> _Chosen:
    """Where the documents lie, how long they are, and their keys, in the given order. Reads each table once."""
    order = np.argsort(numbers, kind="stable")
    wanted = numbers[order]
    positions, lengths = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int32)
    keys = np.empty(len(numbers), np.uint64)
    cuts = np.searchsorted(wanted, pool.firsts)
    for number, shard in enumerate(pool.shards):
        low, high = int(cuts[number]), int(cuts[number + 1])
        if low == high:
            continue
        rows = wanted[low:high] - pool.firsts[number]
        starts = pool.starts_of(number)
        places = order[low:high]
        positions[places] = starts[rows] + pool.starts[number]
        lengths[places] = _short(starts[rows + 1] - starts[rows], shard)
        table = shard.documents(list(by)).take(pa.array(rows))
        names = pc.coalesce(*(table.column(name) for name in by))
        keys[places] = document_keys(0, names.fill_null("").to_pylist())
    return _Chosen(positions, lengths, _apart(keys, positions))


def _short(lengths: Numbers, shard: TokenShard) -> Numbers:
    if len(lengths) and lengths.max() > np.iinfo(np.int32).max:
        raise ConfigError(f"a document of {lengths.max()} tokens is too long for a view", where=shard.name)
    return lengths


def _apart(keys: Keys, positions: Numbers) -> Keys:
    """The keys with those of copies changed, so that copies of a document do not stand beside each other."""
    order = np.lexsort((positions, keys))
    ordered = keys[order]
    begins = np.ones(len(keys), np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    firsts = np.flatnonzero(begins)
    copies = np.arange(len(keys)) - np.repeat(firsts, np.diff(np.append(firsts, len(keys))))
    again = order[copies > 0]
    changed = keys.copy()
    changed[again] = mixed(keys[again] ^ mixed(copies[copies > 0].astype(np.uint64)))
    return changed


def _repeated(chosen: _Chosen, weights: npt.NDArray[np.float64]) -> _Chosen:
    """Every document as often as its weight says."""
    if weights.shape != chosen.positions.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ConfigError(
            "weights do not fit the documents of the view",
            why=f"{len(weights)} weights for {len(chosen.positions)} documents, all must be 0 or more",
        )
    whole = np.floor(weights)
    draw = _scrambled(chosen.keys, 0, -1) / 2.0**64
    times = (whole + (draw < weights - whole)).astype(np.int64)
    positions, keys = np.repeat(chosen.positions, times), np.repeat(chosen.keys, times)
    return _Chosen(positions, np.repeat(chosen.lengths, times), _apart(keys, positions))


def _scrambled(keys: Keys, seed: int, epoch: int) -> Keys:
    """The keys by which documents are sorted: equally distributed, independent for every seed and epoch."""
    first, second = round_keys(2, "documents", seed, epoch)
    return mixed(mixed(keys + first) ^ second)
