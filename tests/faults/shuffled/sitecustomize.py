"""Put on PYTHONPATH by test_determinism.py: folders are listed in another order in every process."""

import os
import random
from collections.abc import Iterator
from typing import Any

_scandir, _listdir = os.scandir, os.listdir
_random = random.Random(int(os.environ.get("SHUFFLE_SEED", "0")) + os.getpid())


class _Shuffled:
    """What `os.scandir` returns, in another order."""

    def __init__(self, path: Any = ".") -> None:
        with _scandir(path) as entries:
            self._entries = list(entries)
        _random.shuffle(self._entries)
        self._next = iter(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._next)

    def __enter__(self) -> Iterator[Any]:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def close(self) -> None:
        pass


def _shuffled_names(path: Any = ".") -> list[Any]:
    names = _listdir(path)
    _random.shuffle(names)
    return names


os.scandir, os.listdir = _Shuffled, _shuffled_names  # type: ignore[assignment, misc]
