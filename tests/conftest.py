"""Fixtures that all tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
# an example may take as long as it takes: on a busy machine the default of 200 ms is a timed test
settings.register_profile("tokenmill", deadline=None)
settings.load_profile("tokenmill")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture
def shared() -> Path:
    """The developers' shared data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the developers' shared data is not beside this checkout")
    return SHARED


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Write texts or rows as JSON Lines below `tmp_path/in` and return that folder."""

    def write(rows: Iterable[Any], name: str = "a.jsonl") -> Path:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        with open(folder / name, "w", encoding="utf-8") as stream:
            for row in rows:
                stream.write(json.dumps(row if isinstance(row, dict) else {"text": row}) + "\n")
        return folder

    return write
