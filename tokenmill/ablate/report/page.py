"""The page: what it says in words, and its two forms. Everything that a name could be is escaped in both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenmill.ablate.analysis import LIMITS, Analysis
from tokenmill.ablate.report.style import amount, printable
from tokenmill.ablate.report.tables import Table

_MARKS = re.compile(r"([\\`*_{}\[\]|~$]|^[#+-])")
"""What means something in Markdown anywhere, and at the beginning of a line; links need brackets."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page."""

    key: str
    title: str
    caption: str
    svg: str
    file: str


@dataclass(frozen=True)
class Page:
    """Everything on it, as plain text except the pictures."""

    title: str
    headline: str
    details: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    caveats: tuple[str, ...]
    missing: tuple[str, ...]
    limits: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]


def contents(
    analysis: Analysis, decision: Mapping[str, Any], tables: Sequence[Table], pictures: Sequence[Picture]
) -> Page:
    """The words of the page."""
    name = str(analysis.scores.description.get("name") or "ablation")
    headline, details = _headline(analysis, decision)
    return Page(
        title=printable(name),
        headline=printable(headline),
        details=tuple(map(printable, details)),
        facts=tuple((name, printable(value)) for name, value in _facts(analysis)),
        caveats=tuple(map(printable, analysis.caveats)),
        missing=tuple(map(printable, analysis.everything.missing)),
        limits=LIMITS,
        tables=tuple(tables),
        pictures=tuple(pictures),
    )


def _headline(analysis: Analysis, decision: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    verdict, leaders = decision["verdict"], decision["leaders"]
    if analysis.judgement is None:
        return "No score yet", ()
    if verdict is None:
        return f"One arm: {leaders[0] if leaders else analysis.scores.arms[0]}, nothing to compare it with", ()
    unfinished = _unfinished(decision)
    if decision["effect"] is None:
        return f"TIE: {' and '.join(leaders)} share no seed and cannot be compared{unfinished}", ()
    effect, (low, high) = decision["effect"], decision["interval"]
    against = decision["against"]
    size = f"{100 * effect:+.2f} % (95 %: {100 * low:+.2f} to {100 * high:+.2f} %)"
    if verdict == "TIE":
        needed = decision["seeds_needed"]
        tied = " and ".join(leaders) if len(leaders) <= 4 else f"{len(leaders)} arms"
        more = f"would take {needed} seeds" if needed else "takes more items: more seeds alone do not find it"
        margin = analysis.judgement.margin
        seen = f"An effect as large as this one {more}."
        if margin and abs(effect) > margin and needed:
            seen = f"To tell an effect as large as this one from the margin of {100 * margin:.3g} % {more}."
        if margin and abs(effect) <= margin:
            seen = f"This effect is within the margin of {100 * margin:.3g} %: too small to matter, by what was asked."
        return f"TIE: {tied} cannot be told apart{unfinished}", (
            f"{leaders[0]} over {against}: {size} fewer bits per byte.",
            f"The smallest effect that this experiment finds reliably is {100 * decision['mde']:.2f} %. {seen}",
            *_beaten(decision, leaders[0]),
        )
    word = "wins" if verdict == "WIN" else "leads, without certainty"
    return f"{verdict}: {leaders[0]} {word}{unfinished}", (
        f"Over {against}, the closest: {size} fewer bits per byte.",
        f"Probability to be the best arm: {decision['p_best'][leaders[0]]:.3f}.",
    )


def _unfinished(decision: Mapping[str, Any]) -> str:
    """What the headline says of runs that are missing."""
    unscored = decision["unscored"]
    if unscored:
        named = " and ".join(unscored) if len(unscored) <= 3 else f"{len(unscored)} arms"
        return f" (unfinished: {named} {'has' if len(unscored) == 1 else 'have'} no run)"
    number = len(decision["missing"])
    return f" (unfinished: {number} run{' is' if number == 1 else 's are'} missing)" if decision["provisional"] else ""


def _beaten(decision: Mapping[str, Any], arm: str) -> list[str]:
    """Which arms lose against this one, as a sentence."""
    found = [
        f"{pair['second'] if pair['first'] == arm else pair['first']} ({pair['verdict']})"
        for pair in decision["pairs"]
        if pair["better"] == arm
    ]
    return [f"{arm} is better than {', '.join(found)}."] if found else []


def _facts(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """The head of the report: the protocol and the machine."""
    protocol, scores = analysis.scores.protocol, analysis.scores
    settings = protocol.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    found: list[tuple[str, Any]] = [
        ("study", scores.kind),
        ("protocol", protocol.get("hash")),
        ("preset", protocol.get("preset")),
        ("parameters", _amount(protocol.get("parameters"))),
        ("trained tokens per run", _amount(protocol.get("tokens"))),
        ("tokenizer (SHA-256)", protocol.get("tokenizer")),
        ("matched by", protocol.get("match")),
        ("optimizer", settings.get("optimizer")),
        ("learning rate", settings.get("lr")),
        ("seeds", ", ".join(map(str, scores.seeds))),
        ("baseline", scores.baseline),
        ("noise between seeds", _noise(analysis)),
    ]
    hardware = scores.description.get("hardware")
    if isinstance(hardware, Mapping):
        found += [(f"hardware: {key}", value) for key, value in sorted(hardware.items())]
    return tuple((name, str(value)) for name, value in found if value not in (None, ""))


def _amount(value: Any) -> str | None:
    return amount(float(value)) if isinstance(value, int | float) else None


def _noise(analysis: Analysis) -> str:
    prior = f"prior {100 * analysis.noise.sigma:.2f} % with {analysis.noise.df:g} degrees of freedom"
    prior += f" ({analysis.noise.source})"
    judgement = analysis.judgement
    if judgement is None or judgement.measured.df <= 0:
        return prior
    measured = f"measured {100 * judgement.measured.variance**0.5:.3f} % with {judgement.measured.df:g}"
    return f"{measured}, {prior}, used {100 * judgement.spread.variance**0.5:.3f} %"


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tokenmill.ablate.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("ablation.html")


def render_html(page: Page) -> str:
    """The page as HTML: self-contained, no scripts; only the pictures are not escaped, which are ours."""
    return str(_template().render(page=page)) + "\n"


def escape(text: str) -> str:
    """A text as Markdown that shows it as it is, on one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKS.sub(r"\\\1", plain)


def render_markdown(page: Page) -> str:
    """The page as Markdown; pictures are files beside it."""
    lines = [f"# {escape(page.title)}", "", f"**{escape(page.headline)}**", ""]
    lines += [line for text in page.details for line in (escape(text), "")]
    for title, items in (("Caveats", page.caveats), ("Missing runs", page.missing)):
        if items:
            lines += [f"## {title}", "", *(f"- {escape(item)}" for item in items), ""]
    lines += ["## Protocol", "", "| | |", "|---|---|"]
    lines += [f"| {escape(name)} | {escape(value)} |" for name, value in page.facts]
    lines.append("")
    for picture in page.pictures:
        lines += [f"## {escape(picture.title)}", "", f"![{escape(picture.title)}]({picture.file})", ""]
        lines += [escape(picture.caption), ""]
    for table in page.tables:
        lines += [f"## {escape(table.title)}", "", _row(column.name for column in table.columns)]
        lines.append("|" + "|".join("---:" if column.numeric else "---" for column in table.columns) + "|")
        lines += [_row(cells) for cells in table.shown()]
        lines += ["", *([escape(table.caption), ""] if table.caption else [])]
    lines += ["## Limits", "", *(f"- {escape(item)}" for item in page.limits)]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
