"""The environment of children: threads as the stages want them, and what the user has set stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenmill.executors.process import child_environment
from tokenmill.executors.runspec import _copies

LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")


def inherit(patch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in (*LIBRARIES, "TOKENIZERS_PARALLELISM", "TOKENMILL_SET"):
        patch.delenv(name, raising=False)
        if name in environment:
            patch.setenv(name, environment[name])


def test_a_child_of_a_child_has_its_own_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    inherit(monkeypatch, {})
    worker = child_environment()
    assert [worker[name] for name in LIBRARIES] == ["1"] * 4
    assert worker["TOKENIZERS_PARALLELISM"] == "false"
    inherit(monkeypatch, worker)
    child = child_environment(8)
    assert [child[name] for name in LIBRARIES] == ["8"] * 4
    assert child["TOKENIZERS_PARALLELISM"] == "true"


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    inherit(monkeypatch, {"OMP_NUM_THREADS": "3"})
    worker = child_environment()
    assert (worker["OMP_NUM_THREADS"], worker["RAYON_NUM_THREADS"]) == ("3", "1")
    inherit(monkeypatch, worker)
    child = child_environment(8)
    assert (child["OMP_NUM_THREADS"], child["RAYON_NUM_THREADS"]) == ("3", "8")


def test_copies_of_files_with_one_name_are_kept_apart(tmp_path: Path) -> None:
    for folder, text in (("a", "one"), ("b", "two"), ("c", "one")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bins.yaml").write_text(text)
    files = [str(tmp_path / folder / "bins.yaml") for folder in "abc"]
    found = _copies(files)
    assert found.pop("bins.yaml") == "one"
    ((name, text),) = found.items()
    assert name.startswith("bins-")
    assert name.endswith(".yaml")
    assert text == "two"
