"""Layouts by name."""

from __future__ import annotations

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.formats.base import TokenFormat
from tokenmill.tokens.formats.bins import LlmC, NanoGpt
from tokenmill.tokens.formats.ds import Ds
from tokenmill.tokens.formats.megatron import Megatron
from tokenmill.tokens.formats.olmo import Olmo

EXPORTED = ("mds", "litdata")
"""Layouts that are made from a finished set, by their own libraries."""
_FORMATS: dict[str, type[TokenFormat]] = {layout.name: layout for layout in (Ds, Megatron, Olmo, LlmC, NanoGpt)}


def format_names() -> tuple[str, ...]:
    """Names that `--format` takes, the default first."""
    return tuple(_FORMATS)


def token_format(name: str) -> TokenFormat:
    """The layout of that name. ConfigError where there is none."""
    if name in _FORMATS:
        return _FORMATS[name]()
    if name in EXPORTED:
        raise ConfigError(
            f"the layout {name} is not written directly",
            why="its shards are folders that its own library writes",
            fix=f"tokenize with --format ds, then: tokenmill export SET --format {name} --output FOLDER",
        )
    raise ConfigError(f"no layout of token shards is called {name!r}", why=did_you_mean(name, [*_FORMATS, *EXPORTED]))
