"""Whether what the sources of a mixture hold can be one set: asked before any run is tokenized, which takes long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID, FINEWEB, PROVENANCE
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.mix.source import SourceSet
from tokenmill.tokens.mix.spec import Mixture
from tokenmill.tokens.mix.window import common_schema
from tokenmill.tokens.tokenizer import load_tokenizer
from tokenmill.tokens.tokenset import TokenizerInfo

_USUAL = FINEWEB.keys() | PROVENANCE.keys() | {DOC_ID}
"""Columns that documents have anyway, with types of their own."""


def check_together(mixture: Mixture, sets: Sequence[SourceSet], runs: Mapping[str, tuple[str, str]]) -> None:
    """ConfigError where ids would mean different things, tags clash, or the layout cannot hold the ids.

    sets: those that are there, compared with each other already. runs: source -> tokenizer, its EOS or "".
    """
    known = {one.key: one.tokens.manifest.tokenizer for one in sets[:1]}
    ends = not sets or sets[0].eos
    for source in mixture.sources:
        if source in runs:
            known[source] = _tokenizer(*runs[source], ends)
    if not known:
        return
    first, info = next(iter(known.items()))
    for other, found in known.items():
        _check_same(first, info, other, found)
    small = np.iinfo(np.uint16).max + 1
    dtype = np.dtype(sets[0].tokens.manifest.dtype if sets else "uint16" if info.vocab_size <= small else "uint32")
    about = ShardAbout(dtype, info.eos_id, info.vocab_size, Path(info.name).name)
    token_format(mixture.format).check(about, mixture.shard_tokens)
    common_schema([(one.key, one.schema) for one in sets] + [(name, _schema_of(mixture, name)) for name in runs])


def _schema_of(mixture: Mixture, name: str) -> pa.Schema:
    """Columns that a run brings along, of the types that they get when it is tokenized."""
    with open_input(list_inputs(mixture.sources[name].run, (".parquet",))[0]) as stream:
        found = tokenized(pq.ParquetFile(stream).schema_arrow)
    return pa.schema([field for field in found if field.name not in _USUAL and _goes_along(field.type)])


def tokenized(schema: pa.Schema) -> pa.Schema:
    """The columns of documents with the types that tags have behind `tokenmill tokenize`: float64 and text."""
    return pa.schema(
        [
            field if field.name in _USUAL or not _goes_along(field.type) else pa.field(field.name, _tag(field.type))
            for field in schema
        ]
    )


def as_tokenized(table: pa.Table) -> pa.Table:
    """The same of documents with their values."""
    schema = tokenized(table.schema)
    columns = [
        pc.if_else(column, "True", "False")
        if pa.types.is_boolean(column.type) and dtype == pa.string()
        # numbers above 2^53 lose their last digits, as they do on the way into a set
        else column.cast(dtype, safe=False)
        for column, dtype in zip(table.columns, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _goes_along(dtype: pa.DataType) -> bool:
    if pa.types.is_dictionary(dtype):
        return _goes_along(dtype.value_type)
    kinds = (
        pa.types.is_floating,
        pa.types.is_integer,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_boolean,
    )
    return any(kind(dtype) for kind in kinds)


def _tag(dtype: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_floating(dtype) or pa.types.is_integer(dtype) else pa.string()


def _tokenizer(name: str, eos: str, ends: bool) -> TokenizerInfo:
    """What the manifest of a run will say, once it is tokenized."""
    loaded = load_tokenizer(name, eos=eos or None)
    end = (loaded.eos_id, loaded.eos_token) if ends else (None, None)
    return TokenizerInfo(loaded.name, loaded.sha256, loaded.vocab_size, *end)


def _check_same(first: str, one: TokenizerInfo, other: str, two: TokenizerInfo) -> None:
    pairs = {"tokenizer": (one.sha256, two.sha256), "EOS": (one.eos_id, two.eos_id)}
    differ = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not differ:
        return
    told = "; ".join(f"{name} {str(a)[:16]} of {first}, {str(b)[:16]} of {other}" for name, (a, b) in differ.items())
    raise ConfigError(
        f"source {other} would be tokenized differently from {first} ({', '.join(differ)})",
        where=f"{one.name} and {two.name}",
        why=told,
        fix=f"leave `tokenizer` of sources.{other} out, so that it is that of the sets, or give all runs the same one",
    )
