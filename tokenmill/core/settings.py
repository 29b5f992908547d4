"""Settings of stages from text and JSON: parsing, type checks, and the documentation of fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.stage import Stage


def parse_assignment(text: str) -> tuple[str, str, Any]:
    """`stage.field=value` as (stage, field, value); the value is JSON where it parses, else a string."""
    target, equals, raw = text.partition("=")
    stage, dot, field = target.strip().partition(".")
    if not (equals and dot and stage and field):
        raise ConfigError(f"cannot read the setting {text!r}", fix="write it as --set stage.field=value")
    try:
        return stage, field, json.loads(raw)
    except json.JSONDecodeError:
        return stage, field, {"True": True, "False": False}.get(raw, raw)


def build_stage(cls: type[Stage], config: Mapping[str, Any]) -> Stage:
    """A stage from plain JSON values, each checked against the type of its field."""
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in config:
        if name not in known:
            why = did_you_mean(name, known) if known else f"{cls.name} has no settings"
            raise ConfigError(f"{cls.name} has no setting {name!r}", why=why, fix=f"tokenmill stages {cls.name}")
    values = {name: _coerce(cls.name, name, value, hints[name]) for name, value in config.items()}
    return cls(**values)


def _coerce(stage: str, field: str, value: Any, hint: Any) -> Any:
    """The value as the field's type wants it (lists become tuples, 1 becomes 1.0), else ConfigError."""
    found, result = _fit(value, hint)
    if not found:
        wanted = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)
        raise ConfigError(
            f"{stage}.{field} = {value!r} has the wrong type",
            why=f"{stage}.{field} is a setting of type {wanted or hint}",
            fix=f"tokenmill stages {stage} shows its meaning, unit and default",
        )
    return result


def _fit(value: Any, hint: Any) -> tuple[bool, Any]:
    origin = typing.get_origin(hint)
    if hint is Any:
        return True, value
    if origin in (typing.Union, types.UnionType):
        if value in ("None", "none") and type(None) in typing.get_args(hint):
            return True, None
        for option in typing.get_args(hint):
            found, result = _fit(value, option)
            if found:
                return True, result
        return False, None
    if origin is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            return False, None
        args = typing.get_args(hint)
        item_hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        fitted = [_fit(item, item_hint) for item, item_hint in zip(value, item_hints, strict=False)]
        if len(item_hints) != len(value) or not all(found for found, _ in fitted):
            return False, None
        return True, tuple(result for _, result in fitted)
    if origin is list:
        (item_hint,) = typing.get_args(hint)
        found, items = _fit(value, types.GenericAlias(tuple, (item_hint, ...)))
        return found, list(items) if found else None
    if origin is dict:
        return isinstance(value, dict), value
    if origin is typing.Literal:
        return value in typing.get_args(hint), value
    if hint is type(None):
        return value is None, None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return True, float(value)
    if hint is int and isinstance(value, bool):
        return False, None
    return isinstance(hint, type) and isinstance(value, hint), value


@dataclasses.dataclass(frozen=True)
class FieldDoc:
    """One setting as documentation shows it."""

    name: str
    type: str
    default: Any
    text: str
    required: bool = False


def field_docs(cls: type[Stage]) -> list[FieldDoc]:
    """The settings of a stage with the string literal that stands under each field in its source."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Stage) and base is not Stage:
            docs.update(_literals_under_fields(base))
    out = []
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        factory: Any = f.default_factory
        made = factory is not dataclasses.MISSING
        required = f.default is dataclasses.MISSING and not made
        default = factory() if made else None if required else f.default
        out.append(FieldDoc(f.name, str(f.type), default, " ".join(docs.get(f.name, "").split()), required))
    return out


def _literals_under_fields(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # a class typed into an interpreter has no source to read
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    found = {}
    for node, after in itertools.pairwise(body):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[node.target.id] = str(after.value.value)
    return found
