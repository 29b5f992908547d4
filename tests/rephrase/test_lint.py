"""Warnings about styles: none about those of the package, and one for each thing that is questionable."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tokenmill.core.rule import Rule
from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.lint import costs, lint, lint_together
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style, styles

COUNTER = Counter()
GOOD = Style(
    "s",
    1,
    "t",
    "rewrite",
    "",
    "Say in other words what the page says, in the language of the page.\n\n{document}\n\nAnswer with the text only.",
    "",
    input_tokens=1000,
    output_tokens=1000,
    rules=(Rule("check_length_ratio", ">", 2.0, "too_long"),),
)


@pytest.mark.parametrize("style", list(styles().values()), ids=lambda style: style.name)
def test_the_package_has_nothing_to_warn_of(style: Style) -> None:
    assert lint(style, COUNTER, context=8192) == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, ""),
        ({"output_tokens": 500}, ""),
        ({"output_tokens": 499}, "will often be cut off"),
        ({"output_tokens": 100, "rules": (Rule("check_length_ratio", ">", 0.5, "too_long"),)}, ""),
        ({"output_tokens": 4000}, "the model has room for 4,096"),
        ({"prompt": "Long. " * 400 + GOOD.prompt, "layout": "document_first"}, "no prefix that can be cached"),
        ({"prompt": "{document}\n" + GOOD.prompt.replace("{document}", "") + " Long." * 40}, "put what is long before"),
        (
            {"prompt": GOOD.prompt.replace("Say", "Say for {reader}"), "variables": {"reader": ("a", "b")}},
            "behind {doc",
        ),
        ({"prompt": GOOD.prompt.replace("with", "for {reader} with"), "variables": {"reader": ("a", "b")}}, ""),
        ({"prompt": GOOD.prompt + " {Reader}"}, "'{Reader}' looks like a name"),
        ({"prompt": GOOD.prompt + " { reader }"}, "'{ reader }' looks like a name"),
        ({"prompt": GOOD.prompt + " {{reader}}"}, "'{{reader}}' is no form"),
        ({"prompt": GOOD.prompt + " {reader!r}"}, "'{reader!r}' is no form"),
        ({"prompt": GOOD.prompt + ' {"op": 1} {1, 2} {}'}, ""),
        ({"prompt": GOOD.prompt.replace("language", "tongue")}, "in which language"),
        ({"prompt": GOOD.prompt.replace("only", "please")}, "asking for the answer alone"),
        ({"prompt": "Answer with the new text only, in the language of the page.\n\n{document}"}, ""),
        ({"format": {"kind": "prefix", "opening": "Text:"}}, "'Text:', which the prompt does not show"),
        ({"format": {"kind": "qa"}}, "label 'Question:'"),
    ],
)
def test_warnings(changes: dict[str, Any], warning: str) -> None:
    found = lint(dataclasses.replace(GOOD, **changes), COUNTER, context=4096)
    assert bool(found) == bool(warning)
    if warning:
        assert warning in " ".join(found)


def test_costs() -> None:
    last, first = costs(GOOD, COUNTER), costs(dataclasses.replace(GOOD, layout="document_first"), COUNTER)
    assert last.instruction == pytest.approx(first.instruction, abs=3)
    assert 0 < first.prefix < last.prefix < last.instruction
    assert (last.page_prefix, first.page_prefix) == (0, first.prefix + 1000)
    assert last.prompt == last.instruction + 1000
    assert last.total == last.prompt + 1000 + 64


def test_styles_that_could_share_their_pages() -> None:
    def warnings(*names: str) -> str:
        return " ".join(lint_together(load_style(name) for name in names))

    assert warnings("faq", "math", "table", "tutorial") == ""
    assert warnings("wikipedia") == ""
    assert "equal input_tokens" in warnings("faq", "diverse_qa")
    assert "layout: document_first" in warnings("distill", "extract_knowledge")


@pytest.mark.parametrize(("tokens", "warned"), [(32_768 - 1000, False), (32_768 - 999, True), (1_500_000, True)])
def test_budgets_beyond_most_contexts(tokens: int, warned: bool) -> None:
    found = lint(dataclasses.replace(GOOD, input_tokens=tokens, format={"kind": "list"}), COUNTER)
    assert any("the context of many models" in one for one in found) is warned
