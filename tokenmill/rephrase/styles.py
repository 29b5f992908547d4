"""Styles from their files: `prompts/<name>.md` of the package, or a file of yours, with every setting checked.

---
version: 1
title: one line
kind: rewrite                 # rewrite, create or edit
input_tokens: 512
output_tokens: 510
format: {kind: plain}
checks: {length_ratio: [0.5, 1.5]}
---
The prompt, with {document} on a line of its own where the page goes.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.rule import Rule
from tokenmill.rephrase.checks.rules import rules_from
from tokenmill.rephrase.formats import check_format
from tokenmill.rephrase.front_matter import FrontMatter, read_front_matter, system_and_prompt
from tokenmill.rephrase.render import DOCUMENT, PLACEHOLDER, URL
from tokenmill.rephrase.stitch import MISSING
from tokenmill.rephrase.style import KINDS, LAYOUTS, Style

PROMPTS = Path(__file__).parent / "prompts"
DATA = Path(__file__).parent / "data"
NOT_STYLES = frozenset({"judge"})
"""Prompts of the package that are no styles."""
PER = ("passage", "document")
SMALLEST_BUDGET = 16

KEYS: Mapping[str, str] = {
    "version": "number of the prompt's version, from 1",
    "title": "one line for listings",
    "kind": "rewrite: the page in other words; create: a new text inspired by it; edit: a program of operations",
    "input_tokens": "most tokens of a passage",
    "output_tokens": "most tokens of an answer",
    "min_tokens": "shorter passages are not asked about",
    "per": "passage: a row for each passage; document: answers are stitched",
    "layout": "document_last, or document_first for a prefix that styles share",
    "format": "how an answer is read: its kind and settings",
    "sampling": "temperature, top_p and what else the server knows",
    "variables": "name: list of values, or of a file with one value a line; one is drawn for each document",
    "checks": "check: threshold, or null to switch a default off",
    "missing": "a passage without answer: drop_passage, drop_document or keep_source",
    "source": "paper or data set that the recipe follows",
}
"""Keys of the front matter and what they mean."""
REQUIRED = ("version", "title", "kind", "input_tokens", "output_tokens")
RESERVED = frozenset({"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens", "seed"})
"""Fields of requests that sampling must not set: budgets and seeds have a place of their own."""
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "top_k": (-1, 1_000_000),
    "repetition_penalty": (0.1, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
"""Settings of sampling that are numbers, with the values that servers take."""
_SAMPLING = frozenset({*_RANGES, "stop"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def styles() -> dict[str, Style]:
    """The styles of the package by name."""
    return {name: load_style(name) for name in style_names()}


def style_names() -> list[str]:
    """Names of the styles of the package, sorted."""
    return sorted(path.stem for path in PROMPTS.glob("*.md") if path.stem not in NOT_STYLES)


def load_style(name: str) -> Style:
    """A style of the package by name, or yours by the path of its file, `*.md`. ConfigError where it is wrong: file,
    line and key, and what was probably meant.
    """
    if name.endswith(".md"):
        path = Path(name).expanduser()
    else:
        path = PROMPTS / f"{name}.md"
        if name not in style_names():
            why, fix = did_you_mean(name, style_names()), "a name, or the path of a prompt file that ends in .md"
            raise ConfigError(f"there is no style {name!r}", why=why, fix=fix)
    return _style(read_front_matter(path), path)


def _style(found: FrontMatter, path: Path) -> Style:
    if not _NAME.fullmatch(path.stem):
        why = "the name of the file is that of the style, and stands in a column"
        raise ConfigError(
            f"{path.stem!r} is no name of a style", where=str(path), why=why, fix="small letters, digits, _"
        )
    fields = found.fields
    for key in fields:
        if key not in KEYS:
            raise found.error(f"there is no setting {key!r}", str(key), why=did_you_mean(str(key), KEYS))
    for key in REQUIRED:
        if key not in fields:
            raise found.error(f"the setting {key!r} is missing", why=KEYS[key])
    kind = _one_of(found, "kind", KINDS)
    output = _whole(found, "output_tokens", SMALLEST_BUDGET)
    size = _whole(found, "input_tokens", SMALLEST_BUDGET)
    least = _whole(found, "min_tokens", 1, min(30, size // 2))
    if least > size // 2:
        why = f"passages have at most {size} tokens: a short piece could not be shared between two"
        raise found.error(
            f"min_tokens = {least} is too much", "min_tokens", why=why, fix="at most half of input_tokens"
        )
    variables, data = _variables(found, path)
    system, prompt = system_and_prompt(found)
    _check_placeholders(found, system, prompt, variables)
    form = _format(found, kind)
    return Style(
        name=path.stem,
        version=_whole(found, "version", 1),
        title=_text(found, "title"),
        kind=kind,
        system=system,
        prompt=prompt,
        digest=hashlib.sha256(path.read_bytes() + data).hexdigest(),
        input_tokens=size,
        output_tokens=output,
        min_tokens=least,
        per=_one_of(found, "per", PER, "passage"),
        layout=_one_of(found, "layout", LAYOUTS, LAYOUTS[0]),
        format=form,
        sampling=_sampling(found),
        variables=variables,
        rules=_rules(found, kind, form),
        source=_text(found, "source", ""),
        missing=_one_of(found, "missing", MISSING, "keep_source" if kind == "edit" else "drop_passage"),
    )


def _whole(found: FrontMatter, key: str, least: int, default: int | None = None) -> int:
    value = found.fields.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise found.error(f"{key} = {value!r} is no whole number from {least} on", key, why=KEYS[key])
    return value


def _text(found: FrontMatter, key: str, default: str | None = None) -> str:
    value = found.fields.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()) or "\n" in value.strip():
        raise found.error(f"{key} = {value!r} is no line of text", key, why=KEYS[key], fix="quote it")
    return value.strip()


def _one_of(found: FrontMatter, key: str, choices: tuple[str, ...], default: str = "") -> str:
    value = found.fields.get(key, default)
    if not isinstance(value, str) or value not in choices:
        raise found.error(f"{key} = {value!r}", key, why=did_you_mean(str(value), choices), fix=KEYS[key])
    return value


def _format(found: FrontMatter, kind: str) -> Mapping[str, Any]:
    form = found.fields.get("format", {"kind": "program" if kind == "edit" else "plain"})
    if not isinstance(form, Mapping):
        raise found.error(f"format = {form!r} is no mapping", "format", fix="format: {kind: plain}")
    wrong = check_format(form)
    if wrong is not None:
        raise found.error(wrong[1], f"format.{wrong[0]}", why=wrong[2])
    if (form["kind"] == "program") != (kind == "edit"):
        why = f"kind is {kind}, format.kind is {form['kind']}"
        raise found.error("programs and edits belong together", "format.kind", why=why, fix="kind: edit")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in form.items()}


def _sampling(found: FrontMatter) -> Mapping[str, Any]:
    given = found.fields.get("sampling", {})
    if not isinstance(given, Mapping):
        raise found.error(f"sampling = {given!r} is no mapping", "sampling", fix="sampling: {temperature: 0.7}")
    for key, value in given.items():
        place = f"sampling.{key}"
        if key in RESERVED:
            fix = "output_tokens" if "tokens" in key else "leave it out"
            raise found.error(f"sampling cannot set {key!r}", place, why="every request sets it itself", fix=fix)
        near = difflib.get_close_matches(str(key), _SAMPLING, n=1, cutoff=0.8)
        if key not in _SAMPLING and near:
            raise found.error(f"no server knows {key!r}", place, why=f"did you mean {near[0]!r}?")
        low, high = _RANGES.get(key, (0.0, 0.0))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in _RANGES and not (number and low <= value <= high):
            raise found.error(f"{key} = {value!r} is no number from {low} to {high}", place)
    return dict(given)


def _variables(found: FrontMatter, path: Path) -> tuple[Mapping[str, tuple[str, ...]], bytes]:
    """The values by name, and the bytes of the files that they come from."""
    given = found.fields.get("variables", {})
    if not isinstance(given, Mapping):
        raise found.error(f"variables = {given!r} is no mapping", "variables", fix="variables: {audience: [...]}")
    values: dict[str, tuple[str, ...]] = {}
    data = b""
    for name, one in given.items():
        place = f"variables.{name}"
        if not isinstance(name, str) or not PLACEHOLDER.fullmatch(f"{{{name}}}") or name in (DOCUMENT, URL):
            raise found.error(
                f"{name!r} is no name of a variable", place, fix="small letters, digits, _; not document, url"
            )
        if isinstance(one, Mapping):
            one, raw = _lines_of(found, one, place, path)
            data += raw
        if not isinstance(one, list) or not one or not all(isinstance(v, str) and v.strip() for v in one):
            raise found.error(f"{name} has no list of texts", place, fix="a list of values, or {file: values.txt}")
        if len(set(one)) < len(one):
            twice = next(value for value in one if one.count(value) > 1)
            raise found.error(f"{name} has a value twice", place, why=repr(twice)[:80], fix="leave one out")
        values[name] = tuple(one)
    return values, data


def _lines_of(found: FrontMatter, given: Mapping[str, Any], place: str, path: Path) -> tuple[list[str], bytes]:
    """Values of a file, beside the prompt or of the package; empty lines and those that begin with # are no values."""
    file = given.get("file")
    if set(given) != {"file"} or not isinstance(file, str):
        raise found.error(f"{dict(given)!r} is neither a list nor a file", place, fix="{file: values.txt}")
    source = path.parent / file
    source = DATA / file if not source.is_file() and (DATA / file).is_file() else source
    try:
        raw = source.read_bytes()
        lines = [line.strip() for line in raw.decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise found.error(
            f"cannot read {file!r}", place, why=str(error), fix="a text file, one value a line"
        ) from error
    return [line for line in lines if line and not line.startswith("#")], raw


def _check_placeholders(found: FrontMatter, system: str, prompt: str, variables: Mapping[str, tuple[str, ...]]) -> None:
    """ConfigError where the page has no place, or a name in braces no value."""
    page = f"{{{DOCUMENT}}}"
    count = prompt.count(page)
    if count != 1 or page in system:
        what = (
            f"{page} stands {count} times in the prompt"
            if page not in system
            else f"{page} stands in the system message"
        )
        names = [match[1] for match in PLACEHOLDER.finditer(prompt) if match[1] not in (URL, *variables)]
        near = difflib.get_close_matches(DOCUMENT, names, n=1) if not count else []
        at, why = page, "the page has exactly one place"
        if near:
            at, why = f"{{{near[0]}}}", f"it has {{{near[0]}}}: did you mean {page}?"
        raise found.body_error(what, at, why=why, fix=f"one line {page} in the prompt")
    for name in (DOCUMENT, URL):
        wrong = [line for line in prompt.split("\n") if f"{{{name}}}" in line and line.strip() != f"{{{name}}}"]
        if wrong or (name == URL and "{url}" in system):
            why = "it becomes a part of the quoted page, never of a sentence of the prompt"
            raise found.body_error(
                f"{{{name}}} is not on a line of its own", f"{{{name}}}", why=why, fix="its own line"
            )
    known = {DOCUMENT, URL, *variables}
    used = {match[1] for match in PLACEHOLDER.finditer(f"{system}\n{prompt}")}
    for name in sorted(used - known):
        why = did_you_mean(name, known)
        raise found.body_error(
            f"{{{name}}} has no value", f"{{{name}}}", why=why, fix="a list of values in `variables`"
        )
    for name in sorted(set(variables) - used):
        raise found.error(f"the variable {name!r} is not used", f"variables.{name}", fix=f"{{{name}}} in the prompt")


def _rules(found: FrontMatter, kind: str, form: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The default rules of this kind of style, changed by what `checks` says."""
    given = found.fields.get("checks") or {}
    if not isinstance(given, Mapping):
        raise found.error(f"checks = {given!r} is no mapping", "checks", fix="checks: {length_ratio: [0.5, 1.5]}")
    try:
        return rules_from(given, kind, form["kind"])
    except ConfigError as error:
        named = next((f"checks.{key}" for key in given if str(key) in error.what), "checks")
        raise found.error(error.what, named, why=error.why, fix=error.fix) from error
