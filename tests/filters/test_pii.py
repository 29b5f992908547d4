"""Redaction of addresses."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.core.doc import Doc
from tokenmill.filters.pii import RedactPii
from tokenmill.text.pii import find_addresses

EXAMPLES = {"email@example.com", "firstname.lastname@example.org"}
DOCUMENTATION = [
    ipaddress.ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]


def redact(text: str, **settings: bool) -> tuple[str, int, int]:
    changes = RedactPii(**settings).rewrite(Doc(text=text, id="a"))
    return changes.get("text", text), changes["pii_emails"], changes["pii_ips"]


def test_email() -> None:
    text, emails, ips = redact("Write to joe@corp.co.uk, please.")
    match = re.fullmatch(r"Write to (\S+), please\.", text)
    assert match
    assert match[1] in EXAMPLES
    assert (emails, ips) == (1, 0)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888"])
def test_ip(address: str) -> None:
    text, emails, ips = redact(f"ping {address}!")
    match = re.fullmatch(r"ping (\S+)!", text)
    assert match
    new = ipaddress.ip_address(match[1])
    assert any(new in network for network in DOCUMENTATION)
    assert (emails, ips) == (0, 1)


def test_nothing_to_redact_returns_no_text() -> None:
    changes = RedactPii().rewrite(Doc(text="plain 192.168.0.1 v1.2.3.4 a@example.com"))
    assert changes == {"pii_emails": 0, "pii_ips": 0}


def test_settings() -> None:
    text = "a@b.com 8.8.8.8"
    assert redact(text, emails=False)[1:] == (0, 1)
    assert redact(text, emails=False)[0].startswith("a@b.com ")
    assert redact(text, ips=False)[1:] == (1, 0)
    assert redact(text, ips=False)[0].endswith(" 8.8.8.8")


def test_replacement_depends_on_document_and_place_only() -> None:
    text = " ".join(f"u{i}@b.com 8.8.8.{i}" for i in range(1, 60))

    def by(**columns: str) -> str:
        new: str = RedactPii().rewrite(Doc(text=text, **columns))["text"]
        return new

    assert by(doc_id="f#1", id="x") == by(doc_id="f#1", id="y")
    assert by(doc_id="f#1") != by(doc_id="f#2")
    assert by(id="1") == by(id="1") != by(id="2")
    assert by() == by()
    assert set(re.findall(r"\S+@\S+", by(id="1"))) == EXAMPLES
    assert len(set(re.findall(r"[\d.]+\d", by(id="1")))) > 20


@given(st.one_of(st.text(), st.text(alphabet=list("a1@.:-_ 8F[]"), max_size=60)))
def test_never_raises_and_is_done_after_one_pass(text: str) -> None:
    redacted, emails, ips = redact(text)
    assert emails + ips == len(find_addresses(text))
    assert (redacted == text) == (emails + ips == 0)
    if emails + ips:
        outside = re.split(r"email@example\.com|firstname\.lastname@example\.org", redacted)
        assert len(outside) >= emails + 1
