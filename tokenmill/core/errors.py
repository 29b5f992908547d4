"""Errors, named by what the runner does when it meets one.

    TokenmillError
    +-- ConfigError      nothing has been done; the user changes a setting and starts again (exit code 2)
    +-- DocumentError    one document goes to quarantine, the shard goes on
    +-- ShardError       the shard is retried, then listed as failed; other shards go on (exit code 75)
    +-- FatalError       the run stops now and can be resumed (exit code 75)

A message says what happened, where, why, and what to do. `fix` is the last of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from tokenmill.core.secrets import hide_environment


class TokenmillError(Exception):
    """Base of all errors that tokenmill raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        # messages of libraries and stages are in there, and they go into logs, status files and tables
        self.what = hide_environment(what)
        super().__init__(self.what)
        self.where = hide_environment(where)
        self.why = hide_environment(why)
        self.fix = hide_environment(fix)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where: {self.where}")
        if self.why:
            parts.append(f"  why:   {self.why}")
        if self.fix:
            parts.append(f"  fix:   {self.fix}")
        return "\n".join(parts)

    def to_fields(self) -> dict[str, str]:
        """The error as plain values, for another process."""
        fields = {"what": self.what, "where": self.where, "why": self.why, "fix": self.fix}
        return {"error": type(self).__name__, **fields}

    @staticmethod
    def from_fields(fields: Mapping[str, Any]) -> TokenmillError:
        """The error that another process described with `to_fields`."""
        kinds: dict[str, type[TokenmillError]] = {cls.__name__: cls for cls in TokenmillError.__subclasses__()}
        cls = kinds.get(fields["error"], TokenmillError)
        return cls(fields["what"], where=fields["where"], why=fields["why"], fix=fields["fix"])


class ConfigError(TokenmillError):
    """A setting, name or input that cannot work. Raised before any work begins."""

    exit_code = 2


class DocumentError(TokenmillError):
    """One document cannot be processed; it is quarantined and the shard goes on."""


class ShardError(TokenmillError):
    """One shard cannot be processed now; it is retried and then listed as failed."""

    exit_code = 75


class FatalError(TokenmillError):
    """The run cannot go on (disk full, output gone). What is committed stays; the same command resumes."""

    exit_code = 75


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The sentence that names the nearest known names, or lists them all when none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(n) for n in near)}?"
    return f"known names: {', '.join(choices)}"
