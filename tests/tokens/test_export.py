"""Samples of a set, and what MosaicML streaming and litdata read of them where they are installed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokens.support import make_set
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.export import export_set, samples
from tokenmill.tokens.origin import origin
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import verify_set

DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=6), max_size=6)


@pytest.mark.ci
@settings(max_examples=50)
@given(
    shards=st.lists(DOCUMENTS, max_size=4),
    eos_id=st.sampled_from([None, 0]),
    length=st.integers(0, 9),
)
def test_samples(shards: list[list[list[int]]], eos_id: int | None, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_set(Path(folder), shards, eos_id=eos_id)
        found = [(ids.tolist(), shard, offset) for ids, shard, offset in samples(tokens, length)]
        eos = [] if eos_id is None else [eos_id]
        ended = [[*ids, *eos] for shard in shards for ids in shard]
        stream = [token for one in ended for token in one]
        wanted = [one for one in ended if one]
        if length:
            wanted = [stream[at : at + length] for at in range(0, len(stream) - length + 1, length)]
        assert [ids for ids, _, _ in found] == wanted
        for ids, shard, offset in found:
            assert origin(tokens.folder / shard, offset).token == ids[0]


def test_refused(tmp_path: Path) -> None:
    make_set(tmp_path / "set", [[[1]]])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"layout": "ds"}, "a set is not exported as 'ds'"),
        ({"layout": "mds", "output": tmp_path / "full"}, "is there already"),
        ({"layout": "mds", "output": tmp_path / "full" / "file"}, "is there already"),
        ({"layout": "mds", "sequence_length": -1}, "samples of -1 tokens"),
        ({"layout": "litdata", "sequence_length": 8}, "litdata cuts sequences when it reads"),
        ({"layout": "mds", "shard_bytes": 1 << 32}, "files of 4,294,967,296 bytes"),
        ({"layout": "mds", "location": tmp_path}, "holds no token set"),
    ]
    for given_settings, what in wrong:
        with pytest.raises(ConfigError, match=what):
            export_set(**{"location": tmp_path / "set", "output": tmp_path / "out", **given_settings})
    assert not (tmp_path / "out").exists()


def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path / "set", [[[1]]])
    monkeypatch.setitem(__import__("sys").modules, "streaming", None)
    with pytest.raises(ConfigError, match="written by mosaicml-streaming, which cannot be imported"):
        export_set(tmp_path / "set", tmp_path / "out", layout="mds")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]  # nothing is left over


SHARDS = [[[1, 2, 3], [], [65_535]], [], [[n % 60_000] * (n % 40) for n in range(200)]]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("vocab_size", [65_536, 2**32])
@pytest.mark.parametrize("length", [0, 16])
def test_mds(tmp_path: Path, vocab_size: int, length: int) -> None:
    streaming = pytest.importorskip("streaming")
    shards = [[[one + vocab_size - 65_536 for one in ids] for ids in shard] for shard in SHARDS]
    tokens = make_set(tmp_path / "set", shards, vocab_size=vocab_size, eos_id=None)
    out = tmp_path / "out"
    manifest = export_set(tokens.folder, out, layout="mds", sequence_length=length, shard_bytes=2_000)
    assert len(manifest.shards[0].files) > 3
    theirs = streaming.StreamingDataset(local=str(out), shuffle=False, batch_size=1)
    rows = [theirs[n] for n in range(len(theirs))]
    wanted = list(samples(tokens, length))
    assert [row["tokens"].tolist() for row in rows] == [ids.tolist() for ids, _, _ in wanted]
    assert [(row["shard"], row["offset"]) for row in rows] == [(shard, offset) for _, shard, offset in wanted]
    assert {row["tokens"].dtype for row in rows} == {np.dtype(manifest.dtype)}
    check(tmp_path, tokens, length, "mds")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("vocab_size", [65_536, 2**32])
def test_litdata(tmp_path: Path, vocab_size: int) -> None:
    litdata = pytest.importorskip("litdata")
    shards = [[[one + vocab_size - 65_536 for one in ids] for ids in shard] for shard in SHARDS]
    tokens = make_set(tmp_path / "set", shards, vocab_size=vocab_size, eos_id=None)
    out = tmp_path / "out"
    export_set(tokens.folder, out, layout="litdata", shard_bytes=1 << 26)
    theirs = litdata.StreamingDataset(str(out), item_loader=litdata.TokensLoader(block_size=16), shuffle=False)
    rows = [theirs[n].tolist() for n in range(len(theirs))]
    assert rows == [ids.tolist() for ids, _, _ in samples(tokens, 16)]
    check(tmp_path, tokens, 0, "litdata")


def check(tmp_path: Path, tokens: TokenSet, length: int, layout: str) -> None:
    """The folder is a set of its own, and is made again with the same bytes."""
    assert verify_set(tmp_path / "out") == []
    opened = TokenSet.open(tmp_path / "out")
    assert not opened.flat
    with pytest.raises(ConfigError, match="which its own library reads"):
        _ = opened.shards
    first = opened.manifest
    size = 2_000 if layout == "mds" else 1 << 26
    export_set(tokens.folder, tmp_path / "again", layout=layout, sequence_length=length, shard_bytes=size)
    assert content(tmp_path / "again") == content(tmp_path / "out")
    assert first.tokens + first.more["tokens_left_out"] == tokens.manifest.tokens
    assert first.tokenizer == tokens.manifest.tokenizer
