"""Gold of pages that are not articles: draw them, read them as numbered blocks, record what is wanted.

    P=".venv/bin/python tools/skim/gold.py"
    $P list                         # numbers, addresses, what is recorded yet; a reader takes the even or the odd ones
    $P outline 12 14 16             # the blocks of pages: number, K/D/? if recorded, length, links, tags, text
    $P outline --width 400 12       # more text of each block (default 130 characters); --from 30 --to 60: these
    $P record 12 listing de "4-18,20" "3,19"    # keep these blocks; the second list (optional) is unsure, not scored
    $P record 12 listing de none    # nothing on the page is wanted
    $P skip 12 "redirect stub"      # the page is no use: a plain article, an error page, empty
    $P show 13                      # like outline, recorded pages only, dropped and kept blocks marked
    $P check 13                     # the second reader agrees ...
    $P check 13 "4-18" "3"          # ... or corrects it: the new keep and unsure lists
    $P text 13                      # the text that is kept, to see that it reads well
    $P batch <<< $'record 12 listing de 4-18\nrecord 14 docs fr 3-9 12'   # one command a line
    $P draw --hosts 3               # pages of the crawl to choose from: 15 to 160 blocks, no annotated ones, no doubles
    $P merge                        # write pages.jsonl: the last word on every page; then the journals can go

Kinds: listing forum docs product reference qa profile other. Languages: two letters, of what is kept. What to keep is
in `tests/data/pages_gold/README.md`. Lines are only ever appended to even.jsonl and odd.jsonl, so two readers can work
at the same time; the last line of a page counts.

A block is a run of text between block-level tags (or two `<br>`). Ranges are bytes [start, end) of the UTF-8 of the
decoded page (`DecodeHtml`); neighbouring blocks of one verdict are one range.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenmill.text.hosts import host_of

ROOT = Path(__file__).resolve().parents[2]
GOLD = ROOT / "tests" / "data" / "pages_gold"
CRAWL = ROOT.parent / "shared" / "crawl"
KINDS = ("listing", "forum", "docs", "product", "reference", "qa", "profile", "other")

_BLOCK = frozenset(
    "address article aside blockquote body button caption center col colgroup dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe legend li link"
    " main menu meta nav noscript ol optgroup option p pre section select summary table tbody td tfoot th thead tr ul"
    " title".split()
)
_SILENT = frozenset("script style template svg audio video canvas object iframe select textarea title datalist".split())
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr frame".split())
_CLOSES = {"li": {"li", "p"}, "p": {"p"}, "tr": {"tr", "td", "th", "p"}}  # a start tag ends these open elements
_CLOSES |= {"dt": {"dt", "dd", "p"}, "dd": {"dt", "dd", "p"}, "td": {"td", "th", "p"}, "th": {"td", "th", "p"}}
_TAG = re.compile(
    rb"""<!--.*?(?:-->|\Z)|<[!?][^>]*>|<(/?)([a-zA-Z][^\s/>]*)((?:=\s*"[^"]*"|=\s*'[^']*'|[^>])*+)>""", re.DOTALL
)
_NAME = re.compile(rb"""(?:^|\s)(class|id|hidden)\s*(?:=\s*("[^"]*"|'[^']*'|[^\s>]+))?""", re.IGNORECASE)


@dataclass
class Block:
    """A run of text: bytes [start, end) of the page, its text, the share of it in links, tags around it."""

    start: int
    end: int
    text: str
    links: float
    path: str


def read_page(row: dict[str, Any], crawl: Path = CRAWL) -> bytes:
    """The decoded page, in UTF-8, that a row of the gold names (`warc_file`, `warc_offset`, `warc_length`)."""
    from tools.skim.labels import page_at

    page = page_at(crawl, row["warc_file"], row["warc_offset"], row["warc_length"])
    if page is None:
        raise SystemExit(f"page {row['number']}: no HTML in its record; the crawl is not the one that was read")
    return page.encode()


class _Splitter:
    """Splits a page into blocks; `stack` holds the open elements as (tag, hint)."""

    def __init__(self, page: bytes) -> None:
        self.page = page
        self.stack: list[tuple[str, str]] = []
        self.blocks: list[Block] = []
        self.parts: list[str] = []
        self.linked = 0
        self.start = self.end = -1
        self.path = ""
        self.breaks = 0

    def split(self) -> list[Block]:
        position = 0
        while match := _TAG.search(self.page, position):
            self._text(position, match.start())
            position = match.end()
            if match[2] is None:
                continue
            tag = match[2].decode("latin-1").lower()
            if tag in _SILENT and not match[1]:
                empty = match[3].endswith(b"/") and tag in ("svg", "object")
                position = position if empty else self._skip(tag, position)
            elif match[1]:
                self._close(tag)
            else:
                self._open(tag, match[3])
        self._text(position, len(self.page))
        self._flush()
        return self.blocks

    def _skip(self, tag: str, position: int) -> int:
        """Byte after the end tag of an element whose content is not text of the page."""
        if tag in _BLOCK:
            self._trim()
        end = re.compile(rb"</" + tag.encode() + rb"[^>]*>", re.IGNORECASE).search(self.page, position)
        return end.end() if end else len(self.page)

    def _text(self, start: int, end: int) -> None:
        raw = self.page[start:end]
        text = html.unescape(raw.decode("utf-8", "replace"))
        if not text.strip():
            self.parts.append(" " if text else "")
            return
        if self.start < 0:
            self.start = start + len(raw) - len(raw.lstrip())
            self.path = ">".join(f"{tag}{hint}" for tag, hint in self.stack[-3:])
        self.end = start + len(raw.rstrip())
        self.parts.append(text)
        self.breaks = 0
        if any(tag == "a" for tag, _ in self.stack[-4:]):
            self.linked += len(text.strip())

    def _flush(self) -> None:
        text = " ".join("".join(self.parts).split())
        if text:
            self.blocks.append(Block(self.start, self.end, text, min(1.0, self.linked / len(text)), self.path))
        self.parts, self.linked, self.start, self.breaks = [], 0, -1, 0

    def _open(self, tag: str, rest: bytes) -> None:
        if tag == "br":
            self.breaks += 1
            self.parts.append(" / ")
            if self.breaks > 1:
                self._trim()
            return
        if tag in _BLOCK:
            self._trim()
        if tag in _VOID:
            return
        closes = _CLOSES.get(tag, set())
        while self.stack and self.stack[-1][0] in closes:
            self.stack.pop()
        names = {
            m[1].lower(): (m[2] or b"hidden").strip(b"\"'").decode("utf-8", "replace") for m in _NAME.finditer(rest)
        }
        signs = ((b"id", "#"), (b"class", "."), (b"hidden", "!"))
        hint = "".join(f"{sign}{names[key][:16]}" for key, sign in signs if key in names)
        if b"display:none" in rest.replace(b" ", b""):
            hint += "!hidden"
        self.stack.append((tag, hint))

    def _close(self, tag: str) -> None:
        if tag in _BLOCK:
            self._trim()
        if tag in (name for name, _ in self.stack[-40:]):
            while self.stack.pop()[0] != tag:
                pass

    def _trim(self) -> None:
        while self.parts and self.parts[-1] in (" ", " / ", ""):
            self.parts.pop()
        if self.start < 0:
            self.parts = []
        self._flush()


def split_blocks(page: bytes) -> list[Block]:
    """The text blocks of a page (UTF-8), in page order."""
    return _Splitter(page).split()


def parse_numbers(ranges: str, count: int) -> set[int]:
    """Block numbers of "4-18,20"; "none" is none, "all" is all. SystemExit for numbers that the page lacks."""
    if ranges in ("none", ""):
        return set()
    if ranges == "all":
        return set(range(count))
    numbers: set[int] = set()
    for part in ranges.replace(" ", "").split(","):
        low, _, high = part.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    if numbers and not (min(numbers) >= 0 and max(numbers) < count):
        raise SystemExit(f"block numbers go from 0 to {count - 1}, not {ranges}")
    return numbers


def to_ranges(blocks: list[Block], numbers: set[int]) -> list[list[int]]:
    """Byte ranges of the numbered blocks; neighbours are one range."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        block = blocks[number]
        if number - 1 in numbers and ranges:
            ranges[-1][1] = block.end
        else:
            ranges.append([block.start, block.end])
    return ranges


def to_numbers(blocks: list[Block], ranges: list[list[int]]) -> set[int]:
    """The blocks that lie in the byte ranges."""
    return {n for n, b in enumerate(blocks) if any(start <= b.start and b.end <= end for start, end in ranges)}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON Lines file; none when it does not exist."""
    if path.is_file():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def candidates() -> dict[int, dict[str, Any]]:
    """The pages to be read, by number."""
    return {row["number"]: row for row in lines(GOLD / "candidates.jsonl")}


def part(number: int) -> Path:
    return GOLD / ("odd.jsonl" if number % 2 else "even.jsonl")


def latest(number: int | None = None) -> dict[int, dict[str, Any]]:
    """The last word on every page that was recorded or skipped."""
    journals = [part(number)] if number is not None else [part(0), part(1)]
    paths = [GOLD / "candidates.jsonl", GOLD / "pages.jsonl", *journals]
    return {row["number"]: row for path in paths for row in lines(path) if "keep" in row or "skip" in row}


def append(row: dict[str, Any]) -> None:
    with open(part(row["number"]), "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def annotate(number: int, kind: str, language: str, keep: str, unsure: str, checked: bool) -> dict[str, Any]:
    """The gold row of a page from block numbers."""
    row = candidates()[number]
    page = read_page(row)
    blocks = split_blocks(page)
    wanted, doubtful = parse_numbers(keep, len(blocks)), parse_numbers(unsure, len(blocks))
    wanted -= doubtful
    return {
        **row,
        "sha256": hashlib.sha256(page).hexdigest(),
        "kind": kind,
        "language": language,
        "keep": to_ranges(blocks, wanted),
        "drop": to_ranges(blocks, set(range(len(blocks))) - wanted - doubtful),
        "unsure": to_ranges(blocks, doubtful),
        **({"checked": True} if checked else {}),
    }


def mark(row: dict[str, Any] | None, blocks: list[Block]) -> list[str]:
    """One letter a block: K kept, D dropped, ? unsure, space when nothing is recorded."""
    if row is None or "keep" not in row:
        return [" "] * len(blocks)
    keep, unsure = to_numbers(blocks, row["keep"]), to_numbers(blocks, row["unsure"])
    return ["K" if n in keep else "?" if n in unsure else "D" for n in range(len(blocks))]


def outline(number: int, width: int, first: int = 0, last: int = 10**9) -> None:
    """Print the blocks of a page."""
    row = candidates()[number]
    blocks = split_blocks(read_page(row))
    done = latest(number).get(number)
    verdict = f"{done.get('kind')} {done.get('language')} {done.get('skip', '')}" if done else "not recorded"
    print(f"\n=== {number} {row['url']}  [{len(blocks)} blocks; {verdict}]")
    before = ""
    for n, (block, letter) in enumerate(zip(blocks, mark(done, blocks), strict=True)):
        if not first <= n <= last:
            continue
        path = block.path[-30:] if block.path != before else '"'
        before = block.path
        links = f"L{block.links * 100:.0f}" if block.links > 0.05 else ""
        print(f"{n:3d}{letter} {len(block.text):4d} {links:4s} {path} | {block.text[:width]}")


def check(number: int, keep: str | None, unsure: str) -> None:
    """Record that a second reader agrees, or what that reader keeps."""
    old = latest(number).get(number)
    if old is None or "keep" not in old:
        raise SystemExit(f"page {number} is not recorded yet: use record")
    new = {**old, "checked": True}
    append(new if keep is None else annotate(number, old["kind"], old["language"], keep, unsure, True))


def merge() -> None:
    """Write pages.jsonl and say how often the second reader disagreed."""
    first: dict[int, dict[str, Any]] = {}
    for row in [*lines(GOLD / "pages.jsonl"), *lines(part(0)), *lines(part(1))]:
        if "keep" in row and not row.get("checked"):
            first[row["number"]] = row
    rows = [row for _, row in sorted(latest().items()) if "keep" in row]
    with open(GOLD / "pages.jsonl", "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    checked = [row for row in rows if row.get("checked")]
    changed = [row["number"] for row in checked if row["keep"] != first.get(row["number"], row)["keep"]]
    print(f"{len(rows)} pages, {len(checked)} checked, {len(changed)} corrected: {changed}")


def list_pages() -> None:
    """Print the candidates and what became of them."""
    done = latest()
    for number, row in candidates().items():
        state = done.get(number, {})
        verdict = state.get("kind") or ("skipped" if "skip" in state else "-")
        print(number, verdict, state.get("checked", ""), row["url"])


def draw(per_host: int) -> None:
    """Print pages of the crawl as candidate rows, at most `per_host` of a host, in the order of a hash."""
    from tools.skim.labels import annotated_places, crawl_places

    annotated = annotated_places(CRAWL.parent)
    hosts: Counter[str] = Counter()
    seen = set()
    for place in sorted(crawl_places(CRAWL), key=lambda place: hashlib.sha256(place.url.encode()).digest()):
        if hosts[host_of(place.url)] == per_host or (place.warc_file, place.warc_offset) in annotated:
            continue
        blocks = split_blocks(read_page({"number": place.url, **vars(place)}))
        text = " ".join(block.text for block in blocks)
        if 15 <= len(blocks) <= 160 and len(text) >= 500 and text not in seen:
            seen.add(text)
            hosts[host_of(place.url)] += 1
            print(json.dumps({"blocks": len(blocks), **vars(place)}, ensure_ascii=False))


def main(words: list[str] | None = None) -> None:
    """Run one command; `words` default to those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("outline", "show", "text"):
        command = commands.add_parser(name)
        command.add_argument("number", type=int, nargs="+")
        command.add_argument("--width", type=int, default=130 if name == "outline" else 110)
        command.add_argument("--from", dest="first", type=int, default=0)
        command.add_argument("--to", dest="last", type=int, default=10**9)
    for name in ("record", "check", "skip"):
        command = commands.add_parser(name)
        command.add_argument("number", type=int)
        if name == "record":
            command.add_argument("kind", choices=KINDS)
            command.add_argument("language")
            command.add_argument("keep")
        elif name == "check":
            command.add_argument("keep", nargs="?")
        else:
            command.add_argument("why")
        if name != "skip":
            command.add_argument("unsure", nargs="?", default="")
    commands.add_parser("list")
    commands.add_parser("merge")
    commands.add_parser("batch")
    commands.add_parser("draw").add_argument("--hosts", type=int, default=3, help="most pages of one host")
    run(parser.parse_args(words))


def run(args: argparse.Namespace) -> None:
    if args.command in ("outline", "show"):
        for number in args.number:
            outline(number, args.width, args.first, args.last)
    elif args.command == "text":
        for number in args.number:
            blocks = split_blocks(read_page(candidates()[number]))
            kept = to_numbers(blocks, latest(number)[number].get("keep", []))
            print(f"\n=== {number}", *(blocks[n].text for n in sorted(kept)), sep="\n")
    elif args.command == "record":
        append(annotate(args.number, args.kind, args.language, args.keep, args.unsure, False))
    elif args.command == "check":
        check(args.number, args.keep, args.unsure)
    elif args.command == "skip":
        append({"number": args.number, "skip": args.why})
    elif args.command == "batch":
        for line in filter(None, map(str.strip, sys.stdin)):
            main(shlex.split(line))
    elif args.command == "draw":
        draw(args.hosts)
    else:
        {"list": list_pages, "merge": merge}[args.command]()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # run as a file, not as a module
    main()
