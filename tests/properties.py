"""Properties that are tested quickly in the fast suite, and thoroughly in CI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])


def examples(few: int, many: int) -> Callable[[Test], Test]:
    """Two tests of one property of Hypothesis: with few examples, and with many in CI. It goes above `given`."""
    both = [pytest.param(few, id=f"{few} examples"), pytest.param(many, id=f"{many} examples", marks=pytest.mark.ci)]

    def mark(test: Test) -> Test:
        marked = pytest.mark.parametrize("max_examples", both, indirect=True)(test)
        return pytest.mark.usefixtures("max_examples")(marked)

    return mark
