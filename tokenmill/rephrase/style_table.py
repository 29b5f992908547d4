"""The styles of the package as tables for the documentation and for listings; docs/rephrase-styles.md holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenmill.core.rule import Rule
from tokenmill.rephrase.checks.columns import PREFIX
from tokenmill.rephrase.checks.rules import default_rules
from tokenmill.rephrase.formats import FORMATS
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import KEYS, REQUIRED, styles

BEGIN, END = "<!-- made by tokenmill.rephrase.style_table: begin -->", "<!-- end -->"


def made_part() -> str:
    """What docs/rephrase-styles.md has between `BEGIN` and `END`."""
    found = styles().values()
    parts = [
        f"{len(found)} styles come with the package.",
        budgets_table(found),
        "## Their checks",
        checks_table(found),
    ]
    parts += ["## Keys of the front matter", keys_table(), "## Formats", formats_table()]
    return "\n\n".join(parts)


def budgets_table(found: Iterable[Style]) -> str:
    """Budgets, layout, format and sampling, one line for each style."""
    head = ("style", "what it makes", "kind", "in", "out", "least", "per", "page", "format", "sampling", "source")
    rows = [
        (
            f"`{style.name}`",
            style.title,
            style.kind,
            f"{style.input_tokens:,}",
            f"{style.output_tokens:,}",
            str(style.min_tokens),
            style.per + ("" if style.missing == "drop_passage" else f", {style.missing}"),
            "first" if style.layout == "document_first" else "last",
            str(style.format["kind"]),
            _settings(style.sampling),
            style.source,
        )
        for style in found
    ]
    return _table(head, rows)


def checks_table(found: Iterable[Style]) -> str:
    """For each style the thresholds in which it differs from the defaults of its kind and format."""
    return _table(("style", "rejects, besides the defaults of its kind"), [(f"`{s.name}`", _changes(s)) for s in found])


def keys_table() -> str:
    """What front matter may say."""
    return _table(
        ("key", "meaning"), [(f"`{key}`" + (" *" if key in REQUIRED else ""), means) for key, means in KEYS.items()]
    )


def formats_table() -> str:
    """Formats and their settings."""
    rows = [
        (f"`{kind}`", ", ".join(f"`{key}` ({what})" for key, what in keys.items())) for kind, keys in FORMATS.items()
    ]
    return _table(("format", "settings"), rows)


def _changes(style: Style) -> str:
    default = default_rules(style.kind, style.format["kind"])
    told = [f"{_named(rule)}" for rule in style.rules if rule not in default]
    measured = {(rule.signal, rule.comparison) for rule in style.rules}
    told += [f"not: {_named(rule)}" for rule in default if (rule.signal, rule.comparison) not in measured]
    return "; ".join(told) or "-"


def _named(rule: Rule) -> str:
    return f"{rule.signal.removeprefix(PREFIX)} {rule.comparison} {rule.threshold}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "-"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [" | ".join(head), "|".join(["---"] * len(head))]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" if number != 1 else f"|{line}|" for number, line in enumerate(lines))
