"""Indexes that are kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.tokens.decontaminate.kit import multiple_choice, write_jsonl, write_kit
from tokenmill.tokens.decontaminate import index as module
from tokenmill.tokens.decontaminate.benchmarks import read_items
from tokenmill.tokens.decontaminate.index import BenchmarkIndex, load_index
from tokenmill.tokens.decontaminate.kept import read_parts, write_parts

ARRAYS = {"a": np.arange(5, dtype=np.uint64), "b": np.zeros((0, 2), bool)}
WORDS = {"names": ["x", "é"]}


def loaded(kit: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[BenchmarkIndex, int]:
    """The index as another process would load it, and how often it was built."""
    built: list[int] = []

    def counted(*args: object, **settings: object) -> object:
        built.append(1)
        return read_items(*args, **settings)  # type: ignore[arg-type]

    module._loaded.cache_clear()
    monkeypatch.setattr(module, "read_items", counted)
    return load_index([str(kit)]), len(built)


def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    kit = write_kit(tmp_path / "kit")
    built = BenchmarkIndex.build(read_items([str(kit)]))
    texts = pa.array([item.source for item in read_items([str(kit)])])
    wanted = built.search(texts, min_share=0.3, min_runs=1)
    for times in (1, 0, 0):
        index, count = loaded(kit, monkeypatch)
        assert count == times
        found = index.search(texts, min_share=0.3, min_runs=1)
        assert found.passage.tolist() == wanted.passage.tolist() != []
        assert [index.label(n) for n in range(60)] == [built.label(n) for n in range(60)]
        assert (index.names, index.tasks, index.coverage()) == (built.names, built.tasks, built.coverage())
    write_jsonl(kit / "choices.jsonl.gz", multiple_choice(7))
    assert loaded(kit, monkeypatch)[1] == 1
    assert sorted(path.name[0] for path in (tmp_path / "cache" / "benchmarks").iterdir()).count(".") == 0


def test_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    kit = write_kit(tmp_path / "kit")
    loaded(kit, monkeypatch)
    (place,) = (tmp_path / "cache" / "benchmarks").iterdir()
    for name in ("long_keys.npy", "words.json", "digest"):
        (place / name).write_bytes((place / name).read_bytes()[:-8])
        assert [loaded(kit, monkeypatch)[1] for _ in range(2)] == [1, 0]


def test_without_a_place_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "file"))
    index, _ = loaded(write_kit(tmp_path / "kit"), monkeypatch)
    assert index.coverage()["choices"] == (40, 40)


def test_parts(tmp_path: Path) -> None:
    assert read_parts(tmp_path / "none") is None
    for _ in range(2):  # the second time over the first
        write_parts(tmp_path / "x", ARRAYS, WORDS)
        found = read_parts(tmp_path / "x")
        assert found is not None
        arrays, words = found
        assert words == WORDS
        assert {name: array.tolist() for name, array in arrays.items()} == {k: v.tolist() for k, v in ARRAYS.items()}
        assert not arrays["a"].flags.writeable
