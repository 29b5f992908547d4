"""`tokenmill rephrase --styles`: what styles there are, and what one says."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tokenmill.cli.console import make_table, output_console, safe_line
from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.lint import lint
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style, styles


def show_styles(names: tuple[str, ...], *, as_json: bool = False) -> None:
    """All styles in a table, or those named in full with what a careful reader would remark."""
    found = [load_style(name) for name in names] if names else list(styles().values())
    if as_json:
        print(json.dumps([_plain(style) for style in found], indent=1))
    elif names:
        for style in found:
            _show(style)
    else:
        _list(found)


def _list(found: list[Style]) -> None:
    table = make_table()
    for name in ("style", "what it makes", "per", "tokens in", "tokens out", "source"):
        table.add_column(name, justify="right" if name.startswith("tokens") else "left")
    for style in found:
        budgets = f"{style.input_tokens:,}", f"{style.output_tokens:,}"
        table.add_row(style.name, safe_line(style.title), style.per, *budgets, safe_line(style.source))
    output_console().print(table)


def _show(style: Style) -> None:
    console = output_console()
    console.print(f"{style.name} version {style.version}: {safe_line(style.title)}", style="bold", highlight=False)
    console.print(f"digest {style.digest}", highlight=False, soft_wrap=True)
    console.print(
        f"{style.input_tokens:,} tokens in, {style.output_tokens:,} out, per {style.per}, {style.layout}",
        highlight=False,
    )
    for rule in style.rules:
        console.print(f"rejects {rule.reason}: {rule}", highlight=False, markup=False, soft_wrap=True)
    for remark in lint(style, Counter("")):
        console.print(f"remark: {safe_line(remark)}", highlight=False, soft_wrap=True)
    for part in (style.system, style.prompt):
        if part:
            console.print(part, highlight=False, markup=False, soft_wrap=True)
            console.print()


def _plain(style: Style) -> dict[str, Any]:
    return {**asdict(style), "rules": [{"reason": rule.reason, "rule": str(rule)} for rule in style.rules]}
