"""The page of the command line: every command with its arguments and options, from the code that parses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.docs.markdown import code, inline, prose, table


def commands() -> dict[str, Any]:
    """Every command by name, in the order of `tokenmill --help`; those of groups as `group command`."""
    from typer.main import get_command

    from tokenmill.cli.main import app

    return dict(_below(get_command(app), ""))


def _below(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "hidden", False):
            continue
        if hasattr(command, "commands"):
            yield from _below(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def options(command: Any) -> set[str]:
    """All spellings of a command's options."""
    return {spelling for p in command.params for spelling in (*p.opts, *p.secondary_opts) if spelling.startswith("-")}


def page() -> str:
    """The page of all commands."""
    found = commands()
    rows = [[f"[{name}](#tokenmill-{name.replace(' ', '-')})", inline(_summary(one))] for name, one in found.items()]
    parts = [
        "# Commands\n",
        "`tokenmill COMMAND --help` prints the same. Options that say *repeatable* may be given several times.\n",
        table(["command", "what it does"], rows),
        "Exit codes: 0 done, 2 bad configuration, 3 finished but too much in quarantine, 75 stopped and resumable"
        " ([Troubleshooting](../troubleshooting.md)).\n",
    ]
    parts += [_section(name, one) for name, one in found.items()]
    return "\n".join(parts)


def _summary(command: Any) -> str:
    return (command.help or "").strip().partition("\n\n")[0]


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    flags = [p for p in command.params if p.param_type_name == "option" and not getattr(p, "hidden", False)]
    words = " ".join(_metavar(p) for p in arguments)
    given = " ".join(f"{p.opts[0]} {p.opts[0].lstrip('-').upper()}" for p in flags if p.required)
    usage = " ".join(part for part in (f"tokenmill {name}", words, given, "[OPTIONS]") if part)
    parts = [f"## tokenmill {name}\n", prose(command.help or ""), f"```text\n{usage}\n```\n"]
    if arguments:
        rows = [[code(_metavar(p)), inline(p.help or "")] for p in arguments]
        parts.append(table(["argument", "meaning"], rows))
    if flags:
        rows = [[_spelling(p), _default(p), inline(_meaning(p))] for p in flags]
        parts.append(table(["option", "default", "meaning"], rows))
    return "\n".join(parts)


def _metavar(parameter: Any) -> str:
    name = str(parameter.name).upper()
    many = "..." if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _spelling(parameter: Any) -> str:
    shown = ", ".join(map(code, parameter.opts))
    if parameter.secondary_opts:
        shown += " / " + ", ".join(map(code, parameter.secondary_opts))
    return shown


def _meaning(parameter: Any) -> str:
    text = parameter.help or ""
    if parameter.multiple and "repeatable" not in text:
        text += " (repeatable)"
    return text


def _default(parameter: Any) -> str:
    if parameter.required:
        return "**required**"
    value = getattr(parameter.default, "value", parameter.default)
    if value is None or value == "" or value is False or callable(value):
        return ""
    return code(str(value))
