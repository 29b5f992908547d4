"""How an explanation is shown: the verdict, then every stage with its numbers, its changes and its duplicates."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from tokenmill.cli.console import safe_line
from tokenmill.core.schema import DOC_ID
from tokenmill.executors.explanation import Duplicate, Explanation, RuleNumber, Step, Verdict
from tokenmill.report.differences import Difference, difference

_STYLES = {"gone": ("- ", "red"), "new": ("+ ", "green"), "equal": ("  ", ""), "elided": ("  ", "dim")}
_COLOURS = {"kept": "green", "dropped": "red", "quarantined": "magenta", "unknown": "yellow"}
_WIDEST = 120
_OUTCOMES = {"pass": "pass", "drop": "DROP", "quarantine": "QUARANTINE", "unknown": "?", "not_reached": "-"}
_HEAD = 600
"""Characters of a text that are shown where it is not asked for in full."""
_COLUMNS = 6
"""Most columns of an annotating stage that are shown."""
_SKIMMING = ("skim", "skim_cut", "trafilatura")


def explanation_json(found: Explanation, *, full: bool) -> dict[str, Any]:
    """`Explanation.to_json`, with the word difference of every changed text, and to the near-duplicate's text."""
    told = found.to_json(full=full)
    for step, about in zip(found.steps, told["steps"], strict=True):
        changed = step.changed and step.before is not None
        about["difference"] = _difference_json(difference(step.before or "", step.after or "")) if changed else None
        if step.duplicate is not None:
            against = _against(found, step, step.duplicate)
            about["duplicate"]["difference"] = None if against is None else _difference_json(against)
    return told


def _difference_json(found: Difference) -> dict[str, Any]:
    return {**vars(found), "pieces": [asdict(piece) for piece in found.pieces]}


def print_explanation(console: Console, found: Explanation, *, full: bool) -> None:
    """The explanation for people; every text of the page without control sequences and markup."""
    view = _View(console, found, full)
    view.head()
    view.verdict()
    view.stages()
    view.tail()


class _View:
    def __init__(self, console: Console, found: Explanation, full: bool) -> None:
        self._console = console
        self._found = found
        self._full = full
        self._width = max(60, min(console.width, _WIDEST))

    def _say(self, *parts: str | tuple[str, str]) -> None:
        self._console.print(Text.assemble(*parts), soft_wrap=True, highlight=False)

    def head(self) -> None:
        found = self._found
        self._say((_plain(found.url or found.query), "bold"))
        about = {
            "document": found.doc_id,
            "record": found.id,
            "date": found.date,
            "archive": found.archive,
            "run": f"{found.run} ({found.recipe}, {found.mode} mode)" if found.run else "",
            "recipe": "" if found.run else found.recipe,
        }
        for name, value in about.items():
            if value:
                self._say((f"  {name:<9} ", "dim"), _plain(value))
        self._say("")

    def verdict(self) -> None:
        found, verdict = self._found, self._found.verdict
        assert verdict is not None
        self._say((_plain(str(verdict)), f"bold {_COLOURS[verdict.outcome]}"))
        for line in self._why(verdict):
            self._say("  ", line)
        if found.what_if and found.recorded is not None and found.replayed is not None:
            self._say(
                "  with this recipe and these settings: ",
                (_plain(str(found.replayed)), f"bold {_COLOURS[found.replayed.outcome]}"),
            )
        elif found.agrees:
            self._say(("  the replay says the same", "green"))
        elif found.agrees is False:
            assert found.replayed is not None
            self._say((f"  THE REPLAY DOES NOT SAY THE SAME: {_plain(str(found.replayed))}", "bold red"))
        for line in found.differences:
            self._say(("  differs: ", "yellow" if found.agrees is not False else "red"), _plain(line))
        for line in found.notes:
            self._say(("  note: ", "dim"), _plain(line))
        self._captures()
        self._say("")

    def _why(self, verdict: Verdict) -> Iterator[str]:
        step = next((step for step in self._found.steps if step.stage == verdict.stage), None)
        rule = next((rule for rule in step.rules if rule.decided), None) if step is not None else None
        if rule is not None:
            meaning = f" ({rule.meaning.rstrip('.')})" if rule.meaning else ""
            yield _plain(f"{rule.signal} is {_number(rule.value)}{meaning}; dropped where {_condition(rule)}")
        elif verdict.value is not None and verdict.threshold is not None:
            yield _plain(f"{verdict.signal} is {_number(verdict.value)}, the threshold {_number(verdict.threshold)}")
        if verdict.detail:
            yield _plain(verdict.detail)
        if step is not None and step.duplicate is not None and not step.duplicate.keep:
            kept = step.duplicate
            yield _plain(f"kept instead: {kept.representative_url or kept.representative_id}")

    def _captures(self) -> None:
        for one in self._found.captures[: None if self._full else 10]:
            self._say("    ", _plain(f"{one[DOC_ID]}  {one['id']}  {one['date'] or ''}  {one['verdict']}"))

    def stages(self) -> None:
        self._row("stage, rule by which it drops", "value", "margin", "of limit", "dim")
        for step in self._found.steps:
            outcome = _OUTCOMES[step.outcome]
            if step.would and step.outcome in ("pass", "drop", "quarantine"):
                outcome = f"would {outcome.lower()}"
            style = "bold red" if outcome in ("DROP", "QUARANTINE") else "bold"
            dim = step.would or step.outcome == "not_reached"
            self._row(step.stage + (" (put in)" if step.inserted else ""), outcome, "", "", "dim" if dim else style)
            self._step(step, dim="dim" if dim else "")

    def _step(self, step: Step, *, dim: str) -> None:
        if step.reason:
            self._line(f"{step.reason}" + (f": {step.detail}" if step.detail else ""), "" if dim else "red")
        if step.note:
            self._line(step.note, "dim")
        for rule in step.rules:
            mark = "*" if rule.decided else "x" if rule.holds else " "
            margin, share = rule.margin, rule.margin_share
            shown = "" if margin is None else ("+" if margin >= 0 else "") + _number(margin)
            of_limit = "" if share is None else f"{share:+.0%}" if abs(share) < 100 else "> 100x"
            style = dim or ("red" if rule.decided else "yellow" if rule.holds else "")
            self._row(f" {mark} {_condition(rule)}", _number(rule.value), shown, of_limit, style)
        self._columns(step)
        self._change(step)
        if step.duplicate is not None:
            self._duplicate(step, step.duplicate)

    def _columns(self, step: Step) -> None:
        values = {name: value for name, value in step.columns.items() if value not in (None, "")}
        if not values or (step.inserted and step.kind == "annotate" and not self._full):
            return  # signals: the filters behind show those that they use
        some = list(values.items()) if self._full else list(values.items())[:_COLUMNS]
        more = f", and {len(values) - len(some)} more (--full)" if len(values) > len(some) else ""
        self._line(", ".join(f"{name}={_number(value)}" for name, value in some) + more, "dim")

    def _change(self, step: Step) -> None:
        if not step.changed:
            return
        after = step.after or ""
        if step.before is None:
            of = f", of a page of {step.html:,}" if step.html else ""
            self._line(f"text of {len(after):,} characters, {after.count(chr(10)) + 1:,} lines{of}", "")
            self._text(after)
            return
        lines = step.before.split("\n"), after.split("\n")
        gone, new = (len(_multiset(a) - _multiset(b)) for a, b in (lines, lines[::-1]))
        told = f"text of {len(step.before):,} characters became {len(after):,}; "
        self._line(told + f"{gone:,} of {len(lines[0]):,} lines are gone or changed, {new:,} are new", "")
        self._difference(difference(step.before, after))

    def _text(self, text: str) -> None:
        shown = text if self._full else text[:_HEAD]
        for line in shown.split("\n"):
            self._wrapped("| ", "dim", safe_line(line))
        if len(shown) < len(text):
            self._line(f"... {len(text) - len(shown):,} more characters (--full)", "dim")

    def _difference(self, found: Difference) -> None:
        if not found.gone and not found.new:
            self._line("the same words: only white space differs", "dim")
            return
        for piece in found.pieces:
            mark, style = _STYLES[piece.kind]
            words = f"... {piece.words:,} equal words ..." if piece.kind == "elided" else safe_line(piece.text)
            self._wrapped(mark, style, words)
        hidden = f"; {found.hidden:,} more changes are not shown" if found.hidden else ""
        cut = "; only the beginnings were compared" if found.cut else ""
        self._line(f"{found.equal:,} words equal, {found.gone:,} gone, {found.new:,} new{hidden}{cut}", "dim")

    def _duplicate(self, step: Step, duplicate: Duplicate) -> None:
        found = self._found
        if duplicate.cluster_size == 1:
            self._line("alone in its cluster" + ("" if duplicate.compared else ": it was compared with none"), "dim")
        else:
            kept = "it is the one that is kept" if duplicate.keep else f"it went as {duplicate.rule}"
            self._line(f"in a cluster of {duplicate.cluster_size:,} documents; {kept}", "")
        if not duplicate.keep:
            self._line(f"kept: {duplicate.representative_id} {duplicate.representative_url}".rstrip(), "bold")
            if duplicate.rule == "exact":
                self._line(f"the same {duplicate.same}", "")
        for one in duplicate.compared:
            sign = "alike" if one["accepted"] else "not alike"
            self._line(f"compared with {one[DOC_ID]}: {one['score']:.3f}, {sign}", "dim")
        against = _against(found, step, duplicate)
        if against is not None:
            self._line("against the text that is kept (-):", "dim")
            self._difference(against)
        if duplicate.cluster_size > 1 and found.run:
            command = f"tokenmill clusters {shlex.quote(found.run)} {shlex.quote(found.doc_id)}"
            self._line(f"the whole cluster: {command}", "dim")

    def tail(self) -> None:
        found = self._found
        if any(rule.margin is not None for step in found.steps for rule in step.rules):
            self._say("")
            text = "margin: distance to the limit, negative beyond it; * decided, x holds too"
            self._say((text, "dim"))
        for step in found.steps:
            if step.columns.get("extracted_by") in _SKIMMING and not found.run:
                self._say((f"blocks that skim has kept and cut: tokenmill explain {found.query} --blocks", "dim"))
        if found.text is not None and self._full:
            self._say("")
            self._say(("the text at the end", "bold"))
            self._text(found.text)

    def _row(self, left: str, value: str, margin: str, share: str, style: str) -> None:
        room = self._width - 34
        left = _plain(left) if not left.startswith(" ") else left[:3] + _plain(left[3:])
        value = _plain(value)
        if len(left) > room:
            self._say((left, style))
            left = ""
        self._say((f"{left:<{room}} {value:>12} {margin:>10} {share:>9}".rstrip(), style))

    def _line(self, text: str, style: str) -> None:
        self._wrapped("", style, safe_line(text))

    def _wrapped(self, mark: str, style: str, text: str) -> None:
        """Lines with an indent and a mark; `text` is markup that has been made safe."""
        content = Text.from_markup(text, style=style)
        for line in content.wrap(self._console, self._width - 6 - len(mark)):
            line.rstrip()
            self._console.print(Text.assemble("    ", (mark, style), line), highlight=False)


def _against(found: Explanation, step: Step, duplicate: Duplicate) -> Difference | None:
    """How the document differs from the one that was kept; None where a text is not stored, or there is none."""
    mine = _text_before(found, step)
    if duplicate.keep or duplicate.text is None or mine is None or duplicate.rule == "exact":
        return None
    return difference(duplicate.text, mine)


def _text_before(found: Explanation, step: Step) -> str | None:
    """The text as it was when it came to a stage; what is stored where nothing was replayed."""
    text = found.text if found.source == "stored" else None
    for one in found.steps:
        if one is step:
            return text
        text = one.after if one.after is not None else text
    return text


def _multiset(lines: list[str]) -> set[tuple[str, int]]:
    counts: dict[str, int] = {}
    found = set()
    for line in lines:
        counts[line] = counts.get(line, 0) + 1
        found.add((line, counts[line]))
    return found


def _condition(rule: RuleNumber) -> str:
    by = f" ({rule.by}={rule.key})" if rule.by else ""
    return f"{rule.signal} {rule.comparison} {_number(rule.threshold)}{by}"


def _number(value: Any) -> str:
    """A value as people read it; four digits of what is no whole number."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_number(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_number(item)}" for name, item in value.items())
    return str(value)


def _plain(text: str) -> str:
    """Text for a `Text`, which knows no markup: without control characters, in one line."""
    return Text.from_markup(safe_line(text)).plain
