"""A grid of arms: source bucket x style x share of synthetic tokens, each a mixture with the same real tokens.

    grid:
      real: sets/real                      # token sets (tokenmill tokenize --tag style --tag quality_level)
      synthetic: sets/rephrased
      by: {quality_level: [low, high], style: [wikipedia, diverse_qa]}
      ratios: [0.25, 0.5]
      tokens: 20M

makes the arm `real` and one arm for each bucket, style and ratio, such as `low-wikipedia-25`. No proxy tells which of
them trains the better model (arXiv:2604.13977), so they are trained.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.core.errors import ConfigError
from tokenmill.io.settings_file import Place, amount_at, check_keys, mapping_at, number_at, path_at

REAL, SYNTHETIC = "real", "synthetic"
_KEYS = ("real", "synthetic", "by", "ratios", "tokens", "max_epochs")
MOST_ARMS = 64
"""Each is trained with several seeds: more is a mistake more often than a plan."""


def grid_arms(data: Any, place: Place) -> dict[str, dict[str, Any]]:
    """Name of an arm -> the arm as plain values, `{mixture: {...}}`. ConfigError names what is wrong and where."""
    given = mapping_at(data, place)
    check_keys(given, _KEYS, ("real", "synthetic", "by", "ratios", "tokens"), place)
    sets = {name: path_at(given[name], place.at(name)) for name in (REAL, SYNTHETIC)}
    tokens = amount_at(given["tokens"], place.at("tokens"))
    ratios = _ratios(given["ratios"], place.at("ratios"))
    tags = mapping_at(given["by"], place.at("by"))
    values = [_list(tags[name], place.at(f"by.{name}")) for name in tags]
    arms: dict[str, dict[str, Any]] = {REAL: {"mixture": _mixture(REAL, sets, tokens, {}, 0.0, given)}}
    for cell in itertools.product(*values):
        where = dict(zip(tags, cell, strict=True))
        for ratio in ratios:
            name = "-".join([*(_word(value) for value in cell), f"{100 * ratio:g}".replace(".", "_")])
            if name in arms:
                raise place.error(f"two arms of the grid are named {name!r}", fix="leave out values that are alike")
            arms[name] = {"mixture": _mixture(name, sets, tokens, where, ratio, given)}
    if len(arms) > MOST_ARMS:
        raise place.error(f"the grid has {len(arms)} arms", why=f"at most {MOST_ARMS} are trained at once", fix="fewer")
    return arms


def _mixture(
    name: str,
    sets: Mapping[str, str],
    tokens: int,
    where: Mapping[str, Any],
    ratio: float,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    sources: dict[str, Any] = {}
    weights: dict[str, float] = {}
    if ratio < 1:
        sources[REAL], weights[REAL] = {"tokens": sets[REAL]}, 1 - ratio
    if ratio > 0:
        sources[SYNTHETIC] = {"tokens": sets[SYNTHETIC], "where": dict(where), "synthetic": True}
        weights[SYNTHETIC] = ratio
    found: dict[str, Any] = {
        "name": name,
        "sources": sources,
        "stages": [{"name": "all", "tokens": tokens, "weights": weights}],
    }
    if given.get("max_epochs") is not None:
        found["max_epochs"] = given["max_epochs"]
    return found


def _ratios(data: Any, place: Place) -> list[float]:
    found = []
    for value in _list(data, place):
        number = number_at(value, place, "a share above 0, at most 1", lambda share: 0 < share <= 1)
        found.append(float(number))
    return found


def _list(data: Any, place: Place) -> Sequence[Any]:
    if isinstance(data, str) or not isinstance(data, Sequence) or not data:
        raise place.error(f"{data!r} is no list of values", fix="such as [low, high]")
    return data


def _word(value: Any) -> str:
    """A value as a part of the name of an arm, which is a folder too."""
    word = re.sub(r"[^\w-]+", "_", str(value)).strip("_")
    if not word:
        raise ConfigError(f"{value!r} cannot be a part of the name of an arm", fix="values with letters or digits")
    return word
