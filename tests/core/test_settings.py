from __future__ import annotations

from typing import Any

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Rule
from tokenmill.core.settings import build_stage, field_docs, parse_assignment
from tokenmill.core.stage import Filter


class Adjustable(Filter):
    """A stage with one setting of every type."""

    share: float = 0.5
    """Share of something, from 0 to 1."""
    count: int | None = 3
    """Number of things
    over two lines."""
    label: str = "x"
    flags: tuple[str, ...] = ("a",)
    """Several labels."""
    on: bool = True

    def rules(self) -> tuple[Rule, ...]:
        return ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", ("a", "b", 1)),
        ("a.b=0.5", ("a", "b", 0.5)),
        ("a.b=none", ("a", "b", "none")),
        ("a.b=null", ("a", "b", None)),
        ("a.b=True", ("a", "b", True)),
        ("a.b=text", ("a", "b", "text")),
        ("a.b=x=y", ("a", "b", "x=y")),
        ('a.b=["p","q"]', ("a", "b", ["p", "q"])),
    ],
)
def test_assignments_are_read_as_json_or_text(text: str, expected: tuple[str, str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["a.b", "ab=1", "=1", ".b=1", "a.=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set stage\.field=value"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        ({"share": 1}, "share", 1.0),
        ({"count": None}, "count", None),
        ({"flags": ["p", "q"]}, "flags", ("p", "q")),
        ({"flags": "p, q"}, "flags", ("p", "q")),
        ({"on": False}, "on", False),
    ],
)
def test_values_are_fitted_to_their_field(config: dict[str, Any], field: str, value: Any) -> None:
    fitted = getattr(build_stage(Adjustable, config), field)
    assert fitted == value
    assert type(fitted) is type(value)


@pytest.mark.parametrize("config", [{"share": "much"}, {"count": 1.5}, {"count": True}, {"label": 3}, {"on": 1}])
def test_values_of_the_wrong_type_are_refused_with_the_type(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is a setting of type"):
        build_stage(Adjustable, config)


def test_unknown_settings_get_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'share'"):
        build_stage(Adjustable, {"shar": 1})


def test_documentation_comes_from_the_literal_under_a_field() -> None:
    docs = {doc.name: doc for doc in field_docs(Adjustable)}
    assert docs["share"].text == "Share of something, from 0 to 1."
    assert docs["count"].text == "Number of things over two lines."
    assert docs["label"].text == ""
    assert (docs["count"].type, docs["count"].default) == ("int | None", 3)
