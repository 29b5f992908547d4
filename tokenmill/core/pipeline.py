"""A pipeline: a name and a list of configured stages. A recipe is a function that returns one."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType, TracebackType
from typing import Any, TypeVar

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.settings import build_stage
from tokenmill.core.stage import Stage, stage_class

_USER_MODULES = "tokenmill_user_"
_Kind = TypeVar("_Kind")


class Pipeline:
    """`Pipeline("mine", [ReadWarc(), ..., WriteParquet()])`. Immutable; stages run in the order given."""

    def __init__(self, name: str, stages: Iterable[Stage]) -> None:
        self.name = name
        given = tuple(stages)
        for stage in given:
            if not isinstance(stage, Stage):
                raise ConfigError(
                    f"{stage!r} in pipeline {name!r} is not a stage",
                    fix="add an instance of a Stage subclass, such as GopherQuality()",
                )
        # rebuilt from plain values, as every worker does: a setting of 3 and one of 3.0 must not be two plans
        self.stages: tuple[Stage, ...] = tuple(build_stage(type(stage), stage.config()) for stage in given)
        self.labels: tuple[str, ...] = _labels(self.stages)

    def with_settings(self, assignments: Iterable[tuple[str, str, Any]]) -> Pipeline:
        """A copy with (stage, field, value) changed; ConfigError names the nearest stage or field."""
        configs = {label: stage.config() for label, stage in zip(self.labels, self.stages, strict=True)}
        for label, field, value in assignments:
            if label not in configs:
                raise ConfigError(f"recipe {self.name!r} has no stage {label!r}", why=did_you_mean(label, configs))
            configs[label][field] = value
        rebuilt = [
            build_stage(type(stage), configs[label]) for label, stage in zip(self.labels, self.stages, strict=True)
        ]
        return Pipeline(self.name, rebuilt)

    def without(self, labels: Iterable[str]) -> Pipeline:
        """A copy without the stages of these labels; ConfigError names the nearest label."""
        left_out = list(labels)
        for label in left_out:
            if label not in self.labels:
                known = did_you_mean(label, self.labels)
                raise ConfigError(f"recipe {self.name!r} has no stage {label!r} to leave out", why=known)
        pairs = zip(self.labels, self.stages, strict=True)
        return Pipeline(self.name, [stage for label, stage in pairs if label not in left_out])

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` rebuilds the pipeline, in this or another process."""
        entries = []
        for label, stage in zip(self.labels, self.stages, strict=True):
            cls = type(stage)
            entry = {
                "stage": label,
                "class": f"{cls.__module__}:{cls.__qualname__}",
                "version": cls.version,
                "config": stage.config(),
            }
            if cls.incidental:
                entry["incidental"] = sorted(cls.incidental)
            if cls.__module__.startswith(_USER_MODULES):
                entry["file"] = sys.modules[cls.__module__].__file__
                entry["class"] = f":{cls.__qualname__}"
            entries.append(entry)
        return {"recipe": self.name, "stages": entries}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pipeline:
        """The pipeline that `to_json` described; ConfigError where a class is gone or has changed version."""
        return cls(data["recipe"], [_stage_from_entry(entry) for entry in data["stages"]])

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}, {list(self.labels)})"


def _labels(stages: Sequence[Stage]) -> tuple[str, ...]:
    """One name per stage; a second stage of the same class gets `_2` and so on."""
    seen: dict[str, int] = {}
    labels = []
    for stage in stages:
        name = getattr(type(stage), "name", type(stage).__name__)
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return tuple(labels)


def _stage_from_entry(entry: Mapping[str, Any]) -> Stage:
    """A stage from `{stage, config}` (hand-written) or with `class`, `file` and `version` (a run's own)."""
    found = _class_of(entry) if "class" in entry else stage_class(entry["stage"])
    version = entry.get("version", found.version)
    if found.version != version:
        raise ConfigError(
            f"stage {entry['stage']!r} is version {found.version} here, the run was made with {version}",
            why="the two can give other bytes",
            fix="use the tokenmill that made the run, or start a new output",
        )
    return build_stage(found, entry.get("config") or {})


def _class_of(entry: Mapping[str, Any]) -> type[Stage]:
    module_name, _, qualname = entry["class"].partition(":")
    try:
        found: Any = load_file(entry["file"]) if "file" in entry else importlib.import_module(module_name)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"stage {entry['stage']!r} cannot be loaded from {entry.get('file', module_name)}",
            why=str(error),
            fix="run where the module that defines it can be imported",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Stage)):
        raise ConfigError(f"{entry['class']} is not a stage", fix="start from the run.json of a run")
    return found


def code_digest(cls: type[Stage]) -> dict[str, str]:
    """The digest of the user's file that defines a stage; empty for stages of installed packages.

    An edited filter is another filter, whatever its settings say.
    """
    return {"source": digest} if (digest := source_digest(cls.__module__)) else {}


def source_digest(module: str) -> str:
    """SHA-256 of the user's file that was imported as `module`; "" for modules of installed packages."""
    if not module.startswith(_USER_MODULES):
        return ""
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()


def load_file(path: str) -> ModuleType:
    """Import a user's Python file under a name of its own, once per process.

    Its folder is on the search path afterwards, so that it can import its neighbours as a script can.
    """
    absolute = str(Path(path).resolve())
    digest = hashlib.sha256(absolute.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"{_USER_MODULES}{Path(absolute).stem.replace('.', '_')}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, absolute)
    if spec is None or spec.loader is None or not Path(absolute).is_file():
        raise ConfigError(f"no Python file at {path}", fix="give a recipe as my.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(Path(absolute).parent) not in sys.path:
        sys.path.append(str(Path(absolute).parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, ConfigError):
            raise
        line = getattr(error, "lineno", None) or (error.__traceback__ and _last_line(error.__traceback__, absolute))
        raise ConfigError(
            f"{path} cannot be imported",
            where=f"line {line}" if line else "",
            why=f"{type(error).__name__}: {error}",
            fix="run it with python to see the whole traceback",
        ) from error
    return module


def object_from_file(path: str, attribute: str, kind: type[_Kind], noun: str) -> _Kind:
    """The object `attribute` of a user's Python file, or what the function of that name returns.

    attribute: "" for the only one that the file has. noun: what the kind is called in messages. ConfigError lists
    what the file has where there is no such object.
    """
    module = load_file(path)
    candidates = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, kind) or (isinstance(value, FunctionType) and value.__module__ == module.__name__)
    }
    if not attribute and len(candidates) == 1:
        attribute = next(iter(candidates))
    found: Any = getattr(module, attribute, None) if attribute else None
    if isinstance(found, FunctionType):
        found = found()
    if not isinstance(found, kind):
        raise ConfigError(
            f"{path} has no {noun} named {attribute!r}" if attribute else f"{path} has several things in it",
            why=f"{noun}s and functions in it: {', '.join(sorted(candidates)) or 'none'}",
            fix=f"write {path}:NAME, where NAME is a {kind.__name__} or a function that returns one",
        )
    return found


def _last_line(trace: TracebackType, path: str) -> int | None:
    """The last line of the file `path` in a traceback."""
    lines = [entry.lineno for entry in traceback.extract_tb(trace) if entry.filename == path]
    return lines[-1] if lines else None
