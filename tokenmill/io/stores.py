"""File systems and how they are opened: credentials, time-outs, caches. The one place with storage options."""

from __future__ import annotations

import functools
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from tokenmill.core.errors import ConfigError

CONNECT_SECONDS = 10
READ_SECONDS = 60
"""Seconds without a byte after which a request counts as lost."""
CONNECTIONS = 64
"""Requests at once to one store from one process."""

PUBLIC = {"commoncrawl": "https://data.commoncrawl.org"}
"""Bucket -> where everybody may read it. Common Crawl's answers no unsigned request over S3 since April 2022
(commoncrawl.org/blog/introducing-cloudfront-access-to-common-crawl-data)."""


_WORD = re.compile(r"""[^\s'"]+""")
_WEB = re.compile(r"https?://")
_QUERY = re.compile("[?#]")
_PROTOCOL = re.compile(r"[A-Za-z0-9+.-]{1,32}\Z")


def shown(text: str) -> str:
    """A location, or a text with locations in it, without queries: those of signed URLs are secrets."""
    return _WORD.sub(_cut_query, text)


def _cut_query(word: re.Match[str]) -> str:
    found = word.group()
    address = _WEB.search(found)
    end = _QUERY.search(found, address.end()) if address else None
    return f"{found[: end.end()]}..." if end else found


def without_query(location: str) -> str:
    """A web address without query and fragment; other locations as they are, where `?` and `#` belong to the name."""
    return re.split("[?#]", location, maxsplit=1)[0] if protocol_of(location) in ("http", "https") else location


def refuse_userinfo(location: str) -> None:
    """ConfigError for `https://user:password@host/`: locations stand in run.json and in messages."""
    for before, after in pairwise(location.split("://")):
        given, at, _ = re.split("[/?#]", after, maxsplit=1)[0].partition("@")
        protocol = found.group().lower() if (found := _PROTOCOL.search(before[-32:])) else ""
        # abfs://container@account and sftp://user@host hold no secret
        if at and (":" in given or protocol in ("http", "https")):
            raise ConfigError(
                f"a location of {protocol}:// holds a user or password, which would be written into the run",
                fix="leave out what stands before the @, and give it in the environment (AWS_PROFILE, "
                "AWS_ACCESS_KEY_ID, ...), in ~/.netrc for web servers, or use signed URLs",
            )


def protocol_of(location: str) -> str:
    """The protocol of a location, "file" for a path."""
    return location.rpartition("::")[2].partition("://")[0] if "://" in location else "file"


def file_system(location: str) -> tuple[Any, str]:
    """(fsspec file system, path within it) of a location. ConfigError where what it needs is not installed."""
    protocol = protocol_of(location)
    try:
        options = _options(protocol)
        fs, root = url_to_fs(location, **({protocol: options} if "::" in location else options))
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot open {shown(location)}", why=shown(str(error)), fix=missing_protocol(location)
        ) from error
    if is_s3(fs):
        fs.retries = 1  # `io.retry` is the only policy
    return fs, str(root)


def missing_protocol(location: str) -> str:
    """What to install for the file system of a location."""
    protocol = protocol_of(location)
    extra = {
        "s3": "'tokenmill[s3]'",
        "s3a": "'tokenmill[s3]'",
        "http": "aiohttp",
        "https": "aiohttp",
        "gs": "gcsfs",
        "gcs": "gcsfs",
        "hf": "huggingface_hub",
        "az": "adlfs",
        "abfs": "adlfs",
    }
    return f"pip install {extra[protocol]}" if protocol in extra else "check the protocol of the path"


def is_s3(fs: Any) -> bool:
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def is_http(fs: Any) -> bool:
    return "http" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def public_location(location: str) -> str:
    """The location under which an object of a public bucket is read without credentials; others as they are."""
    protocol, mark, rest = location.partition("://")
    bucket, _, key = rest.partition("/")
    if protocol in ("s3", "s3a") and mark and key and bucket in PUBLIC and not own_endpoint() and anonymous():
        return f"{PUBLIC[bucket]}/{key}"
    return location


def own_endpoint() -> str:
    """The S3 server that the environment names in place of Amazon's, or "". botocore looks at the same variables."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


@functools.cache
def anonymous() -> bool:
    """Whether requests to S3 go unsigned: there are no credentials, or TOKENMILL_S3_ANON=1. Decided once."""
    forced = os.environ.get("TOKENMILL_S3_ANON", "")
    if forced:
        return forced not in ("0", "false", "no")
    import botocore.exceptions  # type: ignore[import-untyped]
    import botocore.session  # type: ignore[import-untyped]

    try:
        resolver = botocore.session.Session().get_component("credential_provider")
        if not _on_amazon_machine():
            # Asking the metadata service costs seconds where nobody answers; only Amazon's machines have one.
            resolver.remove("iam-role")
        return resolver.load_credentials() is None
    except botocore.exceptions.BotoCoreError as error:
        raise ConfigError(
            "the credentials for S3 cannot be read",
            why=str(error),
            fix="check AWS_PROFILE and ~/.aws, or set TOKENMILL_S3_ANON=1 for public buckets",
        ) from error


def _on_amazon_machine() -> bool:
    for name in ("sys_vendor", "board_vendor", "bios_vendor"):
        try:
            if "amazon" in Path(f"/sys/class/dmi/id/{name}").read_text(encoding="utf-8").lower():
                return True
        except OSError:
            continue
    return False


def _options(protocol: str) -> dict[str, Any]:
    # Other processes write into the folder of a run: a listing that is remembered would be wrong.
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol in ("s3", "s3a"):
        options["anon"] = anonymous()
        if own_endpoint():
            # said here as well, because fsspec keeps one file system per set of options
            options["endpoint_url"] = own_endpoint()
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": 1},
        }
    if protocol in ("http", "https"):
        import aiohttp

        options["client_kwargs"] = {
            # aiohttp's own limit is 5 minutes for a whole request, which a large file may well take
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
            "trust_env": True,
            # the stored bytes are wanted, also where a server calls .gz an encoding
            "auto_decompress": False,
        }
    return options
