"""The folder for what can be made again: compiled lists, models in a form that loads fast."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$TOKENMILL_CACHE, else ~/.cache/tokenmill (or $XDG_CACHE_HOME). It may not exist yet."""
    chosen = os.environ.get("TOKENMILL_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tokenmill")
