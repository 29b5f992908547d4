"""Keys of well-known services and blocks of private keys.

A table: every row is a prefix that a service puts on its keys, and what follows. One scan looks for the words that
begin with a prefix; at each, the row's pattern is matched once.
"""

from __future__ import annotations

import re

from tokenmill.text.pii.scan import occurs, places
from tokenmill.text.pii.spans import KEY, Span

_W = "A-Za-z0-9"
_KEYS: tuple[tuple[str, str], ...] = (
    # prefixes, and what follows; possessive, so that nothing is tried twice
    ("AKIA ASIA", "[A-Z0-9]{16}+"),  # Amazon
    ("ghp_ gho_ ghu_ ghs_ ghr_", f"[{_W}]{{36,255}}+"),  # GitHub
    ("github_pat_", f"[{_W}_]{{40,255}}+"),
    ("glpat-", rf"[{_W}_-]{{20,64}}+(?:\.[{_W}.]{{2,40}}+)?"),  # GitLab
    ("glptt- gldt- glrt- glsoat- glcbt-", f"[{_W}_-]{{20,64}}+"),
    ("sk-proj- sk-svcacct- sk-admin- sk-ant- sk-or-", f"[{_W}_-]{{32,255}}+"),  # OpenAI, Anthropic, OpenRouter
    ("sk-", f"[{_W}]{{32,64}}+"),
    ("sk_live_ rk_live_", f"[{_W}]{{16,128}}+"),  # Stripe
    ("whsec_", f"[{_W}+/=]{{24,64}}+"),
    ("xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs-", f"[{_W}-]{{20,255}}+"),  # Slack
    ("xapp-", f"[0-9]-[{_W}-]{{20,255}}+"),
    ("hooks.slack.com/services/", f"T[{_W}]{{6,12}}+/B[{_W}]{{6,12}}+/[{_W}]{{20,32}}+"),
    ("discord.com/api/webhooks/ discordapp.com/api/webhooks/", f"[0-9]{{17,20}}+/[{_W}_-]{{60,72}}+"),
    ("AIza", f"[{_W}_-]{{35}}+"),  # Google
    ("GOCSPX-", f"[{_W}_-]{{28}}+"),
    ("ya29.", f"[{_W}_-]{{30,1024}}+"),
    ("npm_", f"[{_W}]{{36}}+"),
    ("pypi-", f"AgE[{_W}_-]{{50,1024}}+"),
    ("hf_", f"[{_W}]{{30,48}}+"),  # Hugging Face
    ("SG.", rf"[{_W}_-]{{16,32}}+\.[{_W}_-]{{30,64}}+"),  # SendGrid
    ("SK", "[0-9a-f]{32}+"),  # Twilio
    ("key-", "[0-9a-f]{32}+"),  # Mailgun
    ("shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}+"),  # Shopify
    ("dop_v1_ doo_v1_ dor_v1_", "[0-9a-f]{64}+"),  # DigitalOcean
    ("sq0atp- sq0csp- sq0idp-", f"[{_W}_-]{{22,43}}+"),  # Square
    ("dckr_pat_ dckr_oat_", f"[{_W}_-]{{27,40}}+"),  # Docker
    ("glsa_", f"[{_W}]{{32}}+_[0-9a-fA-F]{{8}}+"),  # Grafana
    ("rubygems_", "[0-9a-f]{48}+"),
    ("dapi", "[0-9a-f]{32}+"),  # Databricks
    ("lin_api_", f"[{_W}]{{32,48}}+"),
    ("PMAK-", "[0-9a-f]{24}+-[0-9a-f]{34}+"),  # Postman
    ("figd_", f"[{_W}_-]{{38,64}}+"),
    ("hvs. hvb.", f"[{_W}_-]{{24,200}}+"),  # Vault
    ("nvapi-", f"[{_W}_-]{{40,80}}+"),
    ("gsk_", f"[{_W}]{{40,64}}+"),  # Groq
    ("xai-", f"[{_W}]{{60,96}}+"),
    ("ATATT3", f"[{_W}_=-]{{60,255}}+"),  # Atlassian
    ("NRAK-", "[A-Z0-9]{27}+"),  # New Relic
    ("EAA", f"[{_W}]{{80,255}}+"),  # Facebook
    ("AGE-SECRET-KEY-1", "[A-Z0-9]{58}+"),
    ("eyJ", rf"[{_W}_-]{{10,4096}}+\.eyJ[{_W}_-]{{8,8192}}+\.[{_W}_-]{{16,1024}}+"),  # JSON web token
)
_JOINED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_WORD_STARTS = dict.fromkeys(prefix.rstrip("./") for prefixes, _ in _KEYS for prefix in prefixes.split())
_PREFIXES = rf"(?:^|[^{_W}_-])(?:{'|'.join(map(re.escape, _WORD_STARTS))})"
"""With the character before, so that nothing is found inside a word: every place found costs 2 microseconds, and "SK"
repeated would have one every two characters. A last dot or slash is left to be the character before the next one."""
_ROWS: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
"""First two characters -> prefixes with what follows."""
for _prefixes, _body in _KEYS:
    for _prefix in _prefixes.split():
        _ROWS.setdefault(_prefix[:2], []).append((_prefix, re.compile(_body)))

_TELEGRAM = re.compile(rf":(?<=[0-9]{{8}}:)AA[{_W}_-]{{33}}+(?![{_W}_-])")
_NAMED = re.compile(rf"[=:][ \t]{{0,3}}[\"']?([{_W}+/]{{40,100}}+={{0,2}})(?![{_W}+/=])")
_NAMES = "(?i)aws[_-]?secret|secret[_ -]?access[_ -]?key|accountkey|sharedaccesskey"
_NAME = re.compile(_NAMES)

_BLOCK = re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BLOCK_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s\\:;,.()@<>\"'|#]|-(?!-))*+")
_BLOCK_END = re.compile(r"-----END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_BASE64 = re.compile(r"[\s\\nr\"'+|#>,]{0,8}(?:[A-Za-z0-9+/=]{16,}+[\s\\nr\"'+|#>,]{0,8})++")

_STANDS_FOR = re.compile(
    r"example|sample|your|xxxx|0000|1234567890|abcdefgh|test_?key|placeholder|redacted|dummy|(.)\1{5}", re.I
)
_FEWEST_CHARACTERS = 8
"""Different characters that random keys have at least; "xxxxxxxx" and drawings have fewer."""


def find_keys(text: str, image: bytes) -> list[Span]:
    """Keys and private-key blocks, except those that only show the form."""
    spans: list[Span] = []
    done = 0
    for place, _ in places(_PREFIXES, image):
        start = place if text[place] in _JOINED else place + 1
        if start < done:
            continue
        end = _end_of_key(text, start)
        if end:
            spans.append(Span(start, end, KEY))
            done = end
    if ":AA" in text:
        spans += [Span(_digits_before(text, m.start()), m.end(), KEY) for m in _TELEGRAM.finditer(text)]
    if occurs(_NAMES, image):
        spans += _named_keys(text)
    if "PRIVATE KEY" in text:
        spans += _blocks(text)
    return spans


def _end_of_key(text: str, start: int) -> int:
    """Where the key that begins at `start` ends; 0 if it is none."""
    for prefix, body in _ROWS[text[start : start + 2]]:
        tail = body.match(text, start + len(prefix)) if text.startswith(prefix, start) else None
        if tail and text[tail.end() : tail.end() + 1] not in _JOINED and _is_random(tail.group()):
            return tail.end()
    return 0


def _is_random(body: str) -> bool:
    """Whether it may be a key and not a word for one: characters are mixed, and nothing in it is filler."""
    head = body[:128]
    mixed = any(map(str.isdigit, head)) or (sum(map(str.isupper, head)) > 3 and sum(map(str.islower, head)) > 3)
    return mixed and len(set(head)) >= _FEWEST_CHARACTERS and _STANDS_FOR.search(head) is None


def _digits_before(text: str, end: int) -> int:
    start = end
    while start > max(0, end - 12) and text[start - 1].isdigit():
        start -= 1
    return start


def _named_keys(text: str) -> list[Span]:
    """Secrets without a form of their own, right after their name."""
    return [
        Span(match.start(1), match.end(1), KEY)
        for match in _NAMED.finditer(text)
        if _NAME.search(text, max(0, match.start() - 24), match.start()) and _is_random(match[1])
    ]


def _blocks(text: str) -> list[Span]:
    """Private keys in armour; without an end, up to the last line of base64."""
    spans = []
    for match in _BLOCK.finditer(text):
        body = _BLOCK_BODY.match(text, match.end())
        assert body is not None  # it may be empty
        close = _BLOCK_END.match(text, body.end())
        if close is None:
            body = _BASE64.match(text, match.end())
        if body is not None and len(body.group()) >= 64 and len(set(body.group())) >= 16:
            end = close.end() if close else match.end() + len(body.group().rstrip())
            spans.append(Span(match.start(), end, KEY))
    return spans
