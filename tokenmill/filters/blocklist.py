"""Lists of unwanted domains, addresses and words, compiled once into files that all workers share.

A list of 4.6 million domains is kept as the sorted 64-bit hashes of its lines (37 MB) in a file that is
memory-mapped: workers share its pages and need almost no memory of their own. Odds that a domain which is
not listed has the hash of one that is: 4.6e6 / 2^64, 1 in 4e12 per look-up; a crawl of 3e9 pages meets one
with a chance of 0.1 %.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError
from tokenmill.io.cache import cache_folder

DATATROVE = "datatrove"
"""The lists in the assets of package datatrove (Apache 2.0), with which FineWeb is made."""
NONE = "none"
"""No lists but those given in the settings."""

_ARCHIVE = "url_filterblacklistsv0_3_0.tar.gz"
_HASHED = ("domains", "urls")
_WORDS = {"hard": "banned_words.txt", "soft": "soft_banned_words.txt", "sub": "banned_subwords.txt"}
_FORMAT = "v1"
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")


def line_hash(line: str) -> int:
    """The 64-bit hash under which a line is listed."""
    digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class HashSet:
    """Membership in a sorted array of 64-bit hashes."""

    def __init__(self, hashes: npt.NDArray[np.uint64]) -> None:
        self._hashes = hashes

    def __contains__(self, line: str) -> bool:
        value = np.uint64(line_hash(line))
        at = int(self._hashes.searchsorted(value))
        return at < len(self._hashes) and bool(self._hashes[at] == value)

    def __len__(self) -> int:
        return len(self._hashes)


@dataclass(frozen=True)
class Lists:
    """Unwanted domains and addresses (lower case, addresses without scheme) and words."""

    domains: HashSet
    urls: HashSet
    hard: frozenset[str]
    soft: frozenset[str]
    sub: tuple[str, ...]
    digest: str


@cache
def load_lists(name: str) -> Lists:
    """The lists `datatrove`, `none`, or those of a folder; see `UrlFilter.lists`."""
    folder = _folder(name)
    if folder is None:
        empty = HashSet(np.empty(0, np.uint64))
        return Lists(empty, empty, frozenset(), frozenset(), (), "none")
    hard, soft, sub = (_words(folder / file) for file in _WORDS.values())
    key, hashed = _source(folder)
    domains, urls = (HashSet(_compiled(folder, kind, hashed.get(kind, ""))) for kind in _HASHED)
    return Lists(domains, urls, frozenset(hard), frozenset(soft), tuple(sorted(sub)), key)


def hard_words(name: str) -> frozenset[str]:
    """Only the hard words of a list, without compiling domains."""
    folder = _folder(name)
    return frozenset(_words(folder / _WORDS["hard"])) if folder else frozenset()


def lists_digest(name: str) -> str:
    """SHA-256 over all files of the lists, hexadecimal; "none" without lists."""
    folder = _folder(name)
    return _source(folder)[0] if folder else "none"


def _folder(name: str) -> Path | None:
    if name == NONE:
        return None
    if name != DATATROVE:
        if not Path(name).is_dir():
            raise ConfigError(
                f"no lists {name!r}",
                why="it is no folder",
                fix="give a folder with files domains, urls, banned_words.txt, soft_banned_words.txt, "
                "banned_subwords.txt (any may be missing)",
            )
        return Path(name)
    spec = importlib.util.find_spec("datatrove")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if Path(location, "assets", _ARCHIVE).is_file():
            return Path(location, "assets")
    raise ConfigError(
        "the lists of package datatrove are missing",
        why="it is not installed, or brings no URL lists",
        fix="pip install 'tokenmill[datatrove]', or --set url_filter.lists=none (nsfw_signals.lists=none)",
    )


@cache
def _source(folder: Path) -> tuple[str, dict[str, str]]:
    """A digest over all files, and the digest of the file that holds each hashed list."""
    files = {kind: folder / _ARCHIVE if (folder / _ARCHIVE).is_file() else folder / kind for kind in _HASHED}
    digests = {kind: _sha256(path) for kind, path in files.items() if path.is_file()}
    parts = [f"{kind}={digest}" for kind, digest in digests.items()]
    parts += [f"{file}={_sha256(folder / file)}" for file in _WORDS.values() if (folder / file).is_file()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), digests


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(lines: Iterable[str]) -> Iterator[str]:
    """The entries of a list: no blank lines, no comments, lower case."""
    for line in lines:
        entry = line.strip().lower()
        if entry and not entry.startswith("#"):
            yield entry


def _words(path: Path) -> set[str]:
    """Words reduced to letters and digits, as they are compared with addresses."""
    if not path.is_file():
        return set()
    with path.open(encoding="utf-8") as file:
        return {_NOT_ALPHANUMERIC.sub("", entry) for entry in _entries(file)} - {""}


def without_scheme(url: str) -> str:
    """The form in which addresses are listed."""
    return url.split("://", 1)[-1]


def compile_hashes(entries: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Sorted distinct hashes of the entries."""
    return np.unique(np.fromiter(map(line_hash, entries), np.uint64))


def _compiled(folder: Path, kind: str, digest: str) -> npt.NDArray[np.uint64]:
    """The memory-mapped hashes of one list, compiled now if no process has done so before."""
    if not digest:
        return np.empty(0, np.uint64)
    path = cache_folder() / "lists" / f"{digest[:32]}-{kind}-{_FORMAT}.npy"
    mapped = _mapped(path)
    if mapped is None:
        _publish(path, _hash_file(folder, kind))
        mapped = _mapped(path)
    if mapped is None:
        raise ConfigError(
            "a compiled list cannot be read", where=str(path), fix="set TOKENMILL_CACHE to a local folder"
        )
    return mapped


def _mapped(path: Path) -> npt.NDArray[np.uint64] | None:
    """None when the file is missing or not what `_publish` writes."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    # A plain array over the same pages: numpy's memmap class costs microseconds on every access.
    return array.view(np.ndarray) if array.dtype == np.uint64 and array.ndim == 1 else None


def _hash_file(folder: Path, kind: str) -> npt.NDArray[np.uint64]:
    archive = folder / _ARCHIVE
    if not archive.is_file():
        with (folder / kind).open("rb") as file:
            return _hash_stream(file, kind)
    # Read as a stream, member by member: nothing is unpacked to paths that the archive names.
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            if member.name == kind and member.isfile():
                stream = tar.extractfile(member)
                assert stream is not None
                return _hash_stream(stream, kind)
    return np.empty(0, np.uint64)


def _hash_stream(stream: IO[bytes], kind: str) -> npt.NDArray[np.uint64]:
    entries = _entries(line.decode("utf-8", "surrogateescape") for line in stream)
    return compile_hashes(map(without_scheme, entries) if kind == "urls" else entries)


def _publish(path: Path, hashes: npt.NDArray[np.uint64]) -> None:
    """Write under another name and rename: of several processes the last one wins, with equal bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise ConfigError(
            "the folder for compiled lists cannot be written",
            where=str(path.parent),
            why=str(error),
            fix="set TOKENMILL_CACHE to a folder that can be written",
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, hashes, allow_pickle=False)
            os.fchmod(file.fileno(), 0o644)  # other users of a shared cache read it; temporary files are private
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
