"""How an explanation looks: every number is there, and nothing from the page steers the terminal."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tokenmill.cli.explain_view import explanation_json, print_explanation
from tokenmill.executors.explanation import Duplicate, Explanation, RuleNumber, Step, Verdict

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202eevil [bold]x[/bold] [/] \x9b2J\nbegins a line"


def explained(text: str = "plain", *, agrees: bool = True) -> Explanation:
    """A page that a rewrite has changed and a deduplication has dropped, with `text` wherever a page can put it."""
    rule = RuleNumber("too_few", "words", "<", 50, 49, holds=False, by="language", key=text, meaning=text)
    kept = Duplicate(
        "a#1", 3, f"a#1{text}", keep=False, rule="jaccard", score=0.9, measure="jaccard", least=0.7,
        representative_url=text, compared=[{"doc_id": text, "score": 0.9, "accepted": True}],
        text=f"one two {text} four",
    )  # fmt: skip
    steps = [
        Step("read_warc", "source", "pass"),
        Step(
            "extract_text", "rewrite", "pass", after=f"one two\n{text}", html=900, columns={"title": text, "empty": ""}
        ),
        Step("quality", "filter", "pass", rules=[rule]),
        Step("lines", "rewrite", "pass", before=f"one two\n{text}", after="one two three", note=text),
        Step("dedup", "barrier", "drop", reason="duplicate", detail=text, duplicate=kept),
        Step("later", "filter", "drop", would=True, reason="other", rules=[RuleNumber("r", "s", ">", 1.0, 2.5, True)]),
        Step("write", "sink", "not_reached"),
    ]
    recorded = Verdict("dropped", "dedup", "duplicate", detail=text)
    return Explanation(
        text, "recipe", "replay", run=f"out{text}", mode="filter", doc_id=f"a#2{text}", id=text, url=text, date=text,
        recorded=recorded, replayed=recorded if agrees else Verdict("kept"), steps=steps, text=f"one two three {text}",
        differences=[] if agrees else [text], notes=[text],
        captures=[{"doc_id": text, "id": text, "date": "", "verdict": text}],
    )  # fmt: skip


def shown(found: Explanation, width: int = 80, *, full: bool = False, colours: bool = False) -> str:
    out = io.StringIO()
    print_explanation(Console(file=out, width=width, force_terminal=colours, legacy_windows=False), found, full=full)
    return out.getvalue()


def test_numbers_changes_and_duplicates_are_shown() -> None:
    lines = shown(explained()).splitlines()
    assert lines[0] == "plain"
    assert "dropped by dedup: duplicate" in lines
    assert "  the replay says the same" in lines
    assert any("words < 50 (language=plain)" in line and line.split()[-3:] == ["49", "-1", "-2%"] for line in lines)
    assert any(line.startswith("dedup") and line.endswith("DROP") for line in lines)
    assert any(line.startswith("later") and line.endswith("would drop") for line in lines)
    assert any(line.startswith(" x s > 1") and line.split()[-3:] == ["2.5", "-1.5", "-150%"] for line in lines)
    assert any(line.strip() == "- plain" for line in lines)
    assert any(line.strip() == "+ three" for line in lines)
    assert any("kept: a#1plain" in line for line in lines)
    assert any("tokenmill clusters" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_a_replay_that_does_not_agree_is_loud() -> None:
    text = shown(explained(agrees=False))
    assert "THE REPLAY DOES NOT SAY THE SAME: kept" in text
    assert "differs: plain" in text


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("full", [False, True])
def test_nothing_of_a_page_steers_the_terminal(width: int, full: bool) -> None:
    plain = shown(explained(HOSTILE), width, full=full)
    assert not any(sign in plain for sign in ("\x1b", "\x07", "\x9b", "\u202e"))
    assert "[bold]x[/bold]" in " ".join(plain.split())
    coloured = shown(explained(HOSTILE), width, full=full, colours=True)
    for sign in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert sign not in coloured
    # only texts may have several lines, and theirs are indented
    assert not any(line.startswith("begins a line") for line in plain.splitlines())


def test_json_has_the_differences() -> None:
    told = json.loads(json.dumps(explanation_json(explained(), full=False), allow_nan=False))
    steps = {step["stage"]: step for step in told["steps"]}
    assert steps["lines"]["difference"]["gone"] == 1
    assert steps["extract_text"]["difference"] is None
    assert steps["dedup"]["duplicate"]["difference"]["new"] == 1
    assert steps["quality"]["rules"][0]["margin"] == -1
    assert "text" not in steps["dedup"]["duplicate"]
    assert explanation_json(explained(), full=True)["text"] == "one two three plain"
