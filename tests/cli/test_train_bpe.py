"""What `tokenize --train-bpe` tells of the tokenizer that it has trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenmill.cli import train_bpe
from tokenmill.cli.train_bpe import TrainRequest, train_tokenizer
from tokenmill.core.stage import InputShard
from tokenmill.io.parquet import ReadParquet
from tokenmill.tokens import bpe
from tokenmill.tokens.bpe import BpeSettings


def inputs(folder: Path, rows: list[dict[str, Any]]) -> list[InputShard]:
    path = folder / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return [InputShard(str(path), "a.parquet", path.stat().st_size, "")]


def test_a_corpus_of_which_nothing_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: the second time the report of the first is read."""
    monkeypatch.setattr(train_bpe, "cached_reference", lambda: None)
    monkeypatch.setattr(bpe, "HELD_OUT", 1 << 70)
    shards = inputs(tmp_path, [{"id": f"d{n}", "text": "the mill turns " * 20} for n in range(3)])
    request = TrainRequest(BpeSettings(vocab_size=270))
    for _ in range(2):
        train_tokenizer(request, shards, ReadParquet(), str(tmp_path / "out"))
        assert "Nothing was held out of 3 documents" in capsys.readouterr().out.replace("\n", " ")


def test_documents_that_are_too_large_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_bpe, "cached_reference", lambda: None)
    rows = [{"id": f"d{n}", "text": "the mill turns " * 20} for n in range(60)]
    rows += [{"id": f"large{n}", "text": "x y " * 20_000} for n in range(60)]
    request = TrainRequest(BpeSettings(vocab_size=270, sample_bytes=50_000, held_out_bytes=50_000))
    train_tokenizer(request, inputs(tmp_path, rows), ReadParquet(), str(tmp_path / "out"))
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "larger than all that was wanted to train on" in shown
    assert "larger than all that was wanted to measure on" in shown
    assert "bytes per token on" in shown
