"""Models and tokenizers of the Hugging Face hub: what the local cache has is taken without a network, what it lacks is
downloaded.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tokenmill.core.errors import ConfigError

_log = logging.getLogger(__name__)


def from_hub(
    model: str,
    function: Literal["snapshot_download", "hf_hub_download"],
    *arguments: str,
    revision: str = "",
    complete: Callable[[Path], bool] | None = None,
    noun: str = "model",
    instead: str = "give the path of a model, such as one of tokenmill train-classifier",
    **settings: Any,
) -> Path:
    """The local copy of a model: `huggingface_hub.<function>(*arguments, **settings)`. A warning tells of a download.

    model: its name in messages. complete: whether a copy in the cache will do, as another program may have wanted less
    of it. noun, instead: what it is, and what to give in its place, for messages. ConfigError where the package is
    missing, or the hub has no such model or cannot be reached.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError as error:
        raise ConfigError(
            f"{model!r} is nothing on this disk, and hubs need a package",
            why=str(error),
            fix=f"pip install huggingface_hub, or give the path of a {noun}",
        ) from error
    fetch = partial(getattr(huggingface_hub, function), *arguments, revision=revision or None, **settings)
    with contextlib.suppress(Exception):  # not there, or not all of it: then the hub is asked, and says what is wrong
        cached = Path(fetch(local_files_only=True))
        if complete is None or complete(cached):
            return cached
    if not constants.HF_HUB_OFFLINE:
        _log.warning("downloading the %s %s (revision %s) from the hub", noun, model, revision or "main")
    try:
        return Path(fetch())
    except Exception as error:  # its own errors, httpx's and the operating system's
        said = str(error).strip().splitlines()
        raise ConfigError(
            f"the {noun} {model!r} is nothing on this disk, and cannot be had from the hub",
            where=f"revision {revision or 'main'}; HF_HUB_OFFLINE={os.environ.get('HF_HUB_OFFLINE', '')!r}",
            why=f"{type(error).__name__}: {said[0] if said else ''}",
            fix=f"{instead}; where the hub can be reached, "
            "`hf download` fetches one, and a complete copy in its cache is used with HF_HUB_OFFLINE=1",
        ) from error
