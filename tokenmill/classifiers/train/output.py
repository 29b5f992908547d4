"""The folder of a model appears when it is complete: until then its files are in a hidden folder beside it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokenmill.core.errors import ConfigError, FatalError


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which becomes `folder` at the end; after an error nothing is left.

    Relative paths from inside are the same in both. ConfigError, before any work, where `folder` holds something or
    cannot be made.
    """
    root = folder.parts[0] if folder.parts else ""
    if root.endswith(":"):  # what is left of s3:// in a path
        raise ConfigError(
            f"a model cannot be written to {folder}",
            why=f"{root} names an object store, and this is no folder of this machine",
            fix="name a new folder here, and copy it there",
        )
    if os.path.lexists(folder) and (not folder.is_dir() or any(_entries(folder))):
        raise ConfigError(
            f"{folder} is there already",
            why="a model's folder is not overwritten",
            fix="name a new folder, or remove this one",
        )
    final = folder.resolve()
    part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        (part / "probe").touch()
        (part / "probe").unlink()
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise ConfigError(
            f"a model cannot be written to {folder}",
            why=f"{type(error).__name__}: {error}",
            fix="name a folder that can be made",
        ) from error
    try:
        yield part
        try:
            part.rename(final)
        except OSError as error:
            raise FatalError(
                f"the model cannot be moved to {folder}",
                why=f"{type(error).__name__}: {error}",
                fix="let no other program write there, and train again",
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read", why=str(error), fix="name another folder") from error
