"""Pages that are made from the code say what the code says, and text from archives stays text."""

from __future__ import annotations

import inspect
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.properties import examples
from tokenmill.core.stage import Filter, registered_stages
from tokenmill.pipelines import RECIPES, recipe
from tools.docs import api, markdown, reference, stages

STAGES = stages.documented()
MARKDOWN = MarkdownIt("commonmark").enable("table")


def cells(text: str) -> list[list[str]]:
    """The rows of the first table of a page, as the reader of the page has them."""
    rows: list[list[str]] = []
    tokens = MARKDOWN.parse(text)
    for token, after in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            rows[-1].append("".join(child.content for child in after.children or []))
        if token.type == "table_close":
            break
    return rows


@pytest.mark.parametrize("name", sorted(STAGES))
def test_settings_and_rules_of_a_stage(name: str) -> None:
    cls = STAGES[name]
    fields = stages.settings_of(cls)
    shown = cells(stages.settings_table(cls))[1:]
    assert [row[0] for row in shown] == [field.name for field in fields]
    assert all(row[1] == field.type for row, field in zip(shown, fields, strict=True))
    for row, field in zip(shown, fields, strict=True):
        assert row[2] == ("required" if field.required else markdown.shorten(field.default))
        assert row[3].replace(" ", "")[:40] or not field.text
    stage = stages.made(cls)
    if isinstance(stage, Filter):
        assert [row[0] for row in cells(stages.rules_table(stage))[1:]] == [rule.reason for rule in stage.rules()]


def test_every_stage_has_a_page() -> None:
    ours = {n: c for n, c in registered_stages().items() if c.__module__.startswith("tokenmill.")}
    left_out = {name for name, cls in ours.items() if name not in STAGES}
    assert all(inspect.isabstract(ours[name]) or stages.kind_of(ours[name]) == "Stage" for name in left_out)
    assert set(stages.NEEDS) <= set(STAGES)


def test_every_stage_that_cannot_be_made_says_what_it_needs() -> None:
    assert [name for name, cls in STAGES.items() if stages.made(cls) is None and name not in stages.NEEDS] == []


def test_recipes_show_their_stages_and_settings() -> None:
    pages = dict(reference.recipes())
    assert set(pages) == {"index.md", *(f"{name}.md" for name in RECIPES)}
    for name in ("fineweb", "c4"):
        page, pipeline = pages[f"{name}.md"], recipe(name)
        for label, stage in zip(pipeline.labels, pipeline.stages, strict=True):
            assert f"[{label}](../stages/{type(stage).name}.md)" in page
            for field in stages.settings_of(type(stage)):
                value = markdown.shorten(getattr(stage, field.name))
                assert f"| `{label}.{field.name}` | {markdown.code(value)} |" in page


def test_signals_are_all_there() -> None:
    from tokenmill.core.signals import known_signals

    page = reference.signals()
    for name, found in known_signals().items():
        if found.compute is None:
            assert f"| `{name}` | {found.dtype} |" in page


def test_every_exported_name_is_in_the_api() -> None:
    import tokenmill

    page = dict(api.pages())["index.md"]
    for name in tokenmill.__all__:
        assert f"[{name}](" in page or f"`{name}`" in page, name


@examples(20, 500)
@given(st.text())
def test_text_from_archives_stays_text(text: str) -> None:
    tokens = MARKDOWN.parse(markdown.literal(text))
    assert [token.type for token in tokens] == ["fence"]


@examples(20, 500)
@given(st.text())
def test_a_cell_stays_one_cell(text: str) -> None:
    for shown in (markdown.code(text), markdown.inline(text)):
        rows = cells(markdown.table(["a", "b"], [[shown, "end"]]))
        assert [len(row) for row in rows] == [2, 2]
        assert rows[1][1] == "end"
        assert not any(token.type == "html_block" for token in MARKDOWN.parse(f"| a |\n|---|\n| {shown} |"))
