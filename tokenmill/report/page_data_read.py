"""The pass over the published tables of a run, for its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.decide import holds
from tokenmill.core.plan import verdict_column
from tokenmill.core.settings import field_docs
from tokenmill.core.signals import known_signals
from tokenmill.core.stage import Filter, Stage
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import Funnel
from tokenmill.report.page_data_recipe import Recipe
from tokenmill.report.signals import NUMBERS, Signals, Slider, find_signals
from tokenmill.report.signals_edges import edges
from tokenmill.report.signals_settings import allowed
from tokenmill.report.survey import Survey, columns_wanted
from tokenmill.report.survey_files import FileChoice, Reading, reading, some_parts
from tokenmill.report.whatif import Joined, WhatIf, current

DOCUMENTS = 300_000
"""Most documents of which columns are read."""
WHOLE_TEXTS = 100_000
"""Most documents of which the text is read for its size alone; beyond, sizes are those of the column `text_bytes`."""
TEXTS = 50_000
"""Most documents whose text is searched for phrases and samples."""
_DROPPED_COLUMNS = ("doc_id", "url", "stage", "reason", "signal", "value", "threshold", "detail", "text")
_UNIT_SHARES = ("share", "ratio", "probability", "0 to 1")

Counts = npt.NDArray[np.int64]


@dataclass
class Looked:
    """What came of the pass."""

    survey: Survey
    signals: Signals
    edges: Sequence[npt.NDArray[np.float64]]
    recipe: Recipe | None = None
    joined: Joined | None = None
    whatif: WhatIf | None = None
    documents: int = 0
    of: int = 0
    rows_read: int = 0
    rows_of_data: int = 0
    published_tokens: int | None = None
    notes: list[str] = field(default_factory=list)
    _samples: tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]] | None = field(default=None, init=False)

    def rules(self) -> list[dict[str, Any]]:
        """One entry per slider."""
        if self.joined is None or self.whatif is None:
            return []
        found = []
        curves = self.joined.curves()
        for place, (slider, ends) in enumerate(zip(self.signals.sliders, self.edges, strict=True)):
            about = known_signals().get(slider.signal)
            found.append(
                {
                    "id": ".".join(filter(None, (slider.label, slider.reason, slider.value))),
                    "filter": slider.label,
                    "reason": slider.reason,
                    "signal": slider.signal,
                    "meaning": about.meaning if about else "",
                    "about": self._about(slider),
                    "unit": about.unit if about else "",
                    "source": about.source if about else "",
                    "comparison": slider.comparison,
                    "threshold": _number(slider.threshold, slider.integer),
                    "setting": slider.setting,
                    "by": {"column": slider.by, "value": slider.value} if slider.by else None,
                    "integer": slider.integer,
                    "nulls": int(self.whatif.nulls[place]),
                    "edges": [_number(end, slider.integer) for end in ends.tolist()],
                    "current": current(slider, ends),
                    "counts": self.whatif.histograms[place].tolist(),
                    **curves[place],
                    "again": slider.again,
                }
            )
        _make_unique(found)
        return found

    def _about(self, slider: Slider) -> str:
        """What the documentation says of the setting."""
        stage = dict(self.recipe.stages).get(slider.label) if self.recipe is not None and slider.setting else None
        return _docs(type(stage)).get(slider.setting or "", "") if stage is not None else ""

    def samples(self, pool: int, chars: int) -> dict[str, Any]:
        """Up to `pool` texts of each kind, of up to `chars` characters."""

        def cut(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
            return [
                {**row, "text": row["text"][:chars], "cut": row["cut"] or len(row["text"]) > chars}
                for row in rows[:pool]
            ]

        if self._samples is None:
            pools = sorted(self.survey.pools.items())
            self._samples = (self.survey.kept_pool.samples(), {name: one.samples() for name, one in pools})
        kept, dropped = self._samples
        return {"kept": cut(kept), "dropped": {name: rows for name, one in dropped.items() if (rows := cut(one))}}

    def whatif_json(self, room: int) -> dict[str, Any] | None:
        """Codes of documents, of as many as fit in so many characters; None where nothing can be moved."""
        if self.joined is None or not self.signals.sliders or not len(self.joined.fixed):
            return None
        overhead = 200 + 8 * len(self.signals.sliders)
        fits = int(max(0, room - overhead) / self.joined.bytes_each())
        return self.joined.sample(fits).to_json(len(self.joined.fixed)) if fits else None


@cache
def _docs(cls: type[Stage]) -> Mapping[str, str]:
    return {one.name: one.text for one in field_docs(cls)}


def look(folder: RunFolder, funnel: Funnel, choice: FileChoice, recipe: Recipe) -> Looked:
    """Read what is to be read of a run's published tables."""
    run = funnel.run
    columns = run["columns"]
    if "stream" in columns:  # a mixture of token sets: `data/` has counts of it and no documents
        return Looked(Survey(), Signals(), [], notes=["A mixture of token sets has no documents to look at."])
    annotated = run["mode"] == "annotate"
    most = DOCUMENTS if "text_bytes" in columns or "text" not in columns else WHOLE_TEXTS
    probe = find_signals(run, recipe, {})
    groups = _groups(probe)
    standing = [slider.column for slider in probe.sliders] + [c for one in probe.tables for c in one.columns.values()]
    data = reading(folder, choice, "data", most, sorted({name for name in standing if columns.get(name) in NUMBERS}))
    signals = find_signals(run, recipe, _frequent(data, groups)) if groups else probe
    ends = [_edges_of(slider, data, recipe) for slider in signals.sliders]
    survey = Survey([name for name in sorted(columns) if name.startswith("pii_")], annotated)
    pass_ = _Pass(run, recipe, signals, WhatIf(signals, ends), survey, data)
    pass_.read()
    rows_read = survey.documents
    dropped = reading(folder, choice, "dropped", DOCUMENTS)
    for _, batch in dropped.batches(_DROPPED_COLUMNS):
        survey.add_dropped(batch)
    looked = Looked(survey, signals, ends, recipe, notes=list(signals.notes))
    if signals.sliders:
        looked.whatif, looked.joined = pass_.whatif, pass_.whatif.joined()
    looked.documents, looked.of = survey.documents, data.of + dropped.of
    looked.rows_read, looked.rows_of_data = rows_read, data.of if rows_read == data.of else -1
    if pass_.tokens_known and pass_.tokens_known == rows_read:
        looked.published_tokens = pass_.tokens_published
    looked.notes += pass_.notes()
    if lost := [*data.unreadable, *dropped.unreadable]:
        looked.notes.append(f"{len(lost):,} published files are gone or damaged, such as {lost[0][:200]}.")
    return looked


def _groups(signals: Signals) -> list[str]:
    """Columns that choose thresholds."""
    names = [table.columns[rule.by] for table in signals.tables for rule in table.rules if rule.by and rule.active]
    return list(dict.fromkeys(names))


def _frequent(data: Reading, columns: Sequence[str]) -> dict[str, list[str]]:
    """Values of each column, the most frequent first, in what is read."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in columns}
    for _, batch in data.batches(columns):
        for name in (name for name in columns if name in batch.schema.names):
            for entry in pc.value_counts(batch.column(name)).to_pylist():
                if entry["values"] is not None:
                    counts[name][str(entry["values"])] += entry["counts"]
    return {
        name: [value for value, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))]
        for name, found in counts.items()
    }


def _edges_of(slider: Slider, data: Reading, recipe: Recipe) -> npt.NDArray[np.float64]:
    low, high = data.range_of(slider.column) or (None, None)
    about = known_signals().get(slider.signal)
    share = about is not None and any(unit in about.unit for unit in _UNIT_SHARES)
    found = edges(slider.threshold, low, high, integer=slider.integer, share=share)
    stage = dict(recipe.stages)[slider.label]
    if slider.setting is not None and isinstance(stage, Filter):
        found = allowed(stage, slider.setting, slider.threshold, found, whole=slider.integer)
    return np.array(found, np.float64)


def _number(value: float | None, integer: bool) -> float | int | None:
    return int(value) if integer and value is not None and float(value).is_integer() else value


def _make_unique(rules: Sequence[dict[str, Any]]) -> None:
    """Two rules of a filter may have one reason: the second gets its signal, too."""
    seen: set[str] = set()
    for rule in rules:
        name, number = rule["id"], 1
        while name in seen:
            name = f"{rule['id']}.{rule['signal']}" + (f".{number}" if number > 1 else "")
            number += 1
        rule["id"] = name
        seen.add(name)


@dataclass
class _Pass:
    """One reading of `data/`."""

    run: Mapping[str, Any]
    recipe: Recipe
    signals: Signals
    whatif: WhatIf
    survey: Survey
    data: Reading
    tokens_published: int = 0
    tokens_known: int = 0
    """Documents with a `token_count`."""
    sizes_measured: bool = False

    def read(self) -> None:
        names = self.run["columns"]
        verdicts = (
            [(label, verdict_column(label)) for label, _ in self.recipe.stages if verdict_column(label) in names]
            if self.run["mode"] == "annotate"
            else []
        )
        columns = dict.fromkeys([*columns_wanted(names), *self.signals.columns, *(name for _, name in verdicts)])
        wanted = [*columns, *(["text"] if "text" in names else [])]
        searched = some_parts(self.data.parts, TEXTS)
        sized = "text_bytes" not in names or self.data.rows <= WHOLE_TEXTS
        self.sizes_measured = not sized
        for part, found in self.data.batches(wanted, None if sized else searched):
            batch = _conformed(found, [*columns, *(["text"] if "text" in found.schema.names else [])], names)
            reasons = _reasons(batch, verdicts)
            kept = reasons.is_null().to_numpy(zero_copy_only=False)
            sizes = _sizes(batch)
            tokens = _tokens(batch)
            self.tokens_published += int(tokens.sum())
            if "token_count" in batch.schema.names:
                self.tokens_known += batch.num_rows - batch.column("token_count").null_count
            ids = _ids(batch, part.path, part.group)
            self.survey.add(batch, kept, sizes)
            if self.signals.sliders:
                self.whatif.add(batch, sizes, tokens, ids)
            if (part.path, part.group) in searched and "text" in batch.schema.names:
                self.survey.read_texts(batch, kept, reasons, ids, partial(self._why, batch, reasons))

    def _why(self, batch: pa.RecordBatch, reasons: pa.Array, row: int) -> dict[str, Any]:
        """Signal, value and threshold of the rule that dropped a document of an annotated run."""
        nothing: dict[str, Any] = {"why": "", "signal": None, "value": None, "threshold": None}
        named = reasons[row].as_py()
        if named is None:
            return nothing
        one = batch.slice(row, 1)
        for table in self.signals.tables:
            if not named.startswith(f"{table.label}."):
                continue
            for place in sorted(range(len(table.rules)), key=lambda place: place in table.follows):
                rule = table.rules[place]
                if f"{table.label}.{rule.reason}" != named or not rule.active:
                    continue

                def column(name: str, table: Any = table) -> pa.Array:
                    return one.column(table.columns[name])

                if holds(rule, column)[0].as_py():
                    value = column(rule.signal)[0].as_py()
                    threshold = rule.threshold_for(column(rule.by)[0].as_py() if rule.by else None)
                    numeric = isinstance(value, int | float) and isinstance(threshold, int | float)
                    why = "" if numeric else f"{rule.signal} {rule.comparison} {threshold}: {value}"
                    return {
                        "why": why,
                        "signal": rule.signal,
                        "value": float(value) if numeric else None,
                        "threshold": float(threshold) if numeric else None,
                    }
        return nothing

    def notes(self) -> list[str]:
        found = []
        if self.whatif.unlike:
            found.append(
                f"The stored verdicts of {self.whatif.unlike:,} documents differ from what the rules say of the "
                "stored signals."
            )
        if self.sizes_measured:
            found.append(
                "Sizes of texts are those of the column text_bytes, measured before later stages changed texts."
            )
        return found


def _conformed(batch: pa.RecordBatch, columns: Iterable[str], types: Mapping[str, str]) -> pa.RecordBatch:
    """With all of these columns, as `run.json` names their types; null where the file has none, or another type."""
    arrays = {name: batch.column(name) for name in batch.schema.names}
    for name in columns:
        try:
            dtype = pa.type_for_alias(types[name])
            if name not in arrays or arrays[name].type != dtype:
                arrays[name] = arrays[name].cast(dtype) if name in arrays else pa.nulls(batch.num_rows, dtype)
        except (ValueError, KeyError, pa.ArrowNotImplementedError):  # pa.ArrowInvalid is a ValueError
            arrays[name] = pa.nulls(batch.num_rows, pa.string())
    return pa.RecordBatch.from_pydict(arrays) if arrays else batch


def _reasons(batch: pa.RecordBatch, verdicts: Sequence[tuple[str, str]]) -> pa.Array:
    """(n,) `stage.reason` of the first verdict of each document; null where none drops it."""
    found = [
        pc.binary_join_element_wise(label, batch.column(name).cast(pa.string()), ".")
        for label, name in verdicts
        if name in batch.schema.names
    ]
    if not found:
        return pa.nulls(batch.num_rows, pa.string())
    return pc.coalesce(*found)


def _sizes(batch: pa.RecordBatch) -> Counts:
    """(n,) UTF-8 bytes of the texts."""
    if "text" in batch.schema.names:
        lengths = pc.binary_length(batch.column("text")).cast(pa.int64()).fill_null(0)
    elif "text_bytes" in batch.schema.names:
        lengths = batch.column("text_bytes").cast(pa.int64()).fill_null(0)
    else:
        return np.zeros(batch.num_rows, np.int64)
    found: Counts = lengths.to_numpy(zero_copy_only=False)
    return found


def _tokens(batch: pa.RecordBatch) -> Counts:
    if "token_count" not in batch.schema.names:
        return np.zeros(batch.num_rows, np.int64)
    found: Counts = batch.column("token_count").cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def _ids(batch: pa.RecordBatch, path: str, group: int) -> list[str]:
    """What names each document: `doc_id`, else `id`, else its place."""
    for name in ("doc_id", "id"):
        if name in batch.schema.names and not batch.column(name).null_count:
            return [str(one) for one in batch.column(name).to_pylist()]
    return [f"{path}#{group}.{row}" for row in range(batch.num_rows)]
