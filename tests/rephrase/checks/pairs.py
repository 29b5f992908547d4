"""Pairs for tests: an output beside a source, in a style of given kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tokenmill.rephrase.checks.rules import rules_from
from tokenmill.rephrase.checks.run import Pair, check_pairs, verdicts
from tokenmill.rephrase.style import Style

INSTRUCTION = (
    "Rewrite the page below in the style of an encyclopedia. Keep every fact of the page and do not add others. "
    "Answer with the rewritten text alone."
)
STYLE = Style("test", 1, "Test", "rewrite", "", "{document}", "", 512, 512)
PAGE = (
    "The harbour of Whitby was enlarged between 1835 and 1847 at a cost of 12,500 pounds. Two piers of local stone "
    "keep the swell out, and the lighthouse on the western one is 25 metres high. In a good year some 300 boats landed "
    "herring here, most of them from Scotland. The fishery declined after the war, when nylon nets and larger trawlers "
    "arrived. Today about forty small boats work from the inner harbour, and visitors outnumber fishermen by far."
)
PARAPHRASE = (
    "Whitby's port grew in the years from 1835 to 1847, for which 12,500 pounds were spent. Local stone was used for a "
    "pair of piers that break the waves; a light tower of 25 metres stands on the western arm. About 300 vessels, "
    "chiefly Scottish ones, brought in herring when catches were good. After the war, bigger trawlers and nylon nets "
    "led to a decline. Nowadays some forty little boats are left, and there are many more tourists than fishers."
)


def style(kind: str = "rewrite", checks: dict[str, Any] | None = None, format: str = "plain") -> Style:
    rules = rules_from(checks or {}, kind, format)
    return replace(STYLE, kind=kind, rules=rules, format={"kind": format})


def pair(source: str, output: str, **fields: Any) -> Pair:
    given = {"instruction": INSTRUCTION, "finish_reason": "stop", "tokens_in": 100, "tokens_out": 100, **fields}
    return Pair(source, output, **{"style": style(), **given})


def value(name: str, source: str, output: str, **fields: Any) -> Any:
    """What one check measures on one pair."""
    return check_pairs([pair(source, output, **fields)]).column(f"check_{name}")[0].as_py()


def reason(source: str, output: str, **fields: Any) -> str | None:
    """Why a pair is rejected; None where it is not."""
    one = pair(source, output, **fields)
    drop = verdicts(check_pairs([one]), [one])[0]
    return drop.reason if drop else None
