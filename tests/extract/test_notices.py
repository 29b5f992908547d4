"""What pages say about their reuse, as it is recorded: every header and meta, with the robot that is meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.extract.http import Headers
from tokenmill.extract.notices import license_notice, robots_notice


def notice(head: str = "", headers: str = "") -> str:
    raw = f"<html><head>{head}</head><body>".encode()
    return robots_notice(Headers.parse(headers), raw, raw.lower())


@pytest.mark.parametrize(
    ("head", "headers", "expected"),
    [
        ('<meta name="robots" content="noai, noimageai">', "", "noai, noimageai"),
        ('<meta name="CCBot" content="nofollow">', "", "ccbot: nofollow"),
        ('<meta name="GPTBot" content="noai"><meta name="CCBot" content="none">', "", "gptbot: noai; ccbot: none"),
        ('<meta name="Google-Extended" content="noindex">', "", "google-extended: noindex"),
        ("<meta name='anthropic-ai' content='noindex'/>", "", "anthropic-ai: noindex"),
        ('<meta content="noai" id="x" name="robots">', "", "noai"),
        ("<meta\nname = robots\ncontent = noai>", "", "noai"),
        ('<meta http-equiv="X-Robots-Tag" content="noai">', "", "noai"),
        ('<meta name="robots" content="noindex; noai">', "", "noindex, noai"),  # "; " only ever parts values
        ('<meta name="tdm-reservation" content="1"><meta name="tdm-policy" content="https://a.org/p;q">', "",
         "tdm-reservation: 1; tdm-policy: https://a.org/p%3Bq"),
        ("", "TDM-Reservation: 1\nTDM-Policy: https://a.org/p", "tdm-reservation: 1; tdm-policy: https://a.org/p"),
        ("", "Content-Usage: train-ai=n, search=y", "content-usage: train-ai=n, search=y"),
        ("", "X-Robots-Tag: googlebot: noindex\nX-Robots-Tag: noai", "googlebot: noindex; noai"),
        ('<meta name="robot" content="noai">', "", "robot: noai"),
        ('<meta name="robots-extra" content="noai">', "", ""),
        ('<meta property="og:title" content="name=robots">', "", ""),
        ('<meta name="robots" content="">', "", ""),
        ("<meta name=robots", "", ""),
        ('</head><meta name="robots" content="noai">', "", ""),
    ],
)  # fmt: skip
def test_robots(head: str, headers: str, expected: str) -> None:
    assert notice(head, headers) == expected


def test_only_so_many_metas_are_looked_at() -> None:
    assert notice("<meta name=a>" * 300 + '<meta name="robots" content="noai">') == ""
    assert notice("<meta name=a>" * 100 + '<meta name="robots" content="noai">') == "noai"


CC = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("page", "headers", "expected"),
    [
        ("", f'Link: <{CC}>; rel="license"', CC),
        (
            "",
            f'Link: </a>; rel=next, <{CC}>; title="x"; rel="license"',
            CC,
        ),
        ("", f'Link: </a>; rel=next, <{CC}>; rel="nofollow license"', CC),
        ("", f"Link: <{CC}>; REL=License", CC),
        ("", f'Link: <{CC}>; rel="licenses"', ""),
        ("", 'Link: </style.css>; rel="preload"', ""),
        ('<a rel="license" href="/terms">', f'Link: <{CC}>; rel="license"', "/terms"),
    ],
)
def test_license_of_headers(page: str, headers: str, expected: str) -> None:
    raw = page.encode()
    assert license_notice(raw, raw.lower(), Headers.parse(headers)) == expected


@examples(30, 1000)
@given(
    st.lists(
        st.sampled_from(["<meta", " name=", '"', "robots", "gptbot", " content=", "noai", ">", ";", "<", "é"]),
        max_size=30,
    )
)
def test_any_page_gives_a_line(max_examples: int, pieces: list[str]) -> None:
    found = notice("".join(pieces), "X-Robots-Tag: " + "".join(pieces))
    assert "\n" not in found
    assert len(found) < 100_000
