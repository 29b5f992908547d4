"""Steps of datatrove as plain values: class and arguments, so that a worker in another process can make them again.

datatrove is imported here and nowhere else, by `load_class` and `make_step`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import ModuleType
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.pipeline import load_file

INSTALL = "pip install 'tokenmill[datatrove]'"

_FORM = re.compile(r"[^:]{1,4096}:[A-Za-z_][A-Za-z0-9_.]{0,200}")
_LIBRARIES = ("datatrove", "spacy")
"""Distributions on which the output of steps depends: datatrove, and the tokenizer that it uses for English."""

_PACKAGES = {
    "readers": ("reads documents", "begin the recipe with ReadWarc, ReadWet, ReadParquet or ReadJsonl"),
    "writers": ("writes files", "end the recipe with WriteParquet; dropped documents are published in dropped/"),
    "dedup": ("compares documents with each other", "run it in datatrove on the published Parquet files"),
    "tokens": ("writes files, or counts over a whole run", "run it in datatrove on the published Parquet files"),
    "stats": ("counts over a whole run", "the funnel in report.html counts documents by stage and reason"),
    "media": ("works on images and other media", "leave it out: a document here is a text"),
    "inference": ("keeps a server and files of its own", "run it in datatrove on the published Parquet files"),
    "extractors": ("starts a process for every extraction", "use ExtractText, which a watched process surrounds"),
}
"""Packages of datatrove.pipeline whose steps are no stages: why, and what to do instead."""
_CLASSES = {
    "datatrove.pipeline.filters.sampler_filter.SamplerFilter": (
        "draws random numbers in the order in which a process meets documents",
        "write a Filter that compares a hash of doc['id'] with the rate",
    ),
    "datatrove.pipeline.formatters.pii.PIIFormatter": (
        "chooses a replacement by how many it has made before",
        "use RedactPii, which chooses by document and place",
    ),
}
_CHANGES_TEXT = ("datatrove.pipeline.filters.c4_filters.C4QualityFilter",)
"""Filters that are known to give a document another text."""


def check_form(label: str, step: str) -> None:
    """ConfigError unless `step` reads like `package.module:Class` or `my.py:Class`."""
    if not _FORM.fullmatch(step):
        raise ConfigError(
            f"{label}.step = {step!r} names no class",
            fix="write it as package.module:Class, such as datatrove.pipeline.filters:GopherQualityFilter,"
            " or my.py:Class for a step in a file of yours",
        )


def versions(label: str, step: str) -> dict[str, str]:
    """Versions of what a step's output depends on, and the digest of the user's file that defines it."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "datatrove" not in found:
        raise missing(label, "package datatrove is not installed")
    path = _file_of(step)
    if path is not None and path.is_file():
        found["source"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def missing(label: str, why: str) -> ConfigError:
    """The error for a library that a step needs and that is not installed."""
    wanted = re.search(r"pip install [^`)\n]{1,200}", why)
    return ConfigError(f"{label} needs a library that is not there", why=why, fix=wanted.group() if wanted else INSTALL)


def load_class(label: str, step: str) -> type:
    """The class that `step` names; ConfigError when it is no step, or one that cannot be a stage."""
    where, _, qualname = step.rpartition(":")
    _refuse_package(label, qualname, where)  # before anything is imported: its libraries may be missing
    try:
        base: type = importlib.import_module("datatrove.pipeline.base").PipelineStep
        found: Any = _module(step, where)
        for part in qualname.split("."):
            found = getattr(found, part)
    except ImportError as error:
        if importlib.util.find_spec("datatrove") is None:
            raise missing(label, "package datatrove is not installed") from error
        library = error.name if error.name and not where.startswith(error.name) else ""
        fix = f"pip install {library}" if library else f"see {label}.step"
        raise ConfigError(f"{label}: {where} cannot be imported", why=str(error), fix=fix) from error
    except AttributeError as error:
        known = [name for name, value in vars(_module(step, where)).items() if isinstance(value, type)]
        raise ConfigError(f"{label}: {where} has no class {qualname!r}", why=did_you_mean(qualname, known)) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{label}: {step} is no step of datatrove", fix="give a subclass of PipelineStep")
    _refuse(label, found)
    return found


def _file_of(step: str) -> Path | None:
    where = step.rpartition(":")[0]
    return Path(where).resolve() if where.endswith(".py") else None


def files(step: str) -> tuple[str, ...]:
    """The user's file that defines a step, if one does."""
    path = _file_of(step)
    return (str(path),) if path is not None else ()


def _module(step: str, where: str) -> ModuleType:
    path = _file_of(step)
    return importlib.import_module(where) if path is None else load_file(str(path))


def _refuse(label: str, cls: type) -> None:
    """ConfigError for steps with state of their own, side effects, or work that is not about one document."""
    for base in cls.__mro__:
        _refuse_package(label, cls.__qualname__, base.__module__)
        why, fix = _CLASSES.get(f"{base.__module__}.{base.__qualname__}", ("", ""))
        if why:
            raise ConfigError(f"{label}: {cls.__qualname__} cannot be a stage", why=f"it {why}", fix=fix)


def _refuse_package(label: str, name: str, module: str) -> None:
    parts = module.split(".")
    if parts[:2] == ["datatrove", "pipeline"] and len(parts) > 2 and parts[2] in _PACKAGES:
        why, fix = _PACKAGES[parts[2]]
        raise ConfigError(f"{label}: {name} cannot be a stage", why=f"it {why}", fix=fix)


def changes_text(cls: type) -> bool:
    """Whether the class is known to give documents another text."""
    return any(f"{base.__module__}.{base.__qualname__}" in _CHANGES_TEXT for base in cls.__mro__)


def is_filter(cls: Any) -> bool:
    """Whether the class is one of datatrove's filters: it has `filter_batch`, and runs as they do."""
    base = importlib.import_module("datatrove.pipeline.filters.base_filter").BaseFilter
    return issubclass(cls, base) and bool(cls.run is base.run)


def check_options(label: str, cls: type, options: Mapping[str, Any]) -> None:
    """ConfigError where the class does not take these arguments."""
    if options.get("exclusion_writer") is not None:
        raise _writer(label, cls)
    try:
        inspect.signature(cls).bind(**options)
    except TypeError as error:
        parameters = list(inspect.signature(cls).parameters)
        raise ConfigError(
            f"{label}: {cls.__qualname__} does not take these options",
            why=str(error),
            fix=f"its arguments are {', '.join(parameters)}" if parameters else "it takes no options",
        ) from error


def make_step(label: str, step: str, options: Mapping[str, Any]) -> Any:
    """The step, made and tried on a text: models, lists and tokenizers are loaded now, and not in a document's time."""
    cls = load_class(label, step)
    check_options(label, cls, options)
    try:
        made = cls(**arguments(cls, options))
    except ImportError as error:
        raise missing(label, str(error)) from error
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{label}: {cls.__qualname__} cannot be made with {dict(options)}", why=why) from error
    if getattr(made, "exclusion_writer", None) is not None:
        raise _writer(label, cls)
    if isinstance(getattr(made, "keep_fraction", None), float) and made.keep_fraction > 0:
        raise ConfigError(
            f"{label}: {cls.__qualname__} cannot be a stage with keep_fraction = {made.keep_fraction}",
            why="it draws random numbers in the order in which a process meets documents",
            fix="leave keep_fraction at 0",
        )
    return made


def arguments(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the class wants them: JSON has lists where it may want tuples."""
    parameters = inspect.signature(cls).parameters
    wants = {name for name, parameter in parameters.items() if "tuple" in str(parameter.annotation)}
    return {name: tuple(v) if name in wants and isinstance(v, list) else v for name, v in options.items()}


def _writer(label: str, cls: type) -> ConfigError:
    return ConfigError(
        f"{label}: {cls.__qualname__} must not write dropped documents itself",
        why="its files would not be part of the published data set",
        fix="leave out exclusion_writer: dropped documents are published in dropped/ with their reason",
    )


def describe(instance: Any) -> tuple[str, dict[str, Any]]:
    """`step` and `options` that make an equal step; ConfigError where the instance does not tell them."""
    cls = type(instance)
    label = cls.__qualname__
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        raise ConfigError(
            f"{label} is defined where other processes cannot import it", fix="define it at the top of a file"
        )
    if getattr(instance, "exclusion_writer", None) is not None:
        raise _writer(label, cls)
    options = dict(_arguments(instance))
    differs = _differences(instance, options)
    if differs:
        raise ConfigError(
            f"{label} does not tell all arguments that it was made with",
            why=", ".join(differs),
            fix="give the class and its arguments: DatatroveFilter(step='package.module:Class', options={...})",
        )
    for name in list(options):  # what is worked out from a default is no setting
        fewer = {key: value for key, value in options.items() if key != name}
        if not _differences(instance, fewer):
            options = fewer
    return f"{_where(cls)}:{cls.__qualname__}", options


def _where(cls: type) -> str:
    """The module of a class, or the file of a user: relative where it can be, so that settings hold no place."""
    file = sys.modules[cls.__module__].__file__ if cls.__module__.startswith("tokenmill_user_") else None
    if file is None:
        return cls.__module__
    return str(Path(file).relative_to(Path.cwd())) if Path(file).is_relative_to(Path.cwd()) else file


def _arguments(instance: Any) -> Iterator[tuple[str, Any]]:
    """Arguments that an instance keeps under their own names, where they are not the defaults."""
    for name, parameter in inspect.signature(type(instance)).parameters.items():
        if name == "exclusion_writer" or not hasattr(instance, name):
            continue
        value = plain(getattr(instance, name))
        if parameter.default is inspect.Parameter.empty or value != plain(parameter.default):
            try:
                json.dumps(value)
            except TypeError:
                continue  # no plain value: the comparison with the rebuilt step decides
            yield name, value


def _differences(instance: Any, options: Mapping[str, Any]) -> list[str]:
    """In which attributes a step made with the options differs from the instance; counters aside."""
    try:
        other = type(instance)(**arguments(type(instance), options))
    except Exception as error:
        return [f"it cannot be made again ({type(error).__name__}: {error})"]
    mine, theirs = ({k: plain(v) for k, v in vars(step).items() if k != "stats"} for step in (instance, other))
    return [f"{name} differs" for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]


def plain(value: Any) -> Any:
    """A value with sets and tuples as lists, as JSON has them."""
    if isinstance(value, Set):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value
