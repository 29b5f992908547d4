"""`docs/rephrase-checks.md`: every check with its setting, defaults and source, from the tables in the code."""

from __future__ import annotations

from typing import Any

from tokenmill.core.rule import Rule
from tokenmill.rephrase.checks.columns import CHECKS, FLAG, RANGE, SAME, VALUES, Check
from tokenmill.rephrase.checks.rules import default_rules

_FORMS = {RANGE: "`[low, high]`", FLAG: "`forbidden`", SAME: "`same`", VALUES: "values", "": "-"}
_KINDS = ("rewrite", "create", "edit")


def checks_table() -> str:
    """Two tables in Markdown: the columns, and the rules that styles begin with."""
    head = "| column | unit | what it is | in `checks:` | reasons | source |\n|---|---|---|---|---|---|"
    rows = [head, *map(_row, CHECKS)]
    columns = " | ".join(f"`kind: {kind}`" for kind in _KINDS)
    defaults = [f"| check | {columns} |\n|---|" + "---|" * len(_KINDS)]
    for check in CHECKS:
        told = [_told(default_rules(kind), check) for kind in _KINDS]
        if any(told):
            defaults.append(f"| {check.name} | " + " | ".join(told) + " |")
    return "\n".join(rows) + "\n\nRejected without any `checks:` are outputs with\n\n" + "\n".join(defaults) + "\n"


def _row(check: Check) -> str:
    reasons = ", ".join(f"`{reason}`" for reason in (check.low, check.high) if reason) or "-"
    cells = (f"`{check.column}`", check.unit or "-", check.meaning, _FORMS[check.form], reasons, check.source)
    return "| " + " | ".join(cells) + " |"


def _told(rules: tuple[Rule, ...], check: Check) -> str:
    return ", ".join(f"{rule.comparison} {_value(rule.threshold)}" for rule in rules if rule.signal == check.column)


def _value(threshold: Any) -> str:
    if isinstance(threshold, tuple):
        return ", ".join(map(str, threshold))
    return str(threshold).lower() if isinstance(threshold, bool) else str(threshold)
