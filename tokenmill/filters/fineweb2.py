"""FineWeb-2's filters: the rules of FineWeb with thresholds per language, from a YAML file.

A document of a language that the file lacks passes: keep it out with `LanguageFilter` first. FineWeb-2 found languages
with GlotLID and had a least score for each; labels here are those of the column `language` (lid.176: ISO 639-1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

import tokenmill.text  # noqa: F401  (registers the signals)
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.rule import Rule
from tokenmill.core.stage import Filter
from tokenmill.filters import language as _language  # noqa: F401 - registers what adds the column `language`

BUILTIN = "builtin"
"""The thresholds that come along: fineweb2.yaml beside this file, with their sources."""
DEFAULTS = "defaults"
_FILE = Path(__file__).with_name("fineweb2.yaml")
_TOP, _DUPLICATE = (2, 3, 4), (5, 6, 7, 8, 9, 10)

Row = tuple[str, str, str, str]
"""Setting in the file, signal, comparison, reason."""

RULES: dict[str, tuple[Row, ...]] = {
    "repetition": (
        ("max_dup_paragraph_share", "repetition_dup_paragraph_share", ">", "dup_paragraph_share"),
        ("max_dup_paragraph_char_share", "repetition_dup_paragraph_char_share", ">", "dup_paragraph_char_share"),
        ("max_dup_line_share", "repetition_dup_line_share", ">", "dup_line_share"),
        ("max_dup_line_char_share", "repetition_dup_line_char_share", ">", "dup_line_char_share"),
        *((f"max_top_{n}gram_char_share", f"repetition_top_{n}gram_char_share", ">", f"top_{n}gram") for n in _TOP),
        *(
            (f"max_dup_{n}gram_char_share", f"repetition_dup_{n}gram_char_share", ">", f"dup_{n}gram")
            for n in _DUPLICATE
        ),
    ),
    "quality": (
        ("min_line_punct_share", "fineweb_line_punct_share", "<", "too_few_punctuated_lines"),
        ("max_short_line_share", "fineweb_short_line_share", ">", "too_many_short_lines"),
        ("max_dup_line_char_share", "fineweb_dup_line_char_share", ">", "duplicate_lines"),
        ("max_newline_ratio", "fineweb_newline_ratio", ">", "too_many_newlines"),
    ),
    "gopher": (
        ("min_characters", "repetition_characters", "<", "too_few_characters"),
        ("min_words", "gopher_word_count", "<", "too_few_words"),
        ("max_words", "gopher_word_count", ">", "too_many_words"),
        ("min_mean_word_length", "gopher_mean_word_length", "<", "short_mean_word_length"),
        ("max_mean_word_length", "gopher_mean_word_length", ">", "long_mean_word_length"),
        ("max_hash_ratio", "gopher_hash_ratio", ">", "too_many_hashes"),
        ("max_ellipsis_ratio", "gopher_ellipsis_ratio", ">", "too_many_ellipses"),
        ("max_bullet_line_share", "gopher_bullet_line_share", ">", "too_many_bullet_lines"),
        ("max_ellipsis_line_share", "gopher_ellipsis_line_share", ">", "too_many_ellipsis_lines"),
        ("min_alpha_word_share", "gopher_alpha_word_share", "<", "too_few_alpha_words"),
        ("min_stop_words", "language_stop_words", "<", "too_few_stop_words"),
    ),
}
"""Stage without `fineweb2_` -> its rules in order. Definitions and order are those of datatrove 0.10.1."""

Thresholds = Mapping[str, Mapping[str, Mapping[str, float | None]]]
"""Language -> stage -> setting -> threshold, `defaults` filled in."""


class FineWeb2Repetition(Filter):
    """Drops texts that repeat lines or n-grams, by FineWeb-2's thresholds per language (arXiv:2506.20920).

    Rules are those of `GopherRepetition`. An empty text is always dropped.
    """

    name = "fineweb2_repetition"
    reads = ("text", "language")

    thresholds: str = BUILTIN
    """`builtin` (13 languages, sources in tokenmill/filters/fineweb2.yaml) or the path of a YAML file like it."""
    languages: tuple[str, ...] | None = None
    """Languages to which the rules apply, each of which the file must have; None takes all of the file."""

    def digests(self) -> Mapping[str, str]:
        return {"thresholds": _digest(self.thresholds)}

    def files(self) -> tuple[str, ...]:
        return () if self.thresholds == BUILTIN else (self.thresholds,)

    def rules(self) -> tuple[Rule, ...]:
        empty = Rule("repetition_characters", "<", 1, "empty")
        return (empty, *_rules("repetition", self.thresholds, self.languages))


class FineWeb2Quality(Filter):
    """Drops lists, menus and texts with repeated lines, by FineWeb-2's thresholds per language (arXiv:2506.20920).

    Rules are those of `FineWebQuality`. A text without a line is always dropped.
    """

    name = "fineweb2_quality"
    reads = ("text", "language")

    thresholds: str = BUILTIN
    """`builtin` (13 languages, sources in tokenmill/filters/fineweb2.yaml) or the path of a YAML file like it."""
    languages: tuple[str, ...] | None = None
    """Languages to which the rules apply, each of which the file must have; None takes all of the file."""

    def digests(self) -> Mapping[str, str]:
        return {"thresholds": _digest(self.thresholds)}

    def files(self) -> tuple[str, ...]:
        return () if self.thresholds == BUILTIN else (self.thresholds,)

    def rules(self) -> tuple[Rule, ...]:
        empty = Rule("fineweb_line_count", "<", 1, "empty")
        return (empty, *_rules("quality", self.thresholds, self.languages))


class FineWeb2Gopher(Filter):
    """Drops texts whose words and lines are unlike prose, by FineWeb-2's thresholds per language (arXiv:2506.20920).

    Rules are those of `GopherQuality`, with stop words of the text's language (tokenmill/text/stop_words.yaml).
    """

    name = "fineweb2_gopher"
    reads = ("text", "language")

    thresholds: str = BUILTIN
    """`builtin` (13 languages, sources in tokenmill/filters/fineweb2.yaml) or the path of a YAML file like it."""
    languages: tuple[str, ...] | None = None
    """Languages to which the rules apply, each of which the file must have; None takes all of the file."""

    def digests(self) -> Mapping[str, str]:
        return {"thresholds": _digest(self.thresholds)}

    def files(self) -> tuple[str, ...]:
        return () if self.thresholds == BUILTIN else (self.thresholds,)

    def rules(self) -> tuple[Rule, ...]:
        return _rules("gopher", self.thresholds, self.languages)


def builtin_languages() -> tuple[str, ...]:
    """The languages for which thresholds come along."""
    return tuple(_load(BUILTIN))


def _rules(section: str, name: str, languages: Iterable[str] | None) -> tuple[Rule, ...]:
    """The rules of one stage, their thresholds by language; those that no language has are off."""
    table = _load(name)
    chosen = tuple(table) if languages is None else tuple(languages)
    for language in chosen:
        if language not in table:
            raise ConfigError(
                f"no thresholds for language {language!r}",
                where=_path(name),
                why=did_you_mean(language, table),
                fix="languages are labels of the column `language`; add it to a YAML file of your own, like that one",
            )
    return tuple(
        Rule(
            signal, comparison, {language: table[language][section].get(key) for language in chosen}, reason, "language"
        )
        for key, signal, comparison, reason in RULES[section]
    )


def _path(name: str) -> str:
    return str(_FILE) if name == BUILTIN else name


def _content(name: str) -> bytes:
    try:
        return Path(_path(name)).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"no thresholds {name!r}",
            why=f"the file cannot be read: {error.strerror}",
            fix=f"give {BUILTIN!r} or the path of a YAML file like {_FILE}",
        ) from error


def _digest(name: str) -> str:
    """SHA-256 of the checked file, hexadecimal."""
    _load(name)
    return hashlib.sha256(_content(name)).hexdigest()


def _load(name: str) -> Thresholds:
    return _parsed(_content(name), _path(name))


@lru_cache(16)
def _parsed(content: bytes, path: str) -> Thresholds:
    try:
        raw = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("the thresholds are not YAML", where=path, why=str(error)) from error
    if not isinstance(raw, dict) or not raw:
        raise ConfigError("the thresholds are no mapping", where=path, why="it must map languages to thresholds")
    checked = {language: _checked(language, sections, path) for language, sections in raw.items()}
    defaults = checked.pop(DEFAULTS, {section: {} for section in RULES})
    return {
        language: {section: {**defaults[section], **sections[section]} for section in RULES}
        for language, sections in checked.items()
    }


def _checked(language: Any, raw: Any, path: str) -> dict[str, dict[str, float | None]]:
    """The thresholds of one language by stage and setting; ConfigError where a name or a value is wrong."""
    if not isinstance(language, str):
        raise ConfigError(
            f"{language!r} is no language",
            where=path,
            why="YAML reads no, yes, on, off as truth values",
            fix='write "no"',
        )
    if not isinstance(raw, dict):
        raise ConfigError(f"the thresholds of {language!r} are no mapping", where=path)
    sections: dict[str, dict[str, float | None]] = {section: {} for section in RULES}
    for section, values in raw.items():
        if section == "source":
            continue
        if section not in RULES:
            raise ConfigError(
                f"{language!r} has no stage {section!r}", where=path, why=did_you_mean(str(section), (*RULES, "source"))
            )
        known = [row[0] for row in RULES[section]]
        where = f"{path}: {language}.{section}"
        if not isinstance(values, dict):
            raise ConfigError("the thresholds of a stage are no mapping", where=where)
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"no threshold {key!r}", where=where, why=did_you_mean(str(key), known))
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ConfigError(f"{key} = {value!r} is no number", where=where, fix="a number, or null for no rule")
            sections[section][key] = value
    return sections
