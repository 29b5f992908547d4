"""Where addresses are found."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenmill.text.pii import find_addresses


def found(text: str) -> list[str]:
    return [text[span.start : span.end] for span in find_addresses(text)]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("mail joe.b+x@corp.co.uk, please", ["joe.b+x@corp.co.uk"]),
        ("<a@b.io>.", ["a@b.io"]),
        ("'joe@b.com'", ["joe@b.com"]),
        ("mailto:x@y.org?subject=1", ["x@y.org"]),
        ("a@b.xn--p1ai", ["a@b.xn--p1ai"]),
        ("a@b.com@c.org", ["a@b.com"]),
        ("x" * 64 + "@b.com", ["x" * 64 + "@b.com"]),
        ("x" * 65 + "@b.com", []),
        ("a@b", []),
        ("a.@b.com", []),
        ("@b.com", []),
        ("a@example.com b@example.org", []),
        ("logo@2x.png", []),
        ("pkg@1.2.3", []),
        ("a@-b.com", []),
        ("8.8.8.8", ["8.8.8.8"]),
        ("8.8.8.8:80 8.8.4.4/24 (1.1.1.1).", ["8.8.8.8", "8.8.4.4", "1.1.1.1"]),
        ("192.168.1.1 10.0.0.1 127.0.0.1 192.0.2.1", []),
        ("v8.8.8.8 version 8.8.8.8 Release: 8.8.8.8", []),
        ("8.8.8.8.8 1.8.8.8.8 8.8.8.8a x8.8.8.8 8.8.8.8-beta", []),
        ("8.8.8.256 08.8.8.8 1234.8.8.8", []),
        ("2001:4860:4860::8888", ["2001:4860:4860::8888"]),
        ("at 2001:4860:4860:0:0:0:0:8888.", ["2001:4860:4860:0:0:0:0:8888"]),
        ("2001:4860:4860::8888: yes", ["2001:4860:4860::8888"]),
        ("2001:db8::1 fe80::1 ::1 std::cout a::b dead::beef 12:30:45::", []),
        ("2001:4860::8888xyz", []),
        ("me@[8.8.8.8]", ["8.8.8.8"]),
    ],
)
def test_find(text: str, addresses: list[str]) -> None:
    assert found(text) == addresses


@given(st.one_of(st.text(), st.text(alphabet=list("a1@.:-_ 8F[]"), max_size=80)))
def test_spans_are_ordered_and_disjoint(text: str) -> None:
    end = 0
    for span in find_addresses(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


ATTACKS = [
    "a.",
    "a@a-",
    "a@",
    "@",
    "a@a.",
    "a-@-",
    "1.",
    "1.1.1.1 ",
    "8.8.8.8-",
    "2001:",
    "2001::1 ",
    "::",
    "2000:1:1.",
]


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_cost_is_linear(attack: str) -> None:
    def seconds(length: int) -> float:
        text = (attack * length)[:length]
        best = 9e9
        for _ in range(3):
            start = time.thread_time()
            find_addresses(text)
            best = min(best, time.thread_time() - start)
        return best

    # Eight times the length: an exponent of 1.3 is 15 times; costs below a millisecond are noise.
    assert seconds(80_000) < 15 * max(seconds(10_000), 0.001)
