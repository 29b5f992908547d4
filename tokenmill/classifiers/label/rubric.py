"""Rubrics: what a rater is asked, and which answers there are. YAML files; those of the package lie in `rubrics/`.

name: topic
version: 1
task: who the rater is and what is judged
questions:
  - name: topic                 # becomes a column
    kind: choice                # or score, with levels 0, 1, 2, ... and their meanings
    ask: the question
    choices:
      health: {means: ..., not: ...}
advice: [further sentences]
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tokenmill.core.errors import ConfigError, did_you_mean

RUBRICS = Path(__file__).parent / "rubrics"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_TAKEN = frozenset("reason text id doc_id url stratum sample_weight failure".split())


@dataclass(frozen=True)
class Option:
    """One answer: a level of a score ("3") or a choice ("health")."""

    name: str
    means: str
    excludes: str = ""
    """What does not belong here, and where it belongs."""


@dataclass(frozen=True)
class Question:
    """One thing to judge; its name becomes a column of the labels."""

    name: str
    kind: Literal["score", "choice"]
    ask: str
    options: tuple[Option, ...]
    """Scores in rising order from 0; choices as written, shown in an order of their own to every document."""


@dataclass(frozen=True)
class Rubric:
    """What a rater is asked about one document."""

    name: str
    version: int
    task: str
    questions: tuple[Question, ...]
    advice: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 of all that a rater may read of it, hexadecimal; spaces and comments of the file do not count."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def builtin_rubrics() -> list[str]:
    """Names of the rubrics of the package."""
    return sorted(path.stem for path in RUBRICS.glob("*.yaml"))


def load_rubric(name: str) -> Rubric:
    """A rubric of the package by name, or one of yours by the path of its YAML file. ConfigError where it is wrong."""
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else RUBRICS / f"{name}.yaml"
    if path.parent == RUBRICS and path.stem not in builtin_rubrics():
        raise ConfigError(
            f"no rubric {name!r}", why=did_you_mean(name, builtin_rubrics()), fix="a name, or the path of a .yaml file"
        )
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the rubric {name}", where=str(path), why=str(error)) from error
    try:
        return _rubric(fields)
    except (ValueError, TypeError) as error:
        fix = "see docs/labels.md, or a file of the package"
        raise ConfigError(f"{name} is no rubric", where=str(path), why=str(error), fix=fix) from error


def _rubric(fields: Any) -> Rubric:
    """ValueError in words where something is missing, unknown or of the wrong kind."""
    known = _keys("the file", fields, {"name", "version", "task", "questions"}, {"advice"})
    if not isinstance(known["version"], int):
        raise ValueError("version is no integer")
    questions, advice = known["questions"], known.get("advice", [])
    if not isinstance(questions, list) or not questions or not isinstance(advice, list):
        raise ValueError("questions and advice are lists, and there is at least one question")
    rubric = Rubric(
        name=_name(known["name"]),
        version=known["version"],
        task=_words("task", known["task"]),
        questions=tuple(_question(one) for one in questions),
        advice=tuple(_words("advice", one) for one in advice),
    )
    names = [question.name for question in rubric.questions]
    if len(set(names)) < len(names) or _TAKEN & set(names):
        raise ValueError(f"questions are named {names}: each once, and none of {', '.join(sorted(_TAKEN))}")
    return rubric


def _question(fields: Any) -> Question:
    kind = fields.get("kind") if isinstance(fields, Mapping) else None
    if kind not in ("score", "choice"):
        raise ValueError(f"a question's kind {kind!r} is neither score nor choice")
    options = "levels" if kind == "score" else "choices"
    known = _keys("a question", fields, {"name", "kind", "ask", options}, set())
    given = known[options]
    if not isinstance(given, Mapping) or len(given) < 2:
        raise ValueError(f"{options} of {known['name']} has at least two entries")
    if options == "levels":
        if list(given) != list(range(len(given))):
            raise ValueError(f"levels of {known['name']} are {list(given)}, not 0, 1, 2, ... in this order")
        found = tuple(Option(str(level), _words("a level", means)) for level, means in given.items())
    else:
        found = tuple(_choice(name, value) for name, value in given.items())
    return Question(_name(known["name"]), known["kind"], _words("ask", known["ask"]), found)


def _choice(name: Any, fields: Any) -> Option:
    known = _keys(f"choice {name}", fields, {"means"}, {"not"})
    excludes = _words("not", known["not"]) if "not" in known else ""
    return Option(_name(name), _words("means", known["means"]), excludes)


def _keys(what: str, fields: Any, needed: set[str], optional: set[str]) -> Mapping[str, Any]:
    if not isinstance(fields, Mapping):
        raise ValueError(f"{what} is no mapping")
    missing, unknown = needed - fields.keys(), {str(key) for key in fields} - needed - optional
    if missing or unknown:
        raise ValueError(f"{what} lacks {sorted(missing)}" if missing else f"{what} has unknown {sorted(unknown)}")
    return fields


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"name {value!r} is not made of a-z, 0-9 and _")  # yes, no, on are no strings in YAML
    return value


def _words(what: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} is no text: {value!r}")
    return " ".join(value.split())
