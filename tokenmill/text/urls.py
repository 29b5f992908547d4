"""URLs in the one form in which duplicates are equal.

Syntax and equivalence are those of RFC 3986 (sections 3, 5.2.4 and 6.2). What goes further (scheme, `www.`, sessions,
order of parameters) is what web archives do for their indexes (Heritrix, SURT), and is for comparing, not for
fetching: servers are free to answer such URLs differently, and hardly one does.
"""

from __future__ import annotations

import re
import urllib.parse

import pyarrow as pa

TRACKING = frozenset(
    # Google: Ads and Display click ids, linker of Analytics
    "gclid gclsrc dclid gbraid wbraid gad gad_source gad_campaignid srsltid _ga _gl"
    # Meta, Microsoft, X, TikTok, LinkedIn, Reddit, Pinterest, Yandex, Snap, Instagram
    " fbclid msclkid twclid ref_src ref_url ttclid li_fat_id rdt_cid epik yclid ysclid _openstat sccid igshid igsh"
    # senders of mail and campaigns: Mailchimp, MailerLite, HubSpot, Marketo, Vero, Olytics, Drip, Klaviyo, Matomo
    " mc_cid mc_eid ml_subscriber ml_subscriber_hash _hsenc _hsmi __hssc __hstc __hsfp hsctatracking mkt_tok"
    " vero_id vero_conv oly_anon_id oly_enc_id __s _kx mtm_campaign mtm_source mtm_medium mtm_content mtm_keyword"
    " pk_campaign pk_kwd pk_source pk_medium pk_content piwik_campaign piwik_kwd"
    # shops and ad networks: Adobe, Rakuten, Taboola, Outbrain, Wicked Reports
    " s_cid s_kwcid ranmid raneaid ransiteid tblci dicbo rb_clickid wickedid wickedsource".split()
)
"""Query parameters, in lower case, that say how a reader came and never what is shown; so do all `utm_*`.

They are the vendors' own names; many are in the lists of parameters that browsers strip (the query filters of Brave
and Firefox). Frozen: one more name changes what counts as a duplicate. Names that also mean other things (`ref`,
`source`, `campaign`, `cid`, `spm`) are left out."""

SESSIONS = frozenset(("jsessionid", "phpsessid", "cfid", "cftoken"))
"""Query parameters, in lower case, that are sessions whatever their value (servlets, PHP, ColdFusion)."""
MAYBE_SESSIONS = frozenset(("sid", "s", "session", "sessionid", "session_id", "zenid", "oscsid"))
"""Query parameters that are sessions when the value is 32 to 64 hexadecimal digits: forums also count with them."""

_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""RFC 3986, appendix B, where there is an authority."""
_EDGES = "".join(map(chr, range(33)))
_DROPPED = str.maketrans("", "", "\t\n\r")
"""What browsers remove around a URL and within it (WHATWG URL, 4.4)."""
_ODD = re.compile(r"%([0-9A-Fa-f]{2})?|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]")
"""A percent sign, with or without a code, or a character that may only stand encoded."""
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_AUTHORITY = re.compile(r"(?:.*@)?(\[[^\]@]*\]|[^:@\[\]]*)(?::([0-9]{0,5}))?", re.DOTALL)
_HOST = re.compile(r"[a-z0-9._~!$&'()*+,;=-]+|\[[0-9a-f:.]+\]")
_SERVLET_SESSION = re.compile(r";(?:jsessionid|phpsessid)=[^;/]*", re.IGNORECASE)
_ASP_SESSION = re.compile(r"/\((?:[ASF]\([0-9A-Za-z_-]+\))+\)(?=/|\Z)")
"""A segment of the path in which ASP.NET keeps sessions without cookies, such as `/(S(lit3py55t21z5v55vlm25s55))/`."""
_HEX = re.compile(r"[0-9A-Fa-f]{32,64}")
_PORTS = {"": ("80", "443"), "ftp:": ("21",)}
_LONGEST_HOST = 253
"""Characters of a host name (RFC 1035); IDNA takes quadratic time on longer ones."""


def canonical(url: str) -> str:
    """The form in which equivalent URLs are equal, such as `//example.com/a?b=1`. Never raises.

    http and https have no scheme in it (and ports 80 and 443 are both left out, as either may be meant), other schemes
    keep theirs. What has no authority or cannot be parsed is returned as it is. Idempotent.
    """
    match = _URL.fullmatch(url.strip(_EDGES).translate(_DROPPED))
    if match is None:
        return url
    scheme, authority, path, query, fragment = match.groups()
    prefix = "" if scheme is None or scheme.lower() in ("http", "https") else f"{scheme.lower()}:"
    host = _authority(authority, prefix)
    if host is None:
        return url
    kept = _query(query) if query else ""
    hash_bang = f"#{_encoded(fragment)}" if fragment and fragment[0] == "!" else ""
    return f"{prefix}//{host}{_path(path)}{kept}{hash_bang}"


def canonical_urls(urls: pa.Array) -> pa.Array:
    """`canonical` of every URL; null stays null, equal ones are parsed once. (n,) strings -> (n,) strings."""
    encoded = (urls.combine_chunks() if isinstance(urls, pa.ChunkedArray) else urls).dictionary_encode()
    forms = pa.array([None if url is None else canonical(url) for url in encoded.dictionary.to_pylist()], urls.type)
    return forms.take(encoded.indices)


def _authority(authority: str, prefix: str) -> str | None:
    """Host and port; None for what is none. User names are left out: they name a reader, not a page."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    host, port = match.groups()
    host = host.lower()
    if not host.isascii() or "%" in host:
        host = _ascii_host(host)
    host = host.rstrip(".")
    while host.startswith("www.") and "." in host[4:]:
        host = host[4:]
    if _HOST.fullmatch(host) is None:
        return None
    port = (port or "").lstrip("0")
    return f"{host}:{port}" if port and port not in _PORTS.get(prefix, ()) else host


def _ascii_host(host: str) -> str:
    """An international name in ASCII (IDNA 2003, which the standard library has); empty where it has no such form."""
    try:
        name = urllib.parse.unquote(host, errors="strict")
        return name.encode("idna").decode("ascii").lower() if len(name) <= _LONGEST_HOST else ""
    except UnicodeError:
        return ""


def _path(path: str) -> str:
    if _ODD.search(path):
        path = _encoded(path)
    if ";" in path or "(" in path:
        path = _ASP_SESSION.sub("", _SERVLET_SESSION.sub("", path))
    if "/." in path:
        path = _without_dots(path)
    return path.rstrip("/") or "/"


def _without_dots(path: str) -> str:
    """The path without `.` and `..` (RFC 3986, 5.2.4); a slash at the end does not matter here."""
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def _query(query: str) -> str:
    """The parameters that matter, sorted by name; those of one name keep their order, which may mean something."""
    if _ODD.search(query):
        query = _encoded(query)
    pairs = [pair.partition("=") for pair in query.replace("+", "%20").split("&") if pair]
    kept = sorted((pair for pair in pairs if not _is_noise(pair[0].lower(), pair[2])), key=lambda pair: pair[0])
    return "?" + "&".join(map("".join, kept)) if kept else ""


def _is_noise(name: str, value: str) -> bool:
    if name.startswith("utm_") or name in TRACKING or name in SESSIONS or name.startswith("aspsessionid"):
        return True
    return name in MAYBE_SESSIONS and _HEX.fullmatch(value) is not None


def _encoded(part: str) -> str:
    return _ODD.sub(_code, part)


def _code(match: re.Match[str]) -> str:
    """One code in its normal form (RFC 3986, 6.2.2); a stray percent sign and what must be encoded get theirs."""
    digits = match[1]
    if digits is None:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else f"%{digits.upper()}"
