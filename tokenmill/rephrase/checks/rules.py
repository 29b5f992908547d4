"""Rules of checks: what every style begins with, and how a style's `checks:` changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.rule import Rule
from tokenmill.rephrase.checks.columns import ALIASES, BY_NAME, CHECKS, FLAG, PREFIX, SAME, VALUES, Check

FORBIDDEN, SAME_WORD = "forbidden", "same"
_SAME_SCRIPT = 0.8

_EVERY: dict[str, Any] = {
    "finish": "stop",
    "empty": FORBIDDEN,
    "refusal": FORBIDDEN,
    "meta": FORBIDDEN,
    "echo": {"max": 0.2},
    "truncated_end": FORBIDDEN,
    "language": SAME_WORD,
    "script": SAME_WORD,
    "repetition_ngram": {"max": 0.2},
    "repetition_line": {"max": 0.3},
    "compression": {"min": 0.4},
    "urls_new": {"max": 0},
    "pii_new": {"max": 0},
}
_BY_KIND: dict[str, dict[str, Any]] = {
    "rewrite": {
        **_EVERY,
        "length_ratio": [0.3, 2.5],
        "copy_longest_share": {"max": 0.8},
        "copy_ngram": {"max": 0.9},
        "overlap": {"min": 0.15},
        "numbers_invented": {"max": 0.3},
        "dates_invented": {"max": 0.3},
        "names_invented": {"max": 0.5},
    },
    "create": {**_EVERY, "words": {"min": 20}, "copy_ngram": {"max": 0.6}},
    "edit": {"finish": "stop", "urls_new": {"max": 0}, "pii_new": {"max": 0}, "length_ratio": {"max": 1.2}},
}
"""Own thresholds, wide on purpose: they are for outputs that are wrong, and a style narrows them."""
_BY_FORMAT: dict[str, dict[str, Any]] = {
    "qa": {"length_ratio": None, "truncated_end": None, "repetition_ngram": {"max": 0.4}},
    "list": {"length_ratio": [0.05, 1.5], "truncated_end": None, "copy_ngram": {"max": 0.95}},
    "table": {"length_ratio": [0.1, 4.0], "truncated_end": None, "repetition_ngram": {"max": 0.5}},
    "conversation": {"length_ratio": None, "repetition_line": {"max": 0.5}, "names_invented": None},
    "program": {"truncated_end": None},
}
"""What the form of an answer changes: rows of tables repeat themselves, items end without a mark."""


def default_settings(kind: str, format_kind: str = "plain") -> dict[str, Any]:
    """What `checks:` would have to say for the rules that a style without it has."""
    if kind not in _BY_KIND:
        raise ConfigError(f"no kind of style {kind!r}", why=did_you_mean(kind, _BY_KIND))
    base = _BY_KIND[kind]
    changes = _BY_FORMAT.get(format_kind, {})
    return {**base, **{name: value for name, value in changes.items() if name in base}}


def default_rules(kind: str, format: str = "plain") -> tuple[Rule, ...]:
    """The rules of a style that says nothing. kind: of `Style`; format: its `format["kind"]`."""
    return _rules(default_settings(kind, format))


def rules_from(mapping: Mapping[str, Any], style_kind: str, format: str = "plain") -> tuple[Rule, ...]:
    """The rules of a style: those of its kind and format, changed by its `checks:`, in the order of the checks.

    mapping: check -> `[low, high]` or `{min: x, max: y}` (either may be missing), `forbidden`, `same`, values, or null,
    which switches a check off. ConfigError says which check is unknown or what its setting should look like.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(
            f"checks: {mapping!r} is no mapping",
            why="it maps checks to thresholds",
            fix="checks: {copy_ngram: {max: .9}}",
        )
    for name in mapping:
        if (name not in BY_NAME and name not in ALIASES) or (name in BY_NAME and not BY_NAME[name].form):
            known = [check.name for check in CHECKS if check.form] + list(ALIASES)
            raise ConfigError(f"checks: no check named {name!r}", why=did_you_mean(str(name), known))
    return _rules(_laid_over(default_settings(style_kind, format), mapping))


def _laid_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the changes winning; the two names of one check are one."""
    merged = {_name_of(name, value): value for name, value in base.items()}
    for name, value in changes.items():
        if name in ALIASES and value is None:  # `language: null` is for both of its meanings
            merged[ALIASES[name]] = None
            if name in BY_NAME:
                merged[name] = None
        else:
            merged[_name_of(name, value)] = value
    return merged


def _name_of(name: str, value: Any) -> str:
    """`language: same` is language_same; `script` is always script_share."""
    if name in ALIASES and (value == SAME_WORD or name not in BY_NAME):
        return ALIASES[name]
    return name


def _rules(settings: Mapping[str, Any]) -> tuple[Rule, ...]:
    named = {_name_of(name, value): value for name, value in settings.items()}
    return tuple(rule for check in CHECKS if check.name in named for rule in _rules_of(check, named[check.name]))


def _rules_of(check: Check, setting: Any) -> list[Rule]:
    """The rules of one check; none for null."""
    if setting is None:
        return []
    note = PREFIX + check.note if check.note else ""
    if check.form == FLAG:
        if setting != FORBIDDEN:
            raise _wrong(check, setting, f"`{FORBIDDEN}` or null")
        return [Rule(check.column, "==", True, check.high, note=note)]
    if check.form == SAME:
        if setting != SAME_WORD:
            raise _wrong(check, setting, f"`{SAME_WORD}` or null")
        return [Rule(check.column, "==", False, check.high, note=note)]
    if check.form == VALUES:
        values = (setting,) if isinstance(setting, str) else setting
        if not isinstance(values, list | tuple) or not values or not all(isinstance(value, str) for value in values):
            raise _wrong(check, setting, "a value, a list of values or null")
        return [Rule(check.column, "not in", tuple(values), check.high)]
    return _range_rules(check, _SAME_SCRIPT_RANGE if setting == SAME_WORD and check.name in ALIASED else setting, note)


ALIASED = frozenset(ALIASES.values())
_SAME_SCRIPT_RANGE = {"min": _SAME_SCRIPT}


def _range_rules(check: Check, setting: Any, note: str) -> list[Rule]:
    low, high = _bounds(check, setting)
    rules = []
    if low is not None:
        if not check.low:
            raise _wrong(check, setting, "`{max: number}`: low values are never wrong")
        rules.append(Rule(check.column, "<", low, check.low, note=note))
    if high is not None:
        rules.append(Rule(check.column, ">", high, check.high, note=note))
    if not rules:
        raise _wrong(check, setting, "a least or a highest value; null switches it off")
    return rules


def _bounds(check: Check, setting: Any) -> tuple[float | None, float | None]:
    form = "`[low, high]` or `{min: low, max: high}`"
    if isinstance(setting, Mapping):
        if set(setting) - {"min", "max"}:
            raise _wrong(check, setting, form)
        pair: Sequence[Any] = (setting.get("min"), setting.get("max"))
    elif isinstance(setting, list | tuple) and len(setting) == 2:
        pair = setting
    else:
        raise _wrong(check, setting, form)
    for value in pair:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value != value):
            raise _wrong(check, setting, f"{form} with numbers")
    low, high = pair
    if low is not None and high is not None and low > high:
        raise _wrong(check, setting, "a lowest value that is not above the highest")
    return low, high


def _wrong(check: Check, setting: Any, wanted: str) -> ConfigError:
    return ConfigError(
        f"checks: {check.name} = {setting!r} is no setting of it",
        why=f"it must be {wanted}",
        fix=f"{check.name}: {check.meaning}",
    )
