"""Words, lines and paragraphs of a text: the readable definition that kernels must equal.

Words follow the conventions of spaCy's blank English tokenizer, on whose tokens (punctuation marks included)
the published ratios of the heuristic filters were computed: a text is cut at white space, then each piece
loses opening and closing marks one by one, and what is left is cut at inner hyphens, slashes and the like.
A piece's tokens never depend on its neighbours, so they are remembered per piece.

Scripts that are written without spaces need another unit, see `word_unit`.
"""

from __future__ import annotations

import re
from unicodedata import category

_NEWLINES = re.compile(r"\n+")
_PARAGRAPH = re.compile(r"\n{2,}")


def _symbols() -> str:
    """Dingbats and other pictures (Unicode category So) of the blocks where they live."""
    blocks = range(0xA0, 0x100), range(0x2100, 0x2C00), range(0xFFE0, 0xFFFE)
    return "".join(chr(code) for block in blocks for code in block if category(chr(code)) == "So")


def _latin(lower: bool) -> str:
    """Latin letters with diacritics of one case; upper and lower case alternate there, so no ranges."""
    chars = (chr(code) for block in (range(0xC0, 0x250), range(0x1E00, 0x1F00)) for code in block)
    return "".join(char for char in chars if (char.islower() if lower else char.isupper()))


_UNCASED = "\u0591-\u0dff\u1100-\u137f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
LOWER = "a-zα-ωа-яё" + _latin(lower=True) + _UNCASED
UPPER = "A-ZΑ-ΩА-ЯЁ" + _latin(lower=False) + _UNCASED
_LETTER = r"[^\W\d_]"
_SYMBOLS = _symbols()
_EMOJI = "\U0001f000-\U0001faff"
PICTURE = re.escape(_SYMBOLS) + _EMOJI
QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
MARKS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
CURRENCY = "$£€¥฿₽﷼₠-₿"

CLOSING = frozenset(QUOTES + MARKS + "—–" + _SYMBOLS) | {chr(code) for code in range(0x1F000, 0x1FB00)}
"""Characters that are a token of their own at the end of a piece."""
_OPENING = re.compile(rf"\.\.+|(?:US|C|A)\$|\+(?!\d)|[§%=—–{re.escape(QUOTES)}{re.escape(MARKS)}{CURRENCY}{PICTURE}]")
_OPENERS = CLOSING | frozenset("$£€¥฿₽﷼.+§%=UCA") | {chr(code) for code in range(0x20A0, 0x20C0)}
"""First characters with which `_OPENING` can match."""
_SIMPLE = re.compile(r"([^\W\d_]+)([,;:!?)\]\"”])|([a-z]{2,})(\.)")
"""A word and one closing mark: by far the commonest piece that is not a bare word."""
UNIT = re.compile(
    r"(?<=\d)(?:[kcdmµn]?m|[kcdm]?m[²³]|ha|yd|in|ft|[km]?g|µg|t|lb|oz|m/s|km/?h|mph|h?Pa|mbar|kb|KB|mb|MB|gb|GB|tb|TB|"
    rf"[TGMK%]|(?:US|C|A)?\$|[{CURRENCY}]|\+)\Z"
)
_FULL_STOP_AFTER = re.compile(rf"[0-9{LOWER}%²+\-{re.escape(QUOTES)}{re.escape(MARKS)}]\Z|[{UPPER}][{UPPER}]\Z")
_INNER = re.compile(
    rf"(?=[-–—~:<>=/,.+*^…{PICTURE}])(?:\.\.+|[…{PICTURE}]"
    r"|(?<=[0-9])[+\-*^](?=[0-9-])"
    rf"|(?<=[{LOWER}{re.escape(QUOTES)}])\.(?=[{UPPER}{re.escape(QUOTES)}])"
    rf"|(?<={_LETTER}),(?={_LETTER})"
    rf"|(?:(?<={_LETTER})|(?<=[0-9]))(?:---?|[-–—~]|——|[:<>=/])(?={_LETTER}))"
)
_ADDRESS = re.compile(
    r"(?:[\w+.-]{2,}://)?(?:\S+@)?(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[a-z]{2,63}(?::\d{2,5})?(?:[/?#]\S*)?"
)
NOT_STEMS = tuple(
    "ca could would should do does did had may might must need ought sha wo ai are is was were have has dare".split()
)
"""Words before "n't", with the first letter in either case."""
PRONOUN_STEMS = tuple(
    "i you he she it we they who what when where why how there that this these those "
    "could would should might must".split()
)
"""Words before 'm, 'll, 'd, 've, 're, with the first letter in either case."""


def _either_case(stems: tuple[str, ...]) -> str:
    return "|".join(f"[{stem[0]}{stem[0].upper()}]{stem[1:]}" for stem in stems)


_CONTRACTION = re.compile(
    rf"((?:{_either_case(NOT_STEMS)})(?=n['’]t)|(?:{_either_case(PRONOUN_STEMS)})(?=['’](?:m|ll|d|ve|re)))"
    r"(n['’]t|['’](?:m|ll|d|ve|re))(['’]ve)?"
)
WHOLE = frozenset(
    "a.m. p.m. e.g. E.g. E.G. i.e. I.e. I.E. v.s. vs. Mr. Mrs. Ms. Messrs. Dr. Prof. St. Mt. Jr. Gen. Gov. Adm. Rep. "
    "Rev. Sen. Inc. Ltd. Corp. Co. co. Bros. Ph.D. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. Oct. Nov. Dec. "
    "Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Ill. Ind. Kan. Ky. La. Mass. Md. Mich. Minn. Miss. Mo. "
    "Mont. Neb. Nev. Okla. Ore. Pa. Tenn. Va. Wash. Wis. and/or w/o C++ o'clock O'clock ma'am Ma'am "
    ":) :-) ;) ;-) :( :-( :D :-D :P :-P :/ <3".split()
) | frozenset(f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz")
"""Pieces that stay whole: abbreviations with their full stop, and a few smileys."""


def _trailing(piece: str, start: int, end: int) -> int:
    """Length of the token that closes piece[start:end], 0 when nothing is to be cut off."""
    last = piece[end - 1]
    if last in CLOSING:
        return 1
    if last == ".":
        first = end - 1
        while first > start and piece[first - 1] == ".":
            first -= 1
        if first < end - 1:
            return end - first
        return 1 if _FULL_STOP_AFTER.search(piece[max(start, end - 3) : end - 1]) else 0
    if last in "sS" and end - start > 1 and piece[end - 2] in "'’":
        return 2
    if last.isdigit():
        return 0
    at = end - 2
    while at >= start and at >= end - 5 and not piece[at].isdigit() and (piece[at].isalpha() or piece[at] == "/"):
        at -= 1
    if at < start or not piece[at].isdigit():
        return 0
    unit = UNIT.search(piece[at:end])
    return len(unit.group()) if unit else 0


def known(core: str) -> tuple[str, ...] | None:
    """The tokens of an abbreviation or a contraction such as "don't"; None for all else."""
    if core in WHOLE:
        return (core,)
    match = _CONTRACTION.fullmatch(core) if "'" in core or "’" in core else None
    return tuple(part for part in match.groups() if part) if match else None


def _inner(core: str) -> list[str]:
    """Cut at hyphens, slashes, commas and dots between letters, unless the whole is an address."""
    if core.isalnum():
        return [core]
    cuts = list(_INNER.finditer(core))
    if not cuts or ("." in core and _ADDRESS.fullmatch(core)):
        return [core]
    tokens, done = [], 0
    for cut in cuts:
        tokens += [core[done : cut.start()], cut.group()]
        done = cut.end()
    tokens.append(core[done:])
    return [token for token in tokens if token]


def _split_piece(piece: str) -> tuple[str, ...]:
    """The tokens of one piece without white space."""
    if piece in WHOLE:
        return (piece,)
    if _SIMPLE.fullmatch(piece):
        return (piece[:-1], piece[-1])
    start, end = 0, len(piece)
    before: list[str] = []
    # Only a short rest can be an abbreviation or a contraction: looking no further keeps the cost linear.
    while start < end and piece[start] in _OPENERS and not (end - start <= 12 and known(piece[start:end])):
        opening = _OPENING.match(piece, start, end)
        if opening is None:
            break
        before.append(opening.group())
        start = opening.end()
    after: list[str] = []
    core: tuple[str, ...] | list[str] | None = None
    while start < end:
        core = known(piece[start:end]) if end - start <= 12 else None
        length = 0 if core else _trailing(piece, start, end)
        if length == 0:
            break
        after.append(piece[end - length : end])
        end -= length
    if core is None:
        core = _inner(piece[start:end]) if start < end else []
    return (*before, *core, *reversed(after))


class _Pieces(dict[str, tuple[str, ...]]):
    """Piece -> tokens, remembered: pieces of a language repeat and their tokens never change.

    When full, what was used since the last time stays within reach and the rest is forgotten.
    """

    MAX_ENTRIES = 1 << 15
    MAX_LENGTH = 24

    def __init__(self) -> None:
        super().__init__()
        self._older: dict[str, tuple[str, ...]] = {}

    def __missing__(self, piece: str) -> tuple[str, ...]:
        tokens = self._older.get(piece)
        if tokens is None:
            tokens = _split_piece(piece)
        if len(piece) <= self.MAX_LENGTH:
            if len(self) >= self.MAX_ENTRIES:
                self._older = dict(self)
                self.clear()
            self[piece] = tokens
        return tokens


_PIECES = _Pieces()


IDEOGRAPHS = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Han and Hiragana, as ranges of a character class."""
KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
DICTIONARY = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
"""Thai, Lao, Tibetan, Burmese, Khmer, Tai: only a dictionary knows where a word ends."""
UNSPACED_SHARE = 5
"""One letter of so many in a script without spaces is enough for another unit of words."""

SPACED, CHARACTERS, UNKNOWN = 0, 1, 2
"""Units of words: see `word_unit`."""

_UNSPACED = re.compile(f"[{IDEOGRAPHS}{KATAKANA}{DICTIONARY}]")
_DICTIONARY = re.compile(f"[{DICTIONARY}]")


def word_unit(text: str) -> int:
    """SPACED: words end at spaces. CHARACTERS: Chinese and Japanese. UNKNOWN: words cannot be told apart.

    A text has another unit than SPACED when a fifth of its letters are of such scripts. CHARACTERS follows the
    default of Unicode (UAX #29): each Han or Hiragana character is a word, a run of Katakana is one.
    """
    if text.isascii() or not _UNSPACED.search(text):
        return SPACED
    found = [char for char in _UNSPACED.findall(text) if char.isalpha()]
    letters = sum(map(str.isalpha, text))
    unknown = sum(_DICTIONARY.match(char) is not None for char in found)
    if unknown and unknown * UNSPACED_SHARE >= letters:
        return UNKNOWN
    other = len(found) - unknown
    return CHARACTERS if other and other * UNSPACED_SHARE >= letters else SPACED


_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")
_KATAKANA = re.compile(f"[{KATAKANA}]")


def _unit_kind(char: str) -> int:
    """1 and 2 join their like to one unit; 0 and 3 are units of their own."""
    if _IDEOGRAPH.match(char):
        return 0
    if _KATAKANA.match(char):
        return 1
    return 2 if char.isalnum() else 3


def characters(tokens: list[str]) -> list[str]:
    """Tokens cut into the units of CHARACTERS; combining marks stay with what they follow."""
    units: list[str] = []
    for token in tokens:
        kind = -1
        for char in token:
            if kind >= 0 and category(char).startswith("M"):
                units[-1] += char
                continue
            before, kind = kind, _unit_kind(char)
            if kind == before and kind in (1, 2):
                units[-1] += char
            else:
                units.append(char)
    return units


def spaced_words(text: str) -> list[str]:
    """Tokens of the text in order, punctuation included, by the rules for scripts with spaces."""
    tokens: list[str] = []
    append, extend, pieces = tokens.append, tokens.extend, _PIECES
    for piece in text.split():
        # Bare words, four of five pieces, are not even looked up: a big table costs more than this test.
        if piece.isalpha():
            append(piece)
        else:
            extend(pieces[piece])
    return tokens


def words(text: str) -> list[str]:
    """Tokens of the text in order, punctuation included."""
    tokens = spaced_words(text)
    return characters(tokens) if word_unit(text) == CHARACTERS else tokens


def lines(text: str) -> list[str]:
    """Pieces between runs of newlines."""
    return _NEWLINES.split(text) if "\n\n" in text else text.split("\n")


def paragraphs(text: str) -> list[str]:
    """Pieces of the stripped text between runs of two or more newlines."""
    text = text.strip()
    return _PARAGRAPH.split(text) if "\n\n" in text else [text]
