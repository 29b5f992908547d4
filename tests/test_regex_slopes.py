"""No text makes a regular expression, or a function over whole texts, take more than linear time.

Every pattern of the package is attacked with strings made from its own parts, by the method with which the package
calls it; then functions are attacked as wholes, since bounded patterns in a loop may be quadratic too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests import slopes
from tests.slopes import Use, attacks, hostile, module_names, suspicious, uses, worst
from tokenmill import C4Lines, DecodeHtml, Doc, RedactPii, UrlFilter
from tokenmill.core.errors import DocumentError
from tokenmill.core.secrets import hide
from tokenmill.filters.optout import parse_robots

BOUNDED = {
    # pattern: (most characters that it is given, why it is never given more)
    "tokenmill.core.segment:_CONTRACTION": (
        12,
        "segment.known is asked about the last 12 characters of a piece at most",
    ),
    "tokenmill.core.segment:_FULL_STOP_AFTER": (2, "segment._trailing gives it the two characters before a full stop"),
    "tokenmill.core.segment:UNIT": (5, "segment._trailing gives it a digit and at most four characters"),
    "tokenmill.text.pii.phones:_NEW_LINE": (
        64,
        "it looks from a word to a number that begins at most 32 characters on",
    ),
    "tokenmill.text.pii.keys:_STANDS_FOR": (128, "keys._is_random gives it the first 128 characters of a key"),
}
"""Patterns that are tested only on inputs as long as those that they can be given."""

NEVER = {
    # pattern: (what its input never holds, why)
    "tokenmill.core.segment:_ADDRESS": (re.compile(r"\s"), "segment.spaced_words cuts the text at white space before"),
}
"""Patterns that are tested only on inputs of the form that they can be given."""

METHOD = {"tokenmill.text.pii.keys:_ROWS": "match"}
"""The method of patterns in containers, where the source does not tell."""

ENDS = ("\x01", '"', "")


@cache
def found() -> list[Use]:
    """Every pattern, with the method of its calls."""
    return [Use(use.where, use.pattern, METHOD.get(use.where, use.method), use.engine) for use in uses()]


def allowances(use: Use) -> dict[str, Any]:
    """How the attacks on a pattern are restricted."""
    return {"bound": BOUNDED.get(use.where, (None, ""))[0], "never": NEVER.get(use.where, (None, ""))[0]}


def test_the_patterns_are_found() -> None:
    where = {use.where for use in found()}
    assert {"tokenmill.core.segment:_ADDRESS", "tokenmill.extract.charset:_HEADER_CHARSET"} <= where
    assert len(where) > 50
    assert {*BOUNDED, *NEVER, *METHOD} <= where, "a pattern in a table here has another name now"


@pytest.mark.ci
def test_a_quadratic_pattern_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slopes, "GIVE_UP", 0.2)
    for pattern, method in (
        (r"\d+@", "finditer"),  # quadratic: every digit starts a run to the end
        (r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", "search"),
        (r"(a+)+$", "match"),  # exponential
        (r"\s+$", "sub"),
    ):
        use = Use("here", re.compile(pattern), method)
        assert worst(use, attacks(use.pattern), ENDS), pattern
    harmless = Use("here", re.compile(r"[a-z]+\d{0,9}"), "finditer")
    assert worst(harmless, attacks(harmless.pattern), ENDS) == ""


@pytest.mark.parametrize("of", [12, pytest.param(1, marks=pytest.mark.ci)])
def test_every_pattern_takes_linear_time(of: int) -> None:
    """One of twelve in the fast suite, all in CI."""
    bad = []
    for use in found()[::of]:
        bad.append(worst(use, attacks(use.pattern), ENDS[:1], **allowances(use)))
    assert [line for line in bad if line] == []


@pytest.mark.slow
@pytest.mark.parametrize("module", module_names())
def test_every_pattern_takes_linear_time_with_every_end(module: str) -> None:
    ends = [*ENDS, " ", "\n", "a", "1", ".", "-", "<", ">"]
    bad = []
    for use in found():
        if use.where.partition(":")[0] == module:
            bad.append(worst(use, attacks(use.pattern), ends, **allowances(use)))
    assert [line for line in bad if line] == []


def _refinedweb() -> Callable[[str], Any]:
    from tokenmill.filters.refinedweb import RefinedWebFormat, RefinedWebLines

    shaped, lines = RefinedWebFormat(), RefinedWebLines()
    return lambda text: (shaped.rewrite(Doc(text)), lines.rewrite(Doc(text)))


def _measure() -> Callable[[str], Any]:
    import pyarrow as pa

    from tokenmill.text.measure import measure

    return lambda text: measure(pa.array([text]))


def _decode() -> Callable[[str], Any]:
    stage = DecodeHtml()
    return lambda text: stage.rewrite(
        Doc(payload=text.encode(), http_headers="Content-Type: text/html", content_type="", truncated="")
    )


def _charset() -> Callable[[str], Any]:
    from tokenmill.extract.charset import find_charset, from_meta

    return lambda text: (from_meta(text.encode()), find_charset(text[:3].encode(), text))


def _notices() -> Callable[[str], Any]:
    from tokenmill.extract.http import Headers
    from tokenmill.extract.notices import license_notice, robots_notice

    def call(text: str) -> Any:
        page = text.encode()
        return robots_notice(Headers.parse(text), page, page.lower()), license_notice(page, page.lower())

    return call


def _heads() -> Callable[[str], Any]:
    from tokenmill.extract.http import Headers, decode_body
    from tokenmill.io.http import parse_http

    def call(text: str) -> Any:
        decode_body(text.encode(), Headers.parse("Transfer-Encoding: chunked"), 1 << 24)
        return parse_http(b"HTTP/1.1 200" + text.encode()), parse_http(text.encode()), Headers.parse(text)

    return call


def _archives() -> Callable[[str], Any]:
    from tokenmill.io.arc import ArcDialect
    from tokenmill.io.dialects import WarcDialect

    def call(text: str) -> Any:
        data = text.encode()
        return [dialect.candidate(data, 0, len(data)) for dialect in (WarcDialect(), ArcDialect())]

    return call


def _prescan() -> Callable[[str], Any]:
    from tokenmill.extract.prescan import prescan, warm_up

    warm_up()
    return lambda text: prescan(text.encode())


def _segment() -> Callable[[str], Any]:
    from tokenmill.core import segment

    return lambda text: (segment.words(text), segment.lines(text), segment.paragraphs(text))


def _sanitize() -> Callable[[str], Any]:
    from tokenmill.extract.sanitize import sanitize, without_forbidden_references

    return lambda text: (sanitize(text), without_forbidden_references(text))


def _pii(**settings: Any) -> Callable[[str], Any]:
    stage = RedactPii(**settings)

    def call(text: str) -> Any:
        with contextlib.suppress(DocumentError):  # what it cannot redact goes to quarantine
            return stage.rewrite(Doc(text, doc_id="a"))

    return call


def _nsfw() -> Callable[[str], Any]:
    from tokenmill.filters.nsfw import SpacedLexicon, UnspacedLexicon

    both = SpacedLexicon(["aa", "a a a", "1 a"]), UnspacedLexicon(["aa", "日日", "a日"])
    return lambda text: [lexicon.find(text) for lexicon in both]


def _c4() -> Callable[[str], Any]:
    stage = C4Lines()
    return lambda text: stage.rewrite(Doc(text))


def _url() -> Callable[[str], Any]:
    stage = UrlFilter(lists="none", extra_domains=("a.org",))
    return lambda text: (stage.judge(Doc(url=text)), stage.judge(Doc(url=f"http://{text}")))


FUNCTIONS: dict[str, Callable[[], Callable[[str], Any]]] = {
    "words, lines, paragraphs": _segment,
    "measure": _measure,
    "redact_pii": _pii,
    "c4_lines": _c4,
    "refinedweb": _refinedweb,
    "nsfw lexicons": _nsfw,
    "sanitize": _sanitize,
    "charset": _charset,
    "prescan": _prescan,
    "decode_html": _decode,
    "notices": _notices,
    "http heads": _heads,
    "records of archives": _archives,
    "url_filter": _url,
    "secrets": lambda: hide,
    "robots values": lambda: parse_robots,
}
if importlib.util.find_spec("phonenumbers"):
    FUNCTIONS["redact_pii, strict"] = lambda: _pii(level="strict")

UNITS = [
    *(
        "a",
        "A",
        "1",
        " ",
        "\n",
        "\t",
        ".",
        ",",
        "-",
        "'",
        '"',
        "@",
        "#",
        "{",
        "[",
        "(",
        "/",
        ":",
        "%",
        "\x00",
        "日",
        "…",
    ),
    *("a ", "a\n", "a.", "a@", "a-", "1.", "1 ", "1-", "a'", "A.b", "\r\n", "a, ", "....", "日 ", "a。", "…"),
    *("n't", "a@b.", "1.1.1.1 ", "::1", "+1 ", "4111 1111 ", "DE89 3704 ", "eyJa", "AKIA", "=A", "-----BEGIN "),
    *("[1]", "[edit]", "lorem ipsum ", "javascript\n", "use cookies. ", "http://", "www.", "5 likes\n", "word "),
    *("<", "<a ", "</", "<!--", "-->", "<meta ", "<script>", '<meta content="', "<p>", "&#", "&#0", "&#x", ">"),
    *(
        "charset=",
        "charset ",
        "a://",
        "http://a@",
        "--token ",
        "Bearer ",
        "noindex, ",
        "<?xml ",
        "license ",
        "<a rel=license ",
        "WARC/1.0",
        "\nhttp:",
        "1\r\n",
        "a:\n ",
        "=",
        "; ",
    ),
]
PREFIXES = ("", "a@", "charset=", "<meta ", "<!--", "http://", "1;")


DEAR = ("charset", "decode_html")
"""Functions whose attacks take seconds: in CI."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.ci) if name in DEAR else name for name in FUNCTIONS]
)
def test_a_function_takes_linear_time(name: str) -> None:
    assert attacked(FUNCTIONS[name](), UNITS, ("",), ("\x01",)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_linear_time_on_many_more(name: str) -> None:
    pairs = [a + b for a in UNITS[:24] for b in UNITS[:24] if a != b]
    assert attacked(FUNCTIONS[name](), [*UNITS, *pairs], PREFIXES[:1], ("\x01",)) == []
    assert attacked(FUNCTIONS[name](), UNITS, PREFIXES, ENDS) == []


SECONDS_PER_MB = 8.0
"""Functions do more than one pattern: the limit is there for what is linear and hopeless."""


def attacked(
    call: Callable[[str], Any], units: list[str], prefixes: tuple[str, ...], ends: tuple[str, ...]
) -> list[str]:
    """The attacks under which the function's time grows faster than their length."""
    call("a first text, for all that is compiled or loaded once")
    bad = []
    for prefix in prefixes:
        for unit in units:
            for end in ends:

                def make(size: int, prefix: str = prefix, unit: str = unit, end: str = end) -> str:
                    return hostile(prefix, unit, size, end)

                found = suspicious(call, make, SECONDS_PER_MB)
                if found is not None:
                    bad.append(f"{prefix!r} + {unit!r} * n + {end!r}: {found}")
    return bad
