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
    assert json.loads(record.read_text())["parts"] == [f"{PARTS}:{name}" for name in ("broken", "one", "two")]
    assert ahead.compile_ahead([Compiles()], 4) == 0


@pytest.mark.parametrize("record", ["", "[", "{}", "7", '{"key": "of other sources", "files": 0, "parts": ["a:b"]}'])
def test_a_record_that_says_nothing_of_these_sources_is_none(diary: Path, record: str) -> None:
    (diary.parent / "record").write_text(record)
    found = ahead._Record(diary.parent / "record")
    assert found.known() == set()
    found.add(["a:b"])
    ahead._Record(diary.parent / "record").add(["c:d"])
    assert found.known() == {"a:b", "c:d"}


def test_code_that_was_deleted_is_compiled_again(diary: Path) -> None:
    folder = diary.parent / "cache" / "text"
    folder.mkdir(parents=True)
    for name in ("a.nbi", "b.nbi"):
        (folder / name).touch()
    record = ahead._Record(diary.parent / "cache" / "kernels.json")
    record.add(["a:b"])
    assert record.known() == {"a:b"}
    (folder / "a.nbi").unlink()
    assert record.known() == set()


def test_what_was_killed_or_hangs_is_tried_again(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(ahead, "PATIENCE", 0)
    kernels = [Kernel(f"{PARTS}:{name}", 1) for name in ("killed", "hangs", "one")]
    assert ahead._run(kernels, 3) == [f"{PARTS}:one"]


def test_a_part_after_the_other_where_there_is_one_cpu(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_cpus", lambda: 1)
    assert ahead.compile_ahead([Compiles()], 8) == 3
    assert diary.read_text().split() == ["broken", "two", "one"]


def test_where_no_process_can_be_started_the_set_up_compiles(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ahead.subprocess, "Popen", refuse)
    assert ahead.compile_ahead([Compiles()], 2) == 3
    assert not (diary.parent / "cache").exists(), "nothing is remembered"


def test_folders_that_may_not_be_entered_end_nothing(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", refuse)
    assert ahead.compile_ahead([Compiles()], 2) == 0


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


@pytest.mark.parametrize(("workers", "compiled"), [(2, ["broken", "one", "two"]), (0, [])])
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
