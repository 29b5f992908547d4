"""Settings files: YAML read with care, and values checked with the path of their keys in every message."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.core.amounts import parse_amount
from tokenmill.core.errors import ConfigError, did_you_mean

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def read_yaml(path: Path, noun: str) -> Any:
    """The values of a YAML file. ConfigError where it cannot be read, or a key is given twice. noun: what it holds."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses keys that are given twice: of two weights, the last would win in silence."""

    checked: set[int] = set()

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        # what `<<` brings in may be given again, which is what it is for: it is put in front, and the last one wins
        if id(node) not in checked:
            _refuse_twice(loader, node)
            checked.add(id(node))
        loader.flatten_mapping(node)
        return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}

    def _refuse_twice(loader: Any, node: Any) -> None:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [loader.construct_object(key, deep=True) for key in own]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                line = own[number].start_mark.line + 1
                raise ConfigError(f"{key!r} is given twice", where=f"{path} line {line}", fix="leave one out")

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"the {noun} {path} cannot be read", why=str(error), fix="give a YAML file") from error


@dataclass(frozen=True)
class Place:
    """Where in a file we are, for messages."""

    file: str
    folder: Path
    key: str = ""
    guide: str = ""
    """What an error says to do where nothing better is known."""

    def at(self, key: str) -> Place:
        """The place of a key below this one."""
        return Place(self.file, self.folder, f"{self.key}.{key}" if self.key else key, self.guide)

    def error(self, what: str, *, why: str = "", fix: str = "") -> ConfigError:
        """An error that names the file and the path of keys."""
        fix = fix or self.guide
        return ConfigError(what, where=f"{self.file}: {self.key}" if self.key else self.file, why=why, fix=fix)


def mapping_at(data: Any, place: Place) -> Mapping[Any, Any]:
    """The value as a mapping of keys to values; ConfigError names the place where it is none."""
    if not isinstance(data, Mapping):
        raise place.error(f"{data!r} is no mapping of keys to values")
    return data


def check_keys(data: Any, known: Collection[str], wanted: Collection[str], place: Place) -> None:
    """ConfigError where a mapping has a key that is not `known`, or lacks one that is `wanted`."""
    for key in mapping_at(data, place):
        if key not in known:
            raise place.error(f"there is no setting {key!r} here", why=did_you_mean(str(key), known))
    for key in wanted:
        if key not in data:
            raise place.error(f"the setting {key!r} is missing", why=f"given are {', '.join(map(str, data)) or 'none'}")


def name_at(value: Any, place: Place) -> str:
    """The value as a name: letters, digits, - and _."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise place.error(f"{value!r} is no name", why="names are letters, digits, - and _", fix="choose another one")
    return value


def text_at(value: Any, place: Place) -> str:
    """The value as a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise place.error(f"{value!r} is no text")
    return value


def whole_at(value: Any, place: Place) -> int:
    """The value as a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise place.error(f"{value!r} is no whole number")
    return value


def amount_at(value: Any, place: Place, what: str = "a number of tokens") -> int:
    """The value as a whole number above 0, as people write it: `250M`, `1e9`."""
    try:
        return parse_amount(value, what)
    except ConfigError as error:
        raise place.error(error.what, why=error.why, fix=error.fix) from None


def number_at(value: Any, place: Place, wanted: str, holds: Callable[[float], bool]) -> float:
    """The value as a finite number for which `holds` is true. wanted: what it should be, for the message."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not holds(value):
        raise place.error(f"{value!r} is not {wanted}")
    return value


def path_at(value: Any, place: Place) -> str:
    """The value as a path, relative to the folder of the file; addresses with `://` are left as they are."""
    text = text_at(value, place)
    return text if "://" in text else str(place.folder / Path(text).expanduser())
