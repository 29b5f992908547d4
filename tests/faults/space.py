"""A small file system of its own that can be filled, for the tests of a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


@contextlib.contextmanager
def small_disk(folder: Path, size: int = 64 * MIB) -> Iterator[Path]:
    """A tmpfs of `size` bytes at `folder`. The test is skipped where it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("a full disk is a small tmpfs, on Linux only")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here (as root, or below `unshare -rm`): {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave `free` bytes on the disk; the ballast, which can be deleted."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as stream:
        status = os.statvfs(disk)
        size = max(0, status.f_bavail * status.f_frsize - free)
        try:
            os.posix_fallocate(stream.fileno(), 0, max(1, size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast
