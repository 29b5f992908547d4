"""For all tests of small models."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _frozen() -> Iterator[None]:
    """What was imported is not looked through by the garbage collector at the beginning of every run."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Of several threads, all but one would wait, on products of this size, and where tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
