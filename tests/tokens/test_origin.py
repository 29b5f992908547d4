"""From every token of a set to its document, and back, against a plain walk through the documents."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.support import make_set, save
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.tokens.formats.registry import format_names
from tokenmill.tokens.origin import Origin, documents_where, find_shard, origin, text_around
from tokenmill.tokens.tokenset import TokenSet


def walk(shards: list[list[list[int]]], eos_id: int | None) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(shard, offset, id, document in the shard, position, number of the document in the set) of every token."""
    number = 0
    for shard, documents in enumerate(shards):
        offset = 0
        for document, ids in enumerate(documents):
            for position, token in enumerate([*ids, *([] if eos_id is None else [eos_id])]):
                yield shard, offset, token, document, position, number
                offset += 1
            number += 1


def seen(place: Origin) -> tuple[int, int, int, int, int, int]:
    number = int(place.row["id"].rpartition(":")[2].rstrip(">"))
    assert place.row["warc_offset"] == number * 1000
    return int(place.shard.name), place.offset, place.token, place.document, place.position, number


DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=4), max_size=7)


@examples(12, 60)
@given(
    shards=st.lists(DOCUMENTS, max_size=3),
    eos_id=st.sampled_from([None, 0]),
    row_group_rows=st.integers(1, 4),
    layout=st.sampled_from(format_names()),
)
def test_every_token(shards: list[list[list[int]]], eos_id: int | None, row_group_rows: int, layout: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_set(Path(folder), shards, layout, eos_id, row_group_rows=row_group_rows)
        for expected in walk(shards, eos_id):
            place = origin(tokens.shards[expected[0]].path, expected[1])
            assert seen(place) == expected
            assert place.is_eos == (eos_id is not None and place.position == place.token_count)
        for shard in tokens:
            for outside in (-1, shard.tokens):
                with pytest.raises(ConfigError, match="has no token at offset"):
                    origin(shard.path, outside)


SHARDS = [[[1, 2, 3], [], [9]], [], [[4] * 50, [5]]]


def test_ways_to_name_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = make_set(tmp_path / "out", SHARDS, "megatron")
    monkeypatch.chdir(tmp_path)
    for name in ("out/tokens/00002.bin", "out/tokens/00002", "out/00002", "out/00002.bin", str(tokens.shards[2].path)):
        assert find_shard(name)[1].name == "00002"
        assert origin(name, 51).row["id"] == "<urn:uuid:4>"
    monkeypatch.chdir(tokens.folder)
    assert origin("00002.bin", 52).is_eos


def test_wrong_names(tmp_path: Path) -> None:
    make_set(tmp_path / "out", SHARDS)
    wrong = [
        ("out", "is a token set, not one of its shards", "out/00000"),
        ("out/tokens/00000.ds.index", "00000.ds.index does not hold tokens", "00000.ds"),
        ("out/tokens/00000.documents.parquet", "does not hold tokens", "00000.ds"),
        ("out/tokens/00009.ds", "the token set has no shard '00009.ds'", "00000.ds"),
        ("other/00000.ds", "is no shard of a token set", "there is no such folder"),
        ("00000.ds", "is no shard of a token set", "there is no manifest.json beside it"),
    ]
    for path, what, hint in wrong:
        with pytest.raises(ConfigError, match=what) as caught:
            origin(tmp_path / path, 0)
        assert hint in str(caught.value)
    with pytest.raises(ConfigError, match="has no token at offset 0") as caught:
        origin(tmp_path / "out" / "00001", 0)
    assert "it has no tokens" in caught.value.why
    empty = make_set(tmp_path / "empty", [])
    with pytest.raises(ConfigError, match="is a token set"):
        origin(empty.folder, 0)


def test_one_row_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = make_set(tmp_path, [[[n % 90 + 1] * (n % 5) for n in range(1000)]], row_group_rows=10)
    read: list[int] = []
    real = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, *others: Any, **more: Any) -> Any:
        read.append(group)
        return real(self, group, *others, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for expected in list(walk([[[n % 90 + 1] * (n % 5) for n in range(1000)]], 0))[::97]:
        read.clear()
        assert seen(origin(tokens.shards[0].path, expected[1])) == expected
        assert read == [expected[3] // 10] * 2


def rewritten(tokens: TokenSet, **options: Any) -> Path:
    path = tokens.folder / "00000.documents.parquet"
    pq.write_table(pq.read_table(path), path, **options)
    return tokens.folder / "00000.ds"


def test_a_table_without_statistics(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS[:1])
    shard = rewritten(tokens, write_statistics=False, row_group_size=1)
    for expected in walk(SHARDS[:1], 0):
        assert seen(origin(shard, expected[1])) == expected


def test_damage(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, SHARDS)
    path = tokens.folder / "00000.documents.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(ShardError, match="has no document for offset 0"):
        origin(tokens.shards[0].path, 0)
    pq.write_table(table.slice(0, 1), path)
    with pytest.raises(ShardError, match="has no document for offset 5"):
        origin(tokens.shards[0].path, 5)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(ShardError, match=r"cannot be read|has no document"):
        origin(tokens.shards[0].path, 5)
    pq.write_table(table.drop_columns(["token_start"]), path)
    with pytest.raises(ShardError, match="cannot be read"):
        origin(tokens.shards[0].path, 0)
    path.unlink()
    with pytest.raises(ShardError, match="cannot be read"):
        origin(tokens.shards[0].path, 0)
    save(tokens.folder, dataclasses.replace(tokens.manifest, layout="mds", offset=-1))
    with pytest.raises(ConfigError, match="which its own library reads"):
        origin(tokens.shards[0].path, 0)


@settings(max_examples=30)
@given(
    urls=st.lists(st.sampled_from(["http://a/", "http://b/", None]), max_size=12),
    cut=st.integers(0, 12),
    row_group_rows=st.integers(1, 4),
)
def test_documents_are_found(urls: list[str | None], cut: int, row_group_rows: int) -> None:
    documents = [[n + 1] * (n % 3) for n in range(len(urls))]
    with tempfile.TemporaryDirectory() as folder:
        shards = [documents[:cut], documents[cut:]]
        tokens = make_set(Path(folder), shards, tags={"url": urls}, row_group_rows=row_group_rows)
        found = list(documents_where(folder, "url", "http://a/"))
        numbers = [int(place.row["id"].rpartition(":")[2].rstrip(">")) for place in found]
        assert numbers == [n for n, url in enumerate(urls) if url == "http://a/"]
        for place, number in zip(found, numbers, strict=True):
            ids = place.shard.ids[place.token_start : place.token_start + place.token_count]
            assert ids.tolist() == documents[number]
            assert place.document == number - (cut if place.shard.name == "00001" else 0)
            (by_id,) = documents_where(tokens.folder, "id", f"<urn:uuid:{number}>")
            (by_doc_id,) = documents_where(tokens.folder, "doc_id", f"a.warc.gz#{number * 1000}")
            assert by_id.row == by_doc_id.row == place.row


def test_documents_of_one_shard(tmp_path: Path) -> None:
    make_set(tmp_path, [[[1], [2]], [[3]]], tags={"url": ["u", "v", "u"]})
    assert [p.shard.name for p in documents_where(tmp_path / "tokens/00001.ds", "url", "u")] == ["00001"]
    assert [p.shard.name for p in documents_where(tmp_path, "url", "u")] == ["00000", "00001"]
    assert list(documents_where(tmp_path, "url", "x")) == []
    with pytest.raises(ConfigError, match="not looked for by 'urls'"):
        list(documents_where(tmp_path, "urls", "u"))


def test_text(tmp_path: Path) -> None:
    tokens = make_set(tmp_path, [[[1, 2, 3, 4, 5], [6]]])
    shard = tokens.shards[0].path
    assert text_around(origin(shard, 2)) == ("w1 w2", " w3", " w4 w5")
    assert text_around(origin(shard, 2), tokens=1) == ("w2", " w3", " w4")
    assert text_around(origin(shard, 0)) == ("", "w1", " w2 w3 w4 w5")
    assert text_around(origin(shard, 5)) == ("w1 w2 w3 w4 w5", " <eos>", "")
    assert text_around(origin(shard, 6)) == ("", "w6", "")
    path = tokens.folder / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is not the tokenizer of the set"):
        text_around(origin(shard, 0))
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        text_around(origin(shard, 0))


@pytest.mark.ci  # sample: the tests above, with a tokenizer of words
def test_text_of_a_real_tokenizer(tmp_path: Path, shared: Path) -> None:
    """Wherever the text is cut, the three parts are the text, except for characters that are cut."""
    from tokenizers import Tokenizer

    path = shared / "tokenizers" / "gpt-neox-olmo" / "tokenizer.json"
    text = "Hello  world, it is 1999!\n\tÄpfel und Birnen; 東京 \U0001f600 end"
    ids = Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids
    tokens = make_set(tmp_path, [[ids]], eos_id=None, tokenizer=path)
    whole = 0
    for offset in range(len(ids)):
        parts = text_around(origin(tokens.shards[0].path, offset), 1000)
        if "\ufffd" not in "".join(parts):
            whole += 1
            assert "".join(parts) == text
    assert whole > len(ids) // 2


def test_sets_on_stores_are_to_be_copied() -> None:
    for asked in (lambda: origin("s3://bucket/set/00000", 0), lambda: next(documents_where("s3://b/set", "id", "x"))):
        with pytest.raises(ConfigError, match=r"s3://b.*/set.* is not on a local disk"):
            asked()
