"""A token set: shards of token ids with a table of documents for each, and the manifest that says what they are.

    <folder>/tokens/manifest.json            `SetManifest`
    <folder>/tokens/tokenizer.json           the tokenizer, as it was used
    <folder>/tokens/00000.ds, ...            files of the layout (`tokens/formats`)
    <folder>/tokens/00000.documents.parquet  one row per document, in the order of the shard

Everything that reads tokens (mixtures, packing, the loader, `origin`) goes through this.
"""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.io.stores import protocol_of, shown

MANIFEST_JSON = "manifest.json"
TOKENIZER_JSON = "tokenizer.json"
TOKENS_FOLDER = "tokens"
DOCUMENTS_SUFFIX = ".documents.parquet"
ID_TYPES = ("uint16", "uint32")
_FORMAT = 1
_MOST = 2**63 - 1

DOCUMENT_COLUMNS: dict[str, pa.DataType] = {
    "token_start": pa.int64(),
    "token_count": pa.int64(),
    "doc_id": pa.string(),
    "id": pa.string(),
    "url": pa.string(),
    "dump": pa.string(),
    "date": pa.string(),
    "file_path": pa.string(),
    "warc_offset": pa.int64(),
    "warc_length": pa.int64(),
    "language": pa.string(),
}
"""Columns of every table of documents; tags (topic, domain, scores) follow, and in mixtures `source` and `epoch`.

`token_start` is the position of a document's first token among the ids of its shard, `token_count` counts its tokens
without EOS (which follows at `token_start + token_count` where the set has EOS).
"""


@dataclass(frozen=True)
class TokenizerInfo:
    """The tokenizer of a set."""

    name: str
    sha256: str
    """Of its canonical `tokenizer.json`, which lies beside the shards."""
    vocab_size: int
    """Ids run from 0 to vocab_size - 1, added tokens included."""
    eos_id: int | None
    eos_token: str | None


@dataclass(frozen=True)
class ShardEntry:
    """A shard in the manifest."""

    name: str
    documents: int
    tokens: int
    """EOS included: the length of the array of ids."""
    files: Mapping[str, Mapping[str, Any]]
    """Kind -> {path (below `tokens/`), bytes, sha256}; "documents" is the table."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More about the shard, such as the stage of a mixture that it belongs to."""


@dataclass(frozen=True)
class SetManifest:
    """What `tokens/manifest.json` says."""

    layout: str
    """Name of the format."""
    dtype: str
    """uint16 or uint32; little endian."""
    offset: int
    """Bytes before the first id in each file "tokens"."""
    tokenizer: TokenizerInfo
    documents: int
    tokens: int
    """EOS included."""
    shards: Sequence[ShardEntry]
    order: Mapping[str, Any] = field(default_factory=dict)
    """{"shuffled": bool, "seed": int}."""
    made_from: Sequence[Mapping[str, Any]] = ()
    """Where the documents lie: {"run" or "input", ...}, for `tokenmill origin`."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other facts: the mixture, versions of libraries."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the number of the format."""
        about = {key: value for key, value in vars(self).items() if key not in ("tokenizer", "shards")}
        return {
            "format": _FORMAT,
            **about,
            "made_from": list(self.made_from),
            "tokenizer": vars(self.tokenizer),
            "shards": [vars(shard) for shard in self.shards],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "") -> SetManifest:
        """The manifest that `to_json` described; ConfigError where it is another thing.

        A set may come from anywhere: what is read here has the types of the fields, and names files of its own folder.
        """
        if data.get("format") != _FORMAT:
            raise ConfigError(
                f"{where or MANIFEST_JSON} is no manifest of a token set of this version",
                why=f"its format is {data.get('format')!r}, this tokenmill reads {_FORMAT}",
                fix="tokenize again, or use the tokenmill that made it",
            )
        rest = {key: value for key, value in data.items() if key not in ("format", "tokenizer", "shards")}
        try:
            made = cls(
                **rest,
                tokenizer=TokenizerInfo(**data["tokenizer"]),
                shards=tuple(ShardEntry(**shard) for shard in data["shards"]),
            )
        except (KeyError, TypeError) as error:
            raise _damaged(where, repr(error)) from error
        wrong = next(_wrong_values(made), None)
        if wrong is not None:
            raise _damaged(where, wrong)
        return made


def _wrong_values(made: SetManifest) -> Iterator[str]:
    """What in a manifest has another type than it should, or leads out of the folder of the set."""
    yield from _wrong_fields(made, "", texts=("layout", "dtype"), counts=("documents", "tokens"))
    if not _is_number(made.offset):
        yield f"offset is {made.offset!r}, not a number"
    yield from _wrong_fields(made.tokenizer, "tokenizer: ", texts=("name", "sha256"), counts=("vocab_size",))
    eos_id, eos_token = made.tokenizer.eos_id, made.tokenizer.eos_token
    if not (eos_id is None or _is_number(eos_id)) or not (eos_token is None or isinstance(eos_token, str)):
        yield f"tokenizer: EOS is {eos_token!r} with the id {eos_id!r}"
    for name in ("order", "more"):
        if not isinstance(getattr(made, name), Mapping):
            yield f"{name} is {getattr(made, name)!r}, not an object"
    if not isinstance(made.made_from, list | tuple) or not all(isinstance(one, Mapping) for one in made.made_from):
        yield f"made_from is {made.made_from!r}, not a list of objects"
    for number, shard in enumerate(made.shards):
        at = f"shard {number}: "
        yield from _wrong_fields(shard, at, texts=("name",), counts=("documents", "tokens"))
        if not all(isinstance(getattr(shard, name), Mapping) for name in ("files", "facts")):
            yield f"{at}its files and facts are not objects"
            continue
        for kind, file in shard.files.items():
            yield from _wrong_file(file, f"{at}the file {kind!r}")
        lost = [kind for kind in ("tokens", "documents") if "bytes" not in shard.files.get(kind, {})]
        if made.offset >= 0 and lost:
            yield f"{at}it does not say where the file {lost[0]!r} is, and its bytes"


def _wrong_fields(one: object, at: str, *, texts: Sequence[str], counts: Sequence[str]) -> Iterator[str]:
    for name in texts:
        if not isinstance(getattr(one, name), str):
            yield f"{at}{name} is {getattr(one, name)!r}, not a text"
    for name in counts:
        value = getattr(one, name)
        if not _is_number(value) or value < 0:
            yield f"{at}{name} is {value!r}, not a number from 0 on"


def _wrong_file(file: object, at: str) -> Iterator[str]:
    if not isinstance(file, Mapping) or not isinstance(file.get("path"), str):
        yield f"{at} has no path"
        return
    if not _is_plain(file["path"]):
        yield f"{at} is {file['path']!r}, which is not the plain name of a file in the folder of the set"
    if not _is_number(file.get("bytes", 0)) or file.get("bytes", 0) < 0 or not isinstance(file.get("sha256", ""), str):
        yield f"{at} has bytes {file.get('bytes')!r} and sha256 {file.get('sha256')!r}"


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST


def _is_plain(name: str) -> bool:
    """Whether it names a file in a folder, and cannot name anything outside of it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _damaged(where: str, why: str) -> ConfigError:
    return ConfigError(
        f"{where or MANIFEST_JSON} is damaged", why=why, fix="copy the set again, or run its command again"
    )


def check_regular(path: Path) -> int:
    """The bytes of a regular file. OSError where it is none: devices and pipes may have no end, or wait for ever."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return about.st_size


def local_path(location: str | Path) -> Path:
    """Where a set lies on a local disk. ConfigError for object stores and the like, where sets are not read."""
    text = str(location)
    if protocol_of(text) != "file":
        raise ConfigError(
            f"{shown(text)} is not on a local disk",
            why="token sets are mapped into memory, so they are read from a local disk",
            fix="copy the set to a disk first, and give the folder of the copy",
        )
    return Path(text.removeprefix("file://"))


class TokenShard:
    """One shard, mapped into memory when it is looked at."""

    def __init__(self, folder: Path, entry: ShardEntry, manifest: SetManifest) -> None:
        self.name = entry.name
        self.entry = entry
        self.tokens = entry.tokens
        """EOS included."""
        self.documents_count = entry.documents
        self._folder = folder
        self._manifest = manifest

    @property
    def path(self) -> Path:
        """The file that holds the ids."""
        return self._folder / str(self.entry.files["tokens"]["path"])

    @property
    def documents_path(self) -> Path:
        """The table of documents."""
        return self._folder / str(self.entry.files["documents"]["path"])

    @cached_property
    def ids(self) -> npt.NDArray[Any]:
        """All ids, 1-D, uint16 or uint32, read-only and mapped. ShardError where the file is cut or gone."""
        dtype = np.dtype(self._manifest.dtype).newbyteorder("<")
        if self.tokens == 0:
            return np.empty(0, dtype)
        try:
            check_regular(self.path)
            return np.memmap(self.path, dtype, mode="r", offset=self._manifest.offset, shape=(self.tokens,))
        except (OSError, ValueError) as error:
            raise ShardError(
                f"{self.path} cannot be mapped", why=str(error), fix="copy the set again, or tokenize again"
            ) from error

    def documents(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The table of documents, or some of its columns. ShardError where it is damaged or gone."""
        try:
            check_regular(self.documents_path)
            return pq.read_table(self.documents_path, columns=list(columns) if columns is not None else None)
        except (OSError, pa.ArrowException) as error:
            raise ShardError(
                f"{self.documents_path} cannot be read", why=str(error), fix="copy the set again, or tokenize again"
            ) from error


class TokenSet:
    """A finished token set on a local disk."""

    def __init__(self, folder: Path, manifest: SetManifest) -> None:
        self.folder = folder
        """The folder that holds `manifest.json`."""
        self.manifest = manifest

    @classmethod
    def open(cls, location: str | Path) -> TokenSet:
        """The set in a folder: that of `tokenmill tokenize --output`, or its `tokens/`. ConfigError if none."""
        root = local_path(location)
        for folder in (root / TOKENS_FOLDER, root):
            path = folder / MANIFEST_JSON
            if path.is_file():
                try:
                    data = json.loads(path.read_text(encoding="utf-8"))
                except (OSError, ValueError, RecursionError) as error:
                    raise _damaged(str(path), str(error)) from error
                return cls(folder, SetManifest.from_json(data if isinstance(data, dict) else {}, str(path)))
        raise ConfigError(
            f"{location} holds no token set",
            why=f"there is no {TOKENS_FOLDER}/{MANIFEST_JSON}; it appears when the last shard is complete",
            fix="make one with tokenmill tokenize, or finish it with the same command",
        )

    @property
    def flat(self) -> bool:
        """Whether ids can be mapped: true for all layouts of our own, false for MDS and litdata."""
        return self.manifest.offset >= 0

    @cached_property
    def shards(self) -> tuple[TokenShard, ...]:
        """Shards in order. ConfigError for layouts that cannot be mapped."""
        if not self.flat:
            raise ConfigError(
                f"{self.folder} holds shards in the layout {self.manifest.layout}, which its own library reads",
                fix="tokenize with --format ds, megatron, olmo or llmc",
            )
        if self.manifest.dtype not in ID_TYPES:
            raise _damaged(
                str(self.folder / MANIFEST_JSON),
                f"its ids are of the type {self.manifest.dtype!r}, not {' or '.join(ID_TYPES)}",
            )
        return tuple(TokenShard(self.folder, entry, self.manifest) for entry in self.manifest.shards)

    @property
    def eos_id(self) -> int | None:
        return self.manifest.tokenizer.eos_id

    def __iter__(self) -> Iterator[TokenShard]:
        return iter(self.shards)
