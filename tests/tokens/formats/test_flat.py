"""Every layout, written and read back by readers that share no code with the writers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.formats.readers import READERS, olmo_rows
from tests.tokens.support import documents_table, make_set, write_shard
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import format_names, token_format
from tokenmill.tokens.tokenset import DOCUMENT_COLUMNS

U16 = ShardAbout(np.dtype("<u2"), 0, 65_536, "gpt2")
U32 = ShardAbout(np.dtype("<u4"), 128_001, 2**31, "llama3")
LAYOUTS = [(name, about) for name in format_names() for about in (U16, U32) if (name, about) != ("nanogpt", U32)]
NO_BORDERS = ("llmc", "nanogpt")


def ids(about: ShardAbout) -> st.SearchStrategy[int]:
    top = about.vocab_size - 1
    return st.one_of(st.integers(0, top), st.sampled_from([0, top, top - 1, 1, 255, 256]))


@examples(20, 100)
@pytest.mark.parametrize(("name", "about"), LAYOUTS, ids=lambda value: getattr(value, "tokenizer", value))
@given(data=st.data())
def test_what_was_written_is_read_back(name: str, about: ShardAbout, data: Any) -> None:
    documents = data.draw(st.lists(st.lists(ids(about), max_size=6), max_size=12))
    eos = data.draw(st.sampled_from([None, about.eos_id]))
    batch = data.draw(st.integers(1, 13))
    about = ShardAbout(about.dtype, eos, about.vocab_size, about.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        table = documents_table(documents, eos)
        entry = write_shard(Path(folder), "x", documents, table, name, about, batch=batch)
        found, borders = READERS[name](Path(folder) / "x", about.dtype.itemsize)
    ended = [[*one, *([] if eos is None else [eos])] for one in documents]
    assert found == [token for one in ended for token in one]
    assert entry.tokens == len(found)
    if name == "olmo":  # documents without tokens have no row
        ended = [one for one in ended if one]
    if name not in NO_BORDERS:
        assert borders == ended


@pytest.mark.parametrize(("name", "about"), LAYOUTS, ids=lambda value: getattr(value, "tokenizer", value))
def test_batches_do_not_show(tmp_path: Path, name: str, about: ShardAbout) -> None:
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, about.vocab_size, size).tolist() for size in rng.integers(0, 50, 200)]
    seen = set()
    for batch in (1, 7, 1000):
        folder = tmp_path / str(batch)
        folder.mkdir()
        entry = write_shard(folder, "x", documents, documents_table(documents, 0), name, about, batch=batch)
        seen.add(tuple(str(file["sha256"]) for file in entry.files.values()))
    assert len(seen) == 1


@pytest.mark.parametrize("name", format_names())
@pytest.mark.parametrize("eos_id", [None, 3])
def test_sets_are_mapped(tmp_path: Path, name: str, eos_id: int | None) -> None:
    documents = [[[1, 2], [], [65_535]], [], [[4]]]
    tokens = make_set(tmp_path, documents, name, eos_id)
    eos = [] if eos_id is None else [eos_id]
    for shard, wanted in zip(tokens, documents, strict=True):
        assert shard.ids.tolist() == [token for one in wanted for token in [*one, *eos]]
        table = shard.documents()
        assert table.column_names == list(DOCUMENT_COLUMNS)
        starts, counts = (table.column(name).to_pylist() for name in ("token_start", "token_count"))
        assert [shard.ids[a : a + n].tolist() for a, n in zip(starts, counts, strict=True)] == wanted


@pytest.mark.parametrize("name", format_names())
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    layout = token_format(name)
    paths = {kind: str(tmp_path / kind) for kind in layout.files}
    with pytest.raises(ConfigError, match="no ids of the type int64"):
        layout.open(paths, ShardAbout(np.dtype("<i8"), 0, 100))
    with pytest.raises(ConfigError, match="65,537 ids do not fit into uint16"):
        layout.open(paths, ShardAbout(np.dtype("<u2"), 0, 65_537))
    writer = layout.open(paths, U16)
    one = np.array([1], np.uint16)
    wrong: list[tuple[Any, list[int], str]] = [
        (np.array([1], np.uint32), [1], "ids of the type uint32"),
        (one, [2], "documents of 2 tokens in all"),
        (one, [2, -1], "documents of 1 tokens in all"),
        (one[None], [1], r"shape \(1, 1\)"),
    ]
    for given_ids, lengths, what in wrong:
        with pytest.raises(ConfigError, match=what):
            writer.add(given_ids, np.array(lengths))
    writer.add(one, np.array([1]))
    with pytest.raises(ConfigError, match="1 documents were added, and their table has 2 rows"):
        writer.close(documents_table([[1], [2]], None))
    with pytest.raises(ConfigError, match="files of the kinds"):
        layout.open({}, U16)


def test_limits_of_layouts() -> None:
    with pytest.raises(ConfigError, match="the layout nanogpt has no ids of the type uint32") as caught:
        token_format("nanogpt").check(U32)
    assert "--format ds" in caught.value.fix
    with pytest.raises(ConfigError, match=r"2,147,483,649 ids do not fit into uint32 in the layout megatron"):
        token_format("megatron").check(ShardAbout(np.dtype("<u4"), 0, 2**31 + 1))
    token_format("ds").check(ShardAbout(np.dtype("<u4"), 0, 2**32))
    token_format("llmc").check(U16, 2**30 - 1)
    for tokens in (2**30, 2**31 - 1):  # shards are only about as long as asked for
        with pytest.raises(ConfigError, match=f"{tokens:,} tokens may become too long for the layout llmc") as caught:
            token_format("llmc").check(U16, tokens)
        assert "at most 1,073,741,823" in caught.value.fix
    with pytest.raises(ConfigError, match=r"the layout llmc has no shards of 2,147,483,648 tokens"):
        token_format("llmc").check(U16, 2**31)


def test_limits_hold_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = token_format("llmc")
    monkeypatch.setattr(type(layout), "max_tokens", 3)
    writer = layout.open({"tokens": str(tmp_path / "x.bin")}, U16)
    two = np.array([1, 2], np.uint16)
    writer.add(two, np.array([2]))
    with pytest.raises(ConfigError, match="no shards of 4 tokens"):
        writer.add(two, np.array([2]))
    writer.add(two[:1], np.array([1]))  # what the header can count is written to the last token
    writer.abandon()


def test_a_document_too_long_for_megatron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenmill.tokens.formats.megatron._MOST", 2)
    layout = token_format("megatron")
    writer = layout.open({"tokens": str(tmp_path / "x.bin"), "index": str(tmp_path / "x.idx")}, U16)
    with pytest.raises(ConfigError, match="a document of 3 tokens"):
        writer.add(np.array([1, 2, 3], np.uint16), np.array([3]))
    writer.abandon()


def test_names() -> None:
    assert format_names()[0] == "ds"
    with pytest.raises(ConfigError, match="no layout of token shards is called 'megatrom'") as caught:
        token_format("megatrom")
    assert "'megatron'" in caught.value.why
    with pytest.raises(ConfigError, match="the layout mds is not written directly") as caught:
        token_format("mds")
    assert "tokenmill export" in caught.value.fix


def test_rows_of_olmo(tmp_path: Path) -> None:
    tags: dict[str, list[Any]] = {
        "id": ["plain", 'with "quotes", commas', "two\r\nlines", None],
        "file_path": ["a.warc.gz", None, "b\n.gz", "c"],
        "warc_offset": [0, None, 7, 8],
    }
    tokens = make_set(tmp_path, [[[1, 2], [3], [], [4]]], "olmo", eos_id=None, tags=tags)
    assert olmo_rows(tokens.folder / "00000") == [
        ["0", "2", "plain", "a.warc.gz", "0"],
        ["2", "3", 'with "quotes", commas', "", "-1"],
        ["3", "4", "", "c", "8"],
    ]
    assert READERS["olmo"](tokens.folder / "00000", 2)[1] == [[1, 2], [3], [4]]
    assert (tokens.folder / "00000.csv.gz").read_bytes()[3:8] == bytes(5)  # no name, no time


def test_many_rows_of_olmo(tmp_path: Path) -> None:
    documents = [[1]] * 20_001
    tokens = make_set(tmp_path, [documents], "olmo", eos_id=0)
    rows = olmo_rows(tokens.folder / "00000")
    assert [row[0] for row in rows] == [str(n * 2) for n in range(20_001)]
    assert rows[-1][2] == "<urn:uuid:20000>"
