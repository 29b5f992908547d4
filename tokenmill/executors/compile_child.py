"""One part of a set-up in a process of its own: `python -m tokenmill.executors.compile_child PARENT PLACE`."""

from __future__ import annotations

import importlib
import os
import sys

from tokenmill.executors.process import die_with_parent


def main() -> None:
    """Call the function; what it compiles is kept on disk."""
    parent, place = sys.argv[1:3]
    die_with_parent(int(parent))
    if hasattr(os, "nice"):
        os.nice(5)  # the machine has a user
    module, _, function = place.partition(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
