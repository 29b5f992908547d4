"""Sorted runs and what is gathered from them: every document once, in the order that was asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.core.errors import ShardError
from tokenmill.tokens import gather
from tokenmill.tokens.gather import Piece, Ranges, pieces, shuffled_ranges, source_ranges, totals
from tokenmill.tokens.order import document_key
from tokenmill.tokens.runs import RUN_FILES, RunFiles, RunsWriter, read_range

EOS = 9
DOCUMENTS = st.lists(st.lists(st.lists(st.integers(0, 8), max_size=12), max_size=25), min_size=1, max_size=4)
COLUMNS = pa.schema([("token_count", pa.int64()), ("doc_id", pa.string())])


def write_runs(
    folder: Path,
    shards: Sequence[Sequence[list[int]]],
    *,
    seed: int | None,
    eos: bool,
    limit: int,
    dtype: str = "uint16",
) -> list[RunFiles]:
    found = []
    for number, documents in enumerate(shards):
        paths = {kind: str(folder / f"{number}{ending}") for kind, ending in RUN_FILES.items()}
        width = np.dtype(dtype).itemsize
        writer = RunsWriter(paths, COLUMNS, seed=seed, eos=eos, width=width, limit=limit)
        for start in range(0, len(documents), 7):
            some = documents[start : start + 7]
            writer.write(
                pa.record_batch(
                    {
                        "doc_id": [f"{number}#{start + row}" for row in range(len(some))],
                        "token_count": pa.array([len(tokens) for tokens in some], pa.int64()),
                        "tokens": pa.array([np.array(tokens, dtype).tobytes() for tokens in some], pa.binary()),
                    }
                )
            )
        writer.close()
        found.append(RunFiles.of(paths, writer.facts()))
    return found


def gathered(
    files: list[RunFiles], *, parts: int, eos: bool, merged: bool, dtype: str = "uint16"
) -> list[list[tuple[str, list[int]]]]:
    """(doc_id, tokens with EOS) of every part."""
    total = totals(files, eos)

    def ranges_of(part: int, of: int) -> Ranges:
        return shuffled_ranges(files, part, of) if merged else source_ranges(files, part, of, eos)

    found = []
    for part in range(parts):
        here: list[tuple[str, list[int]]] = []
        for piece in pieces(
            ranges_of, part, parts, total, dtype=np.dtype(dtype), eos_id=EOS if eos else None, merged=merged
        ):
            here += documents_of(piece)
        found.append(here)
    return found


def documents_of(piece: Piece) -> list[tuple[str, list[int]]]:
    ends = np.cumsum(piece.lengths)
    assert len(piece.ids) == (ends[-1] if len(ends) else 0)
    names = piece.rows.column("doc_id").to_pylist()
    return [
        (name, piece.ids[end - length : end].tolist())
        for name, end, length in zip(names, ends, piece.lengths, strict=True)
    ]


def expected(shards: Sequence[Sequence[list[int]]], eos: bool) -> list[tuple[str, list[int]]]:
    return [
        (f"{number}#{row}", tokens + [EOS] * eos)
        for number, documents in enumerate(shards)
        for row, tokens in enumerate(documents)
    ]


@examples(12, 40)
@given(DOCUMENTS, st.integers(1, 5), st.booleans(), st.sampled_from([1, 40, 10_000]), st.sampled_from([16, 1 << 20]))
def test_shuffled_documents_are_those_sorted_by_key(
    shards: list[list[list[int]]], parts: int, eos: bool, limit: int, piece_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "PIECE_BYTES", piece_bytes)
        files = write_runs(Path(place), shards, seed=5, eos=eos, limit=limit)
        found = [one for part in gathered(files, parts=parts, eos=eos, merged=True) for one in part]
    assert found == sorted(expected(shards, eos), key=lambda one: document_key(5, one[0]))


@examples(12, 40)
@given(DOCUMENTS, st.integers(1, 5), st.booleans(), st.sampled_from([1, 40, 10_000]), st.sampled_from([16, 1 << 20]))
def test_documents_in_source_order_are_as_they_came(
    shards: list[list[list[int]]], parts: int, eos: bool, limit: int, piece_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "PIECE_BYTES", piece_bytes)
        files = write_runs(Path(place), shards, seed=None, eos=eos, limit=limit)
        found = gathered(files, parts=parts, eos=eos, merged=False)
    assert [one for part in found for one in part] == expected(shards, eos)
    total = sum(len(tokens) for _, tokens in expected(shards, eos))
    longest = max((len(tokens) for _, tokens in expected(shards, eos)), default=0)
    for part in found:
        assert sum(len(tokens) for _, tokens in part) <= total / parts + longest + 1


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_ids_of_both_widths(tmp_path: Path, dtype: str) -> None:
    top = int(np.iinfo(dtype).max)
    files = write_runs(tmp_path, [[[top, 0, top], [], [1]]], seed=None, eos=False, limit=1, dtype=dtype)
    assert gathered(files, parts=1, eos=False, merged=False, dtype=dtype) == [
        [("0#0", [top, 0, top]), ("0#1", []), ("0#2", [1])]
    ]


def test_tokens_of_another_width_are_refused(tmp_path: Path) -> None:
    batch: dict[str, Any] = {"doc_id": ["a"], "token_count": pa.array([1], pa.int64()), "tokens": [b"1234"]}
    paths = {kind: str(tmp_path / f"a{ending}") for kind, ending in RUN_FILES.items()}
    writer = RunsWriter(paths, COLUMNS, seed=1, eos=True, width=2)
    with pytest.raises(ShardError, match="another tokenizer"):
        writer.write(pa.record_batch(batch))
    writer.close()


def test_a_cut_file_of_ids_is_an_error_and_not_fewer_tokens(tmp_path: Path) -> None:
    (runs,) = write_runs(tmp_path, [[[1, 2, 3], [4, 5]]], seed=None, eos=True, limit=1000)
    Path(runs.ids).write_bytes(Path(runs.ids).read_bytes()[:-2])
    with pytest.raises(ShardError, match="shorter"):
        list(read_range(runs, 0, 100, np.dtype("uint16")))
