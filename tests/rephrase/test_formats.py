"""Formats: what is read out of answers, and what has not the form that was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenmill.rephrase.formats import FORMATS, check_format, read_format, unwrapped, without_markdown
from tokenmill.rephrase.style import Style


def style_of(kind: str, **more: Any) -> Style:
    form = {"kind": kind, **more}
    assert check_format(form) is None
    return Style("s", 1, "t", "rewrite", "", "{document}", "", input_tokens=40, output_tokens=40, format=form)


def read(text: str, kind: str, **more: Any) -> tuple[str, str]:
    """(kind of failure, text)."""
    found = read_format(style_of(kind, **more), text)
    assert bool(found.text) != bool(found.kind)
    assert bool(found.detail) == bool(found.kind)
    return found.kind, found.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" A text.\r\nMore. ", "A text.\nMore."),
        ("<think>Hm.</think>\n\nA text.", "A text."),
        ("Hm, the template has begun the thoughts.</think>A text.", "A text."),
        ("```\nA text.\n```", "A text."),
        ("```markdown\n# A\ntext\n```", "# A\ntext"),
        ("```python\nprint(1)\n```", "```python\nprint(1)\n```"),
        ("```\na\n```\nbetween\n```\nb\n```", "```\na\n```\nbetween\n```\nb\n```"),
        ('"A text."', "A text."),
        ("“A text.”", "A text."),
        ("«Un texte.»", "Un texte."),
        ('"A," he said, "and B."', '"A," he said, "and B."'),
        ('```\n"A text."\n```', "A text."),
        ('"', '"'),
        ("'A text.'", "'A text.'"),
    ],
)
def test_what_stands_around_answers(text: str, expected: str) -> None:
    assert unwrapped(text) == expected
    assert read(text, "plain") == ("", expected)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("prefix", "after_marker")])
@pytest.mark.parametrize("text", ["", "  \n", "<think>x</think>", "```\n```", '""'])
def test_nothing_is_empty(kind: str, text: str) -> None:
    assert read(text, kind) == ("empty", "")


def test_thoughts_without_an_end_are_no_answer() -> None:
    assert read("<think>First I", "plain") == ("parse", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## Title\n\nSome **bold**, *soft* and __other__ words.", "Title\n\nSome bold, soft and other words."),
        ("***both***", "both"),
        ("2 * 3 * 4, a_b_c and snake_case_name, __init__.py", "2 * 3 * 4, a_b_c and snake_case_name, __init__.py"),
        ("* item\n* item **b**", "* item\n* item b"),
        ("a\n---\nb\n***\nc", "a\nb\nc"),
        ("|a|b|\n|---|---|\n|1|2|", "|a|b|\n|---|---|\n|1|2|"),
        ("--- not a rule", "--- not a rule"),
        ("#hashtag and C# stay", "#hashtag and C# stay"),
        ("x\n```\n# **code**\n```\n**y**", "x\n```\n# **code**\n```\ny"),
        ("**a** ``` **open", "a ``` **open"),
    ],
)
def test_markdown(text: str, expected: str) -> None:
    assert without_markdown(text) == expected
    assert read(text, "plain", strip_markdown=True) == ("", expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Here is the text: Bees fly.", ("", "Bees fly.")),
        ("here is  the\ntext:\n\nBees fly.", ("", "Bees fly.")),
        ("**Here is the text:**\n\n* Bees\n* Wasps", ("", "* Bees\n* Wasps")),
        ('Here is the text:\n"Bees fly."', ("", "Bees fly.")),
        ("Here is the text：蜜蜂会飞。", ("", "蜜蜂会飞。")),
        ("Ｈｅｒｅ is the text: Bees fly.", ("", "Bees fly.")),
        ("Here’s the text: Bees fly.", ("", "Bees fly.")),
        ("Here’s a text: Bees fly.", ("parse", "")),
        ("Here is the text:", ("empty", "")),
        ("Here is the", ("parse", "")),
        ("Here is a text: Bees fly.", ("parse", "")),
        ("Bees fly.", ("parse", "")),
        ("Sure! Here is the text: Bees fly.", ("parse", "")),
    ],
)
def test_prefix(text: str, expected: tuple[str, str]) -> None:
    assert read(text, "prefix", opening="Here is the text:") == expected


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Question: Why?\nAnswer: So.", [("Why?", "So.")]),
        ("Question: A?\nAnswer: B.\n\nQuestion: C?\nAnswer: D.", [("A?", "B."), ("C?", "D.")]),
        ("**Question 1:** A?\n**Answer:** B.", [("A?", "B.")]),
        ("1. Question: A?\n   Answer: B.", [("A?", "B.")]),
        ("(1) **Question**: A?\n- Answer: B.", [("A?", "B.")]),
        ("### Question:\nA?\n### Answer:\nB.\n---", [("A?", "B.")]),
        ("QUESTION: A?\nanswer： B.", [("A?", "B.")]),
        ("Here are the questions:\nQuestion: A?\nAnswer: B.", [("A?", "B.")]),
        ("# FAQ about bees\n\nQuestion: A?\nAnswer: B.", [("A?", "B.")]),
        ("**FAQ about bees**\n\n**Question 1: A?**\n**Answer:** B.", [("A?", "B.")]),
        ("Question: Which?\nA) x\nB) y\nAnswer: B) y\nbecause", [("Which?\nA) x\nB) y", "B) y\nbecause")]),
        ("Question: A?\nAnswer: The question: is it?", [("A?", "The question: is it?")]),
        ("Question: A?\nAnswer: B.\nQuestion: C?", None),
        ("Question: A?\nAnswer:", None),
        ("Question: A?\nQuestion: B?\nAnswer: C.", None),
        ("Answer: B.", None),
        ("Question: A?\nAnswer: B.\nAnswer: C.", None),
        ("The bees fly.\nQuestion: A?\nAnswer: B.", None),
        ("Bees fly.", None),
        ("Questionable: A?\nAnswer: B.", None),
    ],
)
def test_qa(text: str, pairs: list[tuple[str, str]] | None) -> None:
    found = read_format(style_of("qa"), text)
    if pairs is None:
        assert (found.kind, found.text) == ("parse", "")
    else:
        assert found.parts == tuple(pairs)
        assert found.text == "\n\n".join(f"Question: {asked}\nAnswer: {told}" for asked, told in pairs)
        assert read_format(style_of("qa"), found.text).parts == found.parts, "what is published can be read again"


@pytest.mark.parametrize(("count", "expected"), [(1, "parse"), (2, 2), (3, 3), (5, 3)])
def test_how_many_pairs(count: int, expected: int | str) -> None:
    text = "\n\n".join(f"Problem: {number}?\nSolution: {number}." for number in range(count))
    found = read_format(style_of("qa", labels=["Problem", "Solution"], least=2, most=3), text)
    assert (found.kind or len(found.parts)) == expected


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("- Bees fly.\n- Wasps sting.", ["Bees fly.", "Wasps sting."]),
        ("Here is the list:\n\n* Bees fly.\n\n* Wasps sting.", ["Bees fly.", "Wasps sting."]),
        ("1. Bees fly.\n2) Wasps sting.\n(3) Ants walk.", ["Bees fly.", "Wasps sting.", "Ants walk."]),
        ("• Bees fly.\n•Wasps sting.", ["Bees fly.", "Wasps sting."]),
        ("- Bees fly\nfar away.\n- Wasps sting.\n  Indented.", ["Bees fly far away.", "Wasps sting. Indented."]),
        ("- Bees fly.\nI hope this helps!", ["Bees fly."]),
        ("- Bees fly\n- Wasps sting\n\nThese are all the facts.", ["Bees fly", "Wasps sting"]),
        ("- Bees fly.\nThat is all.\nReally all.", None),
        ("- Bees fly.\nSome of them.\n- Wasps sting.", None),
        ("One line.\nAnother line.\n- Bees fly.", None),
        ("Bees fly.", None),
        ("-40 degrees\n3.5 metres", None),
    ],
)
def test_list(text: str, items: list[str] | None) -> None:
    found = read_format(style_of("list"), text)
    assert found.text == "\n".join(items or [])
    assert found.kind == ("" if items else "parse")
    assert list(found.parts) == (items or [])
    assert read_format(style_of("list", least=9), text).kind == "parse"


TABLE = "| Name | Legs |\n|---|:---:|\n| Bee | 6 |\n| Spider \\| web | 8 |"


@pytest.mark.parametrize(
    ("text", "more", "rows"),
    [
        (TABLE, {}, 3),
        (f"Legs:\n\n{TABLE}\n\nBees have fewer.", {"with_text": True}, 3),
        (TABLE, {"with_text": True}, None),
        (TABLE, {"least": 3}, None),
        ("Name | Legs\n--- | ---\nBee | 6", {}, 2),
        ("| Name | Legs |\n|---|---|\n| Bee |", {}, None),
        ("| Name | Legs |\n|---|\n| Bee | 6 |", {}, None),
        ("| Name | Legs |\n|---|---|", {}, None),
        ("| Name | Legs |\n| Bee | 6 |", {}, None),
        ("Bees have six legs.", {}, None),
    ],
)
def test_table(text: str, more: dict[str, Any], rows: int | None) -> None:
    found = read_format(style_of("table", **more), text)
    assert found.kind == ("" if rows else "parse")
    if rows:
        assert found.text == text
        assert len(found.parts) == rows
        assert found.parts[0] == ("Name", "Legs")
    if "Spider" in text and rows:
        assert found.parts[2] == ("Spider | web", "8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It wants to sell.\n\nBETTER TEXT:\nBees fly.", ("", "Bees fly.")),
        ("It wants to sell.\n**Better text:** Bees fly.\nFar.", ("", "Bees fly.\nFar.")),
        ("Thoughts\n## Better Text\nBees fly.", ("", "Bees fly.")),
        ("Thoughts\nBETTER TEXT:\n```\nBees fly.\n```", ("", "Bees fly.")),
        ("Better text: Bees fly.", ("", "Bees fly.")),
        ("Thoughts\nBETTER TEXT:", ("empty", "")),
        ("A better text is needed.\nBetter text is rare.", ("parse", "")),
        ("Bees fly.", ("parse", "")),
    ],
)
def test_after_marker(text: str, expected: tuple[str, str]) -> None:
    assert read(text, "after_marker", marker="BETTER TEXT:") == expected
    if not expected[0]:
        assert "fly" not in str(read_format(style_of("after_marker", marker="BETTER TEXT:"), text).parts)


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Anna: Why?\nBen: So.", [("Anna", "Why?"), ("Ben", "So.")]),
        ("**Anna:** Why?\n\n**Dr. Ben**: So.\nAnd so.", [("Anna", "Why?"), ("Dr. Ben", "So.\nAnd so.")]),
        ("安娜：为什么？\n本：因为。", [("安娜", "为什么？"), ("本", "因为。")]),
        ("Anna: Why?\nAnna: Hm.", None),
        ("Anna: a\nBen: b\nCem: c", None),
        (
            "Anna: a\nBen: Two things.\nFirst: the dust.\nAnna: And?\nBen: Oil.",
            [("Anna", "a"), ("Ben", "Two things.\nFirst: the dust."), ("Anna", "And?"), ("Ben", "Oil.")],
        ),
        ("Anna: a\nBen: b\nCem: c\nAnna: d\nBen: e\nCem: f", None),
        ("They talk.\nAnna: Why?\nBen: So.", None),
        ("Bees fly.", None),
    ],
)
def test_conversation(text: str, turns: list[tuple[str, str]] | None) -> None:
    found = read_format(style_of("conversation", speakers=2), text)
    assert found.kind == ("" if turns else "parse")
    if turns:
        assert list(found.parts) == turns
        assert found.text == "\n\n".join(f"{name}: {said}" for name, said in turns)


@pytest.mark.parametrize(
    ("text", "operations"),
    [
        ('{"op": "keep"}', 1),
        ('```json\n{"op": "remove_lines", "first": 1, "last": 2}\n{"op": "keep"}\n```', 2),
        ('{"op": "replace", "line": 1, "find": "a, b", "with": ""}\nnonsense', 1),
        ('{"op": "keep"}\nnonsense\nmore', None),
        ('{"op": "explode"}', None),
        ("The page is fine.", None),
    ],
)
def test_program(text: str, operations: int | None) -> None:
    found = read_format(style_of("program"), text)
    assert found.kind == ("" if operations else "parse")
    assert len(found.parts) == (operations or 0)


ANY = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [
                "Question:",
                "Answer:",
                "- ",
                "|",
                "|---|",
                "\n",
                "**",
                "```",
                "Anna: ",
                "x",
                "<think>",
                "</think>",
                "A:",
                '"',
                " ",
            ]
        ),
        max_size=14,
    ).map("".join),
)


@given(ANY, st.sampled_from(sorted(FORMATS)))
@settings(max_examples=150, deadline=None)
def test_no_answer_breaks_a_reader(text: str, kind: str) -> None:
    more = {"prefix": {"opening": "A:"}, "after_marker": {"marker": "A:"}}.get(kind, {})
    found = read_format(style_of(kind, strip_markdown=True, **more), text)
    assert found.kind in ("", "parse", "empty")
    assert bool(found.text.strip()) == (found.kind == "")
    written = Counter("Question: Answer: " * len(found.parts)) if kind == "qa" else Counter(": " * len(found.parts))
    added = Counter(found.text) - Counter(text.replace("\r", "\n")) - written
    assert not [char for char in added if not char.isspace()], "nothing is published that was not answered"


def test_apostrophes_of_labels_may_be_curly() -> None:
    found = read_format(style_of("qa", labels=["What's asked", "What's said"]), "What’s asked: A?\nWhat’s said: B.")
    assert found.parts == (("A?", "B."),)
    assert read("It’s here: Bees fly.", "prefix", opening="It's here:") == ("", "Bees fly.")
