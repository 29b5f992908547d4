from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, pair, style
from tokenmill.core.errors import ConfigError
from tokenmill.core.rule import Rule
from tokenmill.rephrase.checks.columns import ALIASES, BY_NAME, CHECK_COLUMNS, CHECKS, PREFIX
from tokenmill.rephrase.checks.rules import default_rules, default_settings, rules_from
from tokenmill.rephrase.checks.run import check_pairs, verdicts

KINDS = ("rewrite", "create", "edit")
FORMATS = ("plain", "prefix", "qa", "list", "table", "after_marker", "conversation", "program")


def of(rules: tuple[Rule, ...], column: str) -> list[tuple[str, Any, str]]:
    return [(rule.comparison, rule.threshold, rule.reason) for rule in rules if rule.signal == column]


def test_columns_and_reasons_are_unique_and_complete() -> None:
    assert len(CHECK_COLUMNS) == len(CHECKS) == len(BY_NAME)
    reasons = [reason for check in CHECKS for reason in (check.low, check.high) if reason]
    assert len(reasons) == len(set(reasons))
    for check in CHECKS:
        assert check.column == PREFIX + check.name
        assert check.meaning.endswith(".")
        assert bool(check.form) == bool(check.high), check.name
        assert not check.note or not BY_NAME[check.note].form or check.note == "language"
    assert set(ALIASES.values()) <= set(BY_NAME)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", FORMATS)
def test_defaults_are_what_an_empty_mapping_gives(kind: str, format: str) -> None:
    rules = default_rules(kind, format)
    assert rules == rules_from({}, kind, format) == rules_from(default_settings(kind, format), kind, format)
    order = [list(CHECK_COLUMNS).index(rule.signal) for rule in rules]
    assert order == sorted(order), "the first column that rejects is the reason"
    assert of(rules, "check_finish") == [("not in", ("stop",), "not_finished")]


@pytest.mark.parametrize(
    ("setting", "column", "expected"),
    [
        ({"length_ratio": [0.5, 1.5]}, "check_length_ratio", [("<", 0.5, "too_short"), (">", 1.5, "too_long")]),
        ({"length_ratio": [None, 1.5]}, "check_length_ratio", [(">", 1.5, "too_long")]),
        ({"length_ratio": {"min": 0.5}}, "check_length_ratio", [("<", 0.5, "too_short")]),
        ({"length_ratio": None}, "check_length_ratio", []),
        ({"copy_longest_run": {"max": 60}}, "check_copy_longest_run", [(">", 60, "long_copied_run")]),
        ({"copy_ngram": [0.05, 0.9]}, "check_copy_ngram", [("<", 0.05, "unmoored"), (">", 0.9, "copied")]),
        ({"language": "same"}, "check_language_same", [("==", False, "other_language")]),
        ({"language_same": "same"}, "check_language_same", [("==", False, "other_language")]),
        ({"language": None}, "check_language_same", []),
        ({"language_same": None}, "check_language_same", []),
        ({"language": "en"}, "check_language", [("not in", ("en",), "wrong_language")]),
        ({"language": ["en", "de"]}, "check_language", [("not in", ("en", "de"), "wrong_language")]),
        ({"script": "same"}, "check_script_share", [("<", 0.8, "other_script")]),
        ({"script": None}, "check_script_share", []),
        ({"script_share": {"min": 0.5}}, "check_script_share", [("<", 0.5, "other_script")]),
        ({"refusal": None}, "check_refusal", []),
        ({"refusal": "forbidden"}, "check_refusal", [("==", True, "refusal")]),
        ({"finish": ["stop", "length"]}, "check_finish", [("not in", ("stop", "length"), "not_finished")]),
        ({"similarity": {"min": 0.6}}, "check_similarity", [("<", 0.6, "dissimilar")]),
        ({"numbers_kept": {"min": 0.5}}, "check_numbers_kept", [("<", 0.5, "numbers_lost")]),
    ],
)
def test_settings(setting: dict[str, Any], column: str, expected: list[tuple[str, Any, str]]) -> None:
    rules = rules_from(setting, "rewrite")
    assert of(rules, column) == expected
    others = {rule for rule in default_rules("rewrite") if rule.signal != column}
    assert others - set(rules) == (set() if "language" not in setting else others - set(rules)), "nothing else changes"


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"lenght_ratio": [0, 1]}, "lenght_ratio"),
        ({"phrase": "forbidden"}, "phrase"),
        ({1: 2}, "1"),
        ({"length_ratio": 3}, "length_ratio"),
        ({"length_ratio": [2, 1]}, "length_ratio"),
        ({"length_ratio": [1]}, "length_ratio"),
        ({"length_ratio": {"most": 1}}, "length_ratio"),
        ({"length_ratio": {}}, "length_ratio"),
        ({"length_ratio": [None, None]}, "length_ratio"),
        ({"length_ratio": [True, 2]}, "length_ratio"),
        ({"length_ratio": ["a", 2]}, "length_ratio"),
        ({"length_ratio": [float("nan"), 2]}, "length_ratio"),
        ({"echo": {"min": 0.1}}, "echo"),
        ({"refusal": True}, "refusal"),
        ({"refusal": {"max": 0}}, "refusal"),
        ({"language_same": "en"}, "language_same"),
        ({"language": []}, "language"),
        ({"finish": [1]}, "finish"),
    ],
)
def test_wrong_settings_are_named(setting: dict[Any, Any], what: str) -> None:
    with pytest.raises(ConfigError) as error:
        rules_from(setting, "rewrite")
    assert what in error.value.what
    assert error.value.why


def test_unknown_kind_and_no_mapping() -> None:
    with pytest.raises(ConfigError, match="rewrit"):
        default_rules("rewrit")
    with pytest.raises(ConfigError, match="no mapping"):
        rules_from(["copy_ngram"], "rewrite")  # type: ignore[arg-type]


def test_each_pair_is_judged_by_its_own_style() -> None:
    lax = style(checks={"copy_ngram": None, "copy_longest_share": None})
    pairs = [
        pair(PAGE, PAGE),
        pair(PAGE, PAGE, style=lax),
        pair(PAGE, PARAPHRASE),
        pair(PAGE, PAGE, finish_reason="length"),
    ]
    found = verdicts(check_pairs(pairs), pairs)
    assert [drop and drop.reason for drop in found] == ["copied_run", None, None, "not_finished"]
    assert found[0] is not None
    assert (found[0].signal, found[0].value, found[0].threshold) == (
        "check_copy_longest_share",
        1.0,
        0.8,
    )


def test_what_was_found_is_noted() -> None:
    one = pair(PAGE, f"Here is the rewritten text: {PARAPHRASE}")
    drop = verdicts(check_pairs([one]), [one])[0]
    assert drop is not None
    assert drop.detail == "here is the rewritten text"


@pytest.mark.parametrize("rule", default_rules("rewrite"), ids=str)
def test_every_default_rule_compares_its_column(rule: Rule) -> None:
    """Type of column and threshold fit; null never rejects."""
    one = pair(PAGE, PARAPHRASE, style=style())
    table = pa.table({name: pa.nulls(1, dtype) for name, dtype in CHECK_COLUMNS.items()})
    assert verdicts(table, [one]) == [None]
    assert rule.signal in table.column_names
    assert not rule.drops(None)
