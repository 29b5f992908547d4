"""What is questionable about a style without being wrong: prefixes that no cache can use, budgets that do not fit.

Servers reuse the work on the beginning of a prompt, from its first token on, where it is byte for byte that of an
earlier one (prefix caching). With the page last, requests share what stands before it; with the page first, several
styles about one page share everything up to its end, which is worth more as soon as there are two of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.render import DOCUMENT, PLACEHOLDER, render
from tokenmill.rephrase.request import Passage
from tokenmill.rephrase.style import Style

LONG_INSTRUCTION = 0.5
"""Share of `input_tokens`: more of the instruction outside a cached prefix weighs on every request."""
TEMPLATE_TOKENS = 64
"""Room for what a chat template puts around the messages."""
LONG_REQUEST = 32_768
"""Tokens of page and answer: beyond the context of many models that are used for rephrasing."""
LITTLE_ROOM: Mapping[str, float] = {"plain": 0.5, "prefix": 0.5, "conversation": 0.5, "after_marker": 0.8}
"""By format: least output_tokens per input token of a rewrite that is not cut off too often."""
_LIKELY_NAME = re.compile(
    r"\{\s{0,4}[A-Z][A-Za-z_]{0,39}\s{0,4}\}|\{\s{1,4}[a-z_]{1,40}\s{0,4}\}|\{[a-z_]{1,40}\s{1,4}\}"
)
_FORMATTED = re.compile(
    r"\{\{[^{}\n]{1,80}\}\}|\{[a-z_]{0,40}[!:][a-z<>0-9]{1,10}\}|%\([a-z_]{1,40}\)s|\$\{[a-z_]{1,40}\}"
)
_LANGUAGE = re.compile(r"\blanguage\b", re.IGNORECASE)
_NOTHING_ELSE = re.compile(r"\b(only|nothing|no other|exactly|never with)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Costs:
    """Tokens of a full request of a style."""

    instruction: int
    """All but the page."""
    prefix: int
    """At the beginning that the requests of other pages share."""
    page_prefix: int
    """At the beginning that the requests of other styles about the same page share."""
    prompt: int
    """With a page of `input_tokens`."""
    total: int
    """With an answer of `output_tokens`, and room for the chat template."""


def costs(style: Style, counter: Counter) -> Costs:
    """The tokens of a request with a full passage."""
    one, other = (render(style, Passage("", 0, 0, 0, text, 0), seed=0) for text in ("a", "b"))
    first, second = ("\n\n".join(m["content"] for m in found.messages) for found in (one, other))
    same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(first))
    prefix = 0 if style.variables and _drawn_before(style) else counter.count(first[:same])
    instruction = counter.count(first)
    page_first = style.layout == "document_first"
    prompt = instruction + style.input_tokens
    return Costs(
        instruction=instruction,
        prefix=prefix,
        page_prefix=prefix + style.input_tokens if page_first else 0,
        prompt=prompt,
        total=prompt + style.output_tokens + TEMPLATE_TOKENS,
    )


def lint(style: Style, counter: Counter, *, context: int = 0) -> list[str]:
    """Warnings, each a sentence; empty where there is nothing to say. context: tokens that the model has room for."""
    found = costs(style, counter)
    return [*_budget_warnings(style, found, context), *_prefix_warnings(style, found), *_wording_warnings(style)]


def lint_together(styles: Iterable[Style]) -> list[str]:
    """Warnings about styles that one document gets: which of them could share the work on its page, and do not."""
    listed = list(styles)
    first = [style for style in listed if style.layout == "document_first"]
    warnings = []
    budgets = sorted({(style.input_tokens, style.min_tokens) for style in first})
    if len(budgets) > 1:
        names = ", ".join(f"{style.name} ({style.input_tokens:,}, {style.min_tokens})" for style in first)
        warnings.append(
            f"the page stands first in {names}, but only styles with equal input_tokens and min_tokens ask about equal "
            "passages and share the cached work on them"
        )
    if len(listed) - len(first) > 1:
        names = ", ".join(style.name for style in listed if style not in first)
        warnings.append(
            f"{names} put the page last: with layout: document_first and equal budgets each page is read by the model "
            "once instead of once per style (try both: the order changes answers)"
        )
    return warnings


def _drawn_before(style: Style) -> bool:
    """Whether something that differs between documents stands before the page."""
    if style.layout == "document_first":
        return False
    before = style.system + style.prompt.partition(f"{{{DOCUMENT}}}")[0]
    return any(found[1] in style.variables for found in PLACEHOLDER.finditer(before))


def _budget_warnings(style: Style, found: Costs, context: int) -> list[str]:
    warnings = []
    if context and found.total > context:
        warnings.append(
            f"a full request has {found.total:,} tokens (instruction {found.instruction:,}, page"
            f" {style.input_tokens:,}, answer {style.output_tokens:,}, chat template about"
            f" {TEMPLATE_TOKENS}), and the model has room for {context:,}"
        )
    elif style.input_tokens + style.output_tokens > LONG_REQUEST:
        warnings.append(
            f"page and answer have up to {style.input_tokens + style.output_tokens:,} tokens: beyond {LONG_REQUEST:,},"
            " which is the context of many models"
        )
    fresh = found.instruction - found.prefix
    if fresh > LONG_INSTRUCTION * style.input_tokens:
        warnings.append(
            f"{fresh:,} tokens of the instruction are no prefix that can be cached, for pages of at most "
            f"{style.input_tokens:,}: {fresh / found.prompt:.0%} of a full prompt"
        )
    least = LITTLE_ROOM.get(str(style.format.get("kind")), 0.0) * style.input_tokens
    shortens = any(r.signal == "check_length_ratio" and r.comparison == ">" and r.threshold <= 1.2 for r in style.rules)
    if style.kind == "rewrite" and not shortens and style.output_tokens < least:
        warnings.append(
            f"answers of at most {style.output_tokens:,} tokens about pages of {style.input_tokens:,} will often be"
            " cut off"
        )
    return warnings


def _prefix_warnings(style: Style, found: Costs) -> list[str]:
    if style.layout == "document_first":
        return []
    if style.variables and _drawn_before(style):
        return ["a variable stands before the page, so hardly any prefix can be cached: put it behind {document}"]
    if found.prefix < 0.5 * found.instruction:
        return [
            f"{found.prefix:,} of {found.instruction:,} tokens of the instruction stand before the page, where they can"
            " be cached: put what is long before {document}"
        ]
    return []


def _wording_warnings(style: Style) -> list[str]:
    text = f"{style.system}\n{style.prompt}"
    warnings = [
        f"{match[0]!r} looks like a name in braces and is sent as it stands: names are small letters without spaces"
        for match in _LIKELY_NAME.finditer(text)
    ]
    warnings += [
        f"{match[0]!r} is no form that is filled in: write {{name}}, and braces once"
        for match in _FORMATTED.finditer(text)
    ]
    if style.kind != "edit" and not _LANGUAGE.search(text):
        warnings.append("it does not say in which language to answer: models answer in that of the prompt")
    before, _, _ = text.partition(f"{{{DOCUMENT}}}")  # the instruction may stand on either side of the page
    if not any(_NOTHING_ELSE.search(end.rstrip()[-600:]) for end in (before, text)):
        warnings.append("it does not end by asking for the answer alone: many models add remarks")
    for key in ("opening", "marker"):
        wanted = style.format.get(key)
        if isinstance(wanted, str) and wanted not in text:
            warnings.append(f"answers must have {wanted!r}, which the prompt does not show")
    labels = style.format.get("labels", ("Question", "Answer")) if style.format.get("kind") == "qa" else ()
    warnings += [
        f"answers must have the label {f'{x}:'!r}, which the prompt does not show"
        for x in labels
        if f"{x}:" not in text
    ]
    return warnings
