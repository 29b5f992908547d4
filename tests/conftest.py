"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import parts

os.environ["HF_HUB_OFFLINE"] = "1"  # no test waits for a hub
# an example may take as long as it takes: on a busy machine the default of 200 ms is a timed test
settings.register_profile("tokenmill", deadline=None)
settings.load_profile("tokenmill")
_SETTINGS = "_hypothesis_internal_use_settings"  # where Hypothesis keeps those of a test

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", help="run one part of the tests: 2/3, or COMMIT/3 for the part that a commit falls on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--part")
    if wanted:
        items[:], others = parts.split(items, *parts.parse(wanted))
        config.hook.pytest_deselected(items=others)


def pytest_collection() -> None:
    gc.disable()  # nothing that is made now can go


def pytest_collection_finish() -> None:
    gc.freeze()  # thousands of tests and their libraries, which need not be looked through again and again
    gc.enable()


@pytest.fixture(scope="module")
def max_examples(request: pytest.FixtureRequest) -> int:
    """The number that `tests.properties.examples` gives a property."""
    number: int = request.param
    return number


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A property has as many examples as its parameter says."""
    given = getattr(item, "callspec", None)
    if given is None or "max_examples" not in given.params:
        return (yield)
    test = item.obj  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test, _SETTINGS, settings(getattr(test, _SETTINGS), max_examples=given.params["max_examples"]))
        return (yield)


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
