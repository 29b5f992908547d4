"""Models on devices."""

from __future__ import annotations

import weakref

import torch

from tests.train.runs import CONFIG
from tokenmill.train.create import make_model


def test_a_model_that_nobody_holds_is_freed_before_the_next() -> None:
    """Compiled blocks refer to each other in circles: two large models at a time may not fit."""
    model = make_model(CONFIG, "cpu")
    model.myself = [model]  # type: ignore[assignment]
    weights = weakref.ref(model.embedding.weight)
    del model
    assert weights() is not None
    assert isinstance(make_model(CONFIG, "cpu").table, torch.Tensor)
    assert weights() is None
