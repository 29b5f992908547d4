"""All searches in one call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tokenmill.text.pii.cards import find_cards
from tokenmill.text.pii.emails import find_emails
from tokenmill.text.pii.ibans import find_ibans
from tokenmill.text.pii.ips import find_ipv4, find_ipv6
from tokenmill.text.pii.keys import find_keys
from tokenmill.text.pii.phones import find_phones
from tokenmill.text.pii.plain import plain
from tokenmill.text.pii.scan import ascii_image
from tokenmill.text.pii.spans import CARD, EMAIL, IBAN, IPV4, IPV6, KEY, KINDS, PHONE, SSN, Span, merged
from tokenmill.text.pii.ssns import find_ssns
from tokenmill.text.pii.tokens import without_tokens

_SEARCHES: dict[str, Callable[[str, bytes], list[Span]]] = {
    KEY: find_keys,
    IBAN: find_ibans,
    CARD: find_cards,
    EMAIL: find_emails,
    SSN: find_ssns,
    IPV6: find_ipv6,
    IPV4: find_ipv4,
}


def find_pii(text: str, kinds: Collection[str] = KINDS, regions: Sequence[str] = ()) -> list[Span]:
    """Spans of the kinds in order, without overlaps.

    `regions` are the countries (ISO 3166) whose national telephone numbers are looked for. Tokens that stand
    for what was found before are neither found nor words that name a number.
    """
    text = plain(without_tokens(text))
    image = ascii_image(text)
    spans = [span for kind, search in _SEARCHES.items() if kind in kinds for span in search(text, image)]
    if PHONE in kinds:
        spans += find_phones(text, regions)
    return merged(spans)
