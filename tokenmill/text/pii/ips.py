"""Public IP addresses. They start at the boundary of a word and are bounded in length."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from tokenmill.text.pii.context import Labels, word_before
from tokenmill.text.pii.scan import occurs
from tokenmill.text.pii.spans import IPV4, IPV6, Span

_FOUR_NUMBERS = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_HEXADECIMAL = "[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]"

# Both patterns start with a digit and only then look back, which lets `re` skip quickly to the next digit.
_IPV4 = re.compile(  # neither "v1.2.3.4" nor "1.2.3.4.5"
    r"[0-9](?<![\w.][0-9])[0-9]{0,2}\.(?:[0-9]{1,3}\.){2}[0-9]{1,3}(?!\w|\.\w|-[A-Za-z])"
)
# Addresses of 2000::/3 only: all that is assigned for public use, and nothing that programs write as "a::b".
_IPV6 = re.compile(
    r"[23](?<![\w:.][23])[0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,34}(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![\w.]*\w)"
)

_NUMBERED = frozenset(
    "version versions versión versão versione wersja версия ver vers v release releases build revision rev firmware "
    "driver update updates upgrade upgraded patch sp section sections sect sec chapter chap clause clauses article "
    "paragraph para annex appendix rule table figure fig item step abschnitt kapitel ziffer chapitre sección capítulo "
    "раздел пункт oid バージョン 版本 第 버전".split()
)
"""Words for what is numbered with dots."""
_FILLERS = frozenset({"number", "no", "nr", "is", "to", "from", "of"})
_GAP = " .:#=\"'(-\n\t"
_LIST = re.compile(r"\s?(?:,|and|or|to|through|und|et|y|&|/|->|→|-|–)\s?(?:and|or)?\s?")
_SMALL = 40
_ADDRESSED = frozenset(
    "ip ips ipv address addresses addr host hosts dns server servers nameserver ping client gateway proxy resolver "
    "adresse dirección endereço адрес 地址 listen peer".split()
)
"""Words after which even small numbers are an address."""
_USED = re.compile(r":[0-9]|/[0-9]{1,2}(?![\w.])|\]|[ ]port |[ ]-[ ]-[ ]")
_LINE_START = re.compile(r"(?:^|\n)[^\w\n]{0,4}\Z")
_HEADING = re.compile(r"[ \t]+[^\W\d_]")


def find_ipv4(text: str, image: bytes) -> list[Span]:
    """Public addresses of version 4 that are not the numbers of versions or sections."""
    if not occurs(_FOUR_NUMBERS, image):
        return []
    spans = []
    upgrades = Labels(text, ("bump", "upgrad", "downgrad"))
    numbering = -1
    for match in _IPV4.finditer(text):
        if not _is_public_ipv4(match.group()):
            continue
        start, end = match.span()
        listed = 0 <= numbering <= start - 1 and start - numbering <= 8 and _LIST.fullmatch(text, numbering, start)
        if listed or upgrades.last(start - 40, start) >= 0 or _is_numbering(text, start, end):
            numbering = end
        else:
            spans.append(Span(start, end, IPV4))
    return spans


def _is_numbering(text: str, start: int, end: int) -> bool:
    """Whether a group of four numbers is the number of a version or a section."""
    joined = text[max(0, start - 2) : start]
    if len(joined) == 2 and joined[1] in "-/_" and joined[0].isalpha():  # "Chrome/1.2.3.4", "netty-4.1.2.3"
        return True
    if joined.rstrip().endswith("§"):
        return True
    word = word_before(text, start, _GAP, _FILLERS)
    return word in _NUMBERED or word.endswith("version") or _is_small(text, start, end, word)


def _is_small(text: str, start: int, end: int, word: str) -> bool:
    """Whether all numbers are as small as those of versions, and nothing says that they are an address."""
    parts = text[start:end].split(".")
    if max(map(int, parts)) > _SMALL:
        return False
    if parts.count(parts[0]) == 4:  # 8.8.8.8, unless it is a heading
        heading = _HEADING.match(text, end) and _LINE_START.search(text, max(0, start - 5), start)
        if not heading:
            return False
    return word not in _ADDRESSED and text[start - 1 : start] not in ("@", "[", "/") and not _USED.match(text, end)


def find_ipv6(text: str, image: bytes) -> list[Span]:
    """Public addresses of version 6."""
    if not occurs(_HEXADECIMAL, image):
        return []
    spans = []
    for match in _IPV6.finditer(text):
        address = match.group()
        if address.endswith(":") and not address.endswith("::"):
            address = address[:-1]  # a colon of the sentence
        if is_public(address):
            spans.append(Span(match.start(), match.start() + len(address), IPV6))
    return spans


_SPECIAL = frozenset({0, 10, 100, 127, 169, 172, 192, 198, 203, *range(224, 256)})
"""First numbers of all networks that are not public (IANA registry of special-purpose addresses)."""


def _is_public_ipv4(address: str) -> bool:
    numbers = address.split(".")
    if any(number[0] == "0" != number for number in numbers) or max(map(int, numbers)) > 255:
        return False
    return int(numbers[0]) not in _SPECIAL or is_public(address)


@lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """Whether it is a valid address that is routed on the internet."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False
