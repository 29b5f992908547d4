"""`tokenmill stages`: the stages, their settings, rules and sources, generated from the code."""

from __future__ import annotations

import inspect
from typing import Any

from rich.markup import escape
from rich.table import Table

from tokenmill.cli.console import make_table, output_console, print_json
from tokenmill.cli.recipes import import_stages
from tokenmill.core.errors import ConfigError
from tokenmill.core.settings import field_docs
from tokenmill.core.signals import known_signals
from tokenmill.core.stage import Filter, Stage, registered_stages, stage_class


def show_stages(*, as_json: bool = False) -> None:
    """List every built-in stage with its kind and first line of documentation."""
    import_stages()
    if as_json:
        print_json([{"stage": name, "kind": kind_of(cls), "about": first_line(cls)} for name, cls in _runnable()])
        return
    table = make_table()
    for name in ("stage", "kind", "what it does"):
        table.add_column(name, overflow="fold")
    for name, cls in _runnable():
        table.add_row(name, kind_of(cls), first_line(cls))
    output_console().print(table)


def _runnable() -> list[tuple[str, type[Stage]]]:
    """(name, class) of the stages that are no base of others, by kind and name."""
    found = [(name, cls) for name, cls in registered_stages().items() if not inspect.isabstract(cls)]
    return sorted(found, key=lambda item: (kind_of(item[1]), item[0]))


def show_stage(name: str, *, as_json: bool = False) -> None:
    """Print one stage: documentation, columns, settings, and the table of its rules."""
    import_stages()
    cls = stage_class(name)
    if inspect.isabstract(cls):
        raise ConfigError(f"{name} is what other stages are made from", fix="tokenmill stages lists those that run")
    if as_json:
        print_json(stage_facts(name, cls))
        return
    console = output_console()
    console.print(f"{name} ({kind_of(cls)}, version {cls.version})", style="bold", highlight=False)
    console.print(inspect.getdoc(cls) or "", highlight=False, markup=False)
    fields = field_docs(cls)
    if not any(field.required for field in fields):
        _print_made(cls())
    settings = make_table(title="settings")
    for column in ("name", "type", "default", "meaning"):
        settings.add_column(column, overflow="fold")
    for field in fields:
        default = "required" if field.required else repr(field.default)
        settings.add_row(field.name, escape(field.type), escape(default), escape(field.text))
    if settings.row_count:
        console.print(settings)
    if any(field.required for field in fields):
        return
    stage = cls()
    if isinstance(stage, Filter) and stage.rules():
        console.print(_rules_table(stage))
    if stage.measures():
        console.print(_signals_table(stage))


def stage_facts(name: str, cls: type[Stage]) -> dict[str, Any]:
    """What is known of a stage, as plain values: settings, and with these at their defaults columns, rules, signals."""
    fields = field_docs(cls)
    facts: dict[str, Any] = {
        "stage": name,
        "kind": kind_of(cls),
        "version": cls.version,
        "about": inspect.getdoc(cls) or "",
        "settings": [
            {
                "name": field.name,
                "type": field.type,
                "required": field.required,
                "default": None if field.required else field.default,
                "meaning": field.text,
            }
            for field in fields
        ],
    }
    if any(field.required for field in fields):
        return facts
    stage, known = cls(), known_signals()
    rules = stage.rules() if isinstance(stage, Filter) else ()
    shown = ("reason", "signal", "comparison", "threshold", "by")
    return {
        **facts,
        "reads": list(stage.reads),
        "adds": {column: str(dtype) for column, dtype in stage.columns_added().items()},
        "rules": [{name: getattr(rule, name) for name in shown} for rule in rules],
        "signals": [
            {"name": one, "type": str(known[one].dtype)}
            | {key: getattr(known[one], key) for key in ("unit", "meaning", "source")}
            for one in stage.measures()
        ],
    }


def _print_made(stage: Stage) -> None:
    """The columns of a stage with its default settings."""
    console = output_console()
    if stage.reads:
        console.print(f"reads: {', '.join(stage.reads)}", highlight=False)
    if stage.columns_added() and not stage.measures():
        adds = ", ".join(f"{column} ({dtype})" for column, dtype in stage.columns_added().items())
        console.print(f"adds: {adds}", highlight=False)


def _signals_table(stage: Stage) -> Table:
    """What the stage measures, signal by signal."""
    known = known_signals()
    table = make_table(title="signals")
    for column in ("signal", "type", "unit", "meaning", "source"):
        table.add_column(column, overflow="fold")
    for name in stage.measures():
        signal = known[name]
        table.add_row(name, str(signal.dtype), signal.unit, signal.meaning, signal.source)
    return table


def _rules_table(stage: Filter) -> Table:
    signals = known_signals()
    table = make_table(title="rules: a document is dropped for the first that holds")
    for column in ("reason", "drop when", "unit", "meaning of the signal", "source"):
        table.add_column(column, overflow="fold")
    for rule in stage.rules():
        signal = signals.get(rule.signal)
        shown = str(rule) if rule.active else f"{rule.signal} (off)"
        details = (signal.unit, signal.meaning, signal.source) if signal else ("", "a column", "")
        table.add_row(rule.reason, shown, *details)
    return table


def kind_of(cls: type[Stage]) -> str:
    """Name of the kind of a stage class."""
    return next(base.__name__ for base in cls.__mro__ if base.__module__ == "tokenmill.core.stage")


def first_line(cls: type[Stage]) -> str:
    """First line of a stage's documentation."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]
