"""Prompts as the tiny models read them: the style `styles/short.md`, its chat template, and their tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import Unigram

from tests.rephrase import pages
from tests.rephrase.kinds import BEFORE, SPECIAL, STARTS, Kind
from tokenmill.rephrase.render import render
from tokenmill.rephrase.request import Passage
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style

STYLE = Path(__file__).parent / "styles" / "short.md"


@lru_cache(maxsize=1)
def short_style() -> Style:
    return load_style(str(STYLE))


def instruction() -> str:
    """What the prompt of the style says besides the page."""
    return render(short_style(), _passage(""), seed=0).instruction


def messages(text: str) -> tuple[Mapping[str, str], ...]:
    """What is asked about a page."""
    return render(short_style(), _passage(text), seed=0).messages


def prompt(text: str) -> str:
    """The same as the model reads it."""
    spoken = "".join(f"<|{one['role']}|>{one['content']}" for one in messages(text))
    return f"{spoken}<|assistant|>"


def _passage(text: str) -> Passage:
    return Passage("page", 0, 0, len(text), text, len(text.split()))


@cache
def page_tokens() -> list[str]:
    """The tokens of pages."""
    numbers = (*pages.DAYS, *pages.YEARS, *pages.COUNTS)
    words = [*(f" {word}" for word in pages.words()), *(f" {number}" for number in numbers)]
    return [*words, *STARTS, *(f"\n\n{word}" for word in STARTS), ".", ","]


@cache
def _scores() -> dict[str, float]:
    """Words and numbers with the space before them, marks around pages, characters, bytes: any text can be read."""
    bare = re.findall(r"[^\W\d_]+", f"{instruction()} PAGE BEGINS ENDS")
    scores = {f"<0x{byte:02X}>": -10.0 for byte in range(256)} | {chr(code): -1.5 for code in range(33, 127)}
    more = [" ", "\n", "\n\n", BEFORE, "]\n\n", "\n[", *page_tokens(), *(f" {word}" for word in bare), *bare]
    return scores | dict.fromkeys(more, -1.0) | {" ": -3.0}


@cache
def known_texts() -> frozenset[str]:
    """The tokens of prompts."""
    return frozenset((*SPECIAL, *_scores()))


def tokenizer_of(kind: Kind) -> Tokenizer:
    """The tokens of prompts, and those that only answers have; they are no likelier to be read than characters."""
    said = [one for start in STARTS for one in kind.answer([start, ".", *page_tokens()])]
    return _built(_scores() | {one: -20.0 for one in dict.fromkeys(said) if one not in known_texts()})


def _built(scores: Mapping[str, float]) -> Tokenizer:
    vocabulary = [*((text, 0.0) for text in SPECIAL), *scores.items()]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=len(SPECIAL), byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])  # type: ignore[assignment]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    return tokenizer
