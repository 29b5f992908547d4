"""The documents of two runs, joined: what each run has made of every one.

Files that both runs have read are joined one by one, so memory holds the documents of one input file. Documents of
files that only one of them has read are joined by record id (two runs of the same records under other names, or a run
over what an earlier one has published): they are spread over partitions on a local disk, by a hash of the id.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.io.annotated import ReadAnnotated
from tokenmill.io.filesystem import open_binary
from tokenmill.io.published import Place, PublishedFile, PublishedTables
from tokenmill.io.runfolder import RunFolder

KEPT = "kept"
QUARANTINE = " (quarantine)"
PARTITION_ROWS = 1 << 20
"""Documents of one partition, about, where documents are joined by id."""
MAX_PARTITIONS = 256
SIDE = pa.schema(
    [
        ("key", pa.string()),
        ("verdict", pa.string()),
        ("text", pa.uint64()),
        ("file", pa.int32()),
        ("row", pa.int64()),
    ]
)
"""Of one side: what joins it, what became of it, a hash of a kept text (0: not compared), where its row lies."""


class Joined(NamedTuple):
    """Documents of both runs (`a` and `b`: rows of the same length), and those that only one of them has."""

    a: pa.Table
    b: pa.Table
    only_a: pa.Table
    only_b: pa.Table


class Side:
    """One of the two runs."""

    def __init__(self, location: str) -> None:
        """ConfigError where the folder holds no finished run."""
        self.published = PublishedTables(RunFolder(location))
        self.run = self.published.run
        self.location = location
        last = [phase for phase in self.run["phases"] if not phase.get("step")][-1]
        self._last = last["directory"]
        if not self.published.folder.exists(f"phases/{self._last}/_SUCCESS.json"):
            raise ConfigError(
                f"the run in {location} is not finished",
                why=f"phase {self._last} is not complete",
                fix="run its command again to finish it; tokenmill status tells how far it is",
            )
        self._files: list[PublishedFile] = []
        self.slugs: dict[str, list[str]] = {}
        for shard in self.run["input"]["shards"]:
            self.slugs.setdefault(shard["name"], []).append(shard["output"])
        self.has_texts = "text" in self.run["columns"]

    def data_digests(self, name: str) -> list[str]:
        """SHA-256 of the published documents of an input file."""
        found = []
        for slug in self.slugs[name]:
            manifest = self.published.folder.manifest(self._last, slug)
            files = manifest["files"] if manifest else ()
            found += [file["sha256"] for file in files if file["kind"] == "data"]
        return found

    def documents(self, name: str, *, texts: bool, by_id: bool = False) -> Iterator[pa.Table]:
        """Tables of `SIDE` of all listed documents of an input file. by_id: the key is the record id alone."""
        for slug in self.slugs[name]:
            for file in self.published.files(slug):
                number = len(self._files)
                self._files.append(file)
                yield from _read(file, number, self.published.verdicts, texts=texts, by_id=by_id)

    def row(self, file: int, row: int, columns: Sequence[str]) -> dict[str, Any]:
        """Columns of a document by its place."""
        found = self._files[file]
        with open_binary(found.path) as stream:
            metadata = pq.ParquetFile(stream).metadata
            group = 0
            while row >= metadata.row_group(group).num_rows:
                row -= metadata.row_group(group).num_rows
                group += 1
        return self.published.row(Place(found, group, row, ""), columns)


def _read(file: PublishedFile, number: int, verdicts: Sequence[str], *, texts: bool, by_id: bool) -> Iterator[pa.Table]:
    columns = [DOC_ID, "id", "warc_offset", "file_path"]
    columns += {"data": [*verdicts, *(["text"] if texts else [])], "dropped": ["stage", "reason"]}.get(
        file.kind, ["stage", "cause"]
    )
    with open_binary(file.path) as stream:
        parquet = pq.ParquetFile(stream)
        names = [name for name in columns if name in parquet.schema_arrow.names]
        first = 0
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=names).combine_chunks()
            verdict = _verdicts(table, file.kind, verdicts)
            hashes = np.zeros(table.num_rows, np.uint64)
            if texts and file.kind == "data" and "text" in names:
                hashes = text_hashes(table.column("text"), pc.equal(verdict, KEPT).to_numpy())
            arrays = [
                _keys(table, by_id=by_id),
                verdict,
                pa.array(hashes),
                pa.array(np.full(table.num_rows, number, np.int32)),
                pa.array(np.arange(first, first + table.num_rows)),
            ]
            first += table.num_rows
            yield pa.Table.from_arrays(arrays, schema=SIDE)


def _verdicts(table: pa.Table, kind: str, columns: Sequence[str]) -> pa.ChunkedArray:
    """`kept`, or `<stage>.<reason>` of the first stage that drops it."""
    if kind == "data":
        kept = pa.chunked_array([pa.array([KEPT] * table.num_rows, pa.string())])
        told = [
            pc.binary_join_element_wise(name.removesuffix("_verdict"), table.column(name).cast(pa.string()), ".")
            for name in columns
            if name in table.column_names
        ]
        return pc.coalesce(*told, kept)
    stage, reason = table.column("stage"), table.column("reason" if kind == "dropped" else "cause")
    joined = pc.binary_join_element_wise(stage, pc.fill_null(reason, ""), ".")
    if kind == "quarantine":
        return pc.binary_join_element_wise(joined, QUARANTINE, "")
    return pc.replace_substring_regex(joined, f"^{ReadAnnotated.name}\\.", "")  # what the annotated run had ended


def _keys(table: pa.Table, *, by_id: bool) -> pa.ChunkedArray:
    """What tells documents of one input file apart and is in all tables: offset and record id, or the best there is."""
    nothing = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    ids = table.column("id") if "id" in table.column_names else nothing
    ids = pc.if_else(pc.equal(pc.fill_null(ids, ""), ""), None, ids)
    names = table.column(DOC_ID) if DOC_ID in table.column_names else nothing
    if by_id:
        return pc.fill_null(pc.coalesce(ids, names), "")
    if "warc_offset" in table.column_names:
        offsets = pc.binary_join_element_wise(table.column("warc_offset").cast(pa.string()), pc.fill_null(ids, ""), " ")
        return pc.fill_null(pc.coalesce(offsets, ids, names), "")
    return pc.fill_null(pc.coalesce(ids, names), "")


def text_hashes(texts: pa.ChunkedArray, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """A 64-bit BLAKE2b of each text that is wanted, never 0 then; 0 for the others."""
    found = np.zeros(len(texts), np.uint64)
    for row in np.flatnonzero(wanted).tolist():
        buffer = texts[row].as_buffer()
        digest = hashlib.blake2b(buffer if buffer is not None else b"", digest_size=8).digest()
        found[row] = int.from_bytes(digest, "little") or 1
    return found


def joined_documents(a: Side, b: Side) -> Iterator[Joined]:
    """All listed documents of both runs, an input file (or partition) at a time."""
    both = [name for name in a.slugs if name in b.slugs]
    for name in both:
        # the same files have the same texts
        texts = a.has_texts and b.has_texts and a.data_digests(name) != b.data_digests(name)
        yield join(_table(a.documents(name, texts=texts)), _table(b.documents(name, texts=texts)))
    rest = [[name for name in side.slugs if name not in both] for side in (a, b)]
    if all(rest):
        yield from _by_id(a, b, rest)
        return
    for side, names in ((a, rest[0]), (b, rest[1])):
        for name in names:
            table, nothing = _table(side.documents(name, texts=False)), SIDE.empty_table()
            one = (table, nothing) if side is a else (nothing, table)
            yield Joined(nothing, nothing, *one)


def _table(parts: Iterator[pa.Table]) -> pa.Table:
    found = list(parts)
    return pa.concat_tables(found).combine_chunks() if found else SIDE.empty_table()


def join(a: pa.Table, b: pa.Table) -> Joined:
    """Rows with the same key side by side. A key that comes several times is joined in order."""
    a, b = _numbered(a), _numbered(b)
    places = pc.index_in(a.column("key"), value_set=b.column("key").combine_chunks())
    there = places.is_valid()
    mine = pc.is_in(b.column("key"), value_set=a.column("key").combine_chunks())
    return Joined(a.filter(there), b.take(places.drop_null()), a.filter(pc.invert(there)), b.filter(pc.invert(mine)))


def _numbered(table: pa.Table) -> pa.Table:
    keys = table.column("key")
    if pc.count_distinct(keys).as_py() == len(keys):
        return table
    seen: Counter[str] = Counter()
    named = []
    for key in keys.to_pylist():
        named.append(f"{key} ({seen[key]})" if seen[key] else key)
        seen[key] += 1
    return table.set_column(0, "key", pa.array(named, pa.string()))


def _by_id(a: Side, b: Side, rest: Sequence[Sequence[str]]) -> Iterator[Joined]:
    """Documents of files with other names, joined by record id, a partition at a time."""
    texts = a.has_texts and b.has_texts
    count = max(_rows(side, names) for side, names in zip((a, b), rest, strict=True)) // PARTITION_ROWS
    count = min(1 + count, MAX_PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="tokenmill-diff-") as name:
        folder = Path(name)
        for side, names in zip((a, b), rest, strict=True):
            with ExitStack() as stack:
                paths = [str(folder / f"{'a' if side is a else 'b'}-{number}") for number in range(count)]
                writers = [stack.enter_context(pa.ipc.new_file(path, SIDE)) for path in paths]
                for file in names:
                    for table in side.documents(file, texts=texts, by_id=True):
                        numbers = _partitions(table.column("key"), count)
                        for number in np.unique(numbers).tolist():
                            writers[number].write_table(table.filter(pa.array(numbers == number)))
        for number in range(count):
            yield join(*(_spilled(folder / f"{side}-{number}") for side in "ab"))


def _spilled(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as stream, pa.ipc.open_file(stream) as reader:
        return reader.read_all().combine_chunks()


def _partitions(keys: pa.ChunkedArray, count: int) -> npt.NDArray[np.int64]:
    digests = (hashlib.blake2b(key.encode(), digest_size=4).digest() for key in keys.to_pylist())
    return np.array([int.from_bytes(digest, "little") % count for digest in digests], np.int64)


def _rows(side: Side, names: Sequence[str]) -> int:
    wanted = {slug for name in names for slug in side.slugs[name]}
    rows = 0
    for phase in side.run["phases"]:
        if not phase.get("step"):
            for slug in wanted:
                manifest: Mapping[str, Any] = side.published.folder.manifest(phase["directory"], slug) or {"files": ()}
                rows += sum(file["rows"] for file in manifest["files"] if not file["path"].startswith("phases/"))
    return rows
