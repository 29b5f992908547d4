from __future__ import annotations

import dataclasses

import pytest

from tokenmill import Annotate, Doc, Filter
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Drop, Rule
from tokenmill.core.stage import registered_stages, stage_class


class TooManyDigits(Filter):
    """Drops texts that are mostly digits."""

    max_share: float | None = 0.5
    """Largest share of digits (own measurement)."""

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("digit_share", ">", self.max_share, "digits"),)


class EndsWell(Filter):
    """Drops texts without a final point."""

    mark: str = "."

    def judge(self, doc: Doc) -> str | None:
        return None if doc.text.endswith(self.mark) else "no_mark"


def test_a_subclass_is_a_frozen_keyword_only_dataclass_with_a_snake_case_name() -> None:
    stage = TooManyDigits(max_share=0.4)
    assert TooManyDigits.name == "too_many_digits"
    assert stage.config() == {"max_share": 0.4}
    assert stage == TooManyDigits(max_share=0.4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stage.max_share = 0.1  # type: ignore[misc]
    with pytest.raises(TypeError):
        TooManyDigits(0.4)  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.6, Drop("digits", "digit_share", 0.6, 0.5)), (0.5, None), (0.4, None)],
)
def test_rules_decide_on_a_column_and_record_value_and_threshold(share: float, verdict: Drop | None) -> None:
    assert TooManyDigits().judge(Doc(text="x", digit_share=share)) == verdict


def test_a_threshold_of_none_switches_a_rule_off() -> None:
    assert TooManyDigits(max_share=None).judge(Doc(text="x", digit_share=1.0)) is None


def test_judge_needs_no_engine() -> None:
    assert EndsWell().judge(Doc(text="One.")) is None
    assert EndsWell(mark="!").judge(Doc(text="One.")) == "no_mark"


def test_stages_are_found_by_name_and_unknown_names_get_a_suggestion() -> None:
    assert stage_class("ends_well") is EndsWell
    assert registered_stages()["ends_well"] is EndsWell
    with pytest.raises(ConfigError, match="did you mean 'ends_well'"):
        stage_class("end_well")


def test_two_stages_of_one_name_are_an_error() -> None:
    with pytest.raises(ConfigError, match="two stages are named 'ends_well'"):
        type("Other", (Filter,), {"name": "ends_well", "__module__": __name__})


def test_a_stage_without_the_method_of_its_kind_cannot_be_made() -> None:
    forgetful = type("Forgetful", (Annotate,), {"__module__": __name__})
    with pytest.raises(TypeError, match="annotate"):
        forgetful()


def test_a_rule_with_an_unknown_comparison_is_an_error() -> None:
    with pytest.raises(ValueError, match="comparison '=>'"):
        Rule("x", "=>", 1, "r")


@pytest.mark.parametrize(
    ("comparison", "threshold", "value", "drops"),
    [
        ("<", 2, 1, True),
        ("<", 2, 2, False),
        ("<=", 2, 2, True),
        (">", 2, 2, False),
        (">=", 2, 2, True),
        ("==", "a", "a", True),
        ("!=", "a", "a", False),
        ("in", ("a", "b"), "b", True),
        ("not in", ("a", "b"), "c", True),
        ("<", None, 1, False),
    ],
)
def test_comparisons(comparison: str, threshold: object, value: object, drops: bool) -> None:
    assert Rule("x", comparison, threshold, "r").drops(value) is drops
