"""`tokenmill explain --blocks`: what skim sees in a page, block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tokenmill.cli.console import output_console, safe_line
from tokenmill.cli.page_file import read_page
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop
from tokenmill.extract.decode import DecodeHtml
from tokenmill.extract.skim import assemble, facts
from tokenmill.extract.skim.skim import CUTS, Judged, Skim

_SHOWN = 100
"""Characters of a block that the table shows."""


def explain_blocks(page: str, *, focus: str, model: str | None, url: str | None, text: bool, as_json: bool) -> None:
    """Print the blocks of an HTML file (`-`: standard input) with their probabilities, and which are kept.

    ConfigError where the file cannot be read or holds no page.
    """
    if focus not in CUTS:
        raise ConfigError(f"no focus {focus!r}", where="--focus", fix=f"one of {', '.join(CUTS)}")
    skim = Skim(CUTS[focus], model_path=Path(model) if model else None)
    judged = skim.judge(_decoded(page))
    kept = assemble.assemble(judged.scan, judged.choice.keep)
    if text:
        print(kept)
        return
    summary = {
        "kept": int(judged.choice.keep.sum()),
        "blocks": len(judged.probabilities),
        "cut": skim.cut,
        "confidence": round(float(judged.choice.confidence), 3),
        "expected_gain": round(float(judged.choice.route), 3),
        "cascade": "trafilatura" if judged.choice.route > skim.route_above else "skim",
        "facts": {name: value for name, value in vars_of(facts.page_facts(judged.scan, url)).items() if value},
    }
    if as_json:
        print(json.dumps({**summary, "blocks": block_rows(judged), "text": kept}, ensure_ascii=False, indent=1))
        return
    _print_table(judged, summary)


def vars_of(found: facts.Facts) -> dict[str, str | None]:
    """The facts by name."""
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def block_rows(judged: Judged) -> list[dict[str, Any]]:
    """One row for each block: place, probability, whether it is kept and why, where it stands, offsets, text."""
    scan = judged.scan
    return [
        {
            "block": block,
            "probability": round(float(judged.probabilities[block]), 4),
            "kept": bool(judged.choice.keep[block]),
            "where": path_of(judged, block),
            "bytes": [int(scan.bl_src[block]), int(scan.bl_src_end[block])],
            "text": scan.block_text(block),
        }
        for block in range(len(judged.probabilities))
    ]


def path_of(judged: Judged, block: int, levels: int = 3) -> str:
    """The innermost elements around a block, each with the beginning of its class or id."""
    scan = judged.scan
    element = int(scan.bl_inner[block])
    names: list[str] = []
    while element > 0 and len(names) < levels:
        attributes = bytes(scan.page[scan.el_attrs[element] : scan.el_attrs_end[element]]).decode("utf-8", "replace")
        names.append((scan.tag_name(element) or "?") + _name_in(attributes))
        element = int(scan.el_parent[element])
    return " > ".join(reversed(names))


def _name_in(attributes: str) -> str:
    for sign, key in ((".", "class="), ("#", "id=")):
        _, found, value = attributes.partition(key)
        if found:
            words = value.lstrip("\"' ").replace('"', " ").replace("'", " ").split()
            return sign + words[0][:24] if words else ""
    return ""


def _decoded(page: str) -> str:
    payload, _ = read_page(page)
    found = DecodeHtml().rewrite(Doc(payload=payload, http_headers="", content_type="text/html", truncated=""))
    if isinstance(found, Drop):
        raise ConfigError("the file holds no page", where=page, why=found.reason, fix="give an HTML file")
    html: str = found["html"]
    return html


def _print_table(judged: Judged, summary: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, show_edge=False)
    for name, width in (("", 4), ("p", 4), ("where", None), ("text", None)):
        table.add_column(name, min_width=width, overflow="ellipsis", no_wrap=True)
    for row in block_rows(judged):
        style = "bold green" if row["kept"] else "dim"
        shown = row["text"] if len(row["text"]) <= _SHOWN else row["text"][:_SHOWN] + "…"
        table.add_row(
            Text("keep" if row["kept"] else "cut", style=style),
            Text(f"{row['probability']:.2f}", style=style),
            Text.from_markup(safe_line(row["where"]), style="dim"),
            Text.from_markup(safe_line(shown), style="" if row["kept"] else "dim"),
        )
    console = output_console()
    console.print(table)
    console.print(
        f"\n{summary['kept']} of {summary['blocks']} blocks kept (p >= {summary['cut']:g} and the rules around it); "
        f"confidence {summary['confidence']:.2f}; trafilatura is expected to win {summary['expected_gain']:+.3f}, "
        f"the cascade takes {summary['cascade']}."
    )
    for name, value in summary["facts"].items():
        console.print(f"[dim]{name}[/] {safe_line(value)}", highlight=False)
