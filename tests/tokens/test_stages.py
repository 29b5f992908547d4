"""`CountTokens` and `EncodeText`: columns that are the library's numbers, in a batch and in a run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import rows, run
from tests.tokens.trained import CORPUS, save, trained
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Annotate
from tokenmill.io.parquet import ReadParquet, WriteParquet
from tokenmill.tokens.stages import CountTokens, EncodeText
from tokenmill.tokens.tokenizer import library_version, load_tokenizer

STRING = pa.string()
TEXTS = ["the mill turns", None, "", "<|endoftext|>", "漢字 \x00 été", CORPUS[0]]


def peer_counts(tokenizer: str, texts: list[str]) -> list[int]:
    """datatrove's numbers."""
    tokens = pytest.importorskip("datatrove.pipeline.tokens")
    data = pytest.importorskip("datatrove.data")
    documents = [data.Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    counter = tokens.TokensCounter(tokenizer_name_or_path=tokenizer)
    return [document.metadata["token_count"] for document in counter.run(documents)]


def annotated(stage: Annotate, texts: Sequence[str | None], dtype: pa.DataType = STRING) -> dict[str, list[Any]]:
    stage.setup()
    batch = pa.record_batch({"text": pa.array(texts, dtype)})
    columns = stage.annotate(batch)
    assert {name: column.type for name, column in columns.items()} == dict(stage.columns_added())
    for column in columns.values():
        column.validate(full=True)
    return {name: column.to_pylist() for name, column in columns.items()}


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string()])
def test_counts_and_ids(tmp_path: Path, dtype: pa.DataType) -> None:
    path = save("gpt2", tmp_path)
    found = annotated(EncodeText(tokenizer=path), TEXTS, dtype)
    made = load_tokenizer(path).make()
    made.encode_special_tokens = True
    wanted = [None if text is None else made.encode(text).ids for text in TEXTS]
    assert found["token_count"] == [None if ids is None else len(ids) for ids in wanted]
    assert [None if cell is None else np.frombuffer(cell, "<u2").tolist() for cell in found["tokens"]] == wanted
    assert annotated(CountTokens(tokenizer=path), TEXTS, dtype) == {"token_count": found["token_count"]}


def test_batches_without_nulls_or_without_rows(tmp_path: Path) -> None:
    stage = EncodeText(tokenizer=save("bert", tmp_path), eos="[SEP]")
    assert annotated(stage, []) == {"token_count": [], "tokens": []}
    assert [len(cell) for cell in annotated(stage, ["the mill", ""])["tokens"]] == [4, 0]
    assert annotated(stage, [None])["tokens"] == [None]


def test_ids_of_four_bytes(tmp_path: Path) -> None:
    spec = json.loads(trained("gpt2"))
    spec["model"]["vocab"] |= {"far": 70_000}
    path = save("gpt2", tmp_path, {"model": spec["model"], "added_tokens": spec["added_tokens"][:2]})
    found = annotated(EncodeText(tokenizer=path), ["the mill"])
    small = annotated(EncodeText(tokenizer=save("gpt2", tmp_path)), ["the mill"])
    assert np.frombuffer(found["tokens"][0], "<u4").tolist() == np.frombuffer(small["tokens"][0], "<u2").tolist()


def test_what_a_plan_depends_on(tmp_path: Path) -> None:
    path = save("gpt2", tmp_path)
    stage = CountTokens(tokenizer=path)
    assert stage.digests() == {"tokenizer": load_tokenizer(path).sha256, "tokenizers": library_version()}
    assert CountTokens(tokenizer=save("digits", tmp_path), eos="<s>").digests() != stage.digests()
    with pytest.raises(ConfigError, match="count_tokens has no tokenizer"):
        CountTokens().digests()
    with pytest.raises(ConfigError, match="there is no tokenizer"):
        EncodeText(tokenizer=str(tmp_path / "none.json")).digests()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.ci)])
def test_in_a_run(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [text for text in TEXTS if text]
    pq.write_table(pa.table({"id": [str(n) for n in range(len(texts))], "text": texts}), folder / "a.parquet")
    path = save("gpt2", tmp_path)
    pipeline = Pipeline("count", [ReadParquet(), CountTokens(tokenizer=path), WriteParquet()])
    before = dict(os.environ)
    run(pipeline, folder, tmp_path / "out", workers=workers, seconds=8.0)
    assert dict(os.environ) == before
    found = {row["text"]: row["token_count"] for row in rows(tmp_path / "out", "data")}
    assert found == dict(zip(texts, annotated(CountTokens(tokenizer=path), texts)["token_count"], strict=True))


def pages(shared: Path, column: str, count: int) -> list[str]:
    texts: list[str] = []
    for path in sorted((shared / "pool").glob("*.parquet")):
        texts += [text for text in pq.read_table(path, columns=[column])[column].to_pylist() if text]
        if len(texts) >= count:
            break
    return texts[:count]


@pytest.mark.ci  # sample: counts and ids, which are the library's
def test_counts_are_those_of_datatrove(shared: Path, tmp_path: Path) -> None:
    folder = shared / "tokenizers/gpt2"
    file = tmp_path / "tokenizer.json"
    file.write_bytes(load_tokenizer(str(folder)).canonical)
    texts = [text[:5000] for text in pages(shared, "main_text", 80)]
    assert annotated(CountTokens(tokenizer=str(folder)), texts)["token_count"] == peer_counts(str(file), texts)


@pytest.mark.slow
def test_counts_of_ten_thousand_pages_are_those_of_datatrove(shared: Path, tmp_path: Path) -> None:
    folder = shared / "tokenizers/gpt2"
    file = tmp_path / "tokenizer.json"
    file.write_bytes(load_tokenizer(str(folder)).canonical)
    texts = [text for text in pages(shared, "raw_text", 10_500) if "<|endoftext|>" not in text][:10_000]
    stage = CountTokens(tokenizer=str(folder))
    for start in range(0, len(texts), 500):
        some = texts[start : start + 500]
        assert annotated(stage, some)["token_count"] == peer_counts(str(file), some)
