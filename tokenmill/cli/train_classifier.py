"""`tokenmill train-classifier`: a model's folder with its card, from labelled documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from tokenmill.classifiers.train.run import CARD, train_classifier
from tokenmill.classifiers.train.settings import TrainSettings
from tokenmill.cli.console import error_console, make_table, output_console, safe_line
from tokenmill.core.errors import ConfigError, did_you_mean

Settings = TypeVar("Settings")


def train_from_labels(
    input: str,
    output: str,
    *,
    label: str,
    kind: str = "head",
    problem: str = "ordinal",
    encoder: str = "",
    text: str = "text",
    group: str = "",
    pick: str = "auto",
    compare: Sequence[str] = (),
    split: str = "",
    label_agreement: str = "",
    labelled_by: str = "a language model",
    threshold: int = 3,
    seed: int = 0,
    max_tokens: int | None = None,
    copy_encoder: bool = False,
    options: Sequence[str] = (),
) -> None:
    """Train, cross-validate and write the folder; print the figures.

    label_agreement: "0.91,0.94". options: further settings as "folds=10", "layers=4,8,12", "finetune.epochs=2" or
    "fasttext.dim=100".
    """
    given: dict[str, Any] = {
        "label": label,
        "kind": kind,
        "problem": problem,
        "encoder": encoder,
        "text": text,
        "group": group,
        "pick": pick,
        "compare": tuple(compare),
        "split": split,
        "label_agreement": _numbers("--label-agreement", label_agreement),
        "labelled_by": labelled_by,
        "threshold": threshold,
        "seed": seed,
        "max_tokens": max_tokens,
        "copy_encoder": copy_encoder,
    }
    settings = with_options(TrainSettings(**given), options)
    errors = error_console()
    facts = train_classifier(
        input, Path(output), settings, say=lambda line: errors.print(safe_line(line), highlight=False)
    )
    console = output_console()
    console.print(figures_table(facts))
    console.print(safe_line(f"the card: {Path(output) / CARD}"), highlight=False)


def figures_table(facts: Mapping[str, Any]) -> Table:
    """The cross-validated figures with their intervals."""
    table = make_table("figure", "value", "95 % interval")
    for name, one in facts["found"]["figures"].items():
        known = one["value"] == one["value"]
        interval = f"{one['low']:.3f} to {one['high']:.3f}" if one["low"] == one["low"] else "-"
        table.add_row(name, f"{one['value']:.3f}" if known else "-", interval)
    return table


def with_options(settings: TrainSettings, options: Sequence[str]) -> TrainSettings:
    """The settings with `name=value` pairs; ConfigError for unknown names and values of other types."""
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{option!r} is no setting", fix="--set NAME=VALUE")
        part, dot, rest = name.partition(".")
        if dot and part == "finetune":
            settings = dataclasses.replace(settings, finetune=_replaced(settings.finetune, rest, value, name))
        elif dot and part == "fasttext":
            settings = dataclasses.replace(settings, fasttext=_replaced(settings.fasttext, rest, value, name))
        else:
            settings = _replaced(settings, name, value, name)
    return settings


def _replaced(settings: Settings, name: str, value: str, shown: str) -> Settings:
    known = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    known = {key: old for key, old in known.items() if not dataclasses.is_dataclass(old)}
    if name not in known:
        raise ConfigError(f"there is no setting {shown!r}", why=did_you_mean(name, known))
    kinds = {"layers": int, "strengths": float, "max_tokens": int}
    try:
        if name in ("layers", "strengths"):
            new: Any = tuple(kinds[name](part) for part in value.split(",") if part)
        elif isinstance(known[name], bool):
            new = {"true": True, "false": False}[value.lower()]
        elif name in kinds or isinstance(known[name], int | float):
            new = kinds.get(name, type(known[name]))(value)
        elif isinstance(known[name], str):
            new = value
        else:
            raise ConfigError(f"{shown!r} has an option of its own", fix="tokenmill train-classifier --help")
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{shown} = {value!r} cannot be read", why=f"{type(error).__name__}: {error}") from error
    return dataclasses.replace(settings, **{name: new})  # type: ignore[type-var]


def _numbers(name: str, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in value.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"{name} {value!r} are no numbers", fix=f"{name} 0.91,0.94") from error
