"""`forget`: take documents out of a finished run, everywhere in its folder, in a way that survives being killed.

    find        every file with ids or addresses is read; nothing is changed
    tombstone   `tombstones/<digest>.json` says what is to go, and that it is not done
    shards      `data/`, `dropped/`, `quarantine/`, files between phases, keys, samples, token shards: rewritten where
                they hold a document, and committed one by one (`executors/forget_write.py`)
    seals       `_SUCCESS.json` of every phase that has changed
    tombstone   done

Every step looks at what the files hold and not at what was done before, so the same command goes on wherever it was
killed. Until it is done, and where files are lost later, `tokenmill run` refuses to work on the folder: it would bring
documents back from the archives (`executors/forget_marks.check_whole`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.executors.forget_dedup import rewrite_steps
from tokenmill.executors.forget_find import Targets, Wanted, find
from tokenmill.executors.forget_marks import Grave, Tombstone, refresh_seal, tombstones, unfinished_phase
from tokenmill.executors.forget_tokens import rewrite_tokens
from tokenmill.executors.forget_write import finish_publishing, rewrite_shard
from tokenmill.executors.gc import check_local, drop_intermediate, remove_temporary
from tokenmill.executors.runspec import load_run
from tokenmill.filters.optout_list import (
    DIGEST,
    OptOutList,
    Request,
    domain_request,
    read_requests,
    url_digest,
    url_request,
)
from tokenmill.io.runfolder import RunFolder

REPORT = "report.html"
_SINKS = ("tokenmill.io.parquet:WriteParquet", "tokenmill.tokens.write:WriteTokens")


@dataclass(frozen=True)
class ForgetRequest:
    """What is to be removed: addresses (in any equivalent form), domains with all hosts below them, ids.

    ids: record ids, with or without the angle brackets, or doc_ids. list: a block list (`filters/optout_list.py`).
    """

    urls: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    list: str | None = None
    reason: str = ""
    """Kept in the tombstone; write no personal data into it."""
    time: str = ""
    """When the removal was asked for, ISO 8601; empty: now."""
    dry_run: bool = False


@dataclass
class Forgotten:
    """What was removed, or with `dry_run` what would be."""

    documents: list[Grave] = field(default_factory=list)
    resumed: bool = False
    """Whether an earlier removal that was stopped half-way was finished first; its documents are among these."""
    tombstones: list[str] = field(default_factory=list)
    """Names of the tombstones that were written or finished."""
    block_list: list[str] = field(default_factory=list)
    """Lines for a block list that keeps the same documents out of other runs."""
    dry_run: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """Documents by what they were: kept, dropped, quarantined."""
        return Counter(grave.was for grave in self.documents)

    @property
    def shards(self) -> list[str]:
        """Shards that held them."""
        return sorted({grave.shard for grave in self.documents})

    def to_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "resumed": self.resumed,
            "documents": [vars(grave) for grave in self.documents],
            "counts": dict(self.counts),
            "shards": self.shards,
            "tombstones": self.tombstones,
            "block_list": self.block_list,
        }


def forget(folder: RunFolder, request: ForgetRequest) -> Forgotten:
    """Remove documents from a finished run. The report is removed as well: `report.write_report` writes it again.

    ConfigError where the run is not finished, under way, on an object store, or made by a sink whose files cannot be
    rewritten; and where the request names nothing. What is not found is no error.
    """
    check_local(folder, "forget")
    requests, ids = _wanted(request)
    run = load_run(folder)
    _check(folder, run)
    result = Forgotten(dry_run=request.dry_run)
    with folder.locked():
        try:
            for pending in [tombstone for tombstone in tombstones(folder) if not tombstone.done]:
                result.resumed = True
                result.documents += pending.documents
                if not request.dry_run:
                    _carry_out(folder, run, pending)
                    result.tombstones.append(pending.name)
            found = find(folder, run, Wanted(OptOutList(requests), ids))
            known = {(grave.shard, grave.doc_id, grave.key_sha256) for grave in result.documents}
            new = [grave for grave in found if (grave.shard, grave.doc_id, grave.key_sha256) not in known]
            result.documents += new
            if new and not request.dry_run:
                tombstone = Tombstone(_time(request), request.reason, _kinds(requests, request.ids), tuple(new))
                tombstone.write(folder)
                _carry_out(folder, run, tombstone)
                result.tombstones.append(tombstone.name)
        except (OSError, pa.ArrowException) as error:
            raise FatalError(
                f"cannot read or write {getattr(error, 'filename', None) or folder.location}",
                why=str(error),
                fix="look at the disk, then run the same command: it goes on",
            ) from error
    result.block_list = _lines(requests, bool(ids), result.documents, _time(request))
    return result


def _wanted(request: ForgetRequest) -> tuple[list[Request], frozenset[str]]:
    requests = [url_request(url, "--url") for url in request.urls]
    requests += [domain_request(domain, "--domain") for domain in request.domains]
    requests += read_requests(request.list) if request.list is not None else []
    bare = {one: one.strip("<> ") for one in request.ids}
    ids = {
        form
        for one, inner in bare.items()
        for form in (one, inner, f"<{inner}>", f"urn:uuid:{inner}", f"<urn:uuid:{inner}>")
        if inner
    }
    if not requests and not ids:
        raise ConfigError("nothing is asked to be forgotten", fix="--url URL, --domain DOMAIN, --id ID or --list FILE")
    if request.time:
        try:
            datetime.fromisoformat(request.time)
        except ValueError as error:
            raise ConfigError(f"{request.time!r} is no time", why=str(error), fix="ISO 8601: 2026-03-01") from error
    return requests, frozenset(ids)


def _check(folder: RunFolder, run: Mapping[str, Any]) -> None:
    """ConfigError unless every file of the run can be rewritten."""
    made_by = run["stages"][-1]["class"]
    if made_by not in _SINKS:
        raise ConfigError(
            f"documents cannot be taken out of what {run['stages'][-1]['stage']} has written",
            why="its files hold documents in pieces, worded anew or mixed with others",
            fix="forget them in the runs that this one was made from, make it again into another --output, and delete "
            "this folder, with the ledger of answers if it has one",
        )
    phase = unfinished_phase(folder, run)
    if phase:
        raise ConfigError(
            f"the run in {folder.location} is not finished",
            why=f"phase {phase} is not complete, so what is removed now would come back",
            fix="run its command again first; or keep documents out with the stage OptOut and a block list",
        )


def _time(request: ForgetRequest) -> str:
    return request.time or datetime.now(UTC).isoformat(timespec="seconds")


def _kinds(requests: Sequence[Request], ids: Sequence[str]) -> dict[str, int]:
    counts = Counter(request.kind for request in requests)
    given = {one.strip("<> ") for one in ids}
    return dict(sorted({**counts, **({"id": len(given)} if given else {})}.items()))


def _carry_out(folder: RunFolder, run: Mapping[str, Any], tombstone: Tombstone) -> None:
    """Do what a tombstone says; the tombstone is done then."""
    name = tombstone.name
    remove_temporary(folder)
    finish_publishing(folder, run)
    drop_intermediate(folder, run)
    folder.remove(REPORT)  # it has samples of texts and addresses
    graves: dict[str, list[Grave]] = {}
    for grave in tombstone.documents:
        graves.setdefault(grave.shard, []).append(grave)
    targets = {slug: Targets.of(some) for slug, some in graves.items()}
    for slug, some in targets.items():
        rewrite_shard(folder, run, slug, some, name)
    rewrite_steps(folder, run, targets, name)
    rewrite_tokens(folder, run, Targets.of(tombstone.documents), name)
    for phase in run["phases"]:  # all: a process that was killed may have committed before its seal was written
        refresh_seal(folder, phase["directory"])
    finish_publishing(folder, run)  # folders that are empty now
    tombstone.finished().write(folder)


def _lines(requests: Sequence[Request], by_id: bool, documents: Sequence[Grave], time: str) -> list[str]:
    """Block-list lines: requests as they were asked, and digests of the addresses of what was named by its id."""
    lines = [f"{_written(request)} {request.date or time[:10]}" for request in requests]
    known = {url_digest(request.value) for request in requests if request.kind == "url"}
    digests = {grave.url_sha256 for grave in documents if grave.url_sha256} - known if by_id else set()
    return list(dict.fromkeys([*lines, *(f"{DIGEST}{digest} {time[:10]}" for digest in sorted(digests))]))


def _written(request: Request) -> str:
    """What a request is in a block list; http and https are one in a canonical address, which names neither."""
    if request.kind == "digest":
        return f"{DIGEST}{request.value}"
    return f"https:{request.value}" if request.value.startswith("//") else request.value
