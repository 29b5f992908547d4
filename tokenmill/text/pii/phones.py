"""Telephone numbers, judged by the numbering plans in the library phonenumbers.

International numbers ("+49 ...") are found anywhere; national ones only for given regions and after a word
such as "phone". Candidates are bounded in length, and so is the number of times that the library is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenmill.core.errors import ConfigError
from tokenmill.text.pii.context import Labels
from tokenmill.text.pii.spans import PHONE, Span

INSTALL = "pip install 'tokenmill[phones]'"
MOST_QUESTIONS = 500
"""Calls of the library for one text (about 25 microseconds each). A text with more candidates is a list of numbers:
what comes after is taken for a number if it has the form of one."""

_GAP = r"(?:[ .\-/]{0,3}|[ .\-/]?[()]{1,2}[ .\-/]?)"
_INTERNATIONAL = re.compile(rf"\+[ (]{{0,2}}[1-9](?:{_GAP}[0-9]){{6,16}}+")
_NATIONAL = re.compile(rf"[0-9](?:{_GAP}[0-9]){{6,14}}+")
_TRUNK = re.compile(r"\(0\)")
_GROUPS = re.compile(r"[0-9]+")

_STEMS = tuple(
    (
        "phone telef telep tel call fax mobil cell whatsapp hotline helpline dial sms handy anruf ruf "
        "rückruf durchwahl fon tél portable appel móvil movil llam celular ligue contato chiam cellul gsm "
        "puh tlf kontakt contact viber telegram signal reach erreich joign zadzwo mobie faks тел моб факс "
        "звон номер контакт τηλ κιν τηλε טל هاتف تلفن تماس جوال फोन मोबाइल โทร hívja gọi thoại 電話 携帯 电话 "
        "手机 热线 传真 전화 휴대 연락 \u260e \u2706 ℡ \U0001f4de \U0001f4f1"
    ).split()
)
_EXACT = ("bel", "cep", "mob", "ring", "text", "sími", "kom")
_MARKED = ("p", "t", "m", "f", "ph", "c", "h")
_OTHER_STEMS = tuple(
    "isbn issn order invoice ref version doi ticket case serial tracking part zip plz vat ust hrb siret siren cnpj cpf "
    "инн огрн iban konto account model code page article artikel bug issue date postcode population licen".split()
)
_OTHER_EXACT = ("id", "nip", "inn", "line", "lines", "kto", "blz", "bic")
_NEAR = 32
_NEW_LINE = re.compile(r"\n.*[^\W\d_]", re.DOTALL)
"""A line of its own between word and number."""
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}([-./])[0-9]{2}\1[0-9]{2}(?![0-9])|[0-9]{1,2}([./-])[0-9]{1,2}\2(?:19|20)[0-9]{2}(?![0-9])"
)
_BETWEEN = re.compile(
    r"(?:[ \t\r\n,;/&|*\u2022\u00b7\u2023\u25aa\u25ab\u25a0\u25cf\u25cb\u25e6\u2043]|[-\u2014](?=[ \t])){1,12}"
    r"(?:or|and|oder|und|ou|et|y|o|e|или|и)?[ ]{0,2}[(]?"
)
"""Between two numbers of a list: commas, slashes, new lines, bullets, "or"."""
_MOST_BETWEEN = 12 + 4 + 2 + 1


def library_version() -> str:
    """Version of phonenumbers; ConfigError where it is not installed."""
    try:
        import phonenumbers
    except ImportError as error:
        raise ConfigError(
            "telephone numbers are looked for with the library phonenumbers, which is not installed",
            why=str(error),
            fix=f"{INSTALL}, or leave them with level=standard",
        ) from error
    return str(phonenumbers.__version__)


def find_phones(text: str, regions: Sequence[str] = ()) -> list[Span]:
    """Telephone numbers that a numbering plan has."""
    judge = _Judge(regions)
    spans: list[Span] = []
    match = _INTERNATIONAL.search(text) if "+" in text else None
    while match:
        span = _international(text, match, judge, bool(spans) and spans[-1].end == match.start())
        if span:
            spans.append(span)
        match = _INTERNATIONAL.search(text, span.end if span else match.end())
    spans += _nationals(text, judge, spans)
    return spans


class _Judge:
    """Asks the library, so many times a text and never twice the same."""

    def __init__(self, regions: Sequence[str]) -> None:
        import phonenumbers

        self.regions = [region for region in regions if region in phonenumbers.SUPPORTED_REGIONS]
        self._library = phonenumbers
        self._answers: dict[tuple[str, str | None], bool] = {}

    def valid(self, number: str, region: str | None) -> bool:
        key = (number, region)
        if key not in self._answers:
            if len(self._answers) >= MOST_QUESTIONS:
                return True
            self._answers[key] = self._ask(number, region)
        return self._answers[key]

    def _ask(self, number: str, region: str | None) -> bool:
        try:
            return bool(self._library.is_valid_number(self._library.parse(number, region)))
        except self._library.NumberParseException:
            return False


def _international(text: str, match: re.Match[str], judge: _Judge, follows: bool) -> Span | None:
    """The number that the match begins with; `follows`: right after another one, as where a list lost its lines."""
    start = match.start()
    if not follows and start and (text[start - 1].isdigit() or text[start - 1] == "+"):  # "C++11", "2+10"
        return None
    end = _longest_valid(text, start, match.end(), judge, None)
    return _with_bracket(text, start, end) if end else None


def _nationals(text: str, judge: _Judge, known: list[Span]) -> list[Span]:
    """Numbers in national form, or with "00", that follow a word for telephones or another number."""
    spans: list[Span] = []
    taken = {place: span.end for span in known for place in (span.start, span.start + 1)}
    ends = {span.end for span in known}
    named, other = Labels(text, _STEMS, _EXACT, _MARKED), Labels(text, _OTHER_STEMS, _OTHER_EXACT)

    def is_told(start: int) -> bool:
        name = named.last(start - _NEAR, start)
        if name >= 0 and other.last(start - _NEAR, start) < name and not _NEW_LINE.search(text, name, start):
            return True
        return _after_number(text, start, ends)

    match = _NATIONAL.search(text)
    while match:
        start, done = match.span()
        inside = taken.get(start - 1) or taken.get(start - 2)
        if inside:
            done = inside
        elif _may_start(text, start) and is_told(start):
            end = _national_end(text, start, done, judge)
            if end:
                spans += [_with_bracket(text, start, end), *_glued(text, end, judge)]
                done = spans[-1].end  # the candidate may go on into the next number of a list
                ends |= {end, done}
        match = _NATIONAL.search(text, done)
    return spans


def _glued(text: str, start: int, judge: _Judge) -> list[Span]:
    """International numbers that follow a number without a gap."""
    spans: list[Span] = []
    while match := _INTERNATIONAL.match(text, start):
        span = _international(text, match, judge, True)
        if span is None:
            break
        spans.append(span)
        start = span.end
    return spans


def _may_start(text: str, start: int) -> bool:
    """Whether a number may begin here: not within a word or a decimal, and not with a date."""
    joined = start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_+.")
    return not joined and _DATE.match(text, start) is None


def _after_number(text: str, start: int, ends: set[int]) -> bool:
    """Whether nothing but "," or "or", or a new line, stands between a number before and this one."""
    for back in range(1, _MOST_BETWEEN + 1) if ends else ():
        if start - back in ends:
            return _BETWEEN.fullmatch(text, start - back, start) is not None
    return False


def _national_end(text: str, start: int, end: int, judge: _Judge) -> int:
    if text.startswith("00", start) and text[start + 2 : start + 3] not in ("", "0"):
        found = _longest_valid(text, start, end, judge, None, prefix=2)
        if found:
            return found
    for region in judge.regions:
        found = _longest_valid(text, start, end, judge, region)
        if found:
            return found
    return 0


def _longest_valid(text: str, start: int, end: int, judge: _Judge, region: str | None, prefix: int = 0) -> int:
    """Where the longest valid number that begins at `start` ends; groups of digits are left off from the end."""
    groups = [match.end() for match in _GROUPS.finditer(text, start, end)]
    for stop in reversed(groups[-4:]):
        if text[stop : stop + 1].isalnum() or text[stop : stop + 2] in ("-0",):
            continue
        number = _TRUNK.sub("", text[start + prefix : stop])
        if _has_shape(number) and judge.valid("+" + number if prefix else number, region):
            return stop
    return 0


def _has_shape(number: str) -> bool:
    """Whether digits are enough and grouped as in telephone numbers, brackets closed."""
    sizes = [len(group) for group in _GROUPS.findall(number)]
    return sum(sizes) >= 7 and sizes.count(1) <= 2 and len(sizes) <= 7 and number.count("(") <= number.count(")")


def _with_bracket(text: str, start: int, end: int) -> Span:
    """The number with the bracket that opens before its area code."""
    opens = start and text[start - 1] == "(" and ")" in text[start:end]
    return Span(start - 1 if opens else start, end, PHONE)
