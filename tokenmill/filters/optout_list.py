"""A block list of one's own: domains and addresses whose owners have asked to be left out.

Plain text, one request a line: what, when, and a note, of which the last two may be missing.

    # asked by mail
    example.org            2026-03-01   the whole domain, with all hosts below it
    https://a.net/~me/x    2026-03-05   one address, in any of its equivalent forms
    sha256:9f86d081...     2026-03-05   one address, of which the list does not say what it is

What has neither a scheme nor a path is a domain. The digest is the SHA-256 of the canonical address (`text/urls.py`),
as tombstones of `tokenmill forget` hold it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tokenmill.core.errors import ConfigError
from tokenmill.filters.blocklist import without_scheme
from tokenmill.text.hosts import host_of, registered_domain
from tokenmill.text.urls import canonical

DIGEST = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_LONGEST_HOST = 253


@dataclass(frozen=True)
class Request:
    """A line of a block list. kind: domain, url or digest."""

    kind: str
    value: str
    """The host in lower case and ASCII, the canonical address, or the digest in hexadecimal."""
    date: str = ""
    """ISO 8601 (a day); "" where the line has none."""
    note: str = ""


def url_digest(url: str) -> str:
    """SHA-256 of the canonical form of an address, hexadecimal: equivalent addresses have one digest."""
    return hashlib.sha256(canonical(url).encode("utf-8", "surrogatepass")).hexdigest()


def ascii_host(host: str) -> str:
    """A host name in lower case and ASCII (IDNA 2003); as it is where it has no such form."""
    host = host.lower().rstrip(".")
    if host.isascii() or len(host) > _LONGEST_HOST:
        return host
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return host


def domain_request(text: str, where: str = "") -> Request:
    """The request for a domain and all hosts below it. ConfigError for public suffixes (com, co.uk) and other names."""
    host = ascii_host(text.strip().removeprefix("*.").strip("/"))
    if not _HOST.fullmatch(host) or ".." in host:
        raise ConfigError(f"{text!r} is no domain", where=where, fix="a name such as example.org, without a path")
    if not _is_address(host) and ("." not in host or registered_domain(f"x.{host}") == f"x.{host}"):
        raise ConfigError(
            f"{text!r} is no domain of somebody",
            where=where,
            why="everything below a public suffix would go",
            fix="a name such as example.org",
        )
    return Request("domain", host)


def url_request(text: str, where: str = "") -> Request:
    """The request for one address. ConfigError for what has no host."""
    url = text.strip()
    url = url if "://" in url or url.startswith("//") else f"//{url}"
    form = canonical(url)
    if not host_of(form):
        raise ConfigError(f"{text!r} is no address", where=where, fix="such as https://example.org/page")
    return Request("url", form)


def parse_request(text: str, where: str = "") -> Request | None:
    """The request of a line; None for blank lines and comments. ConfigError where a line is neither."""
    words = text.split(maxsplit=1)
    if not words or words[0].startswith("#"):
        return None
    what, rest = words[0], words[1].strip() if len(words) > 1 else ""
    day, note = "", rest
    if _DATE.match(rest):
        day, note = rest[:10], rest[10:].strip()
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise ConfigError(f"{day} is no day", where=where, why=str(error), fix="YYYY-MM-DD") from error
    if what.lower().startswith(DIGEST):
        value = what[len(DIGEST) :].lower()
        if not _HEX.fullmatch(value):
            raise ConfigError(f"{what[:80]!r} is no digest", where=where, fix=f"{DIGEST} and 64 hexadecimal digits")
        return Request("digest", value, day, note)
    bare = without_scheme(what)
    is_url = "/" in bare.rstrip("/") or "?" in bare or "://" in what
    found = url_request(what, where) if is_url else domain_request(what, where)
    return Request(found.kind, found.value, day, note)


class OptOutList:
    """Requests, looked up by address: some dictionary look-ups, and its canonical form where addresses are listed."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._domains: dict[str, Request] = {}
        self._urls: dict[str, Request] = {}
        self._digests: dict[str, Request] = {}
        kinds = {"domain": self._domains, "url": self._urls, "digest": self._digests}
        for request in requests:  # of two for the same thing the earlier day counts; one without a day always did
            known = kinds[request.kind].get(request.value)
            if known is None or request.date < known.date:
                kinds[request.kind][request.value] = request

    @classmethod
    def load(cls, path: str) -> OptOutList:
        """The list in a file. ConfigError names the line that cannot be read."""
        return cls(read_requests(path))

    def __len__(self) -> int:
        return len(self._domains) + len(self._urls) + len(self._digests)

    def hosts(self) -> list[str] | None:
        """Texts of which every address that falls under a request has one, besides those that are not plain ASCII or
        have an encoded host; None where nobody can tell, because the list has digests."""
        if self._digests:
            return None
        return sorted({*self._domains, *(host_of(form) for form in self._urls)})

    def find(self, url: str | None) -> Request | None:
        """The request that an address falls under: for a domain above its host before one for the address itself."""
        if not url:
            return None
        if self._domains:
            host = ascii_host(host_of(url.strip()))
            at = 0
            while host:
                found = self._domains.get(host[at:])
                if found is not None:
                    return found
                at = host.find(".", at) + 1
                if not at:
                    break
        if self._urls or self._digests:
            form = canonical(url)
            found = self._urls.get(form)
            if found is None and self._digests:
                digest = hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()
                found = self._digests.get(digest)
            return found
        return None


def read_requests(path: str) -> list[Request]:
    """The requests of a block list. ConfigError where it cannot be read, with the line."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"the block list {path} cannot be read", why=str(error), fix="give a text file in UTF-8, a request a line"
        ) from error
    found = (parse_request(line, f"{path}, line {number}") for number, line in enumerate(lines, 1))
    return [request for request in found if request is not None]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
