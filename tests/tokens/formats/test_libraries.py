"""Layouts against the libraries that own them: the same bytes as their writers, and what their readers read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokens.support import make_set
from tokenmill.tokens.formats.ds import for_people

RNG = np.random.default_rng(3)
SHARDS = [[RNG.integers(1, 50_000, size).tolist() for size in sizes] for sizes in ([3, 0, 17, 1], [], [40], [5] * 9)]


def widths(shards: Any, width: int) -> Any:
    return [[[one + (width - 2) * 40_000 for one in ids] for ids in shard] for shard in shards]


@pytest.mark.parametrize("width", [2, 4])
def test_ds_is_what_datatrove_writes(tmp_path: Path, width: int) -> None:
    library = pytest.importorskip("datatrove.pipeline.tokens.tokenizer")
    shards = widths(SHARDS, width)
    tokens = make_set(tmp_path / "set", shards, "ds", eos_id=0, vocab_size=65_536 if width == 2 else 200_000)
    for number, shard in enumerate(shards):
        theirs = library.TokenizedFile(
            str(tmp_path / "theirs"),
            f"{number:05d}.ds",
            tokenizer_name_or_path="tests",
            save_final_metadata=True,
            token_size=width,
        )
        for ids in shard:
            theirs.write([*ids, 0], None)
        theirs.close()
        for ending in (".ds", ".ds.index", ".ds.metadata"):
            name = f"{number:05d}{ending}"
            assert (tokens.folder / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("width", [2, 4])
def test_ds_as_datatrove_reads_it(tmp_path: Path, width: int) -> None:
    dataset = pytest.importorskip("datatrove.utils.dataset")
    pytest.importorskip("torch")
    shards = [widths(SHARDS, width)[3]]
    tokens = make_set(tmp_path, shards, "ds", eos_id=0, vocab_size=65_536 if width == 2 else 200_000)
    theirs = dataset.DatatroveFileDataset(str(tokens.folder / "00000.ds"), 5, token_size=width, return_positions=True)
    rows = [theirs[n] for n in range(len(theirs))]
    assert [row["input_ids"].tolist() for row in rows] == [[*ids, 0] for ids in shards[0]]
    assert [row["positions"].tolist() for row in rows] == [[0, 1, 2, 3, 4, 5]] * 9
    folder = dataset.DatatroveFolderDataset(str(tokens.folder), 5, filename_pattern="*.ds", token_size=width)
    assert len(folder) == 9


@pytest.mark.parametrize("width", [2, 4])
def test_megatron_is_what_datatrove_writes(tmp_path: Path, width: int) -> None:
    library = pytest.importorskip("datatrove.pipeline.tokens.megatron_tokenizer")
    shards = widths(SHARDS, width)
    tokens = make_set(tmp_path / "set", shards, "megatron", eos_id=0, vocab_size=65_536 if width == 2 else 200_000)
    for number, shard in enumerate(shards):
        theirs = library.MegatronTokenizedFile(str(tmp_path / "theirs"), f"{number:05d}", token_size=width)
        for ids in shard:
            theirs.write([*ids, 0])
        theirs.close()
        for ending in (".bin", ".idx"):
            name = f"{number:05d}{ending}"
            assert (tokens.folder / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.filterwarnings("ignore")  # it warns of what is not installed
@pytest.mark.parametrize("width", [2, 4])
def test_megatron_as_megatron_reads_it(tmp_path: Path, width: int) -> None:
    library = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    shards = widths(SHARDS, width)
    tokens = make_set(tmp_path, shards, "megatron", eos_id=0, vocab_size=65_536 if width == 2 else 200_000)
    for number, shard in enumerate(shards):
        if not shard:
            continue  # it cannot map an empty file
        theirs = library.IndexedDataset(str(tokens.folder / f"{number:05d}"))
        assert [theirs[n].tolist() for n in range(len(theirs))] == [[*ids, 0] for ids in shard]
        assert theirs.document_indices.tolist() == list(range(len(shard) + 1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("eos_id", [None, 0])
def test_olmo_as_olmo_core_reads_it(tmp_path: Path, width: int, eos_id: int | None) -> None:
    library = pytest.importorskip("olmo_core.data.utils")
    shards = [*widths(SHARDS, width), [[7, 7], []]]
    tokens = make_set(tmp_path, shards, "olmo", eos_id=eos_id, vocab_size=65_536 if width == 2 else 200_000)
    dtype = np.uint16 if width == 2 else np.uint32
    for shard, documents in zip(tokens, shards, strict=True):
        found = list(library.iter_document_indices(str(shard.path), dtype=dtype))
        eos = [] if eos_id is None else [eos_id]
        wanted = [one for one in ([*ids, *eos] for ids in documents) if one]
        assert [np.memmap(shard.path, dtype)[start:end].tolist() for start, end in found] == wanted
        if eos_id is not None and documents:
            by_eos = library.iter_document_indices(str(shard.path), eos_token_id=eos_id, dtype=dtype)
            assert list(by_eos) == found


@given(st.one_of(st.integers(0, 10**13), st.integers(0, 10**4).map(lambda n: n * 10**9)))
def test_numbers_for_people(tokens: int) -> None:
    humanize = pytest.importorskip("humanize")
    assert for_people(tokens) == humanize.metric(tokens, unit="T")
