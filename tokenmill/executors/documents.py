"""Where the documents of a finished run, or of files, lie, and what reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.schema import DOC_ID, FINEWEB, INTERNAL, PROVENANCE
from tokenmill.core.stage import InputShard, Source
from tokenmill.executors.runspec import RUN_JSON
from tokenmill.executors.steps import SUCCESS_JSON
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.io.jsonl import ReadJsonl, first_keys, scalar_keys
from tokenmill.io.parquet import ReadParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.write import RESERVED

SYNTHETIC = "synthetic"
"""Column that says whether a model has worded a document: it goes along wherever documents go."""
_CARRIED = FINEWEB.keys() | PROVENANCE.keys() | {DOC_ID}
_NOT_CARRIED = RESERVED | INTERNAL.keys()
"""Names of columns that mean something else on the way."""


def documents_of(
    location: str, tags: Sequence[str] | None = None, *, text_column: str = "text", id_column: str = "id"
) -> tuple[str, list[InputShard], Source]:
    """(where, which files, what reads them) for documents: those of a finished run, or of files.

    tags: columns that are carried along besides the usual ones; None: all numbers and texts of the first file.
    text_column, id_column: those of files. ConfigError where a run is not finished or annotated, or where there are no
    documents.
    """
    run = RunFolder(location).read_json(RUN_JSON) if not _is_file(location) else None
    if run is not None:
        _check_finished(RunFolder(location), run)
        location = RunFolder(location).path("data")
    inputs = list_inputs(location, (*ReadParquet.suffixes, *ReadJsonl.suffixes))
    endings = {ending for ending in (".parquet", ".json") for shard in inputs if _is_kind(shard.name, ending)}
    if len(endings) != 1:
        raise ConfigError(
            f"{location} holds files of {len(endings)} kinds",
            why="documents are Parquet or JSON Lines, and not both",
            fix="give a pattern, such as 'folder/*.parquet'",
        )
    if endings == {".json"}:
        source: ReadJsonl | ReadParquet = _jsonl_reader(inputs[0], tags)
    else:
        source = _reader(inputs[0], tags)
    return location, inputs, replace(source, text_column=text_column, id_column=id_column)


def check_columns(
    inputs: Sequence[InputShard], source: Source, *, named: Collection[str] = (), where: str = ""
) -> bool:
    """Whether all files of documents have the column of ids that `source` reads.

    Looks at the schema of every Parquet file, and at the first objects of files of JSON Lines.
    named: "text_column", "id_column" where somebody has asked for them. where: what errors name. ConfigError where a
    Parquet file, or all of JSON Lines, have no text, and where a file lacks the column of ids that was asked for.
    """
    assert isinstance(source, ReadParquet | ReadJsonl)
    text, identity = source.text_column, source.id_column
    ids, looked, missing = True, 0, list[ConfigError]()
    for shard in inputs:
        names = _names(shard, source)
        if not names and isinstance(source, ReadJsonl):
            continue  # no object, or damaged: the run says so
        looked += 1
        if text not in names:
            missing.append(_no_column("text_column", text, shard, names, where))
        if missing and isinstance(source, ReadParquet):
            raise missing[0]
        if identity not in names and "id_column" in named:
            raise _no_column("id_column", identity, shard, names, where)
        ids = ids and identity in names
    if missing and len(missing) == looked:
        raise missing[0]
    return ids


def _names(shard: InputShard, source: ReadParquet | ReadJsonl) -> list[str]:
    """The columns of a file, or the keys of its first objects."""
    if isinstance(source, ReadParquet):
        return list(_schema(shard).names)
    try:
        return first_keys(shard, {source.text_column, source.id_column})
    except (OSError, EOFError):
        return []


def _no_column(setting: str, name: str, shard: InputShard, names: Sequence[str], where: str) -> ConfigError:
    known = did_you_mean(name, names)
    return ConfigError(f"{shard.name} has no column {name!r}", where=where, why=known, fix=f"{setting}: NAME")


def _schema(shard: InputShard) -> pa.Schema:
    with open_input(shard) as stream:
        try:
            return pq.ParquetFile(stream).schema_arrow
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"{shard.name} cannot be read as Parquet",
                where=shard.path,
                why=str(error),
                fix="replace the file, or give a pattern that leaves it out",
            ) from error


def _is_file(location: str) -> bool:
    return "://" not in location and not Path(location).is_dir()


def _is_kind(name: str, ending: str) -> bool:
    return name.endswith(".parquet") == (ending == ".parquet")


def _check_finished(folder: RunFolder, run: Mapping[str, Any]) -> None:
    if run["mode"] == "annotate":
        raise ConfigError(
            f"{folder.location} is an annotated run: nothing has been dropped from it",
            fix="tokenmill refilter makes filtered data of it; to tokenize everything, give its data/ folder",
        )
    for phase in run["phases"]:
        if not folder.exists(f"phases/{phase['directory']}/{SUCCESS_JSON}"):
            raise ConfigError(
                f"the run in {folder.location} is not finished",
                why=f"phase {phase['directory']} is not complete",
                fix="run its command again; or give its data/ folder to take what is there",
            )


def _reader(shard: InputShard, tags: Sequence[str] | None) -> ReadParquet:
    """ReadParquet with the columns that the first file has."""
    schema = _schema(shard)
    further = {name: schema.field(name).type for name in schema.names if name not in _CARRIED}
    if tags is None:  # what cannot go along stays behind
        further = {name: dtype for name, dtype in further.items() if name not in _NOT_CARRIED}
    else:
        for name in tags:
            _check_tag(name, schema, shard.name)
        further = {name: dtype for name, dtype in further.items() if name in tags or name == SYNTHETIC}
    numbers = [name for name, dtype in further.items() if _is_number(dtype)]
    texts = [name for name, dtype in further.items() if _is_text(dtype)]
    return ReadParquet(signals=tuple(numbers), tags=tuple(texts))


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype) or pa.types.is_integer(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        return _is_text(dtype.value_type)
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_boolean(dtype))


def _check_tag(name: str, schema: pa.Schema, where: str) -> None:
    """Whether a column that was asked for can go along. ConfigError otherwise."""
    if name not in schema.names:
        raise ConfigError(f"{where} has no column {name!r}", why=did_you_mean(name, schema.names))
    dtype = schema.field(name).type
    if name in _NOT_CARRIED or not (name in _CARRIED or _is_number(dtype) or _is_text(dtype)):
        why = "its name means something else here" if name in _NOT_CARRIED else f"it is of type {dtype}"
        raise ConfigError(
            f"the column {name!r} of {where} cannot go along with the tokens",
            why=why,
            fix="tags are columns of numbers or text, of other names than those of the tables of documents",
        )


def _jsonl_reader(shard: InputShard, tags: Sequence[str] | None) -> ReadJsonl:
    """ReadJsonl with the keys that the first objects have, numbers as numbers; `tags` may come later in the files."""
    try:
        numbers, texts = scalar_keys(shard)
    except (OSError, EOFError):
        numbers, texts = (), ()  # the run says what is wrong with the file
    for name in tags or ():
        if name in _NOT_CARRIED:
            _check_tag(name, pa.schema([(name, pa.string())]), shard.name)
    marks = [name for name in (*numbers, *texts) if name == SYNTHETIC]
    known = dict.fromkeys((*numbers, *texts) if tags is None else (*tags, *marks))
    wanted = [name for name in known if name and name not in _CARRIED and name not in _NOT_CARRIED]
    return ReadJsonl(
        signals=tuple(name for name in wanted if name in numbers),
        tags=tuple(name for name in wanted if name not in numbers),
    )
