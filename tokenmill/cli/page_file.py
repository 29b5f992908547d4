"""A page that is given as a file."""

from __future__ import annotations

import sys
from pathlib import Path

from tokenmill.core.errors import ConfigError


def read_page(page: str) -> tuple[bytes, str]:
    """(bytes, name) of a page's file, or of standard input for `-`. ConfigError where it cannot be read."""
    if page == "-":
        return sys.stdin.buffer.read(), "stdin"
    try:
        return Path(page).read_bytes(), Path(page).name
    except OSError as error:
        raise ConfigError(
            "the page cannot be read",
            where=page,
            why=error.strerror or str(error),
            fix="give the path of an HTML file, or - for standard input",
        ) from error
