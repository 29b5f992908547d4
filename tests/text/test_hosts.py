"""Hosts and registered domains of addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.text.hosts import host_of, registered_domain


@pytest.mark.parametrize(
    ("url", "host", "domain"),
    [
        ("https://News.BBC.co.uk:443/x", "news.bbc.co.uk", "bbc.co.uk"),
        ("http://bbc.co.uk/", "bbc.co.uk", "bbc.co.uk"),
        ("http://bbc.co.uk./", "bbc.co.uk", "bbc.co.uk"),
        ("http://10.0.0.1/a", "10.0.0.1", ""),
        ("http://localhost/a", "localhost", ""),
        ("//example.org/a", "example.org", "example.org"),
        ("not an address", "", ""),
        ("http://[bad", "", ""),
        ("", "", ""),
    ],
)
def test_hosts_and_domains(url: str, host: str, domain: str) -> None:
    assert host_of(url) == host
    assert registered_domain(host) == domain


@given(st.text(max_size=40))
def test_anything_has_an_answer(text: str) -> None:
    for url in (text, f"http://{text}"):
        assert isinstance(registered_domain(host_of(url)), str)
