"""Folders of models: complete, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenmill.classifiers.train.output import new_folder
from tokenmill.core.errors import ConfigError, FatalError


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_the_folder_appears_at_the_end(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "model"
    if there:
        folder.mkdir(parents=True)
    with new_folder(folder) as part:
        assert part.parent.samefile(folder.parent)
        (part / "file").write_text("a")
        assert not folder.exists() or not entries(folder)
    assert entries(folder) == ["file"]
    assert entries(folder.parent) == ["model"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert folder.stat().st_mode == plain.stat().st_mode


def test_a_failed_training_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "model") as part:  # noqa: PT012
        (part / "heads.json").write_text("{}")
        raise KeyboardInterrupt
    assert entries(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    for folder in (tmp_path, tmp_path / "file", tmp_path / "file" / "model", Path("/proc/nothing/model")):
        with pytest.raises(ConfigError), new_folder(folder):
            raise AssertionError
    with pytest.raises(ConfigError, match="an object store"), new_folder(Path("s3://bucket/model")):
        raise AssertionError
    assert entries(tmp_path) == ["file", "link"]


def test_another_program_was_faster(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="cannot be moved"), new_folder(tmp_path / "model"):  # noqa: PT012
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "file").write_text("of another")
    assert entries(tmp_path) == ["model"]
    assert entries(tmp_path / "model") == ["file"]
