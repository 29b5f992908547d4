"""tokenmill: raw web archives in, training tokens out, and the proof that they are good tokens.

The package loads nothing heavy here: `from tokenmill import Pipeline, Filter, Doc` resolves lazily,
so that `import tokenmill` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tokenmill.core.doc import Doc
    from tokenmill.core.pipeline import Pipeline
    from tokenmill.core.rule import Drop, Rule
    from tokenmill.core.stage import Annotate, Barrier, Filter, Rewrite, Sink, Source

_EXPORTS = {
    "Annotate": "tokenmill.core.stage",
    "Barrier": "tokenmill.core.stage",
    "Doc": "tokenmill.core.doc",
    "Drop": "tokenmill.core.rule",
    "Filter": "tokenmill.core.stage",
    "Pipeline": "tokenmill.core.pipeline",
    "Rewrite": "tokenmill.core.stage",
    "Rule": "tokenmill.core.rule",
    "Sink": "tokenmill.core.stage",
    "Source": "tokenmill.core.stage",
}

__all__ = [
    "Annotate",
    "Barrier",
    "Doc",
    "Drop",
    "Filter",
    "Pipeline",
    "Rewrite",
    "Rule",
    "Sink",
    "Source",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tokenmill' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)
