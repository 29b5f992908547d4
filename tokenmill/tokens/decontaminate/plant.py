"""Benchmark items planted in other texts, as they leak: copied, re-wrapped, buried in long text, retold.

Everything follows from the seed, the item and the kind.
"""

from __future__ import annotations

import random
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from tokenmill.tokens.decontaminate.forms import Item

KINDS = ("verbatim", "rewrapped", "embedded", "question", "paraphrased")
"""question: without the answer; the others have both, and the words of the prompt."""
EMBEDDED_WORDS = 5000
_HOST_CHARS = 3000
_SHORT_WORD = 7

_SYNONYMS = {
    "big": "large",
    "large": "big",
    "small": "little",
    "begin": "start",
    "begins": "starts",
    "start": "begin",
    "man": "guy",
    "woman": "lady",
    "person": "someone",
    "people": "folks",
    "child": "kid",
    "children": "kids",
    "said": "told",
    "says": "states",
    "shows": "displays",
    "shown": "displayed",
    "find": "locate",
    "found": "discovered",
    "make": "create",
    "makes": "creates",
    "made": "created",
    "use": "employ",
    "used": "employed",
    "using": "with",
    "many": "numerous",
    "often": "frequently",
    "because": "since",
    "but": "yet",
    "quickly": "rapidly",
    "most": "the majority of",
    "about": "around",
    "help": "aid",
    "need": "require",
    "needs": "requires",
    "get": "obtain",
    "gets": "obtains",
    "give": "provide",
    "gives": "provides",
    "put": "place",
    "buy": "purchase",
    "house": "home",
    "car": "vehicle",
    "road": "street",
    "water": "liquid",
    "which": "what",
    "best": "most suitable",
    "likely": "probable",
    "cause": "lead to",
    "causes": "leads to",
    "important": "essential",
    "different": "distinct",
    "called": "named",
    "total": "overall",
    "each": "every",
    "number": "count",
    "first": "initial",
    "last": "final",
    "old": "aged",
    "new": "recent",
    "fast": "quick",
    "also": "too",
    "write": "compose",
    "function": "routine",
    "return": "give back",
    "given": "supplied",
}
_WORDS = {
    "noun": "river garden engine letter window teacher market bridge winter story kitchen harbour lamp basket village",
    "adjective": "quiet narrow green careful distant wooden early heavy bright patient ordinary curious broken gentle",
    "verb": "follows carries remembers crosses repairs watches describes leaves opens answers paints avoids measures",
    "ending": "before-noon after-the-rain without-a-word near-the-station in-the-evening for-years at-last once-again",
}


def generated_texts(count: int, words: int, seed: int) -> list[str]:
    """Plain sentences of a few hundred words, in paragraphs; nobody has ever asked about them."""
    rng = random.Random(f"host {seed}")
    lists = {kind: value.split() for kind, value in _WORDS.items()}
    texts = []
    for _ in range(count):
        sentences = []
        for _ in range(words // 9 + 1):
            one, two = (f"{rng.choice(lists['adjective'])} {rng.choice(lists['noun'])}" for _ in range(2))
            ending = rng.choice(lists["ending"]).replace("-", " ")
            sentences.append(f"The {one} {rng.choice(lists['verb'])} every {two} {ending}.")
        texts.append("\n\n".join(" ".join(sentences[at : at + 6]) for at in range(0, len(sentences), 6)))
    return texts


def planted(item: Item, kind: str, hosts: Sequence[str], seed: int) -> str:
    """A document that holds the item in one of `KINDS`. hosts: texts that are drawn from, at least one with words."""
    rng = random.Random(f"{seed} {kind} {item.name}")
    if kind == "embedded":
        return _embedded(item.source, hosts, rng)
    host = rng.choice(hosts)[:_HOST_CHARS].rsplit(" ", 1)[0]
    at = host.find("\n", rng.randrange(len(host) + 1))
    at = len(host) if at < 0 else at
    text = item.source
    if kind == "question":
        text = item.question if item.flows else "\n".join(text for _, text in item.pieces)
    elif kind == "rewrapped":
        text = rewrapped(text, rng)
    elif kind == "paraphrased":
        text = paraphrased(text, rng)
    return f"{host[:at]}\n\n{text}\n\n{host[at:].lstrip()}"


def _embedded(text: str, hosts: Sequence[str], rng: random.Random) -> str:
    """Between two words of a text of `EMBEDDED_WORDS` words and more."""
    parts: list[str] = []
    count = 0
    while count < EMBEDDED_WORDS:
        parts.append(rng.choice(hosts))
        count += len(parts[-1].split()) or EMBEDDED_WORDS
    whole = "\n\n".join(parts)
    gaps = [found.end() for found in re.finditer(r"\s+", whole)] or [len(whole)]
    at = rng.choice(gaps)
    return f"{whole[:at]}{text.strip()} {whole[at:]}"


def rewrapped(text: str, rng: random.Random) -> str:
    """Lines broken anew at 40 or 72 columns, some words hyphenated, other case, spaces, quotes and normal form."""
    change = rng.choice((str, str.lower, str.upper, str.title))
    text = _other_quotes(change(text), rng)
    if rng.random() < 0.5:
        text = unicodedata.normalize(rng.choice(("NFC", "NFD", "NFKC")), text)
    width = rng.choice((40, 72))
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=rng.random() < 0.5)
    hyphenated = rng.random() < 0.3
    out: list[str] = []
    for line in lines:
        if hyphenated and out and len(word := line.split(" ", 1)[0]) >= _SHORT_WORD and word.isalpha():
            out[-1] += f" {word[:3]}-"
            line = line[3:]
        out.append(line)
    spaces = rng.choice((" ", "  ", "\u00a0", " \t"))
    ending = rng.choice(("\n", "\r\n", "\n    ", " \n", "\n> "))
    return ending.join(line.replace(" ", spaces) for line in out)


def _other_quotes(text: str, rng: random.Random) -> str:
    style = rng.choice(("as is", "straight", "curly", "none"))
    if style == "straight":
        return text.translate(str.maketrans("\u2018\u2019\u201c\u201d", "''\"\""))
    if style == "curly":
        return text.replace("'", "\u2019").replace('"', "\u201d")
    return text.translate(str.maketrans("", "", '"\u201c\u201d')) if style == "none" else text


def paraphrased(text: str, rng: random.Random) -> str:
    """Synonyms from a small table, one word in twelve left out, one pair in twenty-five exchanged."""
    words = [word for word in text.split() if rng.random() >= 1 / 12]
    for at in range(len(words) - 1):
        if rng.random() < 1 / 25:
            words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(_SYNONYMS.get(word.lower(), word) for word in words)
