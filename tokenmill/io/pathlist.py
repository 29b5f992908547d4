"""Lists of input files, such as Common Crawl's `warc.paths.gz`: one path or URL per line.

    https://data.commoncrawl.org/crawl-data/CC-MAIN-2024-10/warc.paths.gz
    crawl-data/CC-MAIN-2024-10/segments/1707947473347.0/warc/CC-MAIN-20240220211055-...-00000.warc.gz

A relative line is resolved against the root of the server or bucket of the list; that of a local list against
its folder, or against Common Crawl where it begins as paths of Common Crawl do and there is no such file.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard
from tokenmill.io.remote import RemoteFile
from tokenmill.io.sources import local_version, open_source
from tokenmill.io.stores import PUBLIC, protocol_of, refuse_userinfo, shown, without_query

ENDINGS = (".paths", ".paths.gz")
MAX_LOOKED_UP = 4096
"""Lists of more remote files are taken without asking for size and etag: 90,000 files are 90,000 requests before
any work. Their size counts as 0, and a file that changes between two runs is not noticed."""
LOOKUPS = 64
"""Requests at once for sizes; at 50 ms each, 4,096 files take 4 s."""
COMMON_CRAWL = "crawl-data/"


def is_path_list(location: str) -> bool:
    return location.partition("?")[0].endswith(ENDINGS)


def list_paths(location: str, *, sizes: bool = False) -> list[InputShard]:
    """The files that a list names, sorted by name: the path below what all have in common.

    sizes: look up those of long lists too. ConfigError where the list is empty, names a file twice or one that is not
    there. OSError where the list or a store cannot be read.
    """
    paths = [_resolved(line, location) for line in _lines(location)]
    if not paths:
        raise ConfigError(f"the list {shown(location)} names no file", fix="give a list with one path or URL per line")
    twice, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise ConfigError(
            f"the list {shown(location)} names a file twice", why=shown(twice), fix="remove one of the lines"
        )
    remote = sum(protocol_of(path) != "file" for path in paths)
    found = _looked_up(paths, location, remote=sizes or remote <= MAX_LOOKED_UP)
    shards = [
        InputShard(path=path, name=name, size=size, etag=etag)
        for path, name, (size, etag) in zip(paths, _names(paths), found, strict=True)
    ]
    return sorted(shards, key=lambda shard: shard.name)


def _lines(location: str) -> list[str]:
    if protocol_of(location) == "file":
        data = Path(location.removeprefix("file://")).read_bytes()
    else:
        with RemoteFile(location) as stream:
            data = stream.read()
    try:
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"the list {shown(location)} cannot be read", why=str(error), fix="fetch it again") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _resolved(line: str, location: str) -> str:
    refuse_userinfo(line)
    if protocol_of(line) == "file":
        line = line.removeprefix("file://")
    if "://" in line:
        return line
    protocol = protocol_of(location)
    if protocol != "file":
        server = location.partition("://")[2].partition("/")[0]
        return f"{protocol}://{server}/{line.lstrip('/')}"
    folder = Path(location.removeprefix("file://")).absolute().parent
    if (folder / line).exists():
        return str(folder / line)
    if line.startswith(COMMON_CRAWL):
        return f"{PUBLIC['commoncrawl']}/{line}"
    raise ConfigError(
        f"the list {shown(location)} names {shown(line)}, which does not exist",
        why=f"it is no URL, no path below {folder}, and does not begin with {COMMON_CRAWL}",
        fix="write URLs, or paths relative to the folder of the list",
    )


def _looked_up(paths: list[str], location: str, remote: bool) -> list[tuple[int, str]]:
    """(size, etag) of each; 0 and "" of remote files unless `remote`."""

    def look(path: str) -> tuple[int, str]:
        if protocol_of(path) == "file":
            return local_version(Path(path).stat())
        if not remote:
            return 0, ""
        source = open_source(path)
        source.close()
        return source.size or 0, source.etag

    with ThreadPoolExecutor(min(LOOKUPS, len(paths)), thread_name_prefix="tokenmill-sizes") as pool:
        running = [pool.submit(look, path) for path in paths]
        try:
            return [each.result() for each in running]
        except FileNotFoundError as error:
            raise ConfigError(
                f"the list {shown(location)} names a file that is not there",
                why=shown(str(error)),
                fix="remove its line",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _names(paths: list[str]) -> list[str]:
    """Each path below the folder that all have in common, without queries; those are secrets of signed URLs.

    Files that only their queries tell apart (`get?id=1`, `get?id=2`) are numbered in the order of the list.
    """
    parts = [without_query(path).split("/") for path in paths]
    shortest, longest = min(parts), max(parts)
    common = 0
    while common < min(len(shortest), len(longest)) - 1 and shortest[common] == longest[common]:
        common += 1
    names = ["/".join(each[common:]) for each in parts]
    seen: Counter[str] = Counter()
    taken = set(names)
    for position, name in enumerate(names):
        seen[name] += 1
        number = seen[name]
        if number > 1:
            while (numbered := f"{name}~{number}") in taken:
                number += 1
            names[position] = numbered
            taken.add(numbered)
    return names
