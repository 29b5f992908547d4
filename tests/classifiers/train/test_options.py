"""Settings as words of the command line."""

from __future__ import annotations

import pytest

from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.cli.train_classifier import figures_table, train_from_labels, with_options
from tokenmill.core.errors import ConfigError

START = TrainSettings(encoder="none")


def test_settings_are_read() -> None:
    options = ["folds=10", "layers=4,8", "strengths=0.5", "finetune.epochs=2", "fasttext.lr=0.25", "copy_encoder=True"]
    found = with_options(START, [*options, "max_tokens=256", "pooling=cls"])
    assert (found.folds, found.layers, found.strengths, found.copy_encoder) == (10, (4, 8), (0.5,), True)
    assert (found.finetune.epochs, found.fasttext.lr, found.max_tokens, found.pooling) == (2, 0.25, 256, "cls")
    assert with_options(START, ["layers="]).layers == ()


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("fold=3", "did you mean 'folds'"),
        ("folds", "no setting"),
        ("folds=many", "cannot be read"),
        ("copy_encoder=perhaps", "cannot be read"),
        ("finetune.epoch=2", "did you mean 'epochs'"),
        ("fasttext=2", "no setting 'fasttext'"),
        ("compare=a", "option of its own"),
    ],
)
def test_what_cannot_be_read_is_named(option: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_options(START, [option])


def test_agreement_is_numbers() -> None:
    with pytest.raises(ConfigError, match="no numbers"):
        train_from_labels("in", "out", label="edu", encoder="none", label_agreement="high")


def test_figures_that_are_no_numbers_are_dashes() -> None:
    nan = float("nan")
    figures = {"qwk": {"value": 0.5, "low": nan, "high": nan}, "spearman": {"value": nan, "low": nan, "high": nan}}
    table = figures_table({"found": {"figures": figures}})
    assert [list(column.cells) for column in table.columns] == [["qwk", "spearman"], ["0.500", "-"], ["-", "-"]]
