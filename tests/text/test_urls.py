"""URLs for deduplication: what is equal, what is not, and that nothing breaks it."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenmill.text.urls import MAYBE_SESSIONS, SESSIONS, TRACKING, canonical, canonical_urls

HEX = "0123456789abcdef0123456789abcdef"
PAGE = "//example.com/a"

EQUAL = [
    # scheme, host, port, user
    ("http://example.com/a", PAGE),
    ("https://example.com/a", PAGE),
    ("HTTPS://Example.COM/a", PAGE),
    ("//example.com/a", PAGE),
    ("http://example.com:80/a", PAGE),
    ("https://example.com:443/a", PAGE),
    ("https://example.com:0443/a", PAGE),
    ("https://example.com:/a", PAGE),
    ("https://example.com./a", PAGE),
    ("https://user:pass@example.com/a", PAGE),
    ("https://www.example.com/a", PAGE),
    ("https://www.www.example.com/a", PAGE),
    ("https://ex%61mple.com/a", PAGE),
    ("https://www.com/a", "//www.com/a"),
    ("https://example.com:8080/a", "//example.com:8080/a"),
    ("ftp://Example.com:21/a", "ftp://example.com/a"),
    ("http://[2001:DB8::1]:80/a", "//[2001:db8::1]/a"),
    # international names
    ("https://bücher.example/a", "//xn--bcher-kva.example/a"),
    ("https://BÜCHER.example/a", "//xn--bcher-kva.example/a"),
    ("https://b%C3%BCcher.example/a", "//xn--bcher-kva.example/a"),
    ("https://xn--bcher-kva.example/a", "//xn--bcher-kva.example/a"),
    ("https://例え。テスト/a", "//xn--r8jz45g.xn--zckzah/a"),
    # white space as browsers see it
    (" https://example.com/a\n", PAGE),
    ("\x00https://example.com/a\x1f", PAGE),
    ("https://example.com/a\u3000", f"{PAGE}%E3%80%80"),
    ("https://exam\tple.com/\na", PAGE),
    # fragment
    ("https://example.com/a#part", PAGE),
    ("https://example.com/a#", PAGE),
    ("https://example.com/a#!/b", f"{PAGE}#!/b"),
    # percent-encoding
    ("https://example.com/%61", PAGE),
    ("https://example.com/%7euser", "//example.com/~user"),
    ("https://example.com/%c3%a9", "//example.com/%C3%A9"),
    ("https://example.com/é", "//example.com/%C3%A9"),
    ("https://example.com/a b", "//example.com/a%20b"),
    ("https://example.com/100%", "//example.com/100%25"),
    ("https://example.com/%2541", "//example.com/%2541"),
    ("https://example.com/%%34%31", "//example.com/%2541"),
    # path
    ("https://example.com", "//example.com/"),
    ("https://example.com/", "//example.com/"),
    ("https://example.com//", "//example.com/"),
    ("https://example.com/a/", PAGE),
    ("https://example.com/./b/../a", PAGE),
    ("https://example.com/../../a", PAGE),
    ("https://example.com/b/%2E%2e/a", PAGE),
    ("https://example.com/a/.", PAGE),
    ("https://example.com/a/b/..", PAGE),
    ("https://example.com/a//b", f"{PAGE}//b"),
    ("https://example.com/.a/..b/c..", "//example.com/.a/..b/c.."),
    # query
    ("https://example.com/a?", PAGE),
    ("https://example.com/a?&&", PAGE),
    ("https://example.com/a/?b=1", f"{PAGE}?b=1"),
    ("https://example.com/a?c=2&b=1", f"{PAGE}?b=1&c=2"),
    ("https://example.com/a?b=2&b=1", f"{PAGE}?b=2&b=1"),
    ("https://example.com/a?b[]=1", f"{PAGE}?b%5B%5D=1"),
    ("https://example.com/a?b=c+d", f"{PAGE}?b=c%20d"),
    ("https://example.com/a?b=c=d", f"{PAGE}?b=c=d"),
    ("https://example.com?b=1", "//example.com/?b=1"),
    # where a reader came from
    ("https://example.com/a?utm_source=x&UTM_Medium=y&utm_anything=z", PAGE),
    ("https://example.com/a?b=1&fbclid=IwAR0&gclid=1", f"{PAGE}?b=1"),
    ("https://example.com/a?%75tm_source=x", PAGE),
    ("https://example.com/a?_ga=2.1&ref_src=twsrc%5Etfw&hsCtaTracking=1&mc_cid=1&mc_eid=2", PAGE),
    # sessions
    ("https://example.com/a;jsessionid=0A1B.node1", PAGE),
    ("https://example.com/a;JSESSIONID=0A1B?b=1", f"{PAGE}?b=1"),
    ("https://example.com/b;jsessionid=1/../a", PAGE),
    ("https://example.com/a;v=1;jsessionid=2/b", f"{PAGE};v=1/b"),
    ("https://example.com/(S(lit3py55t21z5v55vlm25s55))/a", PAGE),
    ("https://example.com/a?PHPSESSID=1234", PAGE),
    ("https://example.com/a?jsessionid=1&CFID=12&CFTOKEN=34", PAGE),
    ("https://example.com/a?ASPSESSIONIDAQBSDSRT=EOHB", PAGE),
    (f"https://example.com/a?sid={HEX}&b=1", f"{PAGE}?b=1"),
]

AS_IT_IS = [
    "",
    " ",
    "example.com/a",
    "mailto:a@example.com",
    "javascript:void(0)",
    "urn:uuid:0",
    "http:/example.com",
    "http://",
    "http:///a",
    "http://exa mple.com/",
    "http://example.com:port/",
    "http://example.com:123456/",
    "http://[::1/",
    "http://[v1.x]/",
    "http://a%2Fb/",
    "http://%FF.com/",
    "http://" + "ü" * 300 + ".com/",
    "http://xn--ü.com/",
    "http://\ud800.com/",
]

DIFFERENT = [
    ("https://example.com/a", "https://example.org/a"),
    ("https://example.com/a", "https://en.example.com/a"),
    ("https://example.com/a", "https://www2.example.com/a"),
    ("https://example.com/a", "https://example.com:8080/a"),
    ("https://example.com/a", "ftp://example.com/a"),
    ("https://example.com/a", "https://example.com/A"),
    ("https://example.com/a", "https://example.com/a/index.html"),
    ("https://example.com/a/b", "https://example.com/a%2Fb"),
    ("https://example.com/a%3Fb", "https://example.com/a?b"),
    ("https://example.com/a%2Bb", "https://example.com/a%20b"),
    ("https://example.com/a?b=c%26d", "https://example.com/a?b=c&d"),
    ("https://example.com/a?b=c%2Bd", "https://example.com/a?b=c+d"),
    ("https://example.com/a?b=1", "https://example.com/a?b=2"),
    ("https://example.com/a?b=1&b=2", "https://example.com/a?b=2&b=1"),
    ("https://example.com/a?sid=20190101123456789", "https://example.com/a?sid=20190101123456788"),
    ("https://example.com/a?ref=1", "https://example.com/a"),
    ("https://example.com/#!/a", "https://example.com/#!/b"),
    ("https://example.com/a;v=1", "https://example.com/a;v=2"),
]

PIECES = [
    *("http:", "HTTPS://", "ftp://", "//", "/", "?", "#", "#!", "&", "=", ";", "@", ":", ".", "..", "%", "+", "[", "]"),
    *(
        "www.",
        "Example.com",
        "bücher",
        "ß",
        "Σ",
        "İ",
        "。",
        "℀",
        "xn--",
        "xn--bcher-kva",
        "ｗｗｗ",
        "[::1]",
        ":80",
        ":0",
    ),
    *("%41", "%2e", "%25", "%2541", "%C3%A9", "%c3", "%34%31", "é", " ", "\t", "\n", "\x00", "\ud800", "\u3000"),
    *(";jsessionid=1", ";jsession", "/(S(a1))", "(S(", "utm_a=1", "sid=", HEX, "b=1", "a", "A", "/./", "/../"),
]
URLS = st.one_of(
    st.text(),
    st.text().map("http://example.com/{}".format),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: "http://example.com/" + "".join(parts)),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda parts: "http://" + "".join(parts)),
)


@pytest.mark.parametrize(("url", "form"), EQUAL)
def test_equivalent_urls_have_one_form(url: str, form: str) -> None:
    assert canonical(url) == form


@pytest.mark.parametrize("url", AS_IT_IS)
def test_what_cannot_be_parsed_is_compared_as_it_is(url: str) -> None:
    assert canonical(url) == url


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_pages_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize("name", sorted(TRACKING | SESSIONS))
def test_each_listed_parameter_is_left_out(name: str) -> None:
    assert canonical(f"https://example.com/a?{name}=1&B=2&{name.upper()}=3&{name}") == f"{PAGE}?B=2"


@pytest.mark.parametrize("name", sorted(MAYBE_SESSIONS))
def test_some_parameters_are_sessions_by_their_value(name: str) -> None:
    assert canonical(f"https://example.com/a?{name}={HEX}") == PAGE
    assert canonical(f"https://example.com/a?{name}={HEX[:31]}") == f"{PAGE}?{name}={HEX[:31]}"


def test_the_lists_are_in_lower_case() -> None:
    """Names are looked up in lower case."""
    assert all(name == name.lower() for name in TRACKING | SESSIONS | MAYBE_SESSIONS)


@given(URLS)
@example("http://example.com/(S(x));jsessionid=1/b")
@example("http://www.www.example.com")
@example("http://%2541.com/")
def test_canonical_never_raises_and_is_idempotent(url: str) -> None:
    form = canonical(url)
    assert canonical(form) == form
    assert form == url or form.isascii()


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_the_scheme_fragment_and_campaign_do_not_matter(rest: str) -> None:
    path = rest.replace("#", "").replace("?", "")
    plain = canonical(f"http://example.com/{path}/")
    assert canonical(f"https://www.example.com:443/{path}/?utm_source=a#top") == plain


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8")), st.sampled_from(AS_IT_IS[:-1]))))
def test_a_column_is_what_its_urls_are(urls: list[str | None]) -> None:
    expected = [None if url is None else canonical(url) for url in urls]
    for given_urls in (pa.array(urls, pa.string()), pa.array(urls, pa.large_string())):
        forms = canonical_urls(given_urls)
        assert forms.type == given_urls.type
        assert forms.to_pylist() == expected
    assert canonical_urls(pa.chunked_array([pa.array(urls, pa.string())] * 2)).to_pylist() == expected * 2
