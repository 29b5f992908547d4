"""Arrays and strings in a folder, for what is built once and mapped into memory by all processes afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_WORDS, _DIGEST = "words.json", "digest"


def write_parts(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], words: Mapping[str, Sequence[str]]) -> None:
    """Write both into a folder, which appears as a whole; nothing where the place cannot be written."""
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            for name, array in arrays.items():
                np.save(made / f"{name}.npy", array)
            (made / _WORDS).write_text(json.dumps(words), encoding="utf-8")
            (made / _DIGEST).write_text(_digest(made), encoding="ascii")
            made.chmod(0o755)  # other users of a shared folder read it
            if folder.is_dir():  # damaged, or made by another process in the meantime
                folder.rename(made / "before")
            made.rename(folder)
            shutil.rmtree(folder / "before", ignore_errors=True)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process of the machine at a time; the lock ends with its process. Nothing where there can be no lock."""
    import fcntl

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def is_kept(folder: Path) -> bool:
    """Whether something was written there. `read_parts` says whether it is whole."""
    return (folder / _DIGEST).is_file()


def read_parts(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, list[str]]] | None:
    """What was written, mapped into memory; None where there is nothing, or not what was written."""
    try:
        if (folder / _DIGEST).read_text(encoding="ascii") != _digest(folder):
            return None
        words: dict[str, list[str]] = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        arrays = {
            file.stem: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
            for file in sorted(folder.glob("*.npy"))
        }
    except (OSError, ValueError, EOFError):
        return None
    return arrays, words


def _digest(folder: Path) -> str:
    """Over all files but the digest: kernels believe what they are given."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.npy"), folder / _WORDS]):
        with open(file, "rb") as stream:
            digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
