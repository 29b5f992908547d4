"""`tokenmill origin`: from a token to its document and the archived record, and from a document to its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from rich.console import Console

from tokenmill.cli.console import output_console, safe, safe_line
from tokenmill.core.errors import ConfigError
from tokenmill.io.records import Record
from tokenmill.tokens.archive import Archive, archived_record, find_archive
from tokenmill.tokens.origin import DocumentPlace, Origin, documents_where, origin, text_around

_BODY = 600
"""Bytes of an archived page that are shown."""
_PLACES = ("token_start", "token_count")


def show_origin(
    target: str,
    offset: int | None = None,
    *,
    id: str | None = None,
    url: str | None = None,
    text: bool = False,
    record: bool = False,
    archives: Sequence[str] = (),
    as_json: bool = False,
) -> None:
    """Print where the token at an offset of a shard comes from, or (id, url) where a document's tokens are.

    text: with the text around the token. record: with the archived record. archives: folders with archives, besides
    those that the runs remember. ConfigError where there is no such token or document.
    """
    wanted = [(column, value) for column, value in (("id", id), ("url", url)) if value is not None]
    if (offset is not None) + len(wanted) != 1:
        raise ConfigError(
            "no token or document is asked for" if offset is None and not wanted else "two things are asked for",
            fix="tokenmill origin SHARD OFFSET, or: tokenmill origin SET --id ID, or: tokenmill origin SET --url URL",
        )
    if text and offset is None:
        raise ConfigError("--text shows the text around a token", fix="give a shard and an offset too")
    if offset is not None:
        places: Iterator[DocumentPlace] = iter([origin(target, offset)])
    else:
        places = _found(target, *wanted[0])
    for number, place in enumerate(places):
        about = _about(place, archives=archives, text=text, record=record)
        if as_json:
            print(json.dumps(about, default=str))
            continue
        if number:
            print()
        _print(output_console(), about)


def _found(target: str, column: str, value: str) -> Iterator[DocumentPlace]:
    """Documents with that value; ConfigError where there is none."""
    places = documents_where(target, column, value)
    first = next(places, None)
    if first is None:
        raise ConfigError(f"no document of {target} has the {column} {value!r}")
    yield first
    yield from places


def _about(place: DocumentPlace, *, archives: Sequence[str], text: bool, record: bool) -> dict[str, Any]:
    """All that is to be told, as plain values."""
    about: dict[str, Any] = {"set": str(place.tokens.folder), "shard": place.shard.name, "file": str(place.shard.path)}
    if isinstance(place, Origin):
        about |= {"offset": place.offset, "token": place.token, "eos": place.is_eos, "position": place.position}
    about |= {
        "document": place.document,
        "token_start": place.token_start,
        "token_count": place.token_count,
        "row": {name: value for name, value in place.row.items() if name not in _PLACES},
    }
    archive = find_archive(place, archives)
    if archive is not None:
        about["archive"] = {"path": archive.path, "there": archive.there}
    if text and isinstance(place, Origin):
        about["text"] = dict(zip(("before", "token", "after"), text_around(place), strict=True))
    if record:
        about["record"] = _record(place, archive)
    return about


def _record(place: DocumentPlace, archive: Archive | None) -> dict[str, Any]:
    if archive is None:
        raise ConfigError(
            "nobody knows where the archive of this document lies",
            why="the set does not say what its documents were read from",
            fix="give the folder of the archives: --archives FOLDER",
        )
    found = archived_record(place, archive)
    return {
        "kind": found.kind,
        "headers": found.headers,
        "size": found.size,
        "same_id": _is_same(place, found),
        "status": found.http.status if found.http is not None else None,
        "http_headers": found.http.text.split("\n") if found.http is not None else [],
        "body": found.block[found.http.size if found.http is not None else 0 :][:_BODY].decode(errors="replace"),
    }


def _is_same(place: DocumentPlace, record: Record) -> bool | None:
    """Whether the record has the document's id; None where one of them has none."""
    ids = place.row.get("id"), record.headers.get("warc-record-id")
    return ids[0] == ids[1] if all(ids) else None


def _print(console: Console, about: dict[str, Any]) -> None:
    def line(name: str, value: object) -> None:
        console.print(f"{safe_line(name):<14} {safe_line(str(value))}", highlight=False, soft_wrap=True)

    if "offset" in about:
        what = "EOS, behind the document" if about["eos"] else f"token {about['position']:,} of the document, from 0"
        line("token", f"{about['token']}: {what}")
    line("shard", f"{about['file']}, offset {about.get('offset', about['token_start']):,}")
    line("document", f"{about['document']:,} of the shard, {about['token_count']:,} from {about['token_start']:,}")
    for name, value in about["row"].items():
        if value is not None and value != "":
            line(name, value)
    if "archive" in about:
        there = {True: "", False: " (not there)", None: ""}[about["archive"]["there"]]
        line("archive", about["archive"]["path"] + there)
    if "text" in about:
        parts = (safe(about["text"][name]) for name in ("before", "token", "after"))
        console.print("\n{}[reverse]{}[/reverse]{}".format(*parts), highlight=False, soft_wrap=True)
    if "record" in about:
        _print_record(console, about["record"])


def _print_record(console: Console, record: dict[str, Any]) -> None:
    console.print(f"\nrecord         {safe_line(record['kind'])}, {record['size']:,} bytes", highlight=False)
    if record["same_id"] is False:
        console.print("[yellow]its id is not that of the document: the archive is another one[/yellow]")
    lines = [f"{name}: {value}" for name, value in record["headers"].items()]
    if record["status"] is not None:
        lines += ["", f"HTTP status {record['status']}", *record["http_headers"]]
    for text in islice(lines, 200):
        console.print(f"  {safe_line(text)}", highlight=False, soft_wrap=True)
    console.print("")
    console.print(safe(record["body"]), highlight=False, soft_wrap=True)
