"""The rows of the input of a labelling: their ids and strata first, without the texts, then a few rows with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.classifiers.corpus.rows import is_run, read_batches, read_rows, reading, valid_text
from tokenmill.classifiers.published import Published
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import verdict_column
from tokenmill.core.stage import InputShard
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.runfolder import RunFolder

_ID = "id"
_SUFFIXES = (".parquet", *ReadJsonl.suffixes)


@dataclass(frozen=True, slots=True)
class Head:
    """What the first pass knows of a usable row."""

    file: int
    """Place of its file in `Input.files`."""
    row: int
    """Number of the row in its file, from 0."""
    id: str
    stratum: Any
    """Value of the column of the strata; None without one."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """Files, and where a document stands in a row."""

    files: Sequence[InputShard]
    verdicts: Sequence[str] = ()
    """Columns with verdicts of filters, of a run in annotate mode: a row that has one is left out."""
    id_column: str
    text_column: str
    stratum_column: str | None
    min_chars: int

    @classmethod
    def open(cls, location: str, **columns: Any) -> Input:
        """A run (its published documents), or Parquet and JSON Lines. ConfigError where there is none."""
        if not is_run(location):
            return cls(files=list_inputs(location, _SUFFIXES), **columns)
        run = Published.open(location)
        root = RunFolder(location).path("data/")
        files = [InputShard(path=path, name=path.removeprefix(root), size=0, etag="") for path in run.files]
        verdicts = [verdict_column(entry["stage"]) for entry in run.run["stages"]]
        return cls(files=files, verdicts=verdicts, **columns)

    def heads(self, skipped: Counter[str]) -> Iterator[Head]:
        """All usable rows in order. skipped: counts the others, as malformed, too_short, filtered."""
        for place, shard in enumerate(self.files):
            parquet = shard.name.endswith(".parquet")
            with reading(shard):
                for number, row in self._of_parquet(shard, skipped) if parquet else self._of_lines(shard, skipped):
                    stratum = None if self.stratum_column is None else row.get(self.stratum_column)
                    yield Head(place, number, self._id(shard, number, row), stratum)

    def fetch(self, file: int, numbers: Sequence[int]) -> Iterator[tuple[int, str, str, str]]:
        """(number, id, url, text) of rows of a file; numbers: rising. Fewer where the file has changed."""
        shard = self.files[file]
        needed = self._needed() if shard.name.endswith(".parquet") else ()
        rows = read_rows(shard, needed, (self.id_column, "url"), numbers)
        for number, row in zip(numbers, rows, strict=False):
            text, url = (row or {}).get(self.text_column), (row or {}).get("url")
            if row is not None and isinstance(text, str):
                yield number, self._id(shard, number, row), _plain(url), valid_text(text)

    def doc_id(self, file: int, number: int) -> str:
        """`<file>#<row>`."""
        return f"{self.files[file].name}#{number}"

    def _id(self, shard: InputShard, number: int, row: dict[str, Any]) -> str:
        given = row.get(self.id_column)
        return f"{shard.name}#{number}" if given in (None, "") else valid_text(str(given))

    def _needed(self) -> list[str]:
        """Columns that a table must have: an id only if it was named."""
        named = [self.id_column] if self.id_column != _ID else []
        return [self.text_column, *named, *([self.stratum_column] if self.stratum_column else [])]

    def _of_parquet(self, shard: InputShard, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Usable rows without their texts, which stay in Arrow: they are most of the bytes."""
        needed = self._needed()
        for start, batch in read_batches(shard, needed, (self.id_column, *self.verdicts)):
            for name in set(needed) - set(batch.schema.names):
                raise ConfigError(f"there is no column {name!r}", where=shard.path, why="fields are no columns here")
            kept = np.ones(batch.num_rows, np.bool_)
            for name in self.verdicts:
                if name in batch.schema.names:
                    kept &= batch.column(name).is_null().to_numpy(zero_copy_only=False)
            long_enough = self._long_enough(batch.column(self.text_column))
            for reason, count in (("filtered", int((~kept).sum())), ("too_short", int((kept & ~long_enough).sum()))):
                if count:
                    skipped[reason] += count
            usable = np.flatnonzero(kept & long_enough)
            names = [name for name in batch.schema.names if name in (self.id_column, self.stratum_column)]
            rows = batch.select(names).take(pa.array(usable)).to_pylist() if names else [{}] * len(usable)
            yield from ((start + int(place), row) for place, row in zip(usable, rows, strict=True))

    def _of_lines(self, shard: InputShard, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(read_rows(shard, ())):  # an object may lack any key
            if row is None:
                skipped["malformed"] += 1
                continue
            text = row.get(self.text_column)
            if not isinstance(text, str) or len(text) < self.min_chars or not text.strip():
                skipped["too_short"] += 1
                continue
            yield number, row

    def _long_enough(self, texts: pa.Array) -> npt.NDArray[np.bool_]:
        """Which texts have `min_chars` characters, and one that is no space; none where they are no strings."""
        if isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_decode()
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            return np.zeros(len(texts), np.bool_)
        enough = pc.and_(
            pc.greater_equal(pc.utf8_length(texts), self.min_chars),
            pc.greater(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0),
        )
        found: npt.NDArray[np.bool_] = enough.fill_null(False).to_numpy(zero_copy_only=False)
        return found


def _plain(value: Any) -> str:
    return valid_text(value) if isinstance(value, str) else ""
