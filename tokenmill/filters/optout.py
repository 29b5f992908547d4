"""What publishers say against the use of their pages: `OptOutSignals` names it, `OptOut` records or drops.

The columns that this reads are as written (`extract/notices.py`), so another policy needs no other run of the
archives. There is no standard yet; what is told apart here:

- `noai`, `noimageai`: directives for robots that name AI (DeviantArt, 2022).
- `tdm-reservation: 1`: the TDM Reservation Protocol (W3C community group, 2022), made for article 4 of the EU
  directive 2019/790.
- `noindex` and `none`, said to the robot of somebody who trains models (`<meta name="GPTBot" content="noindex">`).
- `noindex` and `none`, said to all. They are about search engines, and most pages that say so are lists, tags and
  searches; published corpora keep such pages, so by default they do not count.
- `noarchive`, `nocache`: Microsoft reads them as a word on AI (2023), everybody else as one on cached copies.
- `Content-Usage: train-ai=n`: drafts of the IETF's working group aipref.

robots.txt is not in an archive of pages; a crawl that obeyed it has no pages that it forbids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Annotate, Filter
from tokenmill.filters.optout_list import OptOutList
from tokenmill.io.filesystem import absolute_location

AI_AGENTS = (
    "ai2bot", "ai2bot-dolma", "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot", "claude-web",
    "claudebot", "cohere-ai", "cohere-training-data-crawler", "diffbot", "facebookbot", "google-cloudvertexbot",
    "google-extended", "googleother", "gptbot", "icc-crawler", "imagesiftbot", "img2dataset", "meta-externalagent",
    "omgili", "omgilibot", "pangubot", "petalbot", "timpibot", "velenpublicwebcrawler", "webzio-extended",
)  # fmt: skip
"""Robots that fetch pages to train models, or that make crawls which others train on; from their operators' pages.
Robots that fetch for search or for a user (Googlebot, OAI-SearchBot, ChatGPT-User) are not among them."""

SIGNALS = ("noai", "noimageai", "tdm_reservation", "ai_agent", "noindex", "noarchive", "content_usage")
"""What a policy may count; `ai_agent` is noindex, none, noai or noimageai said to one of the agents."""
_FORBID = ("noindex", "none", "noai", "noimageai", "noarchive", "nocache")
_VALUED = frozenset(
    ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview", "tdm-reservation", "tdm-policy")
)
_PLAIN = frozenset(
    "all follow index indexifembedded noarchive noai nocache nofollow noimageai noimageindex noindex nomicdata none"
    " noodp nosnippet notranslate noydir nositelinkssearchbox".split()
)
_EVERYBODY = frozenset(("*", "all", "robots", "robot", "x-robots-tag"))
_AGENT = re.compile(r"([a-z*][a-z0-9_.*-]{0,60})[ \t]*:[ \t]*(.*)", re.DOTALL)
_QUOTES = "\"'\u201c\u201d\u2018\u2019` \t\r\n"
_MOST_CHARACTERS = 4_000
USAGE = "content-usage"
"""The name of the header `Content-Usage`, in lower case."""
_TRAINING = frozenset(("train-ai", "train-genai", "ai", "genai", "bots"))


@dataclass(frozen=True)
class Directive:
    """A word to robots. agent: to which one, in lower case; "" for all. value: what stands behind a colon."""

    name: str
    agent: str = ""
    value: str = ""


@lru_cache(1 << 14)
def parse_robots(value: str) -> tuple[Directive, ...]:
    """The directives of the column `robots`, or of one X-Robots-Tag header or robots meta. Never raises.

    Values are joined by ";"; inside one, directives are joined by "," and what follows `agent:` is for that agent
    alone, up to the next agent. Upper and lower case are the same. Words that are no directive are left out.
    """
    found: dict[Directive, None] = {}
    for part in value[:_MOST_CHARACTERS].lower().split(";"):
        head, colon, rest = part.partition(":")
        if colon and head.strip(_QUOTES) == USAGE:
            found.update(dict.fromkeys(_usage(rest)))
        else:
            found.update(dict.fromkeys(_directives(part)))
    return tuple(found)


def _directives(part: str) -> Iterator[Directive]:
    agent = ""
    for piece in part.split(","):
        word = piece.strip(_QUOTES)
        match = _AGENT.fullmatch(word)
        while match is not None and match[1] not in _VALUED and match[1] not in _PLAIN - _EVERYBODY:
            agent = "" if match[1] in _EVERYBODY else match[1]
            word = match[2].strip(_QUOTES)
            match = _AGENT.fullmatch(word)
        if match is not None:
            yield Directive(match[1], agent, match[2].strip(_QUOTES))
        elif word in _PLAIN:
            yield Directive(word, agent)
        elif _PLAIN.issuperset(words := word.split()):  # commas were forgotten
            yield from (Directive(one, agent) for one in words)


def _usage(text: str) -> Iterator[Directive]:
    """Preferences such as `train-ai=n, search=y`."""
    for piece in text.split(","):
        name, equals, value = piece.strip(_QUOTES).partition("=")
        if equals and re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name.strip()):
            yield Directive(USAGE, "", f"{name.strip()}={value.strip(_QUOTES)[:10]}")


@lru_cache(1 << 14)
def optout_signals(value: str) -> tuple[str, ...]:
    """Names of what the column `robots` says against some use, such as `noai`, `gptbot:noindex`, `tdm-reservation`."""
    found: dict[str, None] = {}
    for directive in parse_robots(value):
        if directive.name in _FORBID:
            found[f"{directive.agent}:{directive.name}" if directive.agent else directive.name] = None
        elif directive.name == "tdm-reservation" and directive.value.split()[:1] == ["1"]:
            found[directive.name] = None
        elif directive.name == USAGE:
            name, _, allowed = directive.value.partition("=")
            if name in _TRAINING and allowed in ("n", "0", "?0", "no"):
                found[f"{USAGE}:{name}"] = None
    return tuple(sorted(found))


class OptOutSignals(Annotate):
    """Adds `optout`: the names of what a page says against its use, joined by spaces; null where it says nothing.

    `noai`, `noimageai`, `noindex`, `none`, `noarchive`, `nocache`, with the robot before a colon where only one is
    meant (`gptbot:noindex`); `tdm-reservation`; `content-usage:train-ai`.
    """

    on_demand: ClassVar[bool] = True
    derived: ClassVar[bool] = True
    reads = ("robots",)
    adds: ClassVar[Mapping[str, pa.DataType]] = {"optout": pa.string()}

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        values = batch.column("robots").to_pylist()
        found = [" ".join(optout_signals(value)) or None if value else None for value in values]
        return {"optout": pa.array(found, pa.string())}


class OptOut(Filter):
    """Records what publishers say against the use of their pages, or drops those pages; drops what a block list names.

    The column `optout` says what was found in either case. A block list is one's own decision, not the page's, so it
    drops whatever the policy.
    """

    incidental: ClassVar[frozenset[str]] = frozenset({"blocklist"})
    """Where the list lies; what is in it is part of the fingerprint, by its digest."""

    policy: str = "record"
    """record: keep all, and leave the decision to whoever uses the data; drop: drop pages with one of the signals."""
    signals: tuple[str, ...] = ("noai", "noimageai", "tdm_reservation", "ai_agent")
    """What counts: noai, noimageai, tdm_reservation, ai_agent, and, off by default, noindex (said to all robots),
    noarchive, content_usage. Source: the module's documentation."""
    agents: tuple[str, ...] = AI_AGENTS
    """Robots whose directives count, in lower case. What is said to others (`googlebot: noindex`) does not."""
    blocklist: str | None = None
    """A text file of domains and addresses, one a line, with a date and a note if wanted."""
    retroactive: bool = True
    """Whether a line of the block list also drops pages that were fetched before its date."""

    def __post_init__(self) -> None:
        if self.policy not in ("record", "drop"):
            raise ConfigError(
                f"{self.name}.policy={self.policy!r} is not known", why=did_you_mean(self.policy, ("record", "drop"))
            )
        for signal in self.signals:
            if signal not in SIGNALS:
                raise ConfigError(f"{self.name}.signals: no signal {signal!r}", why=did_you_mean(signal, SIGNALS))
        if self.blocklist is not None:  # the run may be resumed from another folder
            object.__setattr__(self, "blocklist", absolute_location(self.blocklist))

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        listed = ("url",) if self.blocklist else ()
        return ("optout", *listed, *(("date",) if self.blocklist and not self.retroactive else ()))

    def setup(self) -> None:
        _ = self._list, self._agents

    def digests(self) -> Mapping[str, str]:
        if self.blocklist is None:
            return {}
        _ = self._list  # a line that cannot be read is told before any work
        return {"blocklist": hashlib.sha256(Path(self.blocklist).read_bytes()).hexdigest()}

    def judge(self, doc: Doc) -> Drop | None:
        if self._list is not None:
            request = self._list.find(doc.url)
            if request is not None and (self.retroactive or not _before(doc["date"], request.date)):
                return Drop("blocklist", detail=f"{request.kind}, asked {request.date or 'on no date'}")
        if self.policy == "record":
            return None
        for name in (doc["optout"] or "").split():
            signal = self._counts(name)
            if signal in self.signals:
                return Drop(signal, detail=name)
        return None

    def _counts(self, name: str) -> str:
        """The signal that a name in `optout` is; "" for none."""
        if name == "tdm-reservation":
            return "tdm_reservation"
        if name.startswith(USAGE):
            return "content_usage"
        agent, _, directive = name.rpartition(":")
        if agent and agent not in self._agents:
            return ""
        if directive in ("noarchive", "nocache"):
            return "noarchive"
        if agent:
            return "ai_agent"
        return "noindex" if directive in ("noindex", "none") else directive

    @cached_property
    def _agents(self) -> frozenset[str]:
        return frozenset(agent.strip().lower() for agent in self.agents)

    @cached_property
    def _list(self) -> OptOutList | None:
        return None if self.blocklist is None else OptOutList.load(self.blocklist)


def _before(fetched: str | None, asked: str) -> bool:
    """Whether a page was fetched before the day on which it was asked to be left out; not where one is unknown."""
    return bool(fetched and asked) and str(fetched)[:10] < asked
