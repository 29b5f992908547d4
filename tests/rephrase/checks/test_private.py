from __future__ import annotations

import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, reason, value

SOURCE = (
    "Write to ann@harbour.org or call +44 1947 602 674. See https://www.Harbour.org/boats?x=1 for more. IP 8.8.4.4."
)


@pytest.mark.parametrize(
    ("output", "new", "kinds"),
    [
        ("Call us at +44 1947 602674, or write to ANN@harbour.org.", 0, None),
        ("Write to bob@harbour.org.", 1, "email"),
        ("Write to bob@harbour.org and eve@harbour.org, from 9.9.9.9.", 3, "email,ipv4"),
        ("Nothing of the kind.", 0, None),
        ("", 0, None),
    ],
)
def test_new_personal_data(output: str, new: int, kinds: str | None) -> None:
    assert value("pii_new", SOURCE, output) == new
    assert value("pii_kinds", SOURCE, output) == kinds


@pytest.mark.parametrize(
    ("output", "new"),
    [
        ("See http://harbour.org/other.", 0),
        ("See www.harbour.org, please.", 0),
        ("See https://example.com/x and http://www.example.com/y.", 1),
        ("See https://a.example and https://b.example!", 2),
        ("The site harbour.org is old.", 0),
    ],
)
def test_new_hosts(output: str, new: int) -> None:
    assert value("urls_new", SOURCE, output) == new


def test_they_reject() -> None:
    assert reason(PAGE, PARAPHRASE + " More at https://example.com.") == "urls_new"
    assert reason(PAGE, PARAPHRASE + " Write to bob@harbour.org.") == "personal_data_new"
