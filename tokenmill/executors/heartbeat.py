"""Which document a child process is working on, in 16 bytes of shared memory.

The child writes before every document, the parent reads when the child is late or dead. A mapped file without
a name serves processes that share nothing else, costs no system call per document, and leaves nothing behind.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from dataclasses import dataclass

_LAYOUT = struct.Struct("<iiq")
IDLE = -2
"""Row of a heartbeat between batches."""
COMPILING = -3
"""Row of a heartbeat while a kernel is compiled, which happens once per installation and is no document's fault."""


@dataclass(frozen=True)
class Position:
    """Stage index and row of the document at work (row -1: a whole batch, IDLE: nothing, COMPILING), and a counter
    that changes with every document."""

    stage: int
    row: int
    ticks: int


class Heartbeat:
    """One shared cell. The parent creates it, and the child opens the descriptor that it inherits."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(_LAYOUT.size)
                descriptor = os.dup(file.fileno())
        self.descriptor = descriptor
        """To be inherited by the child (`pass_fds`)."""
        self._map = mmap.mmap(descriptor, _LAYOUT.size)
        self._ticks = 0
        self._compiling = 0
        self._at = (-1, IDLE)
        self.idle()

    def __call__(self, stage: int, row: int) -> None:
        """The child begins with this document."""
        self._at = (stage, row)
        self._write(stage, row)

    def _write(self, stage: int, row: int) -> None:
        self._ticks += 1
        _LAYOUT.pack_into(self._map, 0, stage, row, self._ticks)

    def idle(self) -> None:
        """Nothing is at work."""
        self(-1, IDLE)

    def watch_compiler(self) -> object:
        """Say from now on when numba compiles, in the process of the child; the document's time begins again after it.
        Returns the listener.

        Kernels are compiled in set-ups, but a stage of the user's may not do that, and an array of another type is
        compiled for when it comes: without this, the child would be killed before the compiled code is kept, for one
        document after the other.
        """
        from numba.core import event

        heartbeat = self

        class Compiler(event.Listener):
            def on_start(self, event: object) -> None:
                heartbeat._compiling += 1  # a kernel compiles those that it calls
                if heartbeat._compiling == 1:
                    heartbeat._write(heartbeat._at[0], COMPILING)

            def on_end(self, event: object) -> None:
                heartbeat._compiling -= 1
                if heartbeat._compiling == 0:
                    heartbeat._write(*heartbeat._at)

        listener = Compiler()
        event.register("numba:compile", listener)  # type: ignore[no-untyped-call]
        return listener

    def read(self) -> Position:
        return Position(*_LAYOUT.unpack_from(self._map, 0))

    def close(self) -> None:
        self._map.close()
        os.close(self.descriptor)
