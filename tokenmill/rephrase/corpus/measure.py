"""What only many outputs show: accept rates, template collapse, near-duplicates, drift; and when to worry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tokenmill.rephrase.corpus.collapse import SAMPLE, collapse_of
from tokenmill.rephrase.corpus.near import NearSample, near_duplicates
from tokenmill.rephrase.corpus.rates import Rates
from tokenmill.rephrase.corpus.sample import Lowest, column, id_hashes

Tables = Callable[[], Iterable[pa.Table]]

OPENER_SHARE = 0.1
"""Outputs of a style that begin with the same five words. Own threshold; of 2,000 crawled pages 5 % do, all
of one site."""
OPENER_ENTROPY = 0.6
"""Own threshold; 2,000 crawled pages, many of a few sites, have 0.73."""
RELATIVE = 0.6
"""Diversity of outputs (distinct pairs of words, compression) as a share of that of their pages. Own threshold."""
NEAR_SHARE = 0.05
"""Near-duplicates among outputs. Cosmopedia reports less than 1 % after generation with varied seeds."""
OWN_PAGE_SHARE = 0.1
OTHER_PAGE_SHARE = 0.01
EXACT_SHARE = 0.01
ACCEPT_SHARE = 0.5
"""Below this the prompt, the model or a threshold is wrong more often than the outputs. Own threshold."""
BUCKET_GAP = 0.15
"""Between the accept rate of a bucket and that of its style, beyond both intervals: acceptance selects."""
DOMAIN_GAP = 0.1
"""Distance between the hosts of accepted and of all outputs beyond what chance makes."""


def measure_corpus(
    accepted: Tables,
    rejected: Tables,
    documents: Tables,
    *,
    buckets: tuple[str, ...] = (),
    max_documents: int = 100_000,
    seed: int = 0,
) -> dict[str, Any]:
    """All measures, for JSON. Each of the arguments begins its tables anew when it is called.

    accepted, rejected: tables with id, parent_id, style, url, text and, where they are, the columns of `buckets`,
    check_length_ratio and check_words; rejected ones have reason. documents: id and text of pages; none is fine.
    buckets: columns of the pages by which rates are told. max_documents: outputs, and pages, of the sample for
    near-duplicates; 1.2 kB of memory each, and twice that at times. The same rows in any order, and in any tables, give
    the same.
    """
    rates = Rates(tuple(dict.fromkeys(buckets)))
    texts: dict[str, Lowest[str]] = {}
    numbers: dict[str, Lowest[tuple[float | None, float | None]]] = {}
    outputs, pages = NearSample(max_documents, seed), NearSample(max_documents, seed)
    for table in accepted():
        if not len(table):
            continue
        rates.add(table, True)
        outputs.add(table, "parent_id")
        _add_texts(texts, table, seed)
        _add_numbers(numbers, table, seed)
    for table in rejected():
        rates.add(table, False)
    page_texts: Lowest[str] = Lowest(SAMPLE)
    for table in documents():
        if len(table) and "text" in table.column_names:
            pages.add(table, "id")
            _offer(page_texts, table, column(table, "text"), np.arange(len(table)), seed)
    return {
        "rates": rates.by_style(),
        "rates_by_reason": rates.by_reason(),
        "rates_by_bucket": rates.by_bucket(),
        "collapse": {style: collapse_of(sample.values) for style, sample in sorted(texts.items())},
        "collapse_of_pages": collapse_of(page_texts.values),
        "near": near_duplicates(outputs, pages),
        "lengths": {style: _lengths(sample.values) for style, sample in sorted(numbers.items())},
        "domains": rates.domains(),
    }


def _add_texts(found: dict[str, Lowest[str]], table: pa.Table, seed: int) -> None:
    for style, rows in _rows_by_style(table).items():
        _offer(found.setdefault(style, Lowest(SAMPLE)), table, column(table, "text"), rows, seed)


def _offer(sample: Lowest[str], table: pa.Table, texts: list[str | None], rows: Any, seed: int) -> None:
    ids = column(table, "id")
    names = [ids[row] or "" for row in rows.tolist()]
    sample.add(id_hashes(names, seed), names, lambda number: texts[int(rows[number])] or "")


def _add_numbers(found: dict[str, Lowest[tuple[float | None, float | None]]], table: pa.Table, seed: int) -> None:
    ids = column(table, "id")
    values = list(zip(column(table, "check_length_ratio"), column(table, "check_words"), strict=True))
    for style, rows in _rows_by_style(table).items():
        names = [ids[row] or "" for row in rows.tolist()]
        sample = found.setdefault(style, Lowest(10 * SAMPLE))
        sample.add(id_hashes(names, seed), names, lambda number, rows=rows: values[int(rows[number])])  # type: ignore[misc]


def _rows_by_style(table: pa.Table) -> dict[str, Any]:
    styles = np.array([style or "" for style in column(table, "style")])
    return {str(style): np.flatnonzero(styles == style) for style in np.unique(styles)}


def _lengths(values: list[tuple[float | None, float | None]]) -> dict[str, Any]:
    """Quantiles of words, and of words per word of the source."""
    found: dict[str, Any] = {"outputs": len(values)}
    for place, name in ((0, "ratio"), (1, "words")):
        known = [value[place] for value in values if value[place] is not None]
        quantiles = np.quantile(np.array(known, float), (0.05, 0.25, 0.5, 0.75, 0.95)) if known else []
        found[name] = [round(float(value), 3) for value in quantiles] or None
    return found


def warnings(measured: Mapping[str, Any]) -> list[str]:
    """Sentences about what is beyond its threshold; none where all is well."""
    return [*_rate_warnings(measured), *_collapse_warnings(measured), *_near_warnings(measured.get("near", {}))]


def _rate_warnings(measured: Mapping[str, Any]) -> list[str]:
    found = []
    styles = {row["style"]: row for row in measured.get("rates", ())}
    for name, row in styles.items():
        if row["share"] is not None and row["high"] < ACCEPT_SHARE:
            reasons = [each for each in measured.get("rates_by_reason", ()) if each["style"] == name]
            first = max(reasons, key=lambda each: each["count"], default=None)
            why = f", most of the others for {first['reason']}" if first else ""
            found.append(f"{name}: only {row['share']:.0%} of the outputs were accepted{why}")
    for row in measured.get("rates_by_bucket", ()):
        whole = styles.get(row["style"])
        if whole is None or row["share"] is None or abs(row["share"] - whole["share"]) < BUCKET_GAP:
            continue
        if row["high"] < whole["low"] or row["low"] > whole["high"]:
            found.append(
                f"{row['style']}: {row['share']:.0%} accepted where {row['column']} is {row['value']}, "
                f"{whole['share']:.0%} in all: acceptance selects"
            )
    domains = measured.get("domains", {})
    if domains.get("distance", 0.0) > domains.get("by_chance", 0.0) + DOMAIN_GAP:
        found.append(
            f"hosts of accepted outputs differ from those of all by {domains['distance']:.2f} (total variation; "
            f"{domains['by_chance']:.2f} by chance): acceptance selects"
        )
    return found


def _collapse_warnings(measured: Mapping[str, Any]) -> list[str]:
    pages = measured.get("collapse_of_pages", {})
    found = []
    for style, one in measured.get("collapse", {}).items():
        if "opener_share" not in one:
            continue
        if one["opener_share"] > max(OPENER_SHARE, pages.get("opener_share", 0.0)):
            found.append(f'{style}: {one["opener_share"]:.0%} of the outputs begin with "{one["opener"]}"')
        if one["opener_entropy"] < min(OPENER_ENTROPY, pages.get("opener_entropy", 1.0)):
            found.append(f"{style}: first words are of few kinds (entropy {one['opener_entropy']:.2f} of 1)")
        for name, what in (("distinct_2", "distinct pairs of words"), ("compression", "compressed size")):
            own, other = one.get(name), pages.get(name)
            if name == "distinct_2" and one["words"] > 1.5 * pages.get("words", 0):
                continue  # the share falls with the number of words, whatever they are
            if own is not None and other and own < RELATIVE * other:
                found.append(f"{style}: {what} {own:.3f}, of its pages {other:.3f}: outputs are alike")
    return found


def _near_warnings(near: Mapping[str, Any]) -> list[str]:
    found = []
    for name, limit, what in (
        ("share", NEAR_SHARE, "nearly equal another output"),
        ("own_page_share", OWN_PAGE_SHARE, "nearly equal their own page"),
        ("other_page_share", OTHER_PAGE_SHARE, "nearly equal another page"),
    ):
        share = near.get(name)
        if share is not None and share > limit:
            found.append(f"{share:.1%} of the outputs {what} (sample of {near['outputs']:,})")
    exact = near.get("exact", {}).get("share")
    if exact is not None and exact > EXACT_SHARE:
        found.append(f"{exact:.1%} of the outputs equal another one")
    return found
