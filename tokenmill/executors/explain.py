"""Why a document was kept or dropped: found in what a run has published, read from its archive again, and sent through
the run's own stages, one at a time. Use: docs/explain.md.

What the run has recorded is the verdict; the replay says how it came about, and where the two differ it says that.
Deduplication is never done again: the tables of the run tell what it has found.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Plan, make_plan
from tokenmill.core.schema import DOC_ID
from tokenmill.core.stage import Barrier
from tokenmill.executors.explain_plan import check_code, digest_differences, plan_of_run, version_differences
from tokenmill.executors.explain_read import NO_URL, Given, archive_paths, read_again, wrapped
from tokenmill.executors.explain_steps import bare_steps, steps_of, stored_steps, verdict_of
from tokenmill.executors.explain_tables import BarrierTables
from tokenmill.executors.explanation import Duplicate, Explanation, Step, Verdict
from tokenmill.executors.host import Limits
from tokenmill.executors.replay import Outcome, Replayer
from tokenmill.executors.runspec import load_run, load_run_here
from tokenmill.io.annotated import ReadAnnotated
from tokenmill.io.published import Place, PublishedTables, Search
from tokenmill.io.runfolder import RunFolder
from tokenmill.text import signals as _  # noqa: F401 - registers the signals, whose meaning is told

_OUTCOMES = {"data": "kept", "dropped": "dropped", "quarantine": "quarantined"}
_TRIED = (TokenmillError, OSError, EOFError, ValueError)
"""What reading an archive or replaying may raise, and what is stored is told instead."""


def explain_document(
    folder: str,
    query: str,
    *,
    pipeline: Pipeline | None = None,
    settings: Iterable[tuple[str, str, Any]] = (),
    archives: Sequence[str] = (),
    limits: Limits | None = None,
    trust_code: bool = False,
) -> Explanation:
    """Every stage's decision on one document of a run.

    query: an address, a record id (with or without `<urn:uuid:...>`) or a doc_id (`file#offset`). pipeline, settings:
    another recipe, or the run's with (stage, field, value) changed: what these would say. archives: folders in which
    the archives lie now. trust_code: execute stages of the user's that came with the run; without it, what the run
    has stored is told. ConfigError where the run has no such document.
    """
    with Explainer(
        folder, pipeline=pipeline, settings=settings, archives=archives, limits=limits, trust_code=trust_code
    ) as explainer:
        return explainer.explain(query)


def explain_page(
    payload: bytes, pipeline: Pipeline, *, name: str = "page.html", url: str = "", limits: Limits | None = None
) -> Explanation:
    """Every stage's decision on a page, as if a server had answered with it. Deduplications are left out."""
    plan = make_plan(pipeline, [])
    found = Explanation(name, pipeline.name, "replay", url=url, file_path=name)
    if not url:
        found.notes.append(f"the page has no address: {NO_URL} is taken (--url gives another)")
    given = wrapped(plan.source, payload, name, url or NO_URL)
    replayer = Replayer(plan, limits)
    try:
        _replay(found, plan, replayer, given, lambda label, barrier: None, {})
    finally:
        replayer.close()
    found.replayed = verdict_of(found.steps, compared=False)
    for step in found.steps:
        if step.kind == "barrier" and not step.would and step.outcome == "unknown":
            found.notes.append(f"{step.stage} compares the documents of a run; --run RUN tells what it has found")
    return found


class Explainer:
    """Explains documents of one run, with one process for the replays."""

    def __init__(
        self,
        folder: str,
        *,
        pipeline: Pipeline | None = None,
        settings: Iterable[tuple[str, str, Any]] = (),
        archives: Sequence[str] = (),
        limits: Limits | None = None,
        trust_code: bool = False,
    ) -> None:
        """As `explain_document`. ConfigError where the folder holds no run, or the settings cannot be."""
        self.published = PublishedTables(RunFolder(folder))
        self._data = load_run(self.published.folder)
        self._archives = archives
        self._tables = BarrierTables(self.published)
        self._differences: list[str] = []
        given = tuple(settings)
        self._what_if = pipeline is not None or bool(given)
        self._plan: Plan | None = None
        self._problem: TokenmillError | None = None
        try:
            if pipeline is not None:
                self._plan = make_plan(pipeline.with_settings(given), [])
            else:
                if not trust_code:
                    check_code(self.published.folder, self._data)
                self._data = load_run_here(self.published.folder)
                self._plan, self._differences = plan_of_run(self._data, given)
        except ConfigError as error:
            if self._what_if:
                raise
            self._problem = error  # a list or a stage is gone: what is stored can be told all the same
        if self._plan is not None and not self._what_if:
            self._differences += digest_differences(self._data, self._plan)
        self._versions = version_differences(self._data)
        self._replayer = Replayer(self._plan, limits) if self._plan is not None else None

    def __enter__(self) -> Explainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process of the replays."""
        if self._replayer is not None:
            self._replayer.close()

    def explain(self, query: str) -> Explanation:
        """As `explain_document`."""
        search = self.published.search(query)
        if not search.places:
            raise self._unknown(query, search)
        return self.explain_place(query, search)

    def explain_place(self, query: str, search: Search) -> Explanation:
        """The document of the first place of a search."""
        place = search.places[0]
        row = self.published.row(place)
        found = self._begun(query, search, place, row)
        recorded = found.recorded
        assert recorded is not None
        known = {**row, DOC_ID: place.doc_id}
        if self._plan is None:
            assert self._problem is not None
            self._stored(found, place, row, self._problem)
            return found
        try:
            shard = next(one for one in self._data["input"]["shards"] if one["output"] == place.file.slug)
            paths = list(archive_paths(shard, self._data["input"]["location"], self._archives))
            given = read_again(self._plan.source, shard["name"], paths, known)
            found.archive = given.path
            if given.batch is not None:
                found.doc_id = given.batch.column(DOC_ID)[0].as_py()
                found.date = found.date or _text(given.batch, "date")
                found.url = found.url or _text(given.batch, "url")
            self._replayed(found, place, row, given)
        except _TRIED as error:
            found.steps = []
            self._stored(found, place, row, error)
        return found

    def _begun(self, query: str, search: Search, place: Place, row: Mapping[str, Any]) -> Explanation:
        recorded = recorded_verdict(self.published, place, row)
        found = Explanation(
            query=query,
            recipe=self._plan.pipeline.name if self._plan is not None else self._data["recipe"],
            source="replay",
            run=self.published.folder.location,
            mode=self._data["mode"],
            doc_id=place.doc_id,
            id=row.get("id") or "",
            url=row.get("url") or "",
            date=row.get("date") or "",
            file_path=row.get("file_path") or "",
            warc_offset=row.get("warc_offset"),
            recorded=recorded,
            what_if=self._what_if,
            differences=list(self._differences),
        )
        if len(search.places) > 1:
            found.captures = [self._capture(one) for one in search.places]
            count = f"{len(search.places)}" + ("+" if search.by == "url" and len(search.places) >= 50 else "")
            found.notes.append(f"{count} captures of this address; one of the others: give its doc_id or id instead")
        return found

    def _capture(self, place: Place) -> Mapping[str, Any]:
        names = [DOC_ID, "id", "url", "date", "stage", "reason", "cause", *self.published.verdicts]
        row = self.published.row(place, names)
        verdict = recorded_verdict(self.published, place, row)
        return {DOC_ID: place.doc_id, "id": row.get("id"), "date": row.get("date"), "verdict": str(verdict)}

    def _replayed(self, found: Explanation, place: Place, row: Mapping[str, Any], given: Given) -> None:
        seen = self._duplicates(place.file.slug, found.doc_id)
        slug = place.file.slug

        def joined(label: str, barrier: Barrier) -> Any:
            return self._tables.joined(label, barrier, slug, found.doc_id)

        assert self._plan is not None
        assert self._replayer is not None
        _replay(found, self._plan, self._replayer, given, joined, seen)
        annotated = [name.removesuffix("_verdict") for name in self.published.verdicts]
        found.replayed = verdict_of(found.steps, compared=True, annotated=() if self._what_if else annotated)
        first = next((step for step in found.steps if step.outcome == "drop"), None)
        if first is not None and first.stage != found.replayed.stage:
            found.notes.append(f"{first.stage} ({first.reason}) drops it before that; an annotated run only notes it")
        text = row.get("text") if place.file.kind == "data" else None
        whole = all(step.outcome != "not_reached" or step.kind == "sink" for step in found.steps)
        if text is not None and whole and not self._what_if:
            found.text_agrees = text == found.text
        if not found.what_if and found.agrees is False:
            found.differences += [line for line in self._versions if line not in found.differences]
            if found.text_agrees is False:
                found.differences.append("the text is not the one that was published")
            if not found.differences:
                found.differences.append("nothing that is known: chance, a limit of time or memory, or changed code")

    def _stored(self, found: Explanation, place: Place, row: Mapping[str, Any], error: BaseException) -> None:
        """Tell what the run has stored, and why there is no more."""
        assert found.recorded is not None
        found.source = "stored"
        what = error.what if isinstance(error, TokenmillError) else f"{type(error).__name__}: {error}"
        found.notes.append(f"nothing could be replayed, so this is what the run has stored: {what}")
        if isinstance(error, TokenmillError):
            found.notes += [text for text in (error.why, error.fix) if text]
        known = {**self.published.phase_row(place.file.slug, found.doc_id), **row} if found.doc_id else dict(row)
        seen = self._duplicates(place.file.slug, found.doc_id)
        annotated = any(name in row for name in self.published.verdicts)
        if self._plan is not None:
            found.steps = stored_steps(self._plan, known, found.recorded, seen, annotated=annotated)
        else:
            labels = [entry["stage"] for entry in self._data["stages"]]
            found.steps = bare_steps(labels, known, found.recorded, seen, annotated=annotated)
        found.text = row.get("text")

    def _duplicates(self, slug: str, doc_id: str) -> dict[str, Duplicate]:
        found = {}
        for entry in self._data["stages"] if doc_id else ():
            duplicate = self._tables.duplicate(entry["stage"], entry["config"], slug, doc_id)
            if duplicate is not None:
                found[entry["stage"]] = duplicate
        return found

    def _unknown(self, query: str, search: Search) -> ConfigError:
        near = difflib.get_close_matches(query, search.near, n=3, cutoff=0.5) or search.near[:3]
        why = f"did you mean {' or '.join(near)}?" if near else ""
        shards = len(self.published.slugs)
        return ConfigError(
            f"{self.published.folder.location} has no document {query!r}",
            where=f"looked through {search.rows:,} rows in {search.files:,} files of {shards:,} shards: data, dropped "
            "and quarantine (requests and the like are counted there, not listed)",
            why=why or "no doc_id, record id or address is the same",
            fix="give an address as it is in the column url, a record id, or a doc_id (file#offset); a page's file "
            "needs no run",
        )


def _replay(
    found: Explanation,
    plan: Plan,
    replayer: Replayer,
    given: Given,
    joined: Any,
    seen: Mapping[str, Duplicate],
) -> None:
    """Fill in the steps of an explanation, and its text at the end."""
    outcomes: list[Outcome] = []
    if given.batch is not None:
        outcomes = replayer.run(given.batch, joined)
    has_text = given.batch is not None and "text" in given.batch.schema.names
    texts = [_text(given.batch, "text")] if has_text else []
    found.steps = steps_of(plan, outcomes, given.skip, seen, texts[0] if texts else None)
    texts += [outcome.text for outcome in outcomes if outcome.text is not None]
    found.text = texts[-1] if texts else None


def _text(batch: Any, name: str) -> str:
    value = batch.column(name)[0].as_py() if name in batch.schema.names else None
    return value or ""


def recorded_verdict(published: PublishedTables, place: Place, row: Mapping[str, Any]) -> Verdict:
    """What the published row says became of the document."""
    outcome = _OUTCOMES[place.file.kind]
    if outcome == "kept":
        for column in published.verdicts:
            if row.get(column) is not None:
                return Verdict("dropped", column.removesuffix("_verdict"), row[column])
        return Verdict("kept")
    stage, reason = row["stage"], row.get("reason" if outcome == "dropped" else "cause") or ""
    if stage == ReadAnnotated.name and "." in reason:  # what the annotated run had brought to an end
        stage, _, reason = reason.partition(".")
    numbers = {name: row.get(name) for name in ("value", "threshold")}
    return Verdict(outcome, stage, reason, row.get("signal") or "", **numbers, detail=row.get("detail") or "")


__all__ = ["Explainer", "Explanation", "Step", "explain_document", "explain_page", "recorded_verdict"]
