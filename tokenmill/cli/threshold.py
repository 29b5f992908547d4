"""`tokenmill threshold`: which score keeps so many tokens, and what is gained and lost by it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tokenmill.classifiers.decide import check_writable, write_thresholds
from tokenmill.classifiers.published import BYTES_PER_TOKEN, Published
from tokenmill.cli.console import make_table, output_console, safe_line
from tokenmill.core.errors import ConfigError
from tokenmill.report.keep import Keep
from tokenmill.report.shares import Example, Share
from tokenmill.report.thresholds import Amount, Answer, Choice, Question, ask
from tokenmill.report.units import human_bytes, percent

_GROUPS = 40
"""Most thresholds that are printed; `--json` and `--write` have all."""


def show_threshold(
    location: str,
    *,
    score: str,
    keep: str,
    per: str | None,
    by: Sequence[str],
    examples: int,
    top: int,
    least_group: int,
    write: str | None,
    as_json: bool,
    without: Sequence[str] = (),
) -> None:
    """Print the threshold of a run's score that keeps so much, and what it does. write: YAML file for ScoreFilter.

    without: filters of an annotated run whose verdicts are left aside.
    """
    for name, value, least in (("--examples", examples, 0), ("--top", top, 0), ("--min-group", least_group, 1)):
        if value < least:
            raise ConfigError(f"{name} {value} is below {least}")
    if write and not per:
        raise ConfigError(
            "--write is for thresholds per group", fix="add --per language; one threshold is a setting: min_score"
        )
    if write:
        check_writable(write)
    question = Question(score, Keep.parse(keep), per or "", tuple(by), examples, top, least_group, tuple(without))
    answer = ask(Published.open(location), question)
    if write:
        thresholds, overall = answer.thresholds, answer.overall.threshold
        write_thresholds(write, score, question.per, thresholds, overall, question.keep.text, location)
        answer.refilter = tuple(word.replace("=FILE", f"={write}") for word in answer.refilter)
    if as_json:
        print(json.dumps(_json(answer), indent=1, ensure_ascii=False))
        return
    _print(output_console(), answer, write)


def _json(answer: Answer) -> dict[str, Any]:
    """The answer as plain values; shares with their ratio."""
    found = asdict(answer)
    found["question"]["keep"] = answer.question.keep.text
    found["refilter"] = shlex.join(answer.refilter)
    found["thresholds"] = answer.thresholds
    found["shares"] = {
        name: [{**asdict(share), "ratio": share.ratio} for share in shares] for name, shares in answer.shares.items()
    }
    return found


def _print(console: Console, answer: Answer, written: str | None) -> None:
    question, overall = answer.question, answer.overall

    def say(line: str, style: str = "") -> None:
        console.print(safe_line(line), highlight=False, style=style, soft_wrap=True)

    if not question.per:
        say(f"threshold: {question.score} >= {overall.threshold!r} keeps {_share(answer, answer.kept)}", "bold")
        for line in _about(overall, question):
            say(line)
    console.print(_amounts_table(answer))
    if answer.estimated_tokens:
        say(
            f"tokens are estimated where there is no token_count ({answer.estimated_tokens:,} of"
            f" {answer.total.documents:,} documents): UTF-8 bytes / {BYTES_PER_TOKEN}"
        )
    if answer.left_out:
        say(f"{answer.left_out:,} documents that another filter of the annotated run drops are left out")
    if answer.without:
        say(f"left aside: the verdicts of {', '.join(answer.without)}")
    for note in answer.notes:
        say(f"note: {note}", "yellow")
    if question.per:
        console.print(_groups_table(answer))
    for name, shares in answer.shares.items():
        console.print(_shares_table(name, question.keep.weight, shares))
    for title, examples in (("just above (kept)", answer.above), ("just below (lost)", answer.below)):
        if examples:
            console.print(_examples_table(title, examples))
    if written:
        say(f"written: {written}, for ScoreFilter(column={question.score!r}, per={question.per!r}, thresholds=...)")
    elif answer.groups:
        say("--write FILE makes the file of these thresholds that ScoreFilter(thresholds=...) reads")
    if answer.refilter:
        say(f"apply it: {shlex.join(answer.refilter)}", "bold")


def _share(answer: Answer, amount: Amount) -> str:
    weight = answer.question.keep.weight
    part, whole = getattr(amount, weight), getattr(answer.total, weight)
    return f"{_share_of(part, whole)} of the {weight}"


def _share_of(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "-"


def _about(choice: Choice, question: Question) -> list[str]:
    lines = []
    if choice.short:
        lines.append(f"fewer {question.keep.weight} than asked for have a score: all of them are kept")
    if choice.ties > 1:
        lines.append(f"{choice.ties:,} documents have exactly this score: all are kept")
    if choice.other is not None:
        weight = question.keep.weight
        lines.append(f"next in nearness: >= {choice.other!r} would keep {choice.other_keeps:,} {weight}")
    if not choice.exact:
        lines.append("the threshold is the edge of a bucket of 0.025 %: too many different scores lie in it")
    return lines


def _amounts_table(answer: Answer) -> Table:
    table = make_table(title=f"--keep {safe_line(answer.question.keep.text)}")
    for name in ("", "documents", "bytes", "tokens", "of documents", "of bytes", "of tokens"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    total, kept = answer.total, answer.kept
    lost = Amount(total.documents - kept.documents, total.bytes - kept.bytes, total.tokens - kept.tokens)
    rows = (("all", total), ("kept", kept), ("lost", lost), ("of these without a score", answer.no_score))
    for name, amount in rows:
        shares = [
            _share_of(getattr(amount, weight), getattr(total, weight)) for weight in ("documents", "bytes", "tokens")
        ]
        table.add_row(name, f"{amount.documents:,}", human_bytes(amount.bytes), f"{amount.tokens:,}", *shares)
    return table


def _groups_table(answer: Answer) -> Table:
    question = answer.question
    count = len(answer.groups)
    shown = sorted(answer.groups, key=lambda choice: (-choice.total.documents, str(choice.value)))[:_GROUPS]
    title = f"thresholds per {question.per}" + (f": the {_GROUPS} largest of {count:,}" if count > _GROUPS else "")
    table = make_table(title=safe_line(title))
    for name in (question.per, "threshold", "documents", "kept", f"of its {question.keep.weight}", "ties", ""):
        table.add_column(safe_line(name), justify="left" if name in (question.per, "") else "right", overflow="fold")
    for choice in (*shown, answer.overall):
        part, whole = (getattr(amount, question.keep.weight) for amount in (choice.kept, choice.total))
        table.add_row(
            "(all others)" if choice.value is None else safe_line(choice.value),
            f"{choice.threshold!r}",
            f"{choice.total.documents:,}",
            f"{choice.kept.documents:,}",
            _share_of(part, whole),
            f"{choice.ties:,}",
            "has less than asked for" if choice.short else "",
        )
    return table


def _shares_table(name: str, weight: str, shares: Sequence[Share]) -> Table:
    table = make_table(title=f"{safe_line(name)}: what changes most, by share of the {weight}")
    table.add_column(safe_line(name), overflow="fold")
    for column in ("before", "after", "ratio", "documents", "kept"):
        table.add_column(column, justify="right", no_wrap=True)
    for share in shares:
        table.add_row(
            safe_line(share.value),
            percent(share.before),
            percent(share.after),
            f"{share.ratio:.2f}",
            f"{share.documents:,}",
            f"{share.documents_kept:,}",
        )
    return table


def _examples_table(title: str, examples: Sequence[Example]) -> Table:
    table = make_table(title=title)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("page", overflow="fold")
    for example in examples:
        table.add_row(f"{example.score:.6g}", f"{safe_line(example.url)}\n{safe_line(example.text)}")
    return table
