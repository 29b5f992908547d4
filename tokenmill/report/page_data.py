"""Everything that `report.html` shows of a run, as plain values: `page_data(folder)`.

Counts of stages are exact sums over manifests. The rest comes from one pass over the published tables: all of a run of
up to 300,000 documents, else a choice of row groups by a hash, so that the cost does not grow with the run. `read` says
how many were looked at.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tokenmill.classifiers.published import BYTES_PER_TOKEN
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.duplicates import duplicates
from tokenmill.report.funnel import Funnel, fold
from tokenmill.report.html import island
from tokenmill.report.overlap import Overlap
from tokenmill.report.page_data_read import Looked, look
from tokenmill.report.page_data_recipe import Recipe
from tokenmill.report.rephrased import rephrased
from tokenmill.report.survey_files import FileChoice

FORMAT = 1
MOST_BYTES = 2_500_000
"""Bytes of all of it as JSON in the page, which has less than 3 MB with its script."""
WHATIF_BYTES = 1_200_000
"""Bytes of the codes of documents."""
MOST_REASONS = 200
"""Reasons of a stage that are told one by one: a filter of the user's may invent one for every document."""
MOST_RULES_OVERLAP = 80
_NAME_CHARS = 200


def page_data(folder: RunFolder) -> dict[str, Any]:
    """The data of the report of a run, finished or not; plain JSON values without NaN. ConfigError: there is no run."""
    choice = FileChoice()
    funnel = fold(folder, choice.add)
    return page_data_of(folder, funnel, choice)


def page_data_of(folder: RunFolder, funnel: Funnel, choice: FileChoice) -> dict[str, Any]:
    """The same where the manifests have been read: `choice` has seen all of them."""
    recipe = Recipe.of(funnel.run)
    looked = look(folder, funnel, choice, recipe)
    parts = looked.survey.to_json()
    tokens, estimated = _tokens(funnel, looked)
    data: dict[str, Any] = {
        "format": FORMAT,
        "run": _run(funnel),
        "totals": _totals(funnel, tokens, estimated),
        "funnel": _funnel(funnel, recipe, None if estimated else tokens),
        "read": {"documents": looked.documents, "of": looked.of},
        "rules": looked.rules(),
        "whatif": None,
        "overlap": _overlap(funnel.overlap),
        "samples": {"kept": [], "dropped": {}},
        **parts,
        "clusters": _clusters(folder),
        "rephrased": _rephrased(folder),
        "notes": looked.notes,
    }
    return _fitted(_plain(data), looked)


def _run(funnel: Funnel) -> dict[str, Any]:
    run = funnel.run
    return {
        "recipe": run["recipe"],
        "mode": run["mode"],
        "version": run.get("tokenmill", ""),
        "fingerprint": run["fingerprint"],
        "shards_done": funnel.shards_done,
        "shards": funnel.shards,
        "balance": funnel.balance,
        "annotated_run": (run.get("refilter") or {}).get("run"),
    }


def _totals(funnel: Funnel, tokens: int | None, estimated: bool) -> dict[str, Any]:
    stages = funnel.stages
    return {
        "records": funnel.records,
        "kept": funnel.kept,
        "dropped": funnel.dropped.total(),
        "quarantined": funnel.quarantined.total(),
        "bytes_read": stages[0].bytes_in if stages else 0,
        "bytes_kept": stages[-1].bytes_out if stages else 0,
        "tokens_kept": tokens,
        "tokens_estimated": estimated,
        "seconds": sum(stage.seconds for stage in stages),
    }


def _tokens(funnel: Funnel, looked: Looked) -> tuple[int | None, bool]:
    """(tokens of all that was published, whether that is an estimate)."""
    found = looked.published_tokens
    if found is not None and looked.rows_of_data == funnel.kept:
        return found, False
    if found is not None and looked.rows_read:
        return round(found / looked.rows_read * funnel.kept), True
    if not funnel.stages or "text" not in funnel.run["columns"]:
        return None, False
    return round(funnel.stages[-1].bytes_out / BYTES_PER_TOKEN), True


def _funnel(funnel: Funnel, recipe: Recipe, tokens: int | None) -> list[dict[str, Any]]:
    rows = []
    for stage in funnel.stages:
        reasons = [(n, reason, "dropped") for reason, n in stage.dropped.items()]
        reasons += [(n, cause, "quarantined") for cause, n in stage.quarantined.items()]
        reasons.sort(key=lambda one: (-one[0], one[1]))
        shown = [{"reason": name[:_NAME_CHARS], "count": n, "kind": kind} for n, name, kind in reasons[:MOST_REASONS]]
        for kind in ("dropped", "quarantined"):
            rest = sum(n for n, _, one in reasons[MOST_REASONS:] if one == kind)
            shown += [{"reason": "(others)", "count": rest, "kind": kind}] if rest else []
        rows.append(
            {
                "stage": stage.stage,
                "kind": recipe.kind(stage.stage),
                "into": stage.into,
                "out": stage.out,
                "bytes_in": stage.bytes_in,
                "bytes_out": stage.bytes_out,
                "tokens_out": None,
                "seconds": stage.seconds,
                "reasons": shown,
            }
        )
    if rows:
        rows[-1]["tokens_out"] = tokens
    return rows


def _overlap(overlap: Overlap | None) -> dict[str, Any] | None:
    if overlap is None:
        return None
    names = overlap.rules[:MOST_RULES_OVERLAP]
    pairs = [[i, j, n] for i, a in enumerate(names) for j, b in enumerate(names[:i]) if (n := overlap.both(a, b))]
    rules = [
        {"rule": a[:_NAME_CHARS], "removes": overlap.removes(a), "first": overlap.first[a], "only": overlap.only[a]}
        for a in names
    ]
    return {"documents": overlap.documents, "kept": overlap.kept, "rules": rules, "pairs": pairs}


def _clusters(folder: RunFolder) -> list[dict[str, Any]]:
    found = []
    for one in duplicates(folder):
        rows: list[list[int | None]] = []
        before = 1
        for end in sorted(int(size) for size in one.sizes):
            # the facts tell clusters by the upper end of their size: 2, 3, 4, then powers of two
            start = end if end <= 4 else end // 2 + 1
            count = one.sizes[str(end)]
            rows.append([max(start, before + 1), end, count, count * end if start == end else None])
            before = end
        found.append(
            {
                "stage": one.label,
                "measure": "candidates",
                "documents": one.documents,
                "dropped": one.removed,
                "sizes": rows,
            }
        )
    return found


def _rephrased(folder: RunFolder) -> dict[str, Any] | None:
    found = rephrased(folder)
    return None if found is None else dataclasses.asdict(found)


def _plain(value: Any) -> Any:
    """Plain JSON values: no NaN or infinity, no tuples, names as strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _fitted(data: dict[str, Any], looked: Looked) -> dict[str, Any]:
    """With samples, fewer and shorter ones if need be, and codes of as many documents as there is room for."""
    base = _size(data)
    for pool, chars in ((20, 1000), (10, 1000), (5, 800), (5, 400), (3, 300), (2, 200), (0, 0)):
        data["samples"] = _plain(looked.samples(pool, chars))
        size = base + _size(data["samples"])
        if size + WHATIF_BYTES <= MOST_BYTES:
            break
    room = min(WHATIF_BYTES, MOST_BYTES - base - _size(data["samples"]))
    data["whatif"] = looked.whatif_json(room)
    return data


def _size(value: Any) -> int:
    """Bytes of a part in the page, where many characters are escaped."""
    return len(island({"": value}).encode())


__all__ = ["page_data", "page_data_of"]
