"""What a stage compiles when it is set up for the first time on a machine, in parts for several processes."""

from __future__ import annotations

from typing import NamedTuple


class Kernel(NamedTuple):
    """A part of a stage's set-up that compiles."""

    place: str
    """`module:function`. The function takes nothing; it compiles what no other part does, and keeps it on disk."""
    seconds: float
    """About how many CPU seconds that takes; the longest parts begin first."""
