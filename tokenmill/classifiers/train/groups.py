"""Which documents must stay together: those of one host, and those with the same text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tokenmill.classifiers.corpus.hashes import text_digest
from tokenmill.text.hosts import host_of

_HOST = re.compile(r"[^\s.]+(?:\.[^\s.]+)+\Z")


def group_of(value: Any) -> str:
    """The value of a column of groups as a name; "" for null and "" only: 0 and False are groups."""
    return "" if value is None else _valid(str(value))


def host_group(url: Any) -> str:
    """The host of an address less `www.`, also of one without a scheme (`example.org/page`); "" where it has none."""
    if not isinstance(url, str):
        return ""
    host = host_of(url)
    if not host and "//" not in url:
        host = host_of(f"//{url}")
        host = host if _HOST.match(host) else ""
    return _valid(host.removeprefix("www.") or host)


def join_equal_texts(groups: Sequence[str], texts: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Groups that share a text (white space aside) as one, and how many documents have a text of several groups.

    Copies of a text under several hosts would else be on both sides of a split. A joined group has the first of its
    names. The order of the documents changes nothing.
    """
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    owners: dict[bytes, set[str]] = {}
    digests = [text_digest(text) for text in texts]
    for digest, group in zip(digests, groups, strict=True):
        owners.setdefault(digest, set()).add(group)
    for names in owners.values():
        first, *others = sorted({root(name) for name in names})
        for other in others:
            parent[other] = first
    return tuple(map(root, groups)), sum(len(owners[digest]) > 1 for digest in digests)


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
