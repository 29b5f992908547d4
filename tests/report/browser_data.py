"""The data of a report as `page_data` makes it, of a small made-up run, with numbers that fit together."""

from __future__ import annotations

import base64
import hashlib
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

DOCUMENTS = 400
RECORDS = 460
RULES: list[tuple[str, str, str, str, str, float | None, str, list[float]]] = [
    # filter, reason, signal, comparison, unit, threshold, setting, edges
    ("language_filter", "low_score", "language_score", "<", "", 0.65, "min_score", [i / 40 for i in range(41)]),
    ("gopher_quality", "too_few_words", "word_count", "<", "words", 50, "min_words", [*range(0, 101, 5), 150, 900]),
    ("gopher_quality", "too_many_words", "word_count", ">", "words", 900, "max_words", [100, 300, 600, 900, 1000]),
    ("gopher_quality", "few_alpha_words", "alpha_share", "<=", "share", 0.8, "min_alpha", [i / 20 for i in range(21)]),
    ("gopher_quality", "too_many_hashes", "hash_ratio", ">=", "hashes", None, "max_hash_ratio", [0.0, 0.1, 0.2]),
    ("c4_quality", "too_few_sentences", "sentences", "<", "sentences", 3, "min_sentences", list(range(12))),
]  # fmt: skip


@cache
def column(name: str) -> npt.NDArray[np.float64]:
    """(DOCUMENTS) numbers from 0 to 1, by the digest of name and place."""
    digests = (hashlib.blake2b(f"{name}{i}".encode(), digest_size=4).digest() for i in range(DOCUMENTS))
    return np.array([int.from_bytes(digest, "little") / 2**32 for digest in digests])


def signals() -> dict[str, npt.NDArray[np.float64]]:
    """(DOCUMENTS) values by signal."""
    return {
        "language_score": np.round(1 - column("language") ** 3, 4),
        "word_count": np.floor(np.exp(2 + 5.2 * column("words"))),
        "alpha_share": np.round(1 - 0.5 * column("alpha") ** 2, 4),
        "hash_ratio": np.round(np.maximum(0, column("hash") - 0.8), 4),
        "sentences": np.floor(14 * column("sentences")),
    }


def holds(values: npt.NDArray[np.float64], comparison: str, threshold: float | None) -> npt.NDArray[np.bool_]:
    """(DOCUMENTS) whether a rule removes the document."""
    if threshold is None:
        return np.zeros(len(values), bool)
    found = {"<": values < threshold, "<=": values <= threshold, ">": values > threshold, ">=": values >= threshold}
    return found[comparison]


def removed(thresholds: list[float | None]) -> npt.NDArray[np.bool_]:
    """(DOCUMENTS) whether anything removes it with these thresholds, one for each of RULES."""
    known = signals()
    found = fixed()
    for (_, _, signal, comparison, *_), threshold in zip(RULES, thresholds, strict=True):
        found = found | holds(known[signal], comparison, threshold)
    return found


def fixed() -> npt.NDArray[np.bool_]:
    """(DOCUMENTS) removed by what has no slider."""
    return column("fixed") < 0.05


def sizes() -> npt.NDArray[np.int64]:
    """(DOCUMENTS) bytes of the texts."""
    return (signals()["word_count"] * 6).astype(np.int64)


def thresholds() -> list[float | None]:
    return [rule[5] for rule in RULES]


def pack(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode()


def rule(place: int) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """An entry of `rules`, and (DOCUMENTS) codes."""
    label, reason, signal, comparison, unit, threshold, setting, edges = RULES[place]
    values = signals()[signal]
    table = np.array([holds(values, comparison, edge) for edge in edges])
    others = removed([None if i == place else limit for i, limit in enumerate(thresholds())])
    kept = ~(table | others)
    below = comparison.startswith("<")
    codes = np.where(table.any(0), table.argmax(0), 255) if below else table.sum(0)
    entry = {
        "id": f"{label}.{reason}", "filter": label, "reason": reason, "signal": signal,
        "meaning": f"What {signal} counts in a text.", "unit": unit, "source": "arXiv:2112.11446 A1",
        "about": "A limit.",
        "comparison": comparison, "threshold": threshold, "setting": setting,
        "by": {"column": "language", "value": "en"} if place == 5 else None,
        "again": "minhash_dedup" if place == 0 else None,
        "integer": unit in ("words", "sentences"), "nulls": 0, "edges": edges,
        "current": -1 if threshold is None else edges.index(threshold),
        "counts": np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist(),
        "removes": table.sum(1).tolist(), "kept": kept.sum(1).tolist(), "kept_bytes": (kept @ sizes()).tolist(),
    }  # fmt: skip
    return entry, codes


def sample(i: int, kind: str) -> dict[str, Any]:
    words = f"{kind} text number {i}. Harbour and orchard, a long walk between them. " * 6
    return {
        "url": f"https://www.site-{i}.example/{kind}/page?id={i}", "doc_id": f"crawl.warc.gz#{4096 * i}",
        "why": f"because of {kind}", "signal": None if i % 3 == 2 else "word_count", "value": 10.25 + i,
        "threshold": 50.0, "text": words[: 400 + i], "cut": i % 2 == 0,
    }  # fmt: skip


def stage(
    name: str, kind: str, into: int, lost: dict[str, int], seconds: float, quarantined: int = 0
) -> dict[str, Any]:
    reasons = [{"reason": reason, "count": n, "kind": "dropped"} for reason, n in lost.items()]
    if quarantined:
        reasons.append({"reason": "timeout", "count": quarantined, "kind": "quarantined"})
    out = into - sum(lost.values()) - quarantined
    return {"stage": name, "kind": kind, "into": into, "out": out, "bytes_in": 31_000 * into, "bytes_out": 9_000 * out,
            "tokens_out": None, "seconds": seconds, "reasons": reasons}  # fmt: skip


def overlap() -> dict[str, Any]:
    known = signals()
    masks = [holds(known[signal], comparison, limit) for _, _, signal, comparison, _, limit, _, _ in RULES]
    names = [*(f"{label}.{reason}" for label, reason, *_ in RULES), "url_filter.listed"]
    masks.append(fixed())
    active = [i for i, mask in enumerate(masks) if mask.any()]
    earlier = np.zeros(DOCUMENTS, bool)
    rules = []
    for i in active:
        others = np.logical_or.reduce([masks[j] for j in active if j != i])
        rules.append({"rule": names[i], "removes": int(masks[i].sum()),
                      "first": int((masks[i] & ~earlier).sum()), "only": int((masks[i] & ~others).sum())})  # fmt: skip
        earlier |= masks[i]
    pairs = [
        [a, b, int((masks[i] & masks[j]).sum())] for a, i in enumerate(active) for b, j in enumerate(active) if a < b
    ]
    return {"documents": DOCUMENTS, "kept": int((~earlier).sum()), "rules": rules, "pairs": pairs}


def corpus() -> dict[str, Any]:
    names = ["en", "de", "fr", "ja", None, "(others)"]
    kept = [{"name": f"site-{i}.example", "documents": 40 - i, "bytes": 90_000 - 512 * i} for i in range(25)]
    return {
        "languages": [{"name": name, "kept": 300 >> i, "dropped": 7 * i} for i, name in enumerate(names)],
        "domains": {"kept": kept, "dropped": [{"name": f"lost-{i}.example", "documents": 9 - i} for i in range(6)],
                    "distinct_kept": 61, "distinct_dropped": 6},
        "clusters": [{"stage": "minhash_dedup", "measure": "of 14 bands of 8", "documents": DOCUMENTS, "dropped": 17,
                      "sizes": [[2, 2, 6, 12], [3, 4, 3, 10], [5, 8, 1, 6]]}],
        "lengths": [{"unit": "tokens", "edges": [0, 16, 64, 256, 1024, 4096], "kept": [2, 31, 120, 96, 11],
                     "dropped": [40, 30, 9, 3, 0]},
                    {"unit": "characters", "edges": [0, 100, 1000, 10_000], "kept": [4, 170, 86], "dropped": None}],
        "pii": [{"kind": "emails", "documents": 31, "spans": 77}, {"kind": "ips", "documents": 2, "spans": 2}],
        "optout": [{"signal": "noindex", "documents": 14, "kept": 11}, {"signal": "none", "documents": 386, "kept": 9}],
        "phrases": {"documents": 260, "months": [{"month": f"2024-{m:02}", "documents": 20 + m, "with": m // 3}
                                                 for m in range(1, 13)],
                    "phrases": [{"phrase": "a tapestry of", "documents": 9}, {"phrase": "delve into", "documents": 7}]},
    }  # fmt: skip


def rephrased() -> dict[str, Any]:
    side = {"style": "wikipedia", "url": "https://site.example/a", "id": "7f3a", "why": "", "source": "What it said.",
            "output": "What was made of it."}  # fmt: skip
    style = {"style": "wikipedia", "accepted": 41, "rejected": 9, "skipped": 1, "share": 0.82, "tokens_in": 81_000,
             "tokens_out": 52_000, "reasons": [["lost_numbers", 6], ["refusal", 3]]}  # fmt: skip
    rate = {"style": "wikipedia", "column": "language", "value": "en", "accepted": 41, "rejected": 9, "share": 0.82,
            "low": 0.69, "high": 0.9}  # fmt: skip
    return {
        "model": "small/model", "styles": [style], "rates": [rate], "accepted": [side, side, side],
        "rejected": [{**side, "why": "lost_numbers: kept_numbers = 0.5 (threshold 0.8)"}], "warnings": ["few outputs"],
        "dollars": 1.25, "dollars_per_billion_kept": 24_000.0,
        "judged": {"judged": 30, "supported": 28, "unsupported": 1, "unreadable": 1},
    }  # fmt: skip


def page() -> dict[str, Any]:
    """An annotated run with something in every section."""
    return deepcopy(_page())


def short() -> dict[str, Any]:
    """The same with few of everything that is a list of the same."""
    data = page()
    for part in (data["samples"], data["samples"]["dropped"], data["domains"], data["phrases"], data["rephrased"]):
        for key, value in part.items():
            if isinstance(value, list):
                part[key] = value[-3:] if key == "months" else value[:2]
    for key in ("languages", "pii", "optout", "lengths"):
        data[key] = data[key][:2]
    return data


@cache
def _page() -> dict[str, Any]:
    made = [rule(i) for i in range(len(RULES))]
    funnel = [
        stage("read_warc", "Source", RECORDS, {"not_html": 33, "not_200": 9}, 0.41),
        stage("extract_text", "Extractor", RECORDS - 42, {"no_text": 16}, 6.2, quarantined=2),
        stage("url_filter", "Filter", DOCUMENTS, {}, 0.1),
        stage("language_filter", "Filter", DOCUMENTS, {}, 0.0),
        stage("gopher_quality", "Filter", DOCUMENTS, {}, 0.7),
        stage("c4_quality", "Filter", DOCUMENTS, {}, 0.004),
        stage("write_parquet", "Sink", DOCUMENTS, {}, 0.03),
    ]
    whatif = {
        "documents": DOCUMENTS, "of": DOCUMENTS, "bytes": pack(sizes(), "<u4"), "tokens": pack(sizes() // 4, "<u4"),
        "fixed": pack(fixed(), "u1"), "codes": [pack(codes, "u1") for _, codes in made],
    }  # fmt: skip
    reasons = [entry["id"] for entry, _ in made[:4]]
    return {
        "format": 1,
        "run": {"recipe": "fineweb", "mode": "annotate", "version": "0.1.0", "fingerprint": "5f9efc01c6ae3ce9",
                "shards": 1, "shards_done": 1, "balance": 0, "annotated_run": None},
        "totals": {"records": RECORDS, "kept": DOCUMENTS, "dropped": 58, "quarantined": 2, "bytes_read": 14_260_000,
                   "bytes_kept": int(sizes().sum()), "tokens_kept": int((sizes() // 4).sum()), "tokens_estimated": True,
                   "seconds": 7.34},
        "funnel": funnel, "read": {"documents": DOCUMENTS, "of": DOCUMENTS}, "rules": [entry for entry, _ in made],
        "whatif": whatif, "overlap": overlap(),
        "samples": {"kept": [sample(i, "kept") for i in range(12)],
                    "dropped": {key: [sample(i, key) for i in range(3 + 4 * n)] for n, key in enumerate(reasons)}},
        **corpus(), "rephrased": rephrased(), "notes": ["Token counts are estimated: 4 bytes each."],
    }  # fmt: skip


def empty() -> dict[str, Any]:
    """A run in filter mode of which nothing is known but its funnel."""
    return {
        **page(), "run": {**page()["run"], "mode": "filter"}, "rules": [], "whatif": None, "overlap": None,
        "samples": {"kept": [], "dropped": {}}, "languages": [], "clusters": [], "lengths": [], "pii": [], "optout": [],
        "domains": {"kept": [], "dropped": [], "distinct_kept": 0, "distinct_dropped": 0}, "phrases": None,
        "rephrased": None, "notes": [],
    }  # fmt: skip
