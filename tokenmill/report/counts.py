"""What the published documents are, counted from a few columns of the committed data files.

One pass, file by file, over columns that are small on disk; texts are not read. Memory does not grow with the
documents: of values that anybody may have invented at most `MAX_VALUES` are told apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.io.filesystem import open_binary
from tokenmill.io.push_files import committed_files
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.licenses import license_family, signal_families

MAX_VALUES = 10_000
"""Most distinct values of a column that are counted one by one."""
MAX_FILES_BY_VALUE = 2_000
"""Most data files that are told apart by the value of a column that all their rows share."""
OTHERS = "(others)"
"""Where values are counted that come after `MAX_VALUES` others."""
_BATCH_ROWS = 16_384

_GROUPS = ("dump", "language")
_NOTICES = ("robots", "license")


@dataclass
class DataCounts:
    """Counts over the committed data files of a run."""

    files: list[Mapping[str, Any]] = field(default_factory=list)
    """Entries of the manifests: path, rows, bytes, sha256; in order of path."""
    schema: pa.Schema | None = None
    uncompressed: int = 0
    """Bytes of the columns before compression, as the footers say."""
    groups: dict[str, Counter[str | None]] = field(default_factory=dict)
    """Documents by `dump` and by `language`, where there are such columns."""
    files_by: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """Column -> value -> data files, where every file has one value only."""
    sums: Counter[str] = field(default_factory=Counter)
    """Sums of `token_count` and the `pii_` columns."""
    touched: Counter[str] = field(default_factory=Counter)
    """Documents with a number above 0 in these columns."""
    tokenized: int = 0
    """Documents whose `token_count` is known."""
    signals: Counter[str] = field(default_factory=Counter)
    """Documents by what their pages said against some use, as `opt_out` reads it: `noai`, `gptbot:noindex`."""
    licenses: Counter[str] = field(default_factory=Counter)
    """Documents by family of the licence that the page links to."""

    @property
    def rows(self) -> int:
        return sum(entry["rows"] for entry in self.files)

    @property
    def stored(self) -> int:
        """Bytes of the data files."""
        return sum(entry["bytes"] for entry in self.files)

    def checksums(self) -> str:
        """Lines of `sha256sum --check` for the data files."""
        return checksums(self.files)

    def digest(self) -> str:
        """SHA-256 of `checksums()`: one digest for all data files."""
        return hashlib.sha256(self.checksums().encode()).hexdigest()


def checksums(files: Iterable[Mapping[str, Any]]) -> str:
    """Lines of `sha256sum --check` for entries of manifests."""
    return "".join(f"{entry['sha256']}  {entry['path']}\n" for entry in files)


def data_files(folder: RunFolder) -> list[Mapping[str, Any]]:
    """Those of `data/`, in order of path."""
    found = {entry["path"]: entry for entry in committed_files(folder) if entry["path"].startswith("data/")}
    return [found[path] for path in sorted(found)]


def count_data(folder: RunFolder) -> DataCounts:
    """Count what is in the data files. OSError where one of them cannot be read."""
    counts = DataCounts(files=data_files(folder))
    single: dict[str, dict[str, list[str]] | None] = {name: {} for name in _GROUPS}
    if len(counts.files) > MAX_FILES_BY_VALUE:
        single = dict.fromkeys(_GROUPS)
    for entry in counts.files:
        if not entry["path"].endswith(".parquet"):
            continue
        with open_binary(folder.path(entry["path"])) as stream:
            met = _count_file(pq.ParquetFile(stream), counts)
        for name, files in single.items():
            values = met.get(name, set())
            if files is None or not entry["rows"]:
                continue
            if len(values) == 1 and None not in values:
                files.setdefault(str(next(iter(values))), []).append(entry["path"])
            else:
                single[name] = None
    counts.files_by = {name: files for name, files in single.items() if files}
    return counts


def _count_file(file: pq.ParquetFile, counts: DataCounts) -> dict[str, set[str | None]]:
    """Add one file to the counts. Returns the values of the grouping columns that it has, two of each at most."""
    schema = file.schema_arrow
    counts.schema = counts.schema or schema
    counts.uncompressed += sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    texts = [name for name in (*_GROUPS, *_NOTICES) if name in schema.names and _is_text(schema.field(name).type)]
    numbers = [
        name
        for name in schema.names
        if (name == "token_count" or name.startswith("pii_")) and pa.types.is_integer(schema.field(name).type)
    ]
    met: dict[str, set[str | None]] = {name: set() for name in _GROUPS if name in texts}
    if not texts and not numbers:
        return met
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[*texts, *numbers]):
        for name in texts:
            _count_texts(name, batch.column(name), counts, met)
        for name in numbers:
            column = batch.column(name)
            counts.sums[name] += pc.sum(column).as_py() or 0
            counts.touched[name] += pc.sum(pc.greater(column, 0)).as_py() or 0
            if name == "token_count":
                counts.tokenized += len(column) - column.null_count
    return met


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _count_texts(name: str, column: pa.Array, counts: DataCounts, met: dict[str, set[str | None]]) -> None:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    for value, number in ((item["values"], item["counts"]) for item in column.value_counts().to_pylist()):
        if name == "robots":
            for signal in signal_families(value) if value else ():
                counts.signals[signal] += number
        elif name == "license":
            if value:
                counts.licenses[license_family(value)] += number
        else:
            group = counts.groups.setdefault(name, Counter())
            known = value in group or len(group) < MAX_VALUES
            group[value if known else OTHERS] += number
            if len(met[name]) < 2:
                met[name].add(value)
