"""Text, references and raw text of the readable scanner."""

from __future__ import annotations

import html.entities
import re
from dataclasses import dataclass, field

from tokenmill.extract.skim import scan_tables as t

KINDS = t.kinds()
REFERENCES = {name.encode(): characters.encode() for name, characters in html.entities.html5.items()}
NAME = re.compile(rb"[A-Za-z][^\t-\r />]*")
ATTRIBUTE = re.compile(
    rb"""[\t-\r /]*([^\t-\r />][^\t-\r />=]*)[\t-\r ]*(?:=[\t-\r ]*("[^"]*"?|'[^']*'?|[^\t-\r >]*))?""", re.S
)
TAG_END = re.compile(rb"[\t-\r /]*>")
COMMENT_END = re.compile(rb"(?<=--)>|(?<=--!)>")
NUMBER = re.compile(rb"&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?")
REFERENCE_NAME = re.compile(rb"[A-Za-z0-9]{0,32}")
WORD = re.compile(rb"[a-z\x80-\xff]*[A-Z][A-Z]*[a-z\x80-\xff]*")
HIDING = re.compile(rb"display[\t-\r :]*none|visibility[\t-\r :]*hidden", re.I)
WHITE = b"\t\n\v\f\r "
PLAIN = re.compile(rb"[^<&\t-\r \xc2]+")


@dataclass
class Open:
    """An open element: its number, name, kind and the innermost block element."""

    number: int
    name: bytes
    kind: int
    block: int


@dataclass
class Block:
    el: int
    inner: int
    start: int
    src: int
    flags: int
    split: int
    end: int = 0
    link: int = 0
    src_end: int = 0


@dataclass
class Text:
    """What the scan of a page has found so far; `blocks`, `elements`, ... hold what `scan.Scan` has as arrays."""

    page: bytes
    text: bytearray = field(default_factory=bytearray)
    elements: list[tuple[int, int, int, int, int, int]] = field(default_factory=lambda: [(0, -1, 0, 0, 0, 0)])
    tokens: list[list[int]] = field(default_factory=lambda: [[]])
    blocks: list[Block] = field(default_factory=list)
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    facts: list[tuple[int, int, int]] = field(default_factory=list)
    stack: list[Open] = field(default_factory=lambda: [Open(0, b"", 0, 0)])
    depth: int = 1
    block: Block | None = None
    pending: bytes = b""
    leading: bytes = b""
    split: int = 0
    skipped: int = -1
    pre: int = -1
    link: int = -1
    times: int = 0
    seen: set[bytes] = field(default_factory=set)
    unended: int = 0
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])  # elements, depth, attribute bytes, attributes

    def begin(self, at: int) -> Block:
        """The block that the character at `at` belongs to, white space before it written."""
        if self.block is None:
            top = self.stack[-1]
            flags = self.elements[top.number][2]
            self.block = Block(top.block, top.number, len(self.text), at, flags, self.split)
            self.text += self.leading
            self.split = 0
        else:
            self.text += self.pending
        self.pending = self.leading = b""
        return self.block

    def add(self, characters: bytes, at: int, end: int, linked: bool = True) -> None:
        block = self.begin(at)
        self.text += characters
        block.src_end = end
        if linked and self.link >= 0:
            block.link += len(characters)

    def white(self, character: bytes) -> None:
        if self.pre < 0:
            self.pending = self.pending or b" "
            return
        character = character if character in (b"\t", b"\n") else b" "
        if self.block is not None:
            self.text += character
        else:
            self.leading = b"" if character == b"\n" else self.leading + character

    def bound(self) -> None:
        """A bound of blocks."""
        self.pending = self.leading = b""
        self.split = 0
        if self.block is not None:
            self.text = bytearray(self.text.rstrip(WHITE))
            end = len(self.text)
            self.marks = [(min(place, end), kind, element) for place, kind, element in self.marks]
            self.block.end = end
            self.blocks.append(self.block)
            self.block = None

    def run_of_text(self, at: int) -> int:
        end = self.page.find(b"<", at)
        end = len(self.page) if end < 0 else end
        if self.skipped >= 0:
            return end
        while at < end:
            byte = self.page[at : at + 1]
            two = self.page[at : at + 2]
            if byte in (b"\r",) and self.pre >= 0:
                at += two == b"\r\n"
                self.white(b"\n")
                at += 1
            elif byte in WHITE:
                self.white(byte)
                at += 1
            elif two == b"\xc2\xa0":
                self.white(b" ")
                at += 2
            elif two == b"\xc2\xad":
                at += 2
            elif byte == b"&":
                at = self.reference(at)
            else:
                run = PLAIN.match(self.page, at)
                stop = run.end() if run else at + 1
                self.add(self.page[at:stop], at, stop)
                at = stop
        return at

    def reference(self, at: int) -> int:
        characters, end = decode(self.page, at)
        if characters == b"\xc2\xa0":
            self.white(b" ")
        elif len(characters) == 1 and characters in WHITE:
            self.white(characters)
        elif characters != b"\xc2\xad":
            self.add(characters, at, end)
        if self.block is not None:
            self.block.src_end = end
        return end

    def verbatim(self, at: int, end: int, dollars: bytes) -> None:
        content = self.page[at:end]
        if not content.strip(WHITE):
            return
        at += len(content) - len(content.lstrip(WHITE))
        content = content.strip(WHITE)
        if dollars == b"$$" and self.block is not None:
            self.pending = b"\n"
        self.add(dollars + content + dollars, at, at + len(content), linked=False)
        if dollars == b"$$":
            self.pending = b"\n"


def group_of(kind: int) -> int:
    return kind >> t.GROUP_SHIFT & t.GROUP_MASK


def is_end(page: bytes, start: int, at: int) -> bool:
    """Whether the dashes before the `>` at `at` belong to the comment whose text starts at `start`."""
    return at - start >= (3 if page[at - 1 : at] == b"!" else 2)


def decode(page: bytes, at: int) -> tuple[bytes, int]:
    """The characters of the reference at `at`, and the position behind it."""
    number = NUMBER.match(page, at)
    if number:
        code = min(int(number[1], 16) if number[1] else int(number[2].lstrip(b"0")[:9] or b"0"), 0x110000)
        if 0x80 <= code <= 0x9F:
            code = ord(bytes([code]).decode("cp1252", "ignore") or chr(code))
        if code in (0, 0xFFFE, 0xFFFF) or 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
            code = 0xFFFD
        if (code < 32 and code not in (9, 10)) or code == 127:
            code = 32
        return chr(code).encode(), number.end()
    match = REFERENCE_NAME.match(page, at + 1)
    name = match[0] if match else b""
    if page[at + 1 + len(name) : at + 2 + len(name)] == b";" and name + b";" in REFERENCES:
        return REFERENCES[name + b";"], at + len(name) + 2
    for length in range(min(len(name), 6), 0, -1):
        if name[:length] in REFERENCES:
            return REFERENCES[name[:length]], at + 1 + length
    return b"&", at + 1


def raw_end(page: bytes, at: int, name: bytes) -> int:
    """The position of the end tag of a raw text element; the length without one (WHATWG 13.2.5.4 to 13.2.5.31)."""
    end_tag = re.compile(rb"</" + re.escape(name) + rb"[\t-\r />]", re.I)
    if name != b"script":
        found = end_tag.search(page, at)
        return found.start() if found else len(page)
    event = re.compile(rb"<!--|-->|</?script[\t-\r />]", re.I)
    escaped = double = False
    while found := event.search(page, at):
        at = found.end() - (2 if found[0] == b"<!--" else 1)
        if found[0] == b"<!--":
            at = found.end() - 2 if not escaped else found.end()
            if escaped and page[found.end() : found.end() + 1] == b">":
                at = found.end() - 2
            escaped = True
        elif found[0] == b"-->":
            at = found.end()
            escaped = double = False
        elif found[0][1:2] == b"/":
            if not double:
                return found.start()
            double = False
        elif escaped:
            double = True
    return len(page)


def words_of(name: bytes) -> list[bytes]:
    """Words of one name: split at what is no letter and where lower case turns into upper."""
    words = re.split(rb"[^A-Za-z\x80-\xff]+|(?<=[a-z])(?=[A-Z])", name)
    return [word.lower() for word in words if word]


def tokens_of(value: bytes) -> list[int]:
    """Hashes of the words of an attribute's value, and of pairs of words within one name; at most 14."""
    mask = (1 << 64) - 1
    found: list[int] = []
    for name in value.split():
        before = None
        for word in words_of(name):
            hashed = t.HASH_START
            for byte in word:
                hashed = (hashed ^ byte) * t.HASH_STEP & mask
            found.append((hashed * t.SPREAD & mask) >> 50)
            if before is not None:
                found.append((((before << 1 & mask) ^ hashed) * t.SPREAD & mask) >> 50)
            before = hashed
    return found[:14]
