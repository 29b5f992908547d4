"""What a mixture is: sources, stages and weights, from YAML or from Python, checked key by key."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from tokenmill.core.errors import did_you_mean
from tokenmill.core.pipeline import object_from_file
from tokenmill.io.settings_file import (
    Place,
    amount_at,
    check_keys,
    mapping_at,
    name_at,
    number_at,
    path_at,
    read_yaml,
    text_at,
    whole_at,
)

ORDERS = ("shuffled", "as_is")
DOMAIN = "domain"
"""A tag that every set has: the registered domain of `url`, where its tables have no column of that name."""
_OPTIONAL_NUMBER = "a number above 0"


@dataclass(frozen=True)
class MixtureSource:
    """Where documents come from: a token set, or a run that is to be tokenized first."""

    tokens: str = ""
    """Folder of a token set (`tokenmill tokenize --output`)."""
    run: str = ""
    """Folder of a finished run; exactly one of the two."""
    tokenizer: str = ""
    """For `run`: a tokenizer.json, a folder or a name on the hub; empty: that of the first source with `tokens`."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Tag -> a value, a list of values, a comparison such as ">=2.5", or a list of comparisons that must all hold."""
    order: str = "shuffled"
    """shuffled: the set must be; as_is: its order is taken whatever it is."""
    synthetic: bool = False
    """Whether a model wrote it: plans tell the share."""
    max_epochs: float | None = None
    """Most times that a document of it may be seen, instead of that of the mixture."""


@dataclass(frozen=True)
class Upweight:
    """Another share for documents with some values of a tag, within their source."""

    by: str
    """The tag."""
    to: Mapping[str, float] = field(default_factory=dict)
    """Value -> share of the source's tokens, 0 to 1."""
    times: Mapping[str, float] = field(default_factory=dict)
    """Value -> factor on its natural share; instead of `to`."""

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.to or self.times)


@dataclass(frozen=True)
class MixtureStage:
    """A stretch of the training: so many tokens in these proportions."""

    name: str
    tokens: int | None = None
    """EOS included; None: as many as its sources hold (only without weights)."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Source -> weight; empty: all sources in proportion to their unique tokens."""
    sequence_length: int | None = None
    """For the loader; tokens are not cut by it."""
    upweight: Mapping[str, Upweight] = field(default_factory=dict)


@dataclass(frozen=True)
class Mixture:
    """A mixture, as `tokenmill mix` takes it."""

    name: str
    sources: Mapping[str, MixtureSource]
    stages: Sequence[MixtureStage]
    seed: int = 0
    format: str = "ds"
    """Layout of the shards."""
    shard_tokens: int = 250_000_000
    """Tokens of a shard, about."""
    max_epochs: float | None = None
    """Most times that a document may be seen; None: more than 4 is only warned of (Muennighoff et al. 2023)."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `parse_mixture` makes the same mixture."""
        sources = {name: _shown(source) for name, source in self.sources.items()}
        stages = [
            {**_shown(stage), **({"upweight": {n: _shown(u) for n, u in stage.upweight.items()}})}
            for stage in self.stages
        ]
        return {**_shown(self), "sources": sources, "stages": stages}


def _shown(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are set."""
    found = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in found.items() if v is not None and v != ""}


def load_mixture(path: str) -> Mixture:
    """The mixture of a YAML or JSON file, or of a Python file as `my.py:name` (a Mixture, or a function that returns
    one). Paths in it are relative to the folder of the file. ConfigError where it is missing or wrong.
    """
    file, _, attribute = path.partition(":") if ".py" in path else (path, "", "")
    if file.endswith(".py"):
        found = object_from_file(file, attribute, Mixture, "mixture")
        return parse_mixture(found.to_json(), file, Path(file).absolute().parent)
    return parse_mixture(read_yaml(Path(path), "mixture"), path, Path(path).absolute().parent)


def parse_mixture(data: Any, where: str = "mixture", folder: Path | None = None) -> Mixture:
    """A mixture from plain values, as YAML gives them.

    where: what errors name. folder: of relative paths; None: where the process stands. ConfigError names the place.
    """
    place = Place(where, folder or Path.cwd(), guide="see docs/mixtures.md")
    check_keys(data, [f.name for f in dataclasses.fields(Mixture)], ("name", "sources", "stages"), place)
    sources = {
        name_at(name, place.at("sources")): _source(source, place.at(f"sources.{name}"))
        for name, source in mapping_at(data["sources"], place.at("sources")).items()
    }
    if not sources:
        raise place.at("sources").error("a mixture has no sources")
    if not isinstance(data["stages"], Sequence) or isinstance(data["stages"], str) or not data["stages"]:
        raise place.at("stages").error("a mixture has no stages", why=f"{data['stages']!r} is no list of stages")
    stages = tuple(_stage(stage, sources, place.at(f"stages[{n}]")) for n, stage in enumerate(data["stages"]))
    for number, stage in enumerate(stages):
        if stage.name.lower() in [other.name.lower() for other in stages[:number]]:
            raise place.at(f"stages[{number}]").error(f"two stages are named {stage.name!r}")
    return Mixture(
        name=name_at(data["name"], place.at("name")),
        sources=sources,
        stages=stages,
        seed=whole_at(data.get("seed", 0), place.at("seed")),
        format=text_at(data.get("format", "ds"), place.at("format")),
        shard_tokens=amount_at(data.get("shard_tokens", 250_000_000), place.at("shard_tokens")),
        max_epochs=_epochs(data.get("max_epochs"), place.at("max_epochs")),
    )


def _epochs(value: Any, place: Place) -> float | None:
    return None if value is None else number_at(value, place, _OPTIONAL_NUMBER, lambda number: number > 0)


def _source(data: Any, place: Place) -> MixtureSource:
    check_keys(data, [f.name for f in dataclasses.fields(MixtureSource)], (), place)
    if bool(data.get("tokens")) == bool(data.get("run")):
        raise place.error(
            "a source needs either `tokens` or `run`",
            why="it has both" if data.get("run") else "it has neither",
            fix="tokens: FOLDER (of tokenmill tokenize), or run: FOLDER (of tokenmill run)",
        )
    order = data.get("order", "shuffled")
    if order not in ORDERS:
        raise place.at("order").error(f"no order {order!r}", why=did_you_mean(str(order), ORDERS))
    if data.get("tokenizer") and not data.get("run"):
        raise place.at("tokenizer").error("a token set has its tokenizer", fix="leave `tokenizer` out")
    synthetic = data.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise place.at("synthetic").error(f"{synthetic!r} is neither true nor false")
    tokenizer = str(data.get("tokenizer") or "")
    local = place.folder / Path(tokenizer).expanduser()
    return MixtureSource(
        tokens=path_at(data["tokens"], place.at("tokens")) if data.get("tokens") else "",
        run=path_at(data["run"], place.at("run")) if data.get("run") else "",
        tokenizer=str(local) if tokenizer and local.exists() else tokenizer,
        where={str(tag): _wanted(value, place.at(f"where.{tag}")) for tag, value in _where(data, place).items()},
        order=order,
        synthetic=synthetic,
        max_epochs=_epochs(data.get("max_epochs"), place.at("max_epochs")),
    )


def _where(data: Mapping[str, Any], place: Place) -> Mapping[Any, Any]:
    return mapping_at(data.get("where") or {}, place.at("where"))


def _wanted(value: Any, place: Place) -> Any:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or any(not isinstance(one, str | int | float | bool) for one in values):
        raise place.error(f"{value!r} is no value, list of values or comparison", fix='such as en, [en, de] or ">=2.5"')
    return values if isinstance(value, list | tuple) else value


def _stage(data: Any, sources: Mapping[str, MixtureSource], place: Place) -> MixtureStage:
    check_keys(data, [f.name for f in dataclasses.fields(MixtureStage)], ("name",), place)
    weights = {
        _known(name, sources, place.at("weights")): number_at(
            value, place.at(f"weights.{name}"), "a weight: a number, 0 or above", lambda number: number >= 0
        )
        for name, value in mapping_at(data.get("weights") or {}, place.at("weights")).items()
    }
    if "weights" in data and data["weights"] is not None and not any(weights.values()):
        if weights or not isinstance(data["weights"], Mapping):
            raise place.at("weights").error("all weights are 0")
    if data.get("tokens") is None and weights:
        raise place.error("a stage with weights needs `tokens`", fix="say how many, such as tokens: 10B")
    length = data.get("sequence_length")
    return MixtureStage(
        name=name_at(data["name"], place.at("name")),
        tokens=None if data.get("tokens") is None else amount_at(data["tokens"], place.at("tokens")),
        weights=weights,
        sequence_length=None if length is None else amount_at(length, place.at("sequence_length")),
        upweight={
            _known(name, weights or sources, place.at("upweight")): _upweight(value, place.at(f"upweight.{name}"))
            for name, value in mapping_at(data.get("upweight") or {}, place.at("upweight")).items()
        },
    )


def _known(name: Any, known: Mapping[str, Any], place: Place) -> str:
    if name not in known:
        raise place.error(f"no source {name!r} here", why=did_you_mean(str(name), known))
    return str(name)


def _upweight(data: Any, place: Place) -> Upweight:
    check_keys(data, ("by", "to", "times"), ("by",), place)
    given = [key for key in ("to", "times") if data.get(key)]
    if len(given) != 1:
        raise place.error("it needs either `to` (shares) or `times` (factors)", fix="such as to: {software: 0.5}")
    key = given[0]
    wanted, most = ("a share from 0 to 1", 1.0) if key == "to" else ("a factor, 0 or above", math.inf)
    found = {
        _label(value): number_at(share, place.at(f"{key}.{value}"), wanted, lambda number: 0 <= number <= most)
        for value, share in mapping_at(data[key], place.at(key)).items()
    }
    if key == "to" and sum(exactly(share) for share in found.values()) > 1:
        raise place.at("to").error("the shares add up to more than 1", why=str(found), fix="the rest gets what is left")
    return Upweight(text_at(data["by"], place.at("by")), **{key: found})


def _label(value: Any) -> str:
    """A tag's value as text; YAML reads `true` and `3` as what they look like."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def exactly(weight: float) -> Fraction:
    """A weight as it was written: 0.1 is a tenth, so that shares add up."""
    return Fraction(str(weight))
