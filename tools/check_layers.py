"""The direction of imports (docs/architecture.md), checked on the syntax tree: function-local imports count too.

Run by `make lint`. Exit code 1 and one line per violation.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "tokenmill"

_STEPS = {"extract", "filters", "dedup", "classifiers", "rephrase", "tokens", "interop"}
_RUNNERS = {"pipelines", "executors", "train", "report"}
ALLOWED: dict[str, set[str]] = {
    "core": set(),
    "text": {"core"},
    "io": {"core"},
    **{name: {"core", "text", "io"} for name in _STEPS},
    **{name: {"core", "text", "io"} | _STEPS for name in _RUNNERS},
    "ablate": {"core", "text", "io"} | _STEPS | _RUNNERS,
    "cli": {"core", "text", "io", "ablate"} | _STEPS | _RUNNERS,
}
"""Sub-package -> the others that it may import. Siblings never import each other."""

CONFINED = {
    "torch": {"classifiers", "rephrase", "train"},
    "transformers": {"classifiers", "rephrase", "train"},
    "ray": {"executors"},
    "datatrove": {"interop"},
    "matplotlib": {"ablate"},
    "pandas": set(),
}
"""Heavy library -> the only sub-packages that may import it."""


def violations() -> Iterator[str]:
    """One line per import that goes the wrong way."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        package = parts[0] if len(parts) > 1 else "cli" if parts[0] == "__main__.py" else ""
        for line, module in imported(path):
            root, _, rest = module.partition(".")
            where = f"{path.relative_to(ROOT.parent)}:{line}"
            if package not in CONFINED.get(root, {package}):
                yield f"{where}: {package or 'tokenmill'} must not import {root}"
            target = rest.partition(".")[0]
            if root == "tokenmill" and package and target and (ROOT / target).is_dir():
                if target != package and target not in ALLOWED.get(package, set()):
                    yield f"{where}: {package} must not import {target}"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "tokenmill.relative_import"
            elif node.module == "tokenmill":
                yield from ((node.lineno, f"tokenmill.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found) or "imports: all in the right direction")
    sys.exit(1 if found else 0)
