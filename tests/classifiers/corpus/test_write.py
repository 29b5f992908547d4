"""Training sets as files: places that cannot be written are told before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenmill.classifiers.corpus.write import check_output
from tokenmill.core.errors import ConfigError


def test_the_folder_is_made_before_the_work(tmp_path: Path) -> None:
    check_output(str(tmp_path / "deep" / "set.parquet"))
    assert list((tmp_path / "deep").iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "facts.json").mkdir()
    for out in (tmp_path / "file" / "set.parquet", Path("/proc/nothing/set.parquet"), tmp_path / "facts.parquet"):
        with pytest.raises(ConfigError, match="cannot be written"):
            check_output(str(out))
