"""The scanner written to be read, with bytes, lists and regular expressions: the oracle of its tests."""

from __future__ import annotations

import re

from tests.extract.skim.scan_twin_text import (
    ATTRIBUTE,
    COMMENT_END,
    HIDING,
    KINDS,
    NAME,
    TAG_END,
    WHITE,
    Open,
    Text,
    group_of,
    is_end,
    raw_end,
    tokens_of,
)
from tokenmill.extract.skim import scan_tables as t


class Twin(Text):
    """A scan under way."""

    def run(self) -> Twin:
        at = 0
        while at < len(self.page):
            at = self.markup(at) if self.page[at : at + 1] == b"<" else self.run_of_text(at)
        self.close(0)
        self.bound()
        return self

    # markup

    def markup(self, at: int) -> int:
        page = self.page
        start, end = NAME.match(page, at + 1), NAME.match(page, at + 2)
        if start:
            return self.start_tag(at, start)
        if page[at + 1 : at + 2] == b"/" and end:
            return self.end_tag(at, end)
        if page.startswith(b"<!--", at):
            for short in (b"<!-->", b"<!--->"):
                if page.startswith(short, at):
                    return at + len(short)
            found = next((m for m in COMMENT_END.finditer(page, at + 6) if is_end(page, at + 4, m.start())), None)
            return self.ended(at, found.end() if found else -1)
        if page[at + 1 : at + 2] in (b"/", b"!", b"?"):
            return self.ended(at, page.find(b">", at + 2) + 1 or -1)
        if self.skipped < 0:
            self.add(b"<", at, at + 1)
        return at + 1

    def ended(self, at: int, end: int) -> int:
        if end >= 0:
            return end
        self.unended += len(self.page) - at
        return len(self.page)

    def attributes(self, at: int) -> tuple[int, dict[bytes, tuple[int, int]], int]:
        """Position of the `>` (-1 without one), the value ranges by name, how many there are."""
        found: dict[bytes, tuple[int, int]] = {}
        count = 0
        while True:
            end = TAG_END.match(self.page, at)
            if end:
                return end.end() - 1, found, count
            match = ATTRIBUTE.match(self.page, at)
            if not match:
                return -1, found, count
            count += 1
            value = match.span(2) if match[2] is not None else (match.end(), match.end())
            if match[2] and match[2][:1] in (b'"', b"'"):
                closed = len(match[2]) > 1 and match[2][-1:] == match[2][:1]
                value = (match.start(2) + 1, match.end(2) - closed)
            found.setdefault(match[1].lower(), value)
            at = match.end()

    def start_tag(self, at: int, match: re.Match[bytes]) -> int:
        name, attrs = match[0].lower(), match.end()
        end, found, count = self.attributes(attrs)
        stop = len(self.page) if end < 0 else end
        kind = KINDS.get(name.decode("latin-1"), 0)
        self.counts[0] += 1
        self.counts[2] = max(self.counts[2], stop - attrs)
        self.counts[3] = max(self.counts[3], count)
        if end < 0:
            return self.ended(at, -1)
        after = end + 1
        closed = self.page[end - 1 : end] == b"/"
        if self.skipped >= 0:
            if self.ends_skipped(name, kind):
                self.close(self.skipped)
                if name == b"select":
                    return after
            elif not kind & t.RAW:
                if not closed and not kind & (t.VOID | t.IGNORED | t.ONCE):
                    top = self.stack[-1]
                    self.push(Open(top.number, name, 0, top.block))
                return after
            elif closed:
                return after
        else:
            self.state(name, found)
        if kind & t.RAW and not (name == b"title" and b"unended title" in self.seen):
            return self.raw(after, name, found)
        if kind & t.IGNORED or (kind & t.ONCE and name in self.seen):
            return after
        self.seen.add(name)
        self.make_room(kind)
        if name == b"br":
            self.line_break()
        elif name == b"img":
            start, stop = found.get(b"alt", (0, 0))
            if stop > start:
                number = self.element(at, attrs, end, kind, 0, found)
                self.marks.append((len(self.text), t.IMG, number))
        elif not kind & t.VOID and (not closed or (name not in (b"svg", b"math") and kind)):
            self.open(at, attrs, end, name, kind, found)
        return after

    def ends_skipped(self, name: bytes, kind: int) -> bool:
        if self.skipped >= t.STACK:
            return False
        around, group = self.stack[self.skipped], group_of(kind)
        if around.name == b"select":
            return name in (b"select", b"input", b"textarea") or 5 <= group <= 7
        if group == t.RUBY_GROUP:
            return group_of(around.kind) == group
        inside = self.stack[self.skipped + 1 :][-65:]
        breaks = around.kind & t.PHRASING and kind & t.BLOCK
        return bool(breaks) and all(entry.name != b"foreignobject" for entry in inside)

    def make_room(self, kind: int) -> None:
        if kind & t.CLOSES_P:
            self.close_implied(t.P_GROUP)
        if kind & t.TITLE_RANK and self.depth <= t.STACK and self.stack[-1].kind & t.TITLE_RANK:
            self.close(self.depth - 1)
        if group_of(kind):
            self.close_implied(group_of(kind))
        if kind & t.BLOCK:
            self.bound()

    def line_break(self) -> None:
        if self.block is None:
            return
        if self.pre >= 0:
            self.text += b"\n"
        elif self.pending == b"\n":
            self.bound()
            self.split = 1
        else:
            self.pending = b"\n"

    def element(self, at: int, attrs: int, end: int, kind: int, flags: int, found: dict[bytes, tuple[int, int]]) -> int:
        parent = self.stack[-1].number
        flags |= self.elements[parent][2]
        self.elements.append((kind >> t.TAG_SHIFT, parent, flags, at, attrs, end))
        self.tokens.append([])
        for name in (b"class", b"id", b"role", b"itemprop"):
            if name in found:
                start, stop = found[name]
                self.tokens[-1] += tokens_of(self.page[start : min(stop, start + 400)])
        return len(self.elements) - 1

    def push(self, entry: Open) -> None:
        self.counts[1] = max(self.counts[1], self.depth)
        if self.depth < t.STACK:
            self.stack.append(entry)
        self.depth += 1

    def open(self, at: int, attrs: int, end: int, name: bytes, kind: int, found: dict[bytes, tuple[int, int]]) -> None:
        if name == b"a" and self.link >= 0:
            if self.link == self.depth - 1:
                self.close(self.link)
            else:
                self.end_mark(self.link)
            self.link = -1
        depth = self.depth
        flags = t.CONTEXTS.get(name.decode("latin-1"), 0) | self.context(found)
        number = self.element(at, attrs, end, kind, flags, found)
        self.push(Open(number, name, kind, number if kind & t.BLOCK else self.stack[-1].block))
        if kind & t.MARKED:
            self.marks.append((len(self.text), kind >> t.MARK_SHIFT & t.MARK_MASK, number))
        if name == b"a" and b"href" in found and depth < t.STACK:
            self.link = depth
            row = self.elements[number]
            self.elements[number] = (*row[:2], row[2] | t.IN_LINK, *row[3:])
        if kind & t.SKIP:
            self.skipped = depth
        if kind & t.PRE and self.pre < 0:
            self.pre = depth
        if kind & t.RUBY_TEXT:
            self.bracket(b"(")

    def bracket(self, character: bytes) -> None:
        if self.block is not None:
            self.pending = b""
            self.text += character

    def context(self, found: dict[bytes, tuple[int, int]]) -> int:
        values = {name: self.page[start:end] for name, (start, end) in found.items()}
        words = values.get(b"role", b"").lower().split()
        flags = t.ROLES.get(words[0].decode("latin-1"), 0) if words and len(words[0]) <= 64 else 0
        hidden = b"hidden" in values or values.get(b"aria-hidden", b"").lower().startswith(b"true")
        if hidden or HIDING.search(values.get(b"style", b"")[:400]):
            flags |= t.HIDDEN
        return flags

    def raw(self, at: int, name: bytes, found: dict[bytes, tuple[int, int]]) -> int:
        page, end = self.page, raw_end(self.page, at, name)
        if name == b"title":
            if end == len(page):
                self.seen.add(b"unended title")
                return at
            if self.skipped < 0:
                self.fact(t.FACT["title"], at, end)
            return end
        if end == len(page) and name != b"xmp":
            self.unended += end - at
        start, stop = found.get(b"type", (0, 0))
        kind = page[start:stop].lower()
        if self.skipped >= 0:
            return end
        if name == b"script" and kind.startswith(b"math/tex"):
            self.verbatim(at, end, b"$$" if b"display" in kind[8 : 64 + 6] else b"$")
        elif name == b"script" and kind.startswith(b"application/ld"):
            self.fact(t.FACT["json_ld"], at, end)
        elif name == b"xmp":
            self.bound()
            self.verbatim(at, end, b"")
            self.bound()
        return end

    def end_tag(self, at: int, match: re.Match[bytes]) -> int:
        name = match[0].lower()
        end, _, _ = self.attributes(match.end())
        if end < 0:
            return self.ended(at, -1)
        kind = KINDS.get(name.decode("latin-1"), 0)
        if name == b"br" and self.skipped < 0:
            self.line_break()
        if kind & (t.ONCE | t.IGNORED | t.VOID | t.RAW):
            return end + 1
        self.close_named(name, kind)
        if name == b"a":
            self.link = -1
        if kind & t.BLOCK and self.skipped < 0:
            self.bound()
        return end + 1

    # open elements

    def close(self, depth: int) -> None:
        """Close all elements from this depth on."""
        self.depth = depth
        self.link = -1 if depth <= self.link else self.link
        while len(self.stack) > depth:
            entry = self.stack[-1]
            if entry.kind & t.BLOCK:
                self.bound()
            elif entry.kind & t.MARKED:
                self.end_mark(len(self.stack) - 1)
            elif entry.kind & t.RUBY_TEXT:
                self.bracket(b")")
            self.stack.pop()
        self.skipped = -1 if depth <= self.skipped else self.skipped
        self.pre = -1 if depth <= self.pre else self.pre

    def end_mark(self, depth: int) -> None:
        entry = self.stack[depth]
        if entry.kind & t.MARKED:
            self.marks.append((len(self.text), entry.kind >> t.MARK_SHIFT & t.MARK_MASK | t.END, entry.number))
            entry.kind &= ~t.MARKED

    def close_implied(self, group: int) -> None:
        if self.depth > t.STACK:
            return
        found = None
        for depth in range(self.depth - 1, max(0, self.depth - 33), -1):
            kind = self.stack[depth].kind
            if kind & t.TABLE_SCOPE or (kind & t.SCOPE and group < 5):
                break
            if 5 <= group <= 7 and 5 <= group_of(kind) <= group:
                found = depth
            elif group_of(kind) == group:
                found = depth
                break
        if found is not None:
            self.close(found)

    def close_named(self, name: bytes, kind: int) -> None:
        if self.depth > t.STACK:
            self.close(self.depth - 1)
            return
        in_table = 5 <= group_of(kind) <= 7 or kind & t.TABLE_SCOPE
        crossed = False
        for depth in range(self.depth - 1, max(0, self.depth - 65), -1):
            other = self.stack[depth]
            if other.name == name or other.kind & kind & t.TITLE_RANK:
                if not crossed:
                    self.close(depth)
                    return
                if other.kind & t.MARKED:
                    self.end_mark(depth)
                    return
            if other.kind & t.TABLE_SCOPE or (not in_table and group_of(other.kind) == 5):
                return
            if other.kind & t.BLOCK and not kind & t.BLOCK:
                if not kind & t.MARKED:
                    return
                crossed = True

    # facts

    def fact(self, kind: int, start: int, end: int) -> None:
        if kind and end > start and len(self.facts) < t.MOST_FACTS:
            self.facts.append((kind, start, end))

    def state(self, name: bytes, found: dict[bytes, tuple[int, int]]) -> None:
        """Facts that the attributes of an element state."""

        def named(attribute: bytes) -> int:
            start, end = found.get(attribute, (0, 0))
            return t.FACT.get(t.FACT_NAMES.get(self.page[start:end].strip(WHITE).lower().decode("latin-1"), ""), 0)

        kind, value = 0, b"href"
        if name == b"meta":
            value = b"content"
            kind = next(filter(None, map(named, (b"name", b"property", b"itemprop", b"http-equiv"))), 0)
        elif name == b"link" or (name == b"a" and named(b"rel") == t.FACT["license"]):
            kind = named(b"rel")
        elif name == b"html":
            kind, value = t.FACT["html_lang"], b"lang"
        elif name == b"time" and self.times < 8:
            kind, value = t.FACT["time"], b"datetime"
            self.times += value in found
        if value in found:
            self.fact(kind, *found[value])


def scan(page: bytes) -> Twin:
    return Twin(page).run()
