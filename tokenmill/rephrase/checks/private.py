"""Addresses and personal data that an output has and its source has not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from tokenmill.rephrase.checks.words import Texts
from tokenmill.text.pii import find_pii

_URL = re.compile(r"(?:https?://|\bwww\.)([^\s/?#\"'<>()\[\]{}|\\^`]+)")
_JOINERS = re.compile(r"[\s().\-/+\u00a0\u2010-\u2015]+")
"""What stands between the digits of telephone, card and account numbers, differently in each spelling."""


def new_hosts(output: str, source: str) -> int:
    """Distinct hosts of URLs in the output that do not occur in the source."""
    lower = output.lower()
    if "http" not in lower and "www." not in lower:
        return 0
    hosts = {match.group(1).rstrip(".,;:!").removeprefix("www.") for match in _URL.finditer(lower)}
    known = source.lower() if hosts else ""
    return sum(host not in known for host in hosts)


def new_personal_data(output: str, source: str) -> tuple[int, str]:
    """Spans of the output that the source lacks in any spelling, and their kinds, sorted, with commas."""
    spans = find_pii(output)
    if not spans:
        return 0, ""
    lower = source.lower()
    joined = _JOINERS.sub("", lower)
    new = []
    for span in spans:
        value = output[span.start : span.end].lower()
        if value not in lower and _JOINERS.sub("", value) not in joined:
            new.append(span.kind)
    return len(new), ",".join(sorted(set(new)))


def private_checks(outputs: Sequence[str], sources: Texts) -> dict[str, pa.Array]:
    """urls_new, pii_new and pii_kinds."""
    texts = [sources.distinct[place] for place in sources.place.tolist()]
    found = [new_personal_data(output, source) for output, source in zip(outputs, texts, strict=True)]
    hosts = [new_hosts(output, source) for output, source in zip(outputs, texts, strict=True)]
    return {
        "urls_new": pa.array(hosts, pa.int32()),
        "pii_new": pa.array([count for count, _ in found], pa.int32()),
        "pii_kinds": pa.array([kinds or None for _, kinds in found], pa.string()),
    }
