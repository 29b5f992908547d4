"""The published documents of a run, a row group at a time, and only the columns that are asked for.

In annotate mode `data/` holds all documents: those that a filter would have dropped are left out here, but not for the
verdict of a filter that the caller takes out (the one whose threshold is in question).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import verdict_column
from tokenmill.core.stage import Stage
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder

BYTES_PER_TOKEN = 4.2
"""UTF-8 bytes of a token where `token_count` is null. An estimate: English web text has about so many for each of
GPT-2's tokens; other languages have fewer or more."""
WEIGHTS = ("documents", "bytes", "tokens")
Sums = npt.NDArray[np.int64]
"""(n,): one number per document."""
Amounts = npt.NDArray[np.int64]
"""(n, k): one row per document, one column per weight."""


@dataclass
class Part:
    """A row group: its columns are read when they are asked for, without the documents that are left out."""

    file: pq.ParquetFile
    group: int
    names: Collection[str]
    verdicts: Collection[str]
    _kept: npt.NDArray[np.bool_] | None = field(default=None, init=False)
    _read: dict[str, pa.Array] = field(default_factory=dict, init=False)

    def column(self, name: str) -> pa.Array:
        """Values of a column that the file has, one per document."""
        if name not in self._read:
            found = self._raw(name)
            kept = self.kept()
            self._read[name] = found if kept.all() else found.filter(pa.array(kept))
        return self._read[name]

    def _raw(self, name: str) -> pa.Array:
        column = self.file.read_row_group(self.group, columns=[name]).column(0)
        merged: pa.Array = column.combine_chunks()
        # newer versions give a chunked array where one chunk cannot hold all strings
        return pa.concat_arrays(merged.chunks) if isinstance(merged, pa.ChunkedArray) else merged

    def kept(self) -> npt.NDArray[np.bool_]:
        """Which rows of the row group no filter has dropped."""
        if self._kept is None:
            kept = np.ones(self.file.metadata.row_group(self.group).num_rows, np.bool_)
            for name in self.verdicts:
                kept &= self._raw(name).is_null().to_numpy(zero_copy_only=False)
            self._kept = kept
        return self._kept

    @property
    def rows(self) -> int:
        return int(self.kept().sum())

    @property
    def left_out(self) -> int:
        return len(self.kept()) - self.rows

    def amounts(self, names: Sequence[str] = WEIGHTS) -> Amounts:
        """(documents, names) int64: what every document weighs. The text is read only where a weight needs it."""
        made = {"documents": lambda: np.ones(self.rows, np.int64), "bytes": self.bytes, "tokens": self.tokens}
        return np.stack([made[name]() for name in names], axis=1)

    def bytes(self) -> Sums:
        """UTF-8 bytes of every text, 0 for null."""
        size = pc.binary_length(self.column("text")).cast(pa.int64())
        found: Sums = size.fill_null(0).to_numpy(zero_copy_only=False)
        return found

    def tokens(self) -> Sums:
        """Tokens of every document, estimated from its bytes where `estimated` says so."""
        estimated = self.estimated()
        if not estimated.any():
            return self._counted()
        guess = np.rint(self.bytes() / BYTES_PER_TOKEN).astype(np.int64)
        return guess if estimated.all() else np.where(estimated, guess, self._counted())

    def estimated(self) -> npt.NDArray[np.bool_]:
        """Which documents have no `token_count`."""
        if "token_count" not in self.names:
            return np.ones(self.rows, np.bool_)
        found: npt.NDArray[np.bool_] = self.column("token_count").is_null().to_numpy(zero_copy_only=False)
        return found

    def _counted(self) -> Sums:
        counted = self.column("token_count").fill_null(0).cast(pa.int64())
        found: Sums = counted.to_numpy(zero_copy_only=False)
        return found


@dataclass(frozen=True)
class Published:
    """What the committed shards of a run have in `data/`. `run`: its `run.json`; `files`: paths or URLs, in order."""

    location: str
    run: Mapping[str, Any]
    files: tuple[str, ...]
    shards: int
    """Shards of the run; fewer files where it is not finished."""

    @classmethod
    def open(cls, location: str) -> Published:
        """ConfigError where there is no run, or no published document yet."""
        folder = RunFolder(location)
        run = folder.read_json("run.json")
        if run is None:
            raise ConfigError(f"{location} holds no run", why="there is no run.json", fix="check the path")
        directory = [phase["directory"] for phase in run["phases"] if not phase.get("step")][-1]
        found = [
            folder.path(file["path"])
            for _, manifest in folder.manifests(directory)
            for file in manifest["files"]
            if file["kind"] == "data" and file["path"].startswith("data/")
        ]
        if not found:
            raise ConfigError(
                f"{location} has no published documents",
                why="no shard has come to its end",
                fix="run the same command again to finish it; tokenmill status tells how far it is",
            )
        return cls(location, run, tuple(found), len(run["input"]["shards"]))

    @property
    def columns(self) -> Mapping[str, str]:
        """Published columns with their types, as `run.json` names them."""
        columns: Mapping[str, str] = self.run["columns"]
        return columns

    @cached_property
    def stages(self) -> tuple[tuple[str, Stage | None], ...]:
        """(label, stage) in the order of the recipe; None where its code is not here. No model is opened."""
        return tuple((entry["stage"], _stage(self.run["recipe"], entry)) for entry in self.run["stages"])

    def require(self, name: str, types: Collection[str], what: str) -> None:
        """ConfigError unless the run has published a column `name` of one of the types (as Arrow names them)."""
        if name not in self.columns:
            fits = [column for column, dtype in self.columns.items() if dtype in types]
            raise ConfigError(
                f"the run has no column {name!r}",
                where=self.location,
                why=did_you_mean(name, fits) if fits else f"no column of it can be a {what}",
                fix="put the stage that adds it in the recipe and run it again",
            )
        if self.columns[name] not in types:
            raise ConfigError(
                f"{name!r} is no {what}",
                where=self.location,
                why=f"it is a column of type {self.columns[name]}, not of {', '.join(sorted(types))}",
            )

    def deciders(self, column: str) -> dict[str, Mapping[str, Any]]:
        """Label -> settings of the filters that limit this very column (`column`, and `min_score` or `max_score`)."""
        settings = {entry["stage"]: entry.get("config") or {} for entry in self.run["stages"]}
        return {
            label: config
            for label, config in settings.items()
            if config.get("column") == column and ("min_score" in config or "max_score" in config)
        }

    def parts(self, without: Collection[str] = ()) -> Iterator[Part]:
        """All row groups in order; one can be read until the next is asked for.

        without: labels of filters whose verdicts do not count.
        """
        verdicts = [verdict_column(entry["stage"]) for entry in self.run["stages"] if entry["stage"] not in without]
        for path in self.files:
            with open_binary(path) as stream:
                file = pq.ParquetFile(stream)
                names = set(file.schema_arrow.names)
                for group in range(file.num_row_groups):
                    yield Part(file, group, names, [name for name in verdicts if name in names])


def _stage(recipe: str, entry: Mapping[str, Any]) -> Stage | None:
    try:
        (stage,) = Pipeline.from_json({"recipe": recipe, "stages": [entry]}).stages
    except ConfigError:  # code that is gone, or has changed: what the run has published can be asked all the same
        return None
    return stage
