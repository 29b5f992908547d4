"""What set-ups compile is compiled before, by several processes, and once."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.support import run
from tokenmill import C4Lines, ExtractText, LanguageGate, LineDedup, MinHashDedup, SubstringDedup, TextSignals
from tokenmill.core.doc import Doc
from tokenmill.core.kernels import Kernel
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.stage import Rewrite, Stage
from tokenmill.executors import compile_ahead as ahead
from tokenmill.extract.skim.scan import Scan, scan
from tokenmill.filters.language import LanguageId
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet

PARTS = "tests.executors.kernel_parts"
STAGES: list[Stage] = [
    ExtractText(),
    ExtractText(extractor="skim", markdown=True),
    LanguageGate(),
    LanguageId(),
    TextSignals(),
    C4Lines(),
    MinHashDedup(),
    LineDedup(),
    SubstringDedup(),
]


class Compiles(Rewrite):
    """Stands for a stage with kernels: its parts are functions of `PARTS`."""

    reads = ("text",)

    def rewrite(self, doc: Doc) -> dict[str, str]:
        return {}

    def kernels(self) -> tuple[Kernel, ...]:
        return (Kernel(f"{PARTS}:one", 1), Kernel(f"{PARTS}:two", 2), Kernel(f"{PARTS}:broken", 3))


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "diary"
    path.touch()
    monkeypatch.setenv("TOKENMILL_TEST_DIARY", str(path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setattr(ahead, "_cpus", lambda: 4)
    monkeypatch.setattr(ahead, "_room", lambda: 4)
    return path


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.name}")
def test_the_parts_are_all_that_a_set_up_compiles(stage: Stage) -> None:
    from numba.core import event

    for place, _ in stage.kernels():
        module, _, function = place.partition(":")
        getattr(importlib.import_module(module), function)()
    compiled: list[str] = []

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, event: event.Event) -> None:
            compiled.append(str(event.data.get("dispatcher")))

        def on_end(self, event: event.Event) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        stage.setup()
    assert compiled == []


def test_each_part_is_compiled_once(diary: Path) -> None:
    said: list[str] = []
    assert ahead.compile_ahead([Compiles(), Compiles()], 4, said.append) == 3
    assert sorted(diary.read_text().split()) == ["broken", "one", "two"]
    assert said == ["the first run on this machine compiles 3 parts of tokenmill: about 3 s, once"]
    (record,) = (diary.parent / "cache").iterdir()
    assert json.loads(record.read_text()) == [f"{PARTS}:{name}" for name in ("broken", "one", "two")]
    assert ahead.compile_ahead([Compiles()], 4) == 0


@pytest.mark.parametrize("record", ["", "[", "{}", "7"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, record: str) -> None:
    (tmp_path / "record").write_text(record)
    found = ahead._Record(tmp_path / "record")
    assert found.known == set()
    found.add(["a:b"])
    assert ahead._Record(tmp_path / "record").known == {"a:b"}


@pytest.mark.parametrize(("cpus", "room", "processes"), [(1, 9, 9), (9, 1, 9), (9, 9, 1)])
def test_where_one_process_has_room_the_set_up_does_it(
    cpus: int, room: int, processes: int, diary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_cpus", lambda: cpus)
    monkeypatch.setattr(ahead, "_room", lambda: room)
    assert ahead.compile_ahead([Compiles()], processes) == 0
    assert diary.read_text() == ""


def test_where_nothing_can_be_kept_nothing_is_compiled(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (diary.parent / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(diary.parent / "file" / "below"))
    assert ahead.compile_ahead([Compiles()], 2) == 0
    assert diary.read_text() == ""


def test_another_cpu_or_source_is_another_record(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ahead._key()
    assert ahead._key() == before
    monkeypatch.setattr(ahead, "_cpu", lambda: "another")
    assert ahead._key() != before


@pytest.mark.parametrize(("workers", "compiled"), [(2, ["broken", "one", "two"]), (1, [])])
def test_a_run_compiles_before_it_begins(
    workers: int, compiled: list[str], diary: Path, write_jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = Pipeline("compiling", [ReadJsonl(), Compiles(), WriteParquet()])
    assert run(recipe, write_jsonl(["one"]), tmp_path / "out", workers=workers).failures == {}
    assert sorted(diary.read_text().split()) == compiled


def test_the_blank_scan_is_that_of_an_empty_page() -> None:
    blank, found = Scan.blank(), scan(b"")
    for name in Scan.__slots__:
        expected, value = getattr(found, name), getattr(blank, name)
        if isinstance(expected, int):
            assert value == expected
        else:
            same = (value.dtype, value.tolist(), value.flags.writeable, value.flags.c_contiguous)
            assert same == (expected.dtype, expected.tolist(), expected.flags.writeable, expected.flags.c_contiguous)
