"""Every kind of damage to a token set is found and named, and a whole set has none."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import re
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set, save
from tokenmill.core.errors import ConfigError
from tokenmill.tokens import verify
from tokenmill.tokens.formats.registry import format_names
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import verify_set

SHARDS = [[[1, 2, 3], [], [9]], [], [[4] * 50, [5]]]


@pytest.mark.parametrize("name", format_names())
@pytest.mark.parametrize("eos_id", [None, 0])
@pytest.mark.parametrize("vocab_size", [10, 100_000])
def test_a_whole_set_has_no_problems(tmp_path: Path, name: str, eos_id: int | None, vocab_size: int) -> None:
    if name == "nanogpt" and vocab_size > 65_536:
        return
    make_set(tmp_path, SHARDS, name, eos_id, vocab_size)
    assert verify_set(tmp_path) == []
    assert verify_set(tmp_path / "tokens", digests=False) == []


def test_there_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no token set"):
        verify_set(tmp_path)


def changed(tokens: TokenSet, kind: str, change: Callable[[bytes], bytes], shard: int = 0) -> None:
    """Change a file of a shard, and what the manifest says of its bytes."""
    entry = tokens.manifest.shards[shard]
    path = tokens.folder / entry.files[kind]["path"]
    data = change(path.read_bytes())
    path.write_bytes(data)
    file = {**entry.files[kind], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    again = dataclasses.replace(entry, files={**entry.files, kind: file})
    shards = [again if one.name == entry.name else one for one in tokens.manifest.shards]
    save(tokens.folder, dataclasses.replace(tokens.manifest, shards=shards))


def put(at: int, value: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + value + data[at + len(value) :]


def number(code: str, value: int) -> bytes:
    return struct.pack(f"<{code}", value)


IN_LAYOUT: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("ds", "index", put(8, number("Q", 6)), "00000.ds.index: ends of 1 documents differ .* first of document 1: 6 in"),
    ("ds", "index", lambda data: data[:-8], "16 bytes for 3 documents of 8 bytes"),
    ("ds", "metadata", lambda data: data.replace(b"|2", b"|4"), "does not say 2 bytes per id and 7 tokens"),
    ("ds", "metadata", lambda data: b"\xff", "the files beside it cannot be read: UnicodeDecodeError"),
    ("megatron", "index", put(0, b"X"), "does not begin as an index of Megatron"),
    ("megatron", "index", put(17, b"\4"), r"are \(1, 4, 3, 4\), not \(1, 8, 3, 4\)"),
    ("megatron", "index", put(34, number("i", 5)), "numbers of tokens of 1 documents differ"),
    ("megatron", "index", put(34 + 12 + 8, number("q", 6)), "beginnings in bytes of 1 documents differ .*6 instead of"),
    ("megatron", "index", put(34 + 36 + 8, number("q", 3)), "numbers of 1 documents differ"),
    ("megatron", "index", lambda data: data[:-1], "67 bytes behind its head, not 68"),
    ("megatron", "index", lambda data: data[:20], "cannot be read"),
    ("olmo", "metadata", lambda data: gzip.compress(b"0,4,,,\n4,5,,,\n"), "2 rows for 3 documents"),
    ("olmo", "metadata", lambda data: gzip.compress(b"0,4,,,\n4,5,,,\n5,8,,,\n"), "ends of 1 documents differ"),
    ("olmo", "metadata", lambda data: gzip.compress(b"0,4,,,\n3,5,,,\n5,7,,,\n"), "first tokens of 1 documents differ"),
    ("olmo", "metadata", lambda data: gzip.compress(b"a,b"), "cannot be read"),
    ("olmo", "metadata", lambda data: data[:-9], "cannot be read: EOFError"),
    ("llmc", "tokens", put(0, b"\0"), "its header says"),
    ("llmc", "tokens", put(8, number("i", 8)), r"header says .* 8\), not .* 7\)"),
    ("nanogpt", "tokens", lambda data: data + b"\0\0", "16 bytes for 7 tokens"),
]


@pytest.mark.parametrize(("name", "kind", "change", "what"), IN_LAYOUT)
def test_files_of_the_layout(tmp_path: Path, name: str, kind: str, change: Any, what: str) -> None:
    tokens = make_set(tmp_path, SHARDS, name, vocab_size=10)
    changed(tokens, kind, change)
    (problem,) = verify_set(tmp_path)
    assert re.search(what, problem), problem


def ids_of(*ids: int) -> Callable[[bytes], bytes]:
    return lambda data: np.array(ids, "<u2").tobytes()


def test_ids_and_eos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in (1 << 20, 2):  # problems are the same however many ids are looked at in one go
        monkeypatch.setattr(verify, "_BLOCK", block)
        tokens = make_set(tmp_path / str(block), SHARDS, vocab_size=10)
        changed(tokens, "tokens", ids_of(1, 0, 3, 10, 0, 65_535, 7))
        assert verify_set(tokens.folder) == [
            "00000.ds: 2 ids are not below 10, the first at offset 3",
            "00000.ds: 2 documents do not end with EOS, the first at offset 3",
            "00000.ds: EOS stands inside of documents 1 times, first at offset 1",
        ]


def test_files(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS, vocab_size=10)
    (tokens.folder / "00000.ds").write_bytes(bytes(14))
    (tokens.folder / "00001.ds.index").write_bytes(b"more")
    (tokens.folder / "00002.documents.parquet").unlink()
    assert verify_set(tmp_path) == [
        "00000.ds: its SHA-256 is not that of the manifest",
        "00001.ds.index: 4 bytes, the manifest says 0",
        "00002.documents.parquet: No such file or directory",
    ]
    read = verify_set(tmp_path, digests=False)
    assert read[0] == "00000.ds: EOS stands inside of documents 4 times, first at offset 0"
    assert len(read) == 3


@pytest.mark.parametrize("size", [0, 14])
def test_devices_and_pipes(tmp_path: Path, size: int) -> None:
    """Reading them would never end."""
    tokens = make_set(tmp_path, [[[1, 2, 3], [], [9]]], vocab_size=10)
    data = tokens.manifest.to_json()
    data["shards"][0]["files"]["tokens"]["bytes"] = size
    (tokens.folder / "manifest.json").write_text(json.dumps(data))
    for name in ("00000.ds", "00000.ds.index"):
        (tokens.folder / name).unlink()
    (tokens.folder / "00000.ds").symlink_to("/dev/zero")
    os.mkfifo(tokens.folder / "00000.ds.index")
    assert verify_set(tmp_path) == [f"{name}: it is not a regular file" for name in ("00000.ds", "00000.ds.index")]
    with pytest.raises(ConfigError, match="is not on a local disk"):
        verify_set("s3://bucket/set")


def test_no_more_than_the_bytes_of_the_manifest_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcdef")
    assert verify._digest(path, 3) == hashlib.sha256(b"abc").hexdigest()
    assert verify._digest(path, 9) == hashlib.sha256(b"abcdef").hexdigest()


def table_changed(tokens: TokenSet, change: Callable[[pa.Table], pa.Table]) -> list[str]:
    path = tokens.folder / "00000.documents.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    changed(tokens, "documents", lambda data: data)
    return verify_set(tokens.folder)


def with_starts(table: pa.Table, *starts: int | None) -> pa.Table:
    return table.set_column(0, "token_start", pa.array(starts, pa.int64()))


TABLES: list[tuple[Callable[[pa.Table], pa.Table], str]] = [
    (lambda table: table.slice(1), "2 documents, the manifest says 3"),
    (lambda table: table.drop_columns(["url"]), "it has no columns ['url']"),
    (lambda table: table.drop_columns(["token_start"]), "cannot be read"),
    (lambda table: table.set_column(1, "token_count", pa.array(["3", "x", "1"])), "x"),
    (lambda table: with_starts(table, 0, 4, 6), "document 2 does not begin where the one before it ends (and 0 more)"),
    (lambda table: with_starts(table, 0, None, 5), "places of documents are missing"),
    (
        lambda table: table.set_column(1, "token_count", pa.array([3, 0, 2], pa.int64())),
        "documents of 8 tokens, the shard has 7",
    ),
    (
        lambda table: with_starts(table, 0, 4, 0).set_column(1, "token_count", pa.array([3, -5, 6], pa.int64())),
        "a document has a negative number of tokens",
    ),
]


@pytest.mark.parametrize(("change", "what"), TABLES)
def test_tables_of_documents(tmp_path: Path, change: Any, what: str) -> None:
    (problem,) = table_changed(make_set(tmp_path, SHARDS, vocab_size=10), change)
    assert what in problem
    assert problem.startswith("00000.documents.parquet: ")


MANIFESTS: list[tuple[dict[str, Any], str]] = [
    ({"documents": 6}, "it says 6 documents, its shards have 5"),
    ({"tokens": 1}, "it says 1 tokens, its shards have 60"),
    ({"dtype": "int64"}, "ids of the type int64"),
    ({"layout": "dss"}, "no layout of token shards is called 'dss'"),
    ({"vocab_size": 65_537}, "65,537 ids do not fit into uint16"),
    ({"eos_id": 10}, "EOS is 10, ids go up to 9"),
    ({"sha256": "0"}, "it is not the tokenizer of the manifest"),
]


@pytest.mark.parametrize(("change", "what"), MANIFESTS)
def test_manifests(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    tokens = make_set(tmp_path, SHARDS, vocab_size=10)
    data = tokens.manifest.to_json()
    for key, value in change.items():
        (data if key in data else data["tokenizer"])[key] = value
    (tokens.folder / "manifest.json").write_text(json.dumps(data, default=vars))
    assert what in verify_set(tmp_path)[0]


def test_other_files(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS[:1], vocab_size=10)
    (tokens.folder / "tokenizer.json").unlink()
    entry = tokens.manifest.shards[0]
    files = {kind: file for kind, file in entry.files.items() if kind != "index"}
    (tokens.folder / "00000.ds.index").unlink()
    shards = [dataclasses.replace(entry, files=files)] * 2
    save(tokens.folder, dataclasses.replace(tokens.manifest, shards=shards, documents=6, tokens=14))
    kinds = "00000: it has files of the kinds ['documents', 'metadata', 'tokens']"
    assert [problem.split(", not")[0] for problem in verify_set(tmp_path)] == [
        "manifest.json: two shards have the same name",
        "tokenizer.json: it is missing",
        kinds,
        kinds,
    ]


def test_files_of_no_shard(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS, vocab_size=10)
    for name in ("00003.ds", "00003.ds.index", "plan.json", "x.bin"):
        (tokens.folder / name).touch()
    assert verify_set(tmp_path) == [
        f"{name}: it is no file of the set, but readers of ds could take it for one"
        for name in ("00003.ds", "00003.ds.index")
    ]


def test_a_file_of_which_nothing_is_known(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS[:1], vocab_size=10)
    data = tokens.manifest.to_json()
    del data["shards"][0]["files"]["index"]["sha256"]
    (tokens.folder / "manifest.json").write_text(json.dumps(data))
    (problem,) = verify_set(tmp_path)
    assert problem.startswith("manifest.json: of the file 'index' of shard 00000 it does not say")


INDEXES = [
    ("megatron", "index", 34 + 36 + 32),
    pytest.param("ds", "index", 24, marks=pytest.mark.ci),
    pytest.param("llmc", "tokens", 1024, marks=pytest.mark.ci),
]


@examples(20, 60)
@pytest.mark.parametrize(("name", "kind", "size"), INDEXES)
@settings(max_examples=60)
@given(data=st.data())
def test_any_other_byte_in_an_index_is_found(name: str, kind: str, size: int, data: Any) -> None:
    at, flip = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_set(Path(folder), SHARDS, name, vocab_size=10)
        changed(tokens, kind, lambda bytes_: put(at, bytes([bytes_[at] ^ flip]))(bytes_))
        assert len(verify_set(folder)) == 1
