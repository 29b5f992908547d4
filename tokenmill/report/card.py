"""`README.md` of a run: the data set card. Deterministic: no times, no dates, no machine names.

What stands in it comes from manifests, `run.json` and a few columns of the data files. Names of recipes, stages,
reasons, languages and dumps are other people's text, and the Hub renders Markdown with HTML in it: they go through
`card_text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from tokenmill import __version__
from tokenmill.core.errors import ShardError
from tokenmill.io.runfolder import RunFolder
from tokenmill.report import card_sections as sections
from tokenmill.report.card_header import header
from tokenmill.report.card_text import code, md
from tokenmill.report.counts import DataCounts, count_data
from tokenmill.report.funnel import Funnel
from tokenmill.report.units import human_bytes

MOST_FILES = {True: 20_000, False: 500}
"""Most shards whose data files are counted for a card: on a local disk (a microsecond a row, some milliseconds a
file), and on an object store (some requests a file)."""


def write_card(folder: RunFolder, funnel: Funnel) -> None:
    """Write `README.md` of a run. OSError where a data file cannot be read."""
    folder.write_text("README.md", render_card(funnel, counts_of(folder, funnel)))


def counts_of(folder: RunFolder, funnel: Funnel) -> DataCounts | None:
    """Counts over the data files; None for a mixture, whose `data/` has no documents, where a file is gone or damaged,
    and where they are too many to be opened at the end of every run."""
    if _is_mixture(funnel) or funnel.shards > MOST_FILES[folder.is_local]:
        return None
    try:
        return count_data(folder)
    except (OSError, ShardError, pa.ArrowException):
        return None


def render_card(funnel: Funnel, counts: DataCounts | None = None) -> str:
    """The card as Markdown with the YAML header that the Hugging Face Hub reads.

    counts: of the data files; without them the card has no counts by dump, language and kind of personal data.
    """
    if _is_mixture(funnel):
        return _mixture_card(funnel)
    run = funnel.run
    kept = counts.rows if counts is not None else funnel.kept
    size = ""
    if counts is not None:
        several = "file" if len(counts.files) == 1 else "files"
        size = f" ({human_bytes(counts.stored)} of Parquet in {len(counts.files):,} {several})"
    parts = [
        header(funnel, counts) + f"# {md(run['recipe'], 100)}\n",
        f"{kept:,} documents{size} out of {funnel.records:,} records of web archives or files, made by tokenmill\n"
        f"{__version__} with the recipe {code(run['recipe'])} (fingerprint {code(run['fingerprint'])}).\n",
        _mode(funnel),
        _unfinished(funnel),
        _section("What was kept and why", _balance(funnel) + sections.funnel_table(funnel) + "\n\n" + _FILES),
        _counts(counts),
        _section("Columns", sections.columns_table(run, counts) + "\n"),
        _section("Tokens", sections.tokens_section(run, counts) + "\n"),
        _section("Loading", _loading(run)),
        _section("Recipe", sections.recipe_section(run) + "\n"),
        _section("Digests and versions", sections.digests_section(run, counts) + "\n\n" + _CHECK),
        _section("Again", _AGAIN),
        _section("Personal data", sections.pii_section(run, counts)),
        _section("Opt-out and licences", sections.optout_section(funnel, counts)),
        _section("Limits and rights", _LIMITS),
    ]
    return "\n".join(part for part in parts if part)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _is_mixture(funnel: Funnel) -> bool:
    return "stream" in funnel.run["columns"]


def _mixture_card(funnel: Funnel) -> str:
    """The card of a mixture of token sets, whose `data/` has counts and no documents."""
    run = funnel.run
    return f"""{header(funnel, None, ("mixture",))}# {md(run["recipe"], 100)}

A mixture of token sets, made by tokenmill {__version__} (fingerprint {code(run["fingerprint"])}).

| | |
|---|---|
| `tokens/manifest.json` | shards, digests; under `more.mixture` what was taken of which source, and how often |
| `tokens/*.documents.parquet` | which document is where, from which source, in which epoch and stage |
| `data/*.parquet` | what each stream has in each row group of its set: the index that the shards were gathered by |

## Digests and versions

{sections.digests_section(run, None)}
"""


def _mode(funnel: Funnel) -> str:
    """What a reader must know first about data that is not simply filtered."""
    if funnel.run["mode"] == "annotate":
        return (
            "**Nothing was filtered.** This is an annotated run: every document with a text is here, with its signals\n"
            "and, in the columns `*_verdict`, the reason for which each filter would drop it (null: keep).\n"
            "`tokenmill refilter` makes filtered data of it, with any thresholds.\n"
        )
    if funnel.run["mode"] == "refilter":
        return "Made from an annotated run by applying thresholds to its signals.\n"
    return ""


def _unfinished(funnel: Funnel) -> str:
    if funnel.complete:
        return ""
    return f"**The run is not finished:** {funnel.shards_done:,} of {funnel.shards:,} shards are here.\n"


def _balance(funnel: Funnel) -> str:
    return (
        f"Every record is accounted for: {funnel.records:,} read = {funnel.kept:,} kept + {funnel.dropped.total():,}"
        f" dropped\n+ {funnel.quarantined.total():,} quarantined.\n\n"
    )


def _counts(counts: DataCounts | None) -> str:
    if counts is None:
        return _section(
            "Dumps and languages",
            "Not counted: the data files are too many to be read for this card, or one of them cannot be read.\n",
        )
    tables = [table for name in ("dump", "language") if (table := sections.count_table(counts, name))]
    return _section("Dumps and languages", "\n".join(tables)) if tables else ""


def _loading(run: Mapping[str, Any]) -> str:
    shown = "text" if "text" in run["columns"] else "token_count"
    address = "url, " if "url" in run["columns"] else ""
    return f"""The files are plain Parquet, which needs nothing of tokenmill. From the folder that holds this card:

```python
from datasets import load_dataset
data = load_dataset(".", split="train", streaming=True)  # on the Hub: load_dataset("owner/name", ...)

import duckdb
duckdb.sql("select {address}{shown} from 'data/*.parquet' limit 5")  # on the Hub: 'hf://datasets/owner/name/data/*.parquet'

import polars
polars.scan_parquet("data/*.parquet").select("{shown}").head(5).collect()
```
"""


_FILES = """Where they are published, `dropped/` lists every dropped document with its reason, and the signal, value and
threshold where a rule decided, and `quarantine/` documents that crashed or hung a library. Records that are no
responses (requests, metadata) are counted only.
"""
_CHECK = """`SHA256SUMS` beside a published card has the digest of every file: `sha256sum --check SHA256SUMS`. In the
folder of the run, `phases/*/_SUCCESS.json` has them.
"""
_AGAIN = """`run.json` holds the resolved recipe, the input list and all digests. The same archives give the same bytes:

```
tokenmill run run.json --input ARCHIVES --output again/
```

Stages of the maker's own (`recipe/`) are needed too where there are any.
"""
_LIMITS = """The texts are those of web pages and stay the property of their publishers. Filters make mistakes in both
directions: `report.html` of the run has samples of what was kept and dropped. Languages, licences and robots values
are what models and pages say. Near-duplicates below the threshold of the deduplication remain, as do texts that a
machine wrote, and texts in which benchmark items stand unless the recipe names a stage against them.
"""
