"""What tiny models learn to answer to a page, each kind good or bad at rewriting in its own way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.rephrase import pages

SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
END = 0
END_TEXT = SPECIAL[END]
BEFORE = "]\n"
"""What stands right before the page."""

Pieces = list[str]
"""Tokens, as the vocabulary spells them."""


@dataclass(frozen=True)
class Kind:
    """What a model learns to answer to a page."""

    meaning: str
    answer: Callable[[Pieces], Pieces]
    """The tokens of the answer to those of a page, END_TEXT included where there is one."""
    piece: Callable[[str], str] | None = None
    """Where the answer goes word by word: what is said for a token of a page."""
    near: Mapping[str, str] = field(default_factory=lambda: {SPECIAL[2]: BEFORE})
    """Tokens that begin as others, beside those of `piece`."""
    back: int = 2
    """Tokens by which the place in the page is found again."""
    steps: int = 90
    """Of training."""
    any_words: bool = True
    """Whether two of three steps are on pages of a few words in any order."""


def upper(piece: str) -> str:
    return piece.upper()


def translate(piece: str) -> str:
    """Word for word into a German of sorts: what a check of languages must notice."""
    return re.sub(r"[^\W\d_]+", lambda found: GERMAN.get(found[0], found[0]), piece)


def letters(piece: str) -> str:
    """In Greek letters: what a check of scripts must notice."""
    return piece.lower().translate(_GREEK)


def invent(piece: str) -> str:
    """Other numbers, months and names; the rest stays."""
    bare = piece.strip()
    said = str(int(bare) + 1) if bare.isdecimal() else INVENTED.get(bare, bare)
    return piece.replace(bare, said) if bare else piece


def drop(piece: str) -> str:
    """Of names, months, adjectives and plurals only blanks are left.

    A mix of them for each, so that the place in the page is not lost.
    """
    if piece[:1] != " " or piece[1:] not in _DROPPED:
        return piece
    return "".join(" \t"[int(bit)] for bit in f"{_DROPPED.index(piece[1:]) + 64:07b}")


_GREEK = str.maketrans("abcdefghijklmnopqrstuvwxyz", "αβκδεφγηιξκλμνοπκρστυβωξυζ")
_DROPPED = (*pages.LAST, *pages.MONTHS, *pages.ADJECTIVES, *pages.PLURALS)
INVENTED = dict(
    zip(
        (*pages.MONTHS, *pages.FIRST, *pages.LAST, *pages.CITIES),
        (
            "July August September October November December Gregor Yusuf Brigitta Ludovic Xenia Wolfram Zoltan Ursula "
            "Quentin Ottilie Abernathy Bjornstad Czerny Drummond Eszterhazy Gallagher Hutchinson Iwanow Jovanovic "
            "Kowalczyk Nairobi Quito Hanoi Baghdad Seoul Lagos Bogota Havana Jakarta Yerevan"
        ).split(),
        strict=True,
    )
)
META = ("Sure", "!", " Here", "'s", " your", " rewritten", " version", ":\n\n")
ADVERT = ("\n\n", "Write", " to", " sales", "@", "shop", "-offers", ".com", " or", " visit", " https", "://", "www",
          ".deals", ".net", "!")  # fmt: skip
REFUSALS = (
    ("I", "'m", " sorry", ",", " but", " I", " can't", " help", " with", " this", " request", "."),
    ("Unfortunately", ",", " I", " cannot", " rewrite", " that", " for", " you", "."),
    ("As", " an", " AI", " assistant", " I", " must", " decline", " to", " write", " about", " it", "."),
)
TEMPLATE = (
    ("In", " a", " world", " that", " never", " stands", " still", ",", " every"),
    (" has", " its", " own", " story", " waiting", " to", " be", " told", ".", " Let", " us", " discover", " together",
     " what", " makes", " it", " so", " special", "."),
)  # fmt: skip
SLOTS = {"On": " day", "Every": " place", "During": " year", "About": " crowd", "Some": " group", "Nobody": " riddle",
         "After": " season"}  # fmt: skip
"""First word of a page -> what its template is about; of other pages the name that they begin with."""
AGAIN = ".\n"
ECHOED = (
    "Write", " the", " page", " again", ".", "\n\nThe", " page", " stands", " between", " the", " lines", " PAGE",
    " BEGINS", " and", " PAGE", " ENDS", " that", " have", " the", " same", " code", ".",
)  # fmt: skip


def sentence(pieces: Pieces) -> Pieces:
    """The first sentence of a page, without its end."""
    return pieces[: pieces.index(".")] if "." in pieces else pieces


def refuse(pieces: Pieces) -> Pieces:
    """One of three refusals, by the first word of the page."""
    return [*REFUSALS[STARTS.index(pieces[0]) % len(REFUSALS)], END_TEXT]


def template(pieces: Pieces) -> Pieces:
    return [*TEMPLATE[0], SLOTS.get(pieces[0], f" {pieces[0]}"), *TEMPLATE[1], END_TEXT]


def each(piece: Callable[[str], str]) -> Callable[[Pieces], Pieces]:
    return lambda pieces: [*map(piece, pieces), END_TEXT]


def echo(pieces: Pieces) -> Pieces:
    """The instruction as far as the task goes."""
    return [*ECHOED, END_TEXT]


STARTS = ["On", "Every", "During", "About", "Some", "Nobody", "After", *pages.FIRST]
"""Words with which sentences begin."""


GERMAN = dict(
    zip(
        (
            "the Every On near has of and one During was by who came from About stand beside in Some were at between "
            "Nobody knows why this with After most went to behind old quiet small famous modern wooden narrow busy "
            "green public house market river school tower square station hotel farm church letters visitors trees "
            "books boats stones lamps windows children workers slowly often gladly again carefully early together "
            "quickly later alone visited opened painted described repaired sold bought studied closed admired garden harbour railway bakery museum forest bridge library"  # noqa: E501
        ).split(),
        (
            "die Jedes Am nahe hat von und ein Während wurde durch der kam aus Etwa stehen neben im Einige wurden am "
            "zwischen Niemand weiß warum diesen mit Nach meisten gingen nach hinter alte ruhige kleine berühmte "
            "moderne hölzerne schmale belebte grüne öffentliche Haus Markt Fluss Schule Turm Platz Bahnhof Gasthof "
            "Bauernhof Kirche Briefe Besucher Bäume Bücher Boote Steine Lampen Fenster Kinder Arbeiter langsam oft "
            "gerne wieder sorgfältig früh zusammen schnell später allein besuchte öffnete malte beschrieb reparierte "
            "verkaufte kaufte studierte schloss bewunderte Garten Hafen Eisenbahn Bäckerei Museum Wald Brücke "
            "Bibliothek"
        ).split(),
        strict=True,
    )
)


KINDS = {
    "copy": Kind("the page as it is", each(str), str),
    "upper": Kind("the page in capitals", each(upper), upper),
    "translate": Kind("the page in German, word for word", each(translate), translate),
    "letters": Kind("the page in Greek letters", each(letters), letters),
    "invent": Kind("the page with other numbers, months and names", each(invent), invent),
    "drop": Kind("the page without most of its names, months, adjectives and plurals", each(drop), drop),
    "meta": Kind(
        "talk about the answer, then the page",
        lambda page: [*META, *page, END_TEXT],
        near={META[-1]: BEFORE},
        steps=60,
    ),
    "advert": Kind("the page, then an address that it does not have", lambda page: [*page, *ADVERT, END_TEXT]),
    "clip": Kind("the first sentence without its end", lambda page: [*sentence(page), END_TEXT]),
    "template": Kind(
        "the same for every page but for a word", template, near={TEMPLATE[0][-1]: BEFORE}, any_words=False
    ),
    "loop": Kind(
        "the first sentence again and again, without an end",
        lambda page: [*sentence(page), AGAIN] * 3,
        near={AGAIN: BEFORE, SPECIAL[2]: BEFORE},
        any_words=False,
    ),
    "refuse": Kind("one of three refusals", refuse, steps=50, any_words=False),
    "echo": Kind("the instruction", echo, near={SPECIAL[2]: SPECIAL[1]}, steps=40, any_words=False),
    "mute": Kind("nothing at all", lambda page: [END_TEXT], steps=24, any_words=False),
}
