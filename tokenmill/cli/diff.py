"""`tokenmill diff`: how two runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from tokenmill.cli.console import counted, make_table, output_console, print_json, safe_line
from tokenmill.report.diff import RunDiff, Sample, TextSample, diff_runs
from tokenmill.report.diff_settings import Changed, Settings
from tokenmill.report.units import percent

_STYLES = {"gone": ("- ", "red"), "new": ("+ ", "green"), "equal": ("  ", ""), "elided": ("  ", "dim")}
_SHOWN = 25
"""Most kinds of changed verdicts that are listed."""


def show_diff(run_a: str, run_b: str, *, samples: int, stage: str | None, as_json: bool) -> None:
    """Print how two finished runs differ. ConfigError where one is no finished run."""
    found = diff_runs(run_a, run_b, samples=samples, stage=stage or "")
    if as_json:
        print_json(found.to_json())
        return
    console = output_console()
    _print(console, f"[bold]A[/] {safe_line(run_a)}")
    _print(console, f"[bold]B[/] {safe_line(run_b)}")
    _print_settings(console, found.settings)
    _print_funnel(console, found)
    _print_changed(console, found)
    _print_only(console, found)
    _print_texts(console, found)
    for note in found.notes:
        _print(console, f"[dim]note: {safe_line(note)}[/]")


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _print_settings(console: Console, settings: Settings) -> None:
    sections: Sequence[tuple[str, Sequence[Changed]]] = (
        ("stages", settings.stages),
        ("settings", settings.settings),
        ("run", settings.options),
        ("models, lists, code", settings.digests),
        ("versions", settings.versions),
    )
    rows = [(name, change) for name, changes in sections for change in changes]
    if not rows:
        _print(console, "\nthe same recipe, settings and versions")
    else:
        table = make_table(title="what differs")
        for name in ("", "setting", "A", "B"):
            table.add_column(name, overflow="fold")
        for name, change in rows:
            table.add_row(name, safe_line(change.what), _value(change.a), _value(change.b))
        console.print(table)
    inputs = settings.inputs
    told = f"inputs: {inputs['a']:,} in A, {inputs['b']:,} in B"
    if inputs["only_a"] or inputs["only_b"]:
        told += f"; {inputs['only_a']:,} only in A, {inputs['only_b']:,} only in B"
    _print(console, told)


def _value(value: Any) -> str:
    text = "-" if value is None else str(value)
    return safe_line(text if len(text) <= 80 else text[:77] + "...")


def _print_funnel(console: Console, found: RunDiff) -> None:
    table = make_table(title="funnel: documents left, and lost")
    table.add_column("stage, reason", overflow="fold")
    for name in ("left A", "left B", "lost A", "lost B", "B - A"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.funnel:
        gap = row.b - row.a
        style = "yellow" if gap else ""
        if not row.stage:
            table.add_row("records", f"{row.left_a:,}", f"{row.left_b:,}", "", "", "")
        elif not row.reason:
            left = f"{row.left_a:,}", f"{row.left_b:,}"
            lost = f"{row.a:,}", f"{row.b:,}", f"{gap:+,}" if gap else ""
            table.add_row(safe_line(row.stage), *left, *lost, style=f"bold {style}".strip())
        else:
            table.add_row(
                f"  {safe_line(row.reason)}",
                "",
                "",
                f"{row.a:,}",
                f"{row.b:,}",
                f"{gap:+,}" if gap else "",
                style=style,
            )
    console.print(table)


def _print_changed(console: Console, found: RunDiff) -> None:
    changed = found.changed
    total = sum(count for _, _, count in changed)
    of = f" of {safe_line(found.stage)}" if found.stage else ""
    share = percent(total / max(found.documents, 1))
    if found.untold.total():
        number = counted(found.untold.total(), "document")
        text = f"{number} dropped by a filter in one run; of these the annotated one "
        _print(console, f"\n[dim]{text}has only stored that a later stage ended them: not counted as changed[/]")
    if not changed:
        _print(console, f"\nno verdict{of} changed: {counted(found.documents, 'document')} in both")
        return
    title = f"{total:,} of {found.documents:,} documents have another verdict{of} ({share})"
    table = make_table(title=title)
    table.add_column("documents", justify="right", no_wrap=True)
    table.add_column("in A", overflow="fold")
    table.add_column("in B", overflow="fold")
    for one, other, count in changed[:_SHOWN]:
        table.add_row(f"{count:,}", _verdict(one), _verdict(other))
    console.print(table)
    if len(changed) > _SHOWN:
        _print(console, f"and {len(changed) - _SHOWN:,} more kinds of change (--json has all)")
    kinds: dict[tuple[str, str], list[Sample]] = {}
    for sample in found.samples:
        kinds.setdefault((sample.verdict_a, sample.verdict_b), []).append(sample)
    for (one, other), samples in sorted(kinds.items(), key=lambda item: -found.verdicts[item[0]])[:_SHOWN]:
        _print(console, f"\n{safe_line(one)} [dim]became[/] {safe_line(other)}")
        for sample in samples:
            numbers = "; ".join(filter(None, (_numbers("A", sample.a), _numbers("B", sample.b))))
            _print(console, f"  {safe_line(sample.url or sample.doc_id)} [dim]{safe_line(numbers)}[/]".rstrip())
    if found.samples:
        first = found.samples[0]
        _print(console, f"\n[dim]why: tokenmill explain '{safe_line(first.id or first.doc_id)}' --run RUN[/]")


def _verdict(verdict: str) -> Text:
    return Text.from_markup(safe_line(verdict), style="green" if verdict == "kept" else "")


def _numbers(name: str, rule: Mapping[str, Any]) -> str:
    if rule.get("value") is None or rule.get("threshold") is None:
        return ""
    return f"{name}: {rule['signal']} {rule['value']:.4g} against {rule['threshold']:.4g}"


def _print_only(console: Console, found: RunDiff) -> None:
    for name, counts in (("A", found.only_a), ("B", found.only_b)):
        if counts:
            told = ", ".join(f"{verdict} {count:,}" for verdict, count in counts.most_common(6))
            _print(console, f"\n{counted(counts.total(), 'document')} only in {name}: {safe_line(told)}")


def _print_texts(console: Console, found: RunDiff) -> None:
    if not found.texts_changed:
        _print(console, f"\nno text changed: {counted(found.texts, 'document')} kept by both")
        return
    share = percent(found.texts_changed / found.texts)
    _print(console, f"\n[bold]{found.texts_changed:,} of {found.texts:,} texts kept by both changed ({share})[/]")
    for sample in found.text_samples:
        _print_text(console, sample)


def _print_text(console: Console, sample: TextSample) -> None:
    lengths = f"{sample.chars_a:,} characters in A, {sample.chars_b:,} in B"
    _print(console, f"\n  {safe_line(sample.url or sample.doc_id)} [dim]{lengths}[/]")
    width = max(20, min(console.width, 120) - 6)
    if not sample.difference.gone and not sample.difference.new:
        _print(console, "    the same words: only white space differs")
        return
    for piece in sample.difference.pieces:
        mark, style = _STYLES[piece.kind]
        words = f"... {piece.words:,} equal words ..." if piece.kind == "elided" else safe_line(piece.text)
        for line in Text.from_markup(words, style=style).wrap(console, width):
            line.rstrip()
            console.print(Text.assemble("    ", (mark, style), line), highlight=False)
