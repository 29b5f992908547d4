"""What counts as an opt-out, for whom it was meant, and lists of one's own."""

from __future__ import annotations

import hashlib
import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import rows, run
from tests.io.archives import member, record
from tests.properties import examples
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.rule import Drop
from tokenmill.extract.decode import DecodeHtml
from tokenmill.filters.optout import AI_AGENTS, OptOut, OptOutSignals, optout_signals, parse_robots
from tokenmill.filters.optout_list import OptOutList, parse_request, url_digest
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.warc import ReadWarc

ALL = {"signals": ("noai", "noimageai", "tdm_reservation", "ai_agent", "noindex", "noarchive", "content_usage")}


def verdict(robots: str, **settings: Any) -> str | None:
    column = OptOutSignals().annotate(pa.record_batch({"robots": [robots]}))["optout"]
    found = OptOut(policy="drop", **settings).judge(Doc(optout=column[0].as_py(), url="http://a.org/"))
    return found.reason if isinstance(found, Drop) else None


@pytest.mark.parametrize(
    ("robots", "settings", "expected"),
    [
        ("", {}, None),
        ("index, follow", {}, None),
        ("noai", {}, "noai"),
        ("NoAI", {}, "noai"),
        (" noai ,noimageai", {}, "noai"),
        ("noimageai", {}, "noimageai"),
        ("noimageai", {"signals": ("noai",)}, None),
        ('"noai"', {}, "noai"),
        ("'noindex, noai'", {}, "noai"),
        ("index noai", {}, "noai"),  # commas were forgotten
        ("noaim", {}, None),
        ("we say noai", {}, None),
        ("noindex", {}, None),
        ("none", {}, None),
        ("noindex", ALL, "noindex"),
        ("none", ALL, "noindex"),
        ("nofollow, nosnippet", ALL, None),
        ("noarchive", {}, None),
        ("nocache", ALL, "noarchive"),
        ("gptbot: noindex", {}, "ai_agent"),
        ("GPTBot:none", {}, "ai_agent"),
        ("ccbot: noai", {}, "ai_agent"),
        ("ccbot: nofollow", ALL, None),
        ("gptbot: noindex", {"agents": ("ccbot",)}, None),
        ("gptbot: noindex", {"signals": ("noai",)}, None),
        ("otherbot: noindex", ALL, None),
        ("otherbot: noai", ALL, None),
        ("otherbot: nofollow, noai", {}, None),  # what follows an agent is for that agent
        ("otherbot: nofollow, gptbot: none", {}, "ai_agent"),
        ("otherbot: none; noai", {}, "noai"),  # another header
        ("*: noai", {}, "noai"),
        ("robots: noai", {}, "noai"),
        ("unavailable_after: Sat, 25 Jun 2026 15:00:00 GMT, noai", {}, "noai"),
        ("unavailable_after: 25-Aug-2026 15:00:00 EST", ALL, None),
        ("max-snippet:-1, max-image-preview:large, noai", {}, "noai"),
        ("gptbot: max-snippet:-1, noindex", {}, "ai_agent"),
        ("noindex: true", ALL, "noindex"),
        ("tdm-reservation: 1", {}, "tdm_reservation"),
        ('tdm-reservation: "1"', {}, "tdm_reservation"),
        ("tdm-reservation: 0", ALL, None),
        ("tdm-reservation: 10", ALL, None),
        ("tdm-reservation: 1", {"signals": ("noai",)}, None),
        ("tdm-policy: https://a.org/noai,noai.html", ALL, None),
        ("content-usage: train-ai=n, search=y", {}, None),
        ("content-usage: search=y, train-ai=n", ALL, "content_usage"),
        ("content-usage: train-ai=y", ALL, None),
        ("content-usage: search=n", ALL, None),
    ],
)  # fmt: skip
def test_verdicts(robots: str, settings: dict[str, Any], expected: str | None) -> None:
    assert verdict(robots, **settings) == expected


def test_directives_and_names() -> None:
    found = parse_robots("googlebot: noindex, unavailable_after: 1 Jan 2027; noai")
    assert [(one.name, one.agent, one.value) for one in found] == [
        ("noindex", "googlebot", ""), ("unavailable_after", "googlebot", "1 jan 2027"), ("noai", "", ""),
    ]  # fmt: skip
    assert optout_signals("noai; GPTBot: noindex; tdm-reservation: 1; index") == (
        "gptbot:noindex", "noai", "tdm-reservation",
    )  # fmt: skip


@examples(60, 3000)
@given(st.text(string.ascii_letters[:8] + "noindexai:;, \"'*-_\u201c\x00é1", max_size=60))
def test_any_value_is_read_and_means_the_same_in_a_list(max_examples: int, value: str) -> None:
    once = optout_signals(value)
    assert optout_signals(value.upper().lower()) == once
    assert set(optout_signals(f"{value}; noai")) == {*once, "noai"}  # one header takes nothing from another
    for name in once:
        assert " " not in name  # they are joined by spaces


def test_record_keeps_everything_and_says_what_was_found() -> None:
    stage = OptOut()
    assert stage.judge(Doc(optout="noai tdm-reservation", url="http://a.org/")) is None
    column = OptOutSignals().annotate(pa.record_batch({"robots": ["index", None, "noai; gptbot: none", ""]}))["optout"]
    assert column.to_pylist() == [None, None, "gptbot:none noai", None]


PAGES = {
    "": (200, ""),
    "X-Robots-Tag: noai\r\n": (201, ""),
    "X-Robots-Tag: otherbot: noai\r\n": (202, ""),
    "TDM-Reservation: 1\r\n": (203, ""),
    "X-Robots-Tag: index\r\n": (204, '<meta name="GPTBot" content="noindex">'),
}


@pytest.mark.parametrize(
    ("policy", "dropped"), [("record", {}), ("drop", {201: "noai", 203: "tdm_reservation", 204: "ai_agent"})]
)
def test_real_records(policy: str, dropped: dict[int, str], tmp_path: Path) -> None:
    http = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.warc.gz").write_bytes(
        b"".join(
            member(record(number, f"<html><head>{head}</head><p>page {number}".encode(), http=http + headers))
            for headers, (number, head) in PAGES.items()
        )
    )
    run(Pipeline("mine", [ReadWarc(), OptOut(policy=policy), WriteParquet()]), tmp_path / "in", tmp_path / "out")
    kept = {int(row["id"][-10:-1]): row["optout"] for row in rows(tmp_path / "out", "data")}
    found = {200: None, 201: "noai", 202: "otherbot:noai", 203: "tdm-reservation", 204: "gptbot:noindex"}
    assert kept == {number: names for number, names in found.items() if number not in dropped}
    gone = {int(row["id"][-10:-1]): (row["reason"], row["detail"]) for row in rows(tmp_path / "out", "dropped")}
    assert gone == {number: (reason, found[number]) for number, reason in dropped.items()}


def test_the_plan_puts_the_signals_in() -> None:
    plan = make_plan(Pipeline("mine", [ReadWarc(), OptOut(), WriteParquet()]), [])
    assert list(plan.inserted) == [DecodeHtml.name, OptOutSignals.name]
    assert "optout" in plan.schema.names


@pytest.mark.parametrize("settings", [{"policy": "dorp"}, {"signals": ("noia",)}])
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean|known names"):
        OptOut(**settings)


def test_agents_are_written_as_they_are_compared() -> None:
    assert all(agent == agent.lower().strip() for agent in AI_AGENTS)
    assert len(set(AI_AGENTS)) == len(AI_AGENTS)


@pytest.mark.parametrize(
    ("line", "url", "expected"),
    [
        ("example.org", "https://example.org/", True),
        ("example.org", "http://WWW.Example.ORG.:80/a?b", True),
        ("EXAMPLE.org.", "http://a.b.example.org/x", True),
        ("*.example.org", "http://a.example.org/x", True),
        ("example.org", "http://notexample.org/", False),
        ("example.org", "http://example.org.evil.net/", False),
        ("example.org", "http://evil.net/?u=example.org", False),
        ("example.org", "http://user@example.org/", True),
        ("a.example.org", "http://example.org/", False),
        ("bücher.de", "http://xn--bcher-kva.de/", True),
        ("xn--bcher-kva.de", "http://www.bücher.de/x", True),
        ("10.1.2.3", "http://10.1.2.3/x", True),
        ("https://a.net/x", "http://www.a.net:80/x/?utm_source=b#c", True),
        ("a.net/x", "https://a.net/x", True),
        ("https://a.net/x", "https://a.net/y", False),
        ("https://a.net/", "https://a.net/", True),
        ("https://a.net/", "https://a.net/x", False),
        ("sha256:" + url_digest("https://a.net/x"), "http://a.net/x", True),
        ("sha256:" + url_digest("https://a.net/x"), "http://a.net/x2", False),
        ("# example.org", "http://example.org/", False),
        ("", "http://example.org/", False),
        ("example.org", "", False),
        ("example.org", "no address", False),
    ],
)  # fmt: skip
def test_what_a_line_names(line: str, url: str, expected: bool) -> None:
    request = parse_request(line)
    found = OptOutList([request] if request else []).find(url)
    assert (found is not None) is expected


@pytest.mark.parametrize(
    "line", ["com", "co.uk", "gov.uk", "localhost", "/", "?x", "sha256:12", "http://", "-.org", "a.org 2026-13-01"]
)
def test_lines_that_are_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# mine\n{line}\n")
    with pytest.raises(ConfigError) as error:
        OptOutList.load(str(path))
    assert "line 2" in str(error.value)


def test_a_list_drops_under_any_policy_and_knows_dates(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\ufeffa.org 2026-03-01 by mail\nb.org\n", encoding="utf-8")
    stage = OptOut(blocklist=str(path))
    found = stage.judge(Doc(optout=None, url="http://x.a.org/"))
    assert isinstance(found, Drop)
    assert (found.reason, found.detail) == ("blocklist", "domain, asked 2026-03-01")
    assert stage.judge(Doc(optout=None, url="http://c.org/")) is None
    assert stage.digests() == {"blocklist": hashlib.sha256(path.read_bytes()).hexdigest()}
    later = OptOut(blocklist=str(path), retroactive=False)
    assert "date" in later.reads
    for url, date, dropped in (
        ("http://a.org/", "2026-02-28T23:00:00Z", False),
        ("http://a.org/", "2026-03-01T00:00:00Z", True),
        ("http://a.org/", None, True),
        ("http://b.org/", "2001-01-01T00:00:00Z", True),
    ):
        assert (later.judge(Doc(optout=None, url=url, date=date)) is not None) is dropped


def test_the_list_may_move_but_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("one.txt", "a.org\n"), ("two.txt", "a.org\n"), ("other.txt", "b.org\n")):
        (tmp_path / name).write_text(content)
    assert OptOut(blocklist="one.txt").blocklist == str(tmp_path / "one.txt")
    plans = [
        make_plan(Pipeline("mine", [ReadWarc(), OptOut(blocklist=name), WriteParquet()]), []).fingerprint
        for name in ("one.txt", "two.txt", "other.txt")
    ]
    assert plans[0] == plans[1] != plans[2]


def test_a_missing_list_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        OptOut(blocklist=str(tmp_path / "none.txt")).digests()
