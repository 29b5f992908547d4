"""`README.md` of a run: the data set card. Deterministic: no times, no dates, no machine names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenmill import __version__
from tokenmill.report.funnel import Funnel
from tokenmill.report.html import percent


def render_card(funnel: Funnel) -> str:
    """The card as Markdown with the YAML header that the Hugging Face Hub reads."""
    run = funnel.run
    if "stream" in run["columns"]:
        return _mixture_card(funnel)
    header = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
        "tags": ["tokenmill", run["recipe"]],
    }
    columns = "\n".join(f"| `{name}` | {dtype} |" for name, dtype in run["columns"].items())
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"""---
{json.dumps(header, indent=1)}
---
# {run["recipe"]}

{funnel.kept:,} documents out of {funnel.records:,} records, made by tokenmill {__version__} with the recipe
`{run["recipe"]}` (fingerprint `{run["fingerprint"]}`).

```python
import duckdb
duckdb.sql("select url, {_shown(run)} from 'data/*.parquet' limit 5")
```

{_mode(funnel)}## What was kept and why

Every record is accounted for: {funnel.records:,} read = {funnel.kept:,} kept + {funnel.dropped.total():,} dropped
+ {funnel.quarantined.total():,} quarantined.

| stage | in | out | lost | most frequent reasons |
|---|---:|---:|---:|---|
{_stage_rows(funnel)}

`dropped/` lists every dropped document with its reason, and the signal, value and threshold where a rule
decided; `quarantine/` lists documents that crashed or hung a library. Records that are no responses (requests,
metadata) are counted only.

## Columns

| column | type |
|---|---|
{columns}

{_tokens(run)}

## Again

`run.json` holds the resolved recipe, the input list and all digests:

```
tokenmill run run.json --output again/
```

Made with {versions}.

## Limits and rights

The texts are those of web pages and stay the property of their publishers; `robots` and `license` record what the
page said about reuse, without judging. Removal of personal data covers what the recipe's stages name
({_pii_stages(funnel)}); names and postal addresses are not removed. Filters make mistakes in both directions:
see `report.html` for samples.
"""


def _mixture_card(funnel: Funnel) -> str:
    """The card of a mixture of token sets, whose `data/` has counts and no documents."""
    run = funnel.run
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"""---
{json.dumps({"tags": ["tokenmill", "mixture", run["recipe"]]}, indent=1)}
---
# {run["recipe"]}

A mixture of token sets, made by tokenmill {__version__} (fingerprint `{run["fingerprint"]}`).

| | |
|---|---|
| `tokens/manifest.json` | shards, digests; under `more.mixture` what was taken of which source, and how often |
| `tokens/*.documents.parquet` | which document is where, from which source, in which epoch and stage |
| `data/*.parquet` | what each stream has in each row group of its set: the index that the shards were gathered by |

Made with {versions}.
"""


def _shown(run: Mapping[str, Any]) -> str:
    return "text" if "text" in run["columns"] else "token_count"


def _tokens(run: Mapping[str, Any]) -> str:
    """What `token_count` holds, and where the tokens are."""
    tokenizers = {entry["config"]["tokenizer"]: entry for entry in run["stages"] if entry["config"].get("tokenizer")}
    if not tokenizers:
        return "`token_count` is null until the data set is tokenized."
    names = ", ".join(f"`{Path(name).name or name}`" for name in tokenizers)
    text = f"`token_count` counts tokens of {names}, without EOS."
    if not any(entry["stage"] == "write_tokens" for entry in run["stages"]):
        return text
    also = "also " if "text" in run["columns"] else ""
    return (
        f"{text} The texts are {also}in `tokens/`, as ids: `tokens/manifest.json` says what they are, and\n"
        "`tokens/*.documents.parquet` which document is where."
    )


def _mode(funnel: Funnel) -> str:
    """What a reader must know first about data that is not simply filtered."""
    if funnel.run["mode"] == "annotate":
        return (
            "**Nothing was filtered.** This is an annotated run: every document with a text is here, with its signals\n"
            "and, in the columns `*_verdict`, the reason for which each filter would drop it (null: keep).\n"
            "`tokenmill refilter` makes filtered data of it, with any thresholds.\n\n"
        )
    if funnel.run["mode"] == "refilter":
        return "Made from an annotated run by applying thresholds to its signals.\n\n"
    return ""


def _stage_rows(funnel: Funnel) -> str:
    rows = []
    for stage in funnel.stages:
        reasons = (stage.dropped + stage.quarantined).most_common(4)
        words = ", ".join(f"{reason} {percent(n / max(stage.into, 1))}" for reason, n in reasons)
        rows.append(f"| {stage.stage} | {stage.into:,} | {stage.out:,} | {stage.into - stage.out:,} | {words} |")
    return "\n".join(rows)


def _pii_stages(funnel: Funnel) -> str:
    found = [entry["stage"] for entry in funnel.run["stages"] if "pii" in entry["stage"]]
    return ", ".join(f"`{label}`" for label in found) if found else "none in this recipe"
