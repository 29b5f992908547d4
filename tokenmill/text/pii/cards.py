"""Numbers of payment cards: right prefix and length of an issuer, right check digit, and the look of a card number."""

from __future__ import annotations

import re

from tokenmill.text.pii.context import Labels
from tokenmill.text.pii.scan import places
from tokenmill.text.pii.spans import CARD, Span

_NUMBERS = "[0-9](?:[ -]?[0-9]){11,}"
"""Digits with at most one space or dash between two of them; dates and codes may follow the card number."""
_GROUP = re.compile(r"[0-9]+")

_LAYOUTS = (
    *((4, 4, 4, 4, 3), (4, 4, 4, 4, 2), (4, 4, 4, 4), (4, 4, 4, 3), (4, 4, 4, 2)),
    *((4, 6, 5), (4, 6, 4), (6, 10), (8, 8)),
)
"""Longest first where one begins another."""

_ISSUERS = (
    (4000, 4999, "13 16 19"),  # Visa
    (5100, 5599, "16"),  # Mastercard
    (2221, 2720, "16"),  # Mastercard
    (3400, 3499, "15"),  # American Express
    (3700, 3799, "15"),  # American Express
    (3000, 3059, "14 16"),  # Diners Club
    (3095, 3095, "14 16"),  # Diners Club
    (3600, 3699, "14 16"),  # Diners Club
    (3800, 3999, "14 16"),  # Diners Club
    (3528, 3589, "16"),  # JCB
    (6011, 6011, "16 19"),  # Discover
    (6440, 6599, "16 19"),  # Discover, RuPay
    (6200, 6299, "16 17 18 19"),  # UnionPay
    (8100, 8299, "16 17 18 19"),  # UnionPay, RuPay
    (2200, 2204, "16 17 18 19"),  # Mir
    (5085, 5089, "16"),  # RuPay
    (6070, 6089, "16"),  # RuPay
    (5066, 5070, "16"),  # Elo
    (6362, 6363, "16"),  # Elo
    (9792, 9792, "16"),  # Troy
    (5018, 5018, "12 13 14 15 16 17 18 19"),  # Maestro
    (5020, 5038, "12 13 14 15 16 17 18 19"),  # Maestro
    (5600, 5899, "12 13 14 15 16 17 18 19"),  # Maestro
    (6304, 6304, "12 13 14 15 16 17 18 19"),  # Maestro
    (6700, 6799, "12 13 14 15 16 17 18 19"),  # Maestro
)
"""First four digits from, to (inclusive), and lengths. Source: prefixes (ISO/IEC 7812) as the networks publish them."""
_LENGTHS: dict[str, frozenset[int]] = {}
for _first, _last, _numbers in _ISSUERS:
    for _prefix in range(_first, _last + 1):
        _LENGTHS[str(_prefix)] = _LENGTHS.get(str(_prefix), frozenset()) | frozenset(map(int, _numbers.split()))

_CARD_STEMS = tuple(
    "card visa master amex american discover maestro diners credit debit karte kredit carte tarjeta carta cartão "
    "cartao kart kort карт cvv cvc expir payment jcb unionpay rupay カード 信用卡 卡号 银联 카드".split()
)
_CARD_EXACT = ("exp", "pan", "cc")
_OTHER_STEMS = tuple(
    "isbn ean gtin upc imei imsi iccid order track serial invoice sku doi issn timestamp uuid hash part product "
    "article ticket refer barcode vin phone tel fax account model build seed parcel shipment lot identif".split()
)
_OTHER_EXACT = ("id", "ids", "ref", "item", "time", "tweet", "status", "video", "post")
_EXPIRY = re.compile(
    r"[ ,;|]{1,2}(?:0[1-9]|1[0-2]) ?[/|-] ?(?:20)?[0-9]{2}(?![0-9])|[|:][0-9]{2}[|/:]|[ |][0-9]{3}(?![0-9 -])"
)
_WITHIN_OTHER = "=/_#&.,+@%$*"
"""Characters before or after a number without gaps that make it a part of something else (address, decimal, code)."""


def find_cards(text: str, image: bytes) -> list[Span]:
    """Numbers of payment cards."""
    cards = _Cards(text)
    return [span for start, end in places(_NUMBERS, image) for span in cards.within(start, end)]


class _Cards:
    """Looks at runs of digits from front to back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._card_before = Labels(text, _CARD_STEMS, _CARD_EXACT)
        self._card_after = Labels(text, _CARD_STEMS, _CARD_EXACT)
        self._other_before = Labels(text, _OTHER_STEMS, _OTHER_EXACT)

    def within(self, start: int, end: int) -> list[Span]:
        groups = [match.span() for match in _GROUP.finditer(self._text, start, end)]
        spans: list[Span] = []
        index = 0
        while index < len(groups):
            count = self._card_at(groups, index)
            if count:
                spans.append(Span(groups[index][0], groups[index + count - 1][1], CARD))
            index += count or 1
        return spans

    def _card_at(self, groups: list[tuple[int, int]], index: int) -> int:
        """How many groups from `index` on are one card number; 0 for none."""
        start, end = groups[index]
        issued = _LENGTHS.get(self._text[start : start + 4])
        if issued is None:
            return 0
        lengths = tuple(stop - begin for begin, stop in groups[index : index + 5])
        for layout in ((end - start,),) if 12 <= end - start <= 19 else _LAYOUTS:
            if lengths[: len(layout)] != layout or sum(layout) not in issued:
                continue
            stop = groups[index + len(layout) - 1][1]
            separator = self._text[end : end + 1] if len(layout) > 1 else ""
            digits = self._text[start:stop].replace(separator, "") if separator else self._text[start:stop]
            if digits.isdigit() and luhn(digits):  # else there is another separator between others
                alone = index == 0 and index + len(layout) == len(groups)
                if self._looks_right(start, stop, index == 0, alone, digits):
                    return len(layout)
        return 0

    def _looks_right(self, start: int, end: int, first: bool, alone: bool, digits: str) -> bool:
        """Whether the neighbours of the number are those of a card number."""
        text = self._text
        previous, following = text[max(0, start - 1) : start], text[end : end + 1]
        if previous.isalnum() or following.isalpha() or len(set(digits)) < 2:
            return False
        bare = end - start == len(digits)
        named = self._card_before.last(start - 60, start)
        if named >= 0 or self._card_after.last(end, end + 24) >= 0:
            return not (bare and previous and previous in "/_&")
        if self._other_before.last(start - 24, start) >= 0:
            return False
        if not (alone or (first and _EXPIRY.match(text, end))) or (previous and previous in _WITHIN_OTHER):
            return False
        if following and following in _WITHIN_OTHER and text[end + 1 : end + 2].isalnum():
            return False
        return not bare or len(digits) in (15, 16)


_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""The sum of the digits of twice a digit."""


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    values = list(map(int, reversed(digits)))
    return (sum(values[::2]) + sum(_DOUBLED[value] for value in values[1::2])) % 10 == 0
