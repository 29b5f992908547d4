"""Which error of a group is the one to tell."""

from __future__ import annotations

from tokenmill.core.errors import TokenmillError


def stop_of(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The first of tokenmill's errors in a group, else one that stands alone in it."""
    alone: list[BaseException] = []
    for error in group.exceptions:
        inner = stop_of(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(inner, TokenmillError):
            return inner
        alone.append(inner or error)
    return alone[0] if len(alone) == 1 else None
