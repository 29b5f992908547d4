"""Pools of texts that a report shows: chosen by a hash of the document, personal data masked before anything is cut."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from tokenmill.core.doc import Doc
from tokenmill.filters.pii import RedactPii

POOL = 20
"""Most samples of a kind."""
MOST_POOLS = 200
"""Reasons with samples: a filter of the user's may invent one for every document."""
TEXT_CHARS = 1000
URL_CHARS = 300
WHY_CHARS = 200
_READ_CHARS = 8000
"""Characters in which personal data is looked for: far behind what is shown, so that no find is cut in two."""
_HIDDEN = "..."
_USERINFO = re.compile(r"//[^/?#]*@")


class Pool:
    """The documents with the smallest hashes, with what is needed to show them."""

    def __init__(self, most: int = POOL) -> None:
        self._most = most
        self._heap: list[tuple[int, str, dict[str, Any]]] = []

    def offer(self, doc_id: str, make: Callable[[], dict[str, Any]]) -> None:
        """make: gives `url`, `why`, `signal`, `value`, `threshold`, `text`; only called for what is taken."""
        digest = hashlib.blake2b(doc_id.encode("utf-8", "replace"), digest_size=6).digest()
        key = -int.from_bytes(digest, "little")
        if len(self._heap) >= self._most and key <= self._heap[0][0]:
            return
        row = {**make(), "doc_id": doc_id}
        row["text"] = str(row["text"] or "")[:_READ_CHARS]
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (key, doc_id, row))
        elif (key, doc_id) > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (key, doc_id, row))

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """In the order of the hashes."""
        for _, _, row in sorted(self._heap, key=lambda entry: (-entry[0], entry[1])):
            yield row

    def samples(self) -> list[dict[str, Any]]:
        """What the report holds of each."""
        return [sample(row) for row in self.rows()]


def sample(row: Mapping[str, Any]) -> dict[str, Any]:
    """One document as the report shows it."""
    text = masked(str(row["text"] or ""), str(row["doc_id"]))
    return {
        "url": masked_url(str(row["url"] or "")),
        "doc_id": str(row["doc_id"])[:URL_CHARS],
        "why": masked(str(row["why"] or ""))[:WHY_CHARS],
        "signal": row["signal"],
        "value": row["value"],
        "threshold": row["threshold"],
        "text": text[:TEXT_CHARS],
        "cut": len(text) > TEXT_CHARS,
    }


def masked(text: str, doc_id: str = "") -> str:
    """The text with personal data and secrets replaced; nothing of it where that fails."""
    if not text:
        return ""
    try:
        found = RedactPii().rewrite(Doc(text=text, doc_id=doc_id))
    except Exception:  # a text that cannot be searched is not shown
        return "(not shown: personal data could not be looked for)"
    return str(found.get("text", text)) if isinstance(found, Mapping) else ""


def masked_url(url: str) -> str:
    """The address without user, password and values of its query, which may be keys or names of people."""
    url = url[:_READ_CHARS]
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")
        place = f"{_HIDDEN}@{host[2]}" if host[1] else host[2]
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True, max_num_fields=50)]
        query = "&".join(f"{name}={_HIDDEN}" for name in names) if "=" in parts.query else _HIDDEN * bool(parts.query)
        url = urlunsplit((parts.scheme, place, parts.path, query, _HIDDEN if parts.fragment else ""))
    except ValueError:  # no address that can be read
        url = _USERINFO.sub(f"//{_HIDDEN}@", url).partition("?")[0].partition("#")[0]
    return masked(url)[:URL_CHARS]
