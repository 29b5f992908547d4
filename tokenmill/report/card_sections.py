"""Sections of a data set card, each a function from the funnel and the counts to Markdown."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenmill.core.secrets import redact_settings
from tokenmill.report.card_text import code, md
from tokenmill.report.counts import OTHERS, DataCounts
from tokenmill.report.funnel import Funnel
from tokenmill.report.units import percent

SHOWN = 40
"""Most rows of a table of counts; the others are summed in one row."""
FORGOTTEN = "forgotten"
"""Reason under which `tokenmill forget` counts what it has removed."""

_PII_WORDS = {
    "emails": ("e-mail addresses", "an address at example.com or example.org"),
    "ips": ("public IP addresses", "an address of a network for documentation (RFC 5737, RFC 3849)"),
    "cards": ("numbers of payment cards", "a fixed token"),
    "ibans": ("bank account numbers (IBAN)", "a fixed token"),
    "keys": ("keys and passwords of well-known services", "a fixed token"),
    "ssns": ("US social security numbers", "a fixed token"),
    "phones": ("telephone numbers", "a fixed token"),
}


def funnel_table(funnel: Funnel) -> str:
    """What each stage took away."""
    rows = []
    for stage in funnel.stages:
        reasons = (stage.dropped + stage.quarantined).most_common(4)
        words = ", ".join(f"{md(reason)} {percent(n / max(stage.into, 1))}" for reason, n in reasons)
        rows.append(f"| {md(stage.stage)} | {stage.into:,} | {stage.out:,} | {stage.into - stage.out:,} | {words} |")
    return "| stage | in | out | lost | most frequent reasons |\n|---|---:|---:|---:|---|\n" + "\n".join(rows)


def columns_table(run: Mapping[str, Any], counts: DataCounts | None) -> str:
    """Columns and their types, in the order of the files where that is known."""
    order = [name for name in (counts.schema.names if counts and counts.schema else ()) if name in run["columns"]]
    order += [name for name in run["columns"] if name not in order]
    rows = "\n".join(f"| {code(name)} | {md(run['columns'][name])} |" for name in order)
    return f"| column | type |\n|---|---|\n{rows}"


def count_table(counts: DataCounts, column: str) -> str:
    """Documents by the values of a column, the most frequent first; "" where there is one value or none."""
    found = counts.groups.get(column)
    if not found or (len(found) == 1 and not next(iter(found))):
        return ""
    total = max(found.total(), 1)
    named = sorted(((v, n) for v, n in found.items() if v != OTHERS), key=lambda item: (-item[1], str(item[0])))
    rows = [(code(value) if value else "(none)", number) for value, number in named[:SHOWN]]
    rest = found.total() - sum(number for _, number in rows)
    if rest:
        rows.append((f"{max(len(named) - SHOWN, 0):,} others", rest))
    lines = "\n".join(f"| {name} | {number:,} | {percent(number / total)} |" for name, number in rows)
    return f"| {column} | documents | share |\n|---|---:|---:|\n{lines}\n"


def recipe_section(run: Mapping[str, Any]) -> str:
    """The stages in order, and of each the settings that differ from its defaults."""
    rows = []
    for entry in run["stages"]:
        if entry["stage"] in run.get("inserted", ()):
            words = "put in by the plan"
        else:
            settings = changed_settings(entry)
            words = ", ".join(f"{code(name)} = {code(_value(value))}" for name, value in settings.items())
        rows.append(f"| {md(entry['stage'])} | {md(entry.get('version', 1))} | {words or 'defaults'} |")
    return "| stage | version | settings that are not the defaults |\n|---|---:|---|\n" + "\n".join(rows)


def changed_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a stage of `run.json` that its class does not have by itself; all, where the class is not at hand.

    Addresses, patience and prices (`incidental`) are left out, values of keys are masked.
    """
    defaults = _defaults(entry)
    incidental = entry.get("incidental", ())
    found = {
        name: value
        for name, value in entry["config"].items()
        if name not in incidental and not (name in defaults and _plain(defaults[name]) == value)
    }
    return dict(redact_settings(found))


def _defaults(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    from tokenmill.core.settings import field_docs

    module, _, name = str(entry.get("class", "")).partition(":")
    if not module.startswith("tokenmill.") or "file" in entry:
        return {}
    try:
        cls = getattr(importlib.import_module(module), name)
        return {doc.name: doc.default for doc in field_docs(cls) if not doc.required}
    except (ImportError, AttributeError, TypeError):
        return {}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _value(value: Any) -> str:
    """A setting as `--set` takes it, long lists cut."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value[:8]))}{', ...' if len(value) > 8 else ''}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_value(item)}" for key, item in list(value.items())[:8]) + "}"
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name  # where it lies on the maker's machine is nobody's business
    return "none" if value is None else str(value)


def digests_section(run: Mapping[str, Any], counts: DataCounts | None) -> str:
    """Fingerprint, digests of models and lists, versions."""
    lines = [f"- fingerprint of the plan: {code(run['fingerprint'])}"]
    if counts is not None and counts.files:
        lines.append(f"- SHA-256 of the data files' checksums (`SHA256SUMS`): `{counts.digest()}`")
    for stage, found in sorted(run["digests"].items()):
        words = ", ".join(f"{md(name)} {code(value)}" for name, value in sorted(found.items()))
        if words:
            lines.append(f"- {md(stage)}: {words}")
    versions = ", ".join(f"{md(name)} {md(version)}" for name, version in run["versions"].items())
    return "\n".join(lines) + f"\n- made with tokenmill {md(run.get('tokenmill', ''))}; {versions}"


def tokens_section(run: Mapping[str, Any], counts: DataCounts | None) -> str:
    """What `token_count` holds, and where the tokens are."""
    tokenizers = {entry["config"]["tokenizer"]: entry for entry in run["stages"] if entry["config"].get("tokenizer")}
    if not tokenizers:
        return "`token_count` is null until the data set is tokenized (`tokenmill tokenize`)."
    names = ", ".join(code(Path(str(name)).name or name) for name in tokenizers)
    text = f"`token_count` counts tokens of {names}, without EOS."
    total = ""
    if counts is not None and counts.tokenized:
        total = f" In all: {counts.sums['token_count']:,} tokens in {counts.tokenized:,} documents."
    if not any(entry["stage"] == "write_tokens" for entry in run["stages"]):
        return text + total
    also = "also " if "text" in run["columns"] else ""
    return (
        f"{text} The texts are {also}in `tokens/`, as ids: `tokens/manifest.json` says what they are, and\n"
        f"`tokens/*.documents.parquet` which document is where.{total}"
    )


def pii_section(run: Mapping[str, Any], counts: DataCounts | None) -> str:
    """What was replaced, by what, and how often."""
    found = [entry for entry in run["stages"] if str(entry.get("class", "")).endswith(":RedactPii")]
    others = [entry["stage"] for entry in run["stages"] if "pii" in entry["stage"] and entry not in found]
    named = f"Stages of the recipe's own: {', '.join(map(md, others))}.\n" if others else ""
    if not found:
        return named or "No stage of this recipe looks for personal data: it is in the texts as it was on the pages.\n"
    config = found[-1]["config"]
    on = [kind for kind in _PII_WORDS if config.get(kind) and (kind != "phones" or config.get("level") == "strict")]
    off = [_PII_WORDS[kind][0] for kind in _PII_WORDS if kind not in on]
    rows = []
    for kind in on:
        name, instead = _PII_WORDS[kind]
        numbers = ["", ""]
        if counts is not None and f"pii_{kind}" in counts.sums:
            numbers = [f"{counts.sums[f'pii_{kind}']:,}", f"{counts.touched[f'pii_{kind}']:,}"]
        rows.append(f"| {name} | {instead} | {numbers[0]} | {numbers[1]} |")
    text = (
        f"{md(found[-1]['stage'])} (level {md(config.get('level', ''))}) replaced what has the form of:\n\n"
        "| what | replaced by | places | documents |\n|---|---|---:|---:|\n" + "\n".join(rows) + "\n\n"
    )
    limits = [
        ("max_spans", "with more than {} such places"),
        ("max_share", "of whose characters more than {} are such"),
    ]
    drops = [words.format(config[name]) for name, words in limits if config.get(name) is not None]
    if drops:
        text += f"Documents {' or '.join(drops)} were dropped.\n"
    left = ", ".join([*off, "names", "postal addresses"])
    return f"{text}Not replaced: {left}. What was found is stored nowhere.\n{named}"


def optout_section(funnel: Funnel, counts: DataCounts | None) -> str:
    """What pages said about their reuse, what the recipe did about it, and what was removed later."""
    run = funnel.run
    lines = []
    if {"robots", "license"} & run["columns"].keys():
        lines.append(
            "`robots` holds what a page said to crawlers (X-Robots-Tag, robots metas, tdm-reservation) and `license`\n"
            "the licence that it links to, as written. These are records, no judgement: an empty value means that\n"
            "nothing was said, not that a text may be used.\n"
        )
    if counts is not None and (counts.signals or counts.licenses):
        rows = [f"| {code(name)} | {number:,} |" for name, number in _ordered(counts.signals)[:SHOWN]]
        rows += [f"| licence {code(name)} | {number:,} |" for name, number in _ordered(counts.licenses)[:SHOWN]]
        lines.append("| said by the page | documents in `data/` |\n|---|---:|\n" + "\n".join(rows) + "\n")
    policies = [entry for entry in run["stages"] if str(entry.get("class", "")).endswith(":OptOut")]
    for entry in policies:
        count = next((stage for stage in funnel.stages if stage.stage == entry["stage"]), None)
        settings = ", ".join(f"{code(k)} = {code(_value(v))}" for k, v in redact_settings(entry["config"]).items() if v)
        dropped = f"; it dropped {count.dropped.total():,} documents" if count is not None else ""
        lines.append(f"Policy: stage {md(entry['stage'])} ({settings}){dropped}.\n")
    if not policies:
        lines.append("Policy: no stage of this recipe drops documents for what their pages say about reuse.\n")
    forgotten = sum(
        stage.dropped.total() if stage.stage == "forget" else stage.dropped[FORGOTTEN] for stage in funnel.stages
    )
    if forgotten:
        lines.append(
            f"Removed on request after the run (`tokenmill forget`): {forgotten:,} documents. A new run from\n"
            "the archives must leave them out again.\n"
        )
    return "\n".join(lines)


def _ordered(found: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))
