"""Hosts of addresses, and the domains that they belong to."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """The host of an address in lower case, without port; "" where it has none, or cannot be read."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


@lru_cache(1 << 16)
def registered_domain(host: str) -> str:
    """The domain under a public suffix ("bbc.co.uk" of "news.bbc.co.uk"); "" for IP addresses and unknown suffixes."""
    return str(_extractor().extract_str(host).top_domain_under_public_suffix) if host else ""


@cache
def _extractor() -> Any:
    import tldextract

    # the list of public suffixes that is part of the package: no network, no cache folder
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
