"""Where a model is asked, and whether texts may go there.

Pages and an API key leave the machine on this way, and addresses come from recipes that others have written. So:
https off this machine; an organisation can list the hosts that are allowed; addresses of the machine's own network
(link-local, with the metadata services of clouds) are never connected to, whatever a name resolves to; redirects are
never followed; a key is named by its environment variable and stands in no file.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from tokenmill.core.errors import ConfigError, FatalError

DEFAULT_KEY_ENV = "OPENAI_API_KEY"
HOSTS_ENV = "TOKENMILL_LLM_HOSTS"
"""Hosts that texts may go to, for all runs of a machine or a cluster: names with commas between."""

_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in (
        "fd00:ec2::254",  # Amazon, over IPv6
        "fd20:ce::254",  # Google, over IPv6
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle, classic
        "255.255.255.255",
    )
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""RFC 8215: an operator takes a prefix of any length of RFC 6052 in it."""
_COMPATIBLE = ipaddress.ip_network("::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the model is, and how patiently it is asked. ConfigError where texts must not go there."""

    base_url: str
    """Up to and with the version: https://api.openai.com/v1 or http://localhost:8000/v1."""
    model: str
    key_env: str | None = None
    """Environment variable with the API key; None: OPENAI_API_KEY if it is set; "": no key is sent."""
    timeout: float = 120.0
    """Seconds for one request, answer included."""
    tries: int = 8
    """Failures in a row after which a request is given up."""
    first_wait: float = 0.5
    """Longest wait after the first failure, in seconds; it doubles with each further one."""
    longest_wait: float = 60.0
    """Longest wait of the client's own, in seconds; Retry-After may ask for five times as much."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that texts may go to beside this machine; "*.example.org" allows all below it. Empty: the host of the base
    URL. The list in TOKENMILL_LLM_HOSTS holds in addition."""
    allow_http: bool = False
    """Without encryption, to a host that is not this machine: for clusters whose network is private."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def parts(self) -> SplitResult:
        """The base URL, taken apart."""
        return urlsplit(self.base_url)

    @property
    def host(self) -> str:
        """Name or address, in lower case, without brackets."""
        return self.parts.hostname or ""

    @property
    def port(self) -> int:
        """As said, or that of the scheme."""
        return self.parts.port or (443 if self.parts.scheme == "https" else 80)

    @property
    def path(self) -> str:
        """Of the base URL, without a slash at its end."""
        return self.parts.path.rstrip("/")

    def api_key(self) -> str:
        """The key, "" for none. ConfigError where a variable that is named is empty, or holds no key."""
        name = DEFAULT_KEY_ENV if self.key_env is None else self.key_env
        key = os.environ.get(name, "").strip() if name else ""
        if self.key_env and not key:
            raise ConfigError(f"the environment variable {name} is not set", fix="put the API key in it")
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{name} holds no API key", why="it has odd characters")
        return key

    def admit(self, address: str) -> None:
        """FatalError where an address that the host resolves to must not be connected to."""
        why = refusal_of(address)
        if not why and _is_this_machine(self.host) and not _of(address).is_loopback:
            why = f"{self.host} is a name of this machine, and the address is not"
        if why:
            fix = "name the server by another address, or see who answers for that name"
            where = f"{self.host} -> {address}"
            raise FatalError("texts are not sent to this address", where=where, why=why, fix=fix)


def refusal_of(address: str) -> str:
    """Why nothing is ever sent to an IP address; "" where it may be.

    Looks through IPv4 addresses that stand in IPv6 ones (mapped, compatible, 6to4, NAT64, Teredo).
    """
    found = _of(address)
    for one in (found, *_inside(found)):
        if one.is_link_local or one in _METADATA:
            return "link-local addresses, broadcasts and the metadata services of clouds are no servers of models"
        if one.is_multicast:
            return "it is a multicast address"
        if one.is_unspecified or one in _THIS_NETWORK:
            return "it is the unspecified address"
    return ""


def spellings(key: str) -> tuple[str, ...]:
    """The key as texts, JSON and addresses write it; the longest first, for one may be a part of another."""
    found = {key, json.dumps(key)[1:-1], json.dumps(key)[1:-1].replace("/", "\\/"), quote(key), quote(key, safe="")}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def _of(address: str) -> _Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _inside(address: _Address) -> Iterable[_Address]:
    """IPv4 addresses that an IPv6 one carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _LOCAL_NAT64:
        yield from _translated(int(address))


def _translated(address: int) -> list[ipaddress.IPv4Address]:
    """What an address of the local NAT64 prefix may stand for: RFC 6052, 2.2, with prefixes of 48, 56, 64 and 96 bits.

    Which one the network has cannot be seen. Readings that begin with a zero byte are those of a wrong length, unless
    there is no other.
    """
    without = address >> 64 << 56 | address & ((1 << 56) - 1)  # 120 bits: bits 64 to 71 belong to no address
    readings = [ipaddress.IPv4Address(without >> shift & 0xFFFFFFFF) for shift in (40, 32, 24)]
    readings.append(ipaddress.IPv4Address(address & 0xFFFFFFFF))
    return [one for one in readings if one not in _THIS_NETWORK] or readings


def _is_this_machine(host: str) -> bool:
    """Whether a name or address is of the loopback by its form alone; what a resolver says does not count."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return _of(host).is_loopback
    except ValueError:
        return False


def _check(endpoint: Endpoint) -> None:
    parts = _parts(endpoint.base_url)
    if parts is None:
        raise ConfigError("the base URL is no web address", fix="--base-url http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        fix = "put the key in an environment variable (--api-key-env)"
        raise ConfigError("the base URL holds a user, a password or a query", fix=fix)
    if not endpoint.model:
        raise ConfigError("no model is named", fix="--model NAME")
    if not (endpoint.timeout > 0 and endpoint.tries >= 1 and endpoint.first_wait >= 0 and endpoint.longest_wait >= 0):
        raise ConfigError("time-out, tries or waits are not positive", fix="--timeout > 0, --tries >= 1")
    _check_host(endpoint, parts.scheme)


def _parts(base_url: str) -> SplitResult | None:
    """A base URL that a request can be made of, taken apart."""
    try:
        parts = urlsplit(base_url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    # spaces and control characters would end the request line; names in other scripts have a form with xn--
    plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    return parts if fine and plain else None


def _check_host(endpoint: Endpoint, scheme: str) -> None:
    host = endpoint.host
    try:
        address = str(_of(host))
    except ValueError:
        address = ""
    why = refusal_of(address) if address else ""
    if why:
        raise ConfigError(f"texts are not sent to {host}", why=why, fix="--base-url with the address of the server")
    if _is_this_machine(host):
        return
    everywhere = tuple(one.strip() for one in os.environ.get(HOSTS_ENV, "").split(",") if one.strip())
    for hosts, where in ((endpoint.allow_hosts, "the hosts that this run allows"), (everywhere, HOSTS_ENV)):
        if hosts and not any(_matches(host, one) for one in hosts):
            fix = f"add {host}, if texts may go there"
            raise ConfigError(f"texts may not go to {host}", where=where, why=f"only to {', '.join(hosts)}", fix=fix)
    if scheme == "http" and not endpoint.allow_http:
        why = "http is not encrypted: whoever is on the way reads pages, answers and the key"
        fix = "https, or --allow-http where the network is private"
        raise ConfigError(f"texts are not sent to {host} by http", why=why, fix=fix)


def _matches(host: str, pattern: str) -> bool:
    """Whether a host is a name of a list, or below one that begins with "*."."""
    pattern = pattern.lower().strip("[]")
    return host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1)
