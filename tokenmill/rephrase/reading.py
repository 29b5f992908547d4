"""What reading an answer has found: whether it has the form that its style asks for."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("", "parse", "empty", "refusal", "content_filter")


@dataclass(frozen=True, slots=True)
class Reading:
    """The judgement on the form of an answer.

    kind: "" for an answer that can be used; "parse" and "empty" for one that is asked for again with another seed;
    "refusal" for one that is not; "content_filter" where a filter has stopped it. detail: why, for people.
    """

    kind: str = ""
    detail: str = ""


READABLE = Reading()
