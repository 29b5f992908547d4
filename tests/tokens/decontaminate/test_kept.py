"""Indexes that are kept on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.tokens.decontaminate.kit import multiple_choice, write_jsonl, write_kit
from tokenmill.tokens.decontaminate import index as module
from tokenmill.tokens.decontaminate.benchmarks import read_items
from tokenmill.tokens.decontaminate.index import BenchmarkIndex, load_index, prepare_index
from tokenmill.tokens.decontaminate.kept import is_kept, locked, read_parts, write_parts

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


def test_it_is_made_before_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENMILL_CACHE", str(tmp_path / "cache"))
    kit = write_kit(tmp_path / "kit")
    module._loaded.cache_clear()
    assert list(prepare_index([str(kit)])) == ["choices", "endings", "short"]
    (place,) = (tmp_path / "cache" / "benchmarks").iterdir()
    assert is_kept(place)
    assert loaded(kit, monkeypatch)[1] == 0
    monkeypatch.setattr(module, "_loaded", None)  # so the plan of a later run only looks
    assert list(prepare_index([str(kit)])) == ["choices", "endings", "short"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Another process waits for the lock, and finds what was made meanwhile."""
    code = (
        "import sys; from pathlib import Path; from tokenmill.tokens.decontaminate.kept import locked\n"
        "print('ready', flush=True)\n"
        "with locked(Path(sys.argv[1])): print(Path(sys.argv[2]).exists())"
    )
    made = tmp_path / "made"
    with locked(tmp_path / "x.lock"):
        command = [sys.executable, "-c", code, str(tmp_path / "x.lock"), str(made)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.1)
        made.touch()
    assert other.communicate(timeout=20)[0] == "True\n"


def test_a_lock_that_cannot_be_made_keeps_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with locked(tmp_path / "file" / "x.lock"):
        pass
