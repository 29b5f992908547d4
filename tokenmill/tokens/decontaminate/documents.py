"""Documents of runs and of plain files, for the self-test and the report: streamed, some rows at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import SOURCE_ROWS
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs, open_binary, open_input
from tokenmill.io.jsonl import ReadJsonl, open_inflated
from tokenmill.io.parquet import ReadParquet

_COLUMNS = (
    "id",
    "url",
    "stage",
    "reason",
    "contamination",
    "contamination_share",
    "contamination_masked",
)


@dataclass(frozen=True)
class Documents:
    """Where documents lie: those that are kept, and those that a run has dropped."""

    kept: Sequence[InputShard]
    dropped: Sequence[InputShard]
    text_column: str = "text"
    searched: Mapping[str, Any] = field(default_factory=dict)
    """What the run has recorded of itself, where it has looked for benchmark items; {} otherwise."""

    def rows(self, *, dropped: bool = False) -> Iterator[list[Mapping[str, Any]]]:
        """Rows with `text` (None where it is gone) and what else is known of them, at most `SOURCE_ROWS` at once."""
        for shard in self.dropped if dropped else self.kept:
            if shard.path.endswith(".parquet"):
                yield from self._parquet(shard, "text" if dropped else self.text_column)
            else:
                yield from self._jsonl(shard)

    def _parquet(self, shard: InputShard, column: str) -> Iterator[list[Mapping[str, Any]]]:
        with open_input(shard) as stream:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            if column not in names:
                raise ConfigError(
                    f"{shard.name} has no column {column!r}",
                    where=shard.path,
                    why=f"its columns are {names}",
                    fix="name the column of the texts with --text-column",
                )
            wanted = [name for name in dict.fromkeys((column, *_COLUMNS)) if name in names]
            for batch in file.iter_batches(batch_size=SOURCE_ROWS, columns=wanted):
                yield [{**row, "text": row[column]} for row in batch.to_pylist()]

    def _jsonl(self, shard: InputShard) -> Iterator[list[Mapping[str, Any]]]:
        rows: list[Mapping[str, Any]] = []
        with open_inflated(shard) as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # as ReadJsonl, which counts it as malformed
                if isinstance(row, dict):
                    text = row.get(self.text_column)
                    good = text.encode("utf-8", "replace").decode() if isinstance(text, str) else None
                    rows.append({**row, "text": good})
                if len(rows) == SOURCE_ROWS:
                    yield rows
                    rows = []
        yield rows


def find_documents(location: str, text_column: str = "text") -> Documents:
    """The documents of a run's folder, or of a Parquet or JSON Lines file, folder or pattern.

    ConfigError where there are none.
    """
    root = location.rstrip("/")
    if is_run(location):
        dropped = _listed(f"{root}/dropped")
        return Documents(_listed(f"{root}/data"), dropped, searched=_recorded(root))
    return Documents(list_inputs(location, (".parquet", *ReadJsonl.suffixes)), (), text_column)


def is_run(location: str) -> bool:
    """Whether a location is the folder of a run: it has a `run.json`."""
    try:
        return bool(list_inputs(location.rstrip("/") + "/run.json", ()))
    except ConfigError:
        return False


def input_of(run: str) -> Documents | None:
    """The documents that a run has read, where these were tables of texts and are still there; else None."""
    try:
        recorded = _recorded(run)
        first = recorded["stages"][0]
        if first["stage"] not in (ReadParquet.name, ReadJsonl.name):
            return None
        suffixes = ReadParquet.suffixes if first["stage"] == ReadParquet.name else ReadJsonl.suffixes
        shards = list_inputs(recorded["input"]["location"], suffixes)
        return Documents(shards, (), str(first["config"]["text_column"]))
    except (OSError, ValueError, KeyError, IndexError, ConfigError):
        return None


def _recorded(run: str) -> Mapping[str, Any]:
    """The `run.json` of a run; {} where it cannot be read."""
    try:
        with open_binary(run.rstrip("/") + "/run.json") as stream:
            recorded = json.loads(stream.read())
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _listed(folder: str) -> Sequence[InputShard]:
    try:
        return list_inputs(folder, (".parquet",))
    except ConfigError:
        return ()
