"""`report.html`: one self-contained page, safe to open whatever the crawled pages contained.

The data of the page is one island of JSON; the page's own script makes every element and writes what comes from the
data as text. A content security policy names the digests of that script and of the styles and forbids all else, so
nothing that a page, a header or a recipe says can become an element, run, or load something.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from tokenmill.report.units import human_bytes, percent

__all__ = ["human_bytes", "percent", "render"]

STYLES = ("base", "parts", "explorer", "print")
SCRIPTS = (
    *("dom", "charts", "data", "overview", "funnel", "whatif", "explorer"),
    *("rules", "samples", "corpus", "care", "main"),
)
"""Files in `templates/page/`, in the order in which they are put together."""

_UNSAFE = re.compile("[<>&\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""What an island of JSON in HTML must not hold, or what deceives those who read its source: the letters of markup and
comments, controls, line breaks of scripts, marks of direction, and halves of surrogate pairs, which UTF-8 lacks."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def render(data: Mapping[str, Any]) -> str:
    """The report as HTML, of what `page_data` gives. ValueError where a number is not finite."""
    style, script = _source(STYLES, "css"), f'(() => {{\n"use strict";\n{_source(SCRIPTS, "js")}}})();\n'
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    from markupsafe import Markup

    page = _template().render(
        title=_title(data),
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        island=Markup(island(data)),
    )
    return str(page)


def island(data: Mapping[str, Any]) -> str:
    """JSON that any HTML parser leaves as it is, and that any JSON parser reads as `data`; it encodes as UTF-8."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _title(data: Mapping[str, Any]) -> str:
    recipe = _CONTROL.sub(" ", data["run"]["recipe"]).encode("utf-8", "replace").decode()
    return f"{recipe}: what was kept and why"


def _digest(text: str) -> str:
    """As the policy wants it: of the bytes between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _source(names: Sequence[str], ending: str) -> str:
    folder = files("tokenmill.report") / "templates" / "page"
    return "\n".join((folder / f"{name}.{ending}").read_text(encoding="utf-8") for name in names)


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tokenmill.report", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html")
