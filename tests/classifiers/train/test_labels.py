"""Labels as numbers, and what is no label."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tokenmill.classifiers.train.labels import classes_of
from tokenmill.classifiers.train.settings import Problem, TrainSettings
from tokenmill.core.errors import ConfigError


def classes(labels: list[Any], problem: Problem) -> tuple[list[int], list[float], tuple[str, ...]]:
    found, targets, names = classes_of(labels, TrainSettings(label="grade", problem=problem), "file")
    assert found.dtype == np.int64
    return found.tolist(), targets.tolist(), names


def test_fractions_are_learned_and_counted_as_the_nearest_grade() -> None:
    found, targets, names = classes([0, 1.5, 2.5, "1.25", 3.0, True], "ordinal")
    assert found == [0, 2, 2, 1, 3, 1]
    assert targets == [0, 1.5, 2.5, 1.25, 3, 1]
    assert names == ("0", "1", "2", "3")


@pytest.mark.parametrize("problem", ["classes", "binary"])
def test_whole_numbers_are_names(problem: Problem) -> None:
    assert classes([1.0, 0.0, Decimal("1.0"), True], problem) == ([1, 0, 1, 1], [1, 0, 1, 1], ("0", "1"))


@pytest.mark.parametrize(
    ("labels", "problem", "says"),
    [
        ([0.2, 0.7, 1.0], "classes", r"2 labels .* no class(.|\n)*0\.2, 0\.7"),
        ([0.0, 0.5, 1.0], "binary", r"1 labels .* no class(.|\n)*0\.5"),
        ([0.0, float("inf")], "classes", "inf"),
        ([Decimal("Infinity"), 1], "classes", "Infinity"),
        ([["a"], "b"], "classes", r"\['a'\]"),
        ([0, 1, -1, "many", 101.5], "ordinal", r"3 labels (.|\n)*'many', -1, 101\.5"),
        ([0, float("inf")], "ordinal", "inf"),
        ([3, 3.0, 3], "ordinal", "all grades in 'grade' are 3"),
        ([2.5, 1.5], "ordinal", "all grades"),
    ],
)
def test_what_is_no_label_is_named(labels: list[Any], problem: Problem, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        classes(labels, problem)
