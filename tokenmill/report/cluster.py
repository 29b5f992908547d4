"""One cluster of a deduplication: found by an id or address, with its members, what they were compared with, and how
their texts differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.dedup.groups import index_origin
from tokenmill.io.documents import Documents
from tokenmill.io.filesystem import open_binary
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.clusters import Clusters, Dedup
from tokenmill.report.differences import CHARS, Difference, difference

MATCHES = 1000
"""Most documents that a search by a part of an address finds."""
APART = 10
"""Most documents listed that were compared with a cluster and stayed outside."""
DIFFERENCES = 3
"""Members whose differences are shown where nobody says how many."""
_ROW = ("cluster_id", "cluster_size", "representative_id", "score", "keep", "rule")


@dataclass(frozen=True)
class Match:
    """A document that was looked for: its row of the table, and where in the table that is (file, row)."""

    doc_id: str
    cluster_id: str
    cluster_size: int
    keep: bool
    url: str
    place: tuple[int, int]


@dataclass(frozen=True)
class Component:
    """Candidates and candidates of candidates, of which a cluster is a part. `rows`: number of file -> rows in it."""

    size: int
    rows: Mapping[int, npt.NDArray[np.int64]]


@dataclass
class Cluster:
    """One cluster. Members as dictionaries: the row of the table, `shard`, `compared` (the comparisons made for it),
    and what `Documents.look_up` knows. The representative comes first, then what was asked for, then the least
    similar, then exact copies.
    """

    dedup: Dedup
    cluster_id: str
    representative_id: str
    asked: str
    size: int
    rules: Counter[str]
    members: list[dict[str, Any]]
    component: int | None
    """Documents that are connected as candidates, of which this cluster is a part; None where it is not known."""
    component_clusters: int
    """Clusters that the component was split into."""
    least: float
    apart: list[dict[str, Any]]
    """Documents that were compared with members and are outside: doc_id, compared_with, score, url, keep, cluster_id;
    the most similar first, at most `APART`."""
    apart_count: int = 0

    def differences(self, most: int | None) -> Iterator[tuple[dict[str, Any], Difference | None]]:
        """(member, how its text differs from that of the representative; None where a text is not kept).

        most: of so many members; None: of a few that differ from one another and are no exact copies, and of the one
        that was asked for.
        """
        first, *others = self.members
        if most is None:
            same = () if self.dedup.same == "address" else ("exact",)
            unlike = (m for m in others if m["rule"] not in same or m[DOC_ID] == self.asked)
            others = list({m.get("text"): m for m in reversed(list(unlike))}.values())[::-1]
            most = DIFFERENCES
        for member in others[:most]:
            one, other = first.get("text"), member.get("text")
            if one is None or other is None:
                yield member, None
                continue
            lengths = [len(of["text"]) - 1 for of in (first, member) if of["text_cut"]]
            yield member, difference(one, other, min([CHARS, *lengths]))


def find(run: Clusters, dedup: Dedup, query: str) -> list[Match]:
    """The documents with this `doc_id`, record id or address; where there is none, those whose address or record id
    contains it, at most `MATCHES`. A cluster is found by its id, which is that of its first document.
    """
    found = _matches(run, dedup, {query: ""}, DOC_ID)
    if not found and dedup.config.get("index"):  # the cluster may be named after a document of an earlier run
        places = range(len(dedup.config["index"]))
        names = {query: "", **{f"{index_origin(place)}{query}": "" for place in places}}
        found = _matches(run, dedup, names, "cluster_id")[:1]
    if found or not query:
        return found
    exact: dict[str, str] = {}
    near: dict[str, str] = {}
    for _, table in run.documents.addresses([s for t in dedup.tables for s in t.shards], dedup.before):
        urls, ids = table.column("url"), table.column("id")
        exact.update(_addresses(table.filter(pc.or_kleene(pc.equal(urls, query), pc.equal(ids, query)))))
        if len(near) < MATCHES:
            parts = [pc.match_substring(column, query, ignore_case=True) for column in (urls, ids)]
            near.update(_addresses(table.filter(pc.or_kleene(*parts)).slice(0, MATCHES - len(near))))
    chosen = exact or near
    return _matches(run, dedup, chosen, DOC_ID) if chosen else []


def _addresses(table: pa.Table) -> dict[str, str]:
    """doc_id -> address."""
    return dict(zip(table.column(DOC_ID).to_pylist(), (u or "" for u in table.column("url").to_pylist()), strict=True))


def _matches(run: Clusters, dedup: Dedup, urls: Mapping[str, str], where: str) -> list[Match]:
    """The rows of the table with these ids."""
    slugs = {run.documents.shard_of(doc_id) for doc_id in urls} if where == DOC_ID else {None}
    named = [n for n, table in enumerate(dedup.tables) if None in slugs or not slugs.isdisjoint(table.shards)]
    found = []
    for number, part in dedup.parts([DOC_ID, *_ROW], where, urls, tables=named):
        for row in part.to_pylist():
            url, place = urls.get(row[DOC_ID], ""), (number, row["row"])
            cluster_id = row["cluster_id"] or row[DOC_ID]  # null where a document took no part
            found.append(Match(row[DOC_ID], cluster_id, row["cluster_size"] or 1, row["keep"], url, place))
    return found


def unknown(run: Clusters, query: str) -> ConfigError:
    """Why a document cannot be found."""
    slug = run.documents.shard_of(query)
    for file in run.documents.stored(slug) if slug else ():
        if file.kind in ("dropped", "quarantine"):
            with open_binary(file.path) as stream:
                table = pq.read_table(stream, columns=[DOC_ID, "stage"])
            for row in table.filter(pc.equal(table.column(DOC_ID), query)).to_pylist():
                return ConfigError(
                    f"{query} never came to a deduplication",
                    why=f"{row['stage']} took it out before ({'dropped' if file.kind == 'dropped' else 'quarantine'})",
                )
    labels = ", ".join(dedup.label for dedup in run.dedups)
    example = run.survey(run.dedups[-1], 1).largest
    like = f"such as {example[0][1]}" if example else "as in dropped/ and dedup/"
    return ConfigError(
        f"no document {query!r} came to {labels}",
        why="no doc_id, record id or address is or contains it; what went before is in dropped/",
        fix=f"give an id {like}, or a part of an address; tokenmill clusters RUN lists the largest clusters",
    )


def open_cluster(run: Clusters, dedup: Dedup, match: Match, most: int) -> Cluster:
    """The cluster of a document, with at most `most` of its members."""
    component = _component(dedup, match.place)
    parts = []
    for number, part in dedup.parts([DOC_ID, *_ROW], "cluster_id", [match.cluster_id]):
        shards = dedup.tables[number].shards_at(part.column("row").to_numpy())
        parts.append(part.append_column("shard", pa.array(shards)).drop_columns(["row"]))
    if not parts:  # the document took no part
        raise ConfigError(
            f"{match.doc_id} took no part in {dedup.label}",
            why="it has nothing to compare, or a filter of an annotated run or a setting left it out",
        )
    table = pa.concat_tables(parts)
    counts = {row["values"]: row["counts"] for row in table.column("rule").value_counts().to_pylist()}
    members = _ordered(table, match.doc_id).slice(0, most).to_pylist()
    known = run.documents.look_up([(m["shard"], m[DOC_ID]) for m in members], dedup.before)
    members = [{**member, **known[member[DOC_ID]]} for member in members]
    representative = members[0]["representative_id"]
    if not members[0]["keep"]:
        members = [_of_index(dedup, representative), *members[: most - 1]]
    cluster = Cluster(
        dedup=dedup,
        cluster_id=match.cluster_id,
        representative_id=representative,
        asked=match.doc_id,
        size=members[-1]["cluster_size"],
        rules=Counter(counts),
        members=members,
        component=component.size if component else None,
        component_clusters=_clusters_of(dedup, component) if component else 1,
        least=dedup.least(component.size if component else None),
        apart=[],
    )
    _add_evidence(run, cluster, table.column(DOC_ID).combine_chunks())
    return cluster


def _ordered(table: pa.Table, asked: str) -> pa.Table:
    """Members as `Cluster.members` has them."""
    ids = table.column(DOC_ID)
    # the representative only where it is one of this run: ids of an earlier one may be the same
    first = pc.and_(pc.equal(ids, table.column("representative_id")), table.column("keep"))
    copies = pc.if_else(pc.equal(table.column("rule"), "exact"), 3, 2)
    rank = pc.if_else(first, 0, pc.if_else(pc.equal(ids, asked), 1, copies))
    order = pc.sort_indices(
        table.append_column("rank", rank), sort_keys=[("rank", "ascending"), ("score", "ascending")]
    )
    return table.take(order)


def _of_index(dedup: Dedup, doc_id: str) -> dict[str, Any]:
    """A representative that is a document of an earlier run."""
    member = {DOC_ID: doc_id, "keep": True, "rule": "index", "score": 1.0, "earlier_run": ""}
    for number, place in enumerate(dedup.config.get("index", ())):
        own = doc_id.removeprefix(index_origin(number))
        folder = RunFolder(place)
        run = folder.read_json("run.json")
        if own == doc_id or not run:
            continue
        documents = Documents(folder, run)
        slug = documents.shard_of(own)
        known = documents.look_up([(slug, own)], "")[own] if slug else {}
        return {**member, **known, "earlier_run": place}
    return member


def _component(dedup: Dedup, place: tuple[int, int]) -> Component | None:
    """The component of a row of the table; None where candidates were not compared, or the row has none."""
    if dedup.components is None or dedup.measure == "none":
        return None
    number, row = place
    with open_binary(dedup.components) as stream:
        file = pa.ipc.open_file(stream)
        older = file.num_record_batches - len(dedup.tables)  # groups of the index come first
        mine = file.get_batch(older + number)
        found = int(np.searchsorted(mine.column("row").to_numpy(), row))
        if found == len(mine) or mine.column("row")[found].as_py() != row:
            return None
        component = mine.column("component")[found].as_py()
        rows = {}
        for batch in range(file.num_record_batches):
            part = file.get_batch(batch)
            inside = np.flatnonzero(part.column("component").to_numpy() == component)
            rows[batch - older] = part.column("row").to_numpy()[inside].astype(np.int64)
    return Component(sum(map(len, rows.values())), rows)


def _clusters_of(dedup: Dedup, component: Component) -> int:
    """Clusters of this run's documents in a component."""
    found: set[str] = set()
    for number, rows in component.rows.items():
        if number >= 0 and len(rows):
            for _, part in dedup.parts(["cluster_id"], tables=[number], rows=rows):
                found.update(part.column("cluster_id").to_pylist())
    return len(found)


def _add_evidence(run: Clusters, cluster: Cluster, inside: pa.Array) -> None:
    """What the shown members were compared with, and what was compared with the cluster and stayed outside."""
    shown = {member[DOC_ID]: member for member in cluster.members}
    for member in cluster.members:
        member["compared"] = []
    apart: dict[str, dict[str, Any]] = {}
    for part in _evidence(cluster.dedup.evidence):
        mine, theirs = (pc.is_in(part.column(name), inside) for name in (DOC_ID, "compared_with"))
        for row in part.filter(pc.is_in(part.column(DOC_ID), pa.array(shown, pa.string()))).to_pylist():
            shown[row[DOC_ID]]["compared"].append({k: row[k] for k in ("compared_with", "score", "accepted")})
        crossing = pc.and_(pc.xor(mine, theirs), pc.invert(part.column("accepted")))
        rows = part.append_column("mine", mine).filter(crossing).select([DOC_ID, "compared_with", "score", "mine"])
        for row in rows.to_pylist():
            outside, member = (row[name] for name in ((DOC_ID, "compared_with")[:: -1 if row["mine"] else 1]))
            if outside not in apart or apart[outside]["score"] < row["score"]:
                apart[outside] = {DOC_ID: outside, "compared_with": member, "score": row["score"]}
    cluster.apart_count = len(apart)
    nearest = sorted(apart.values(), key=lambda row: (-row["score"], row[DOC_ID]))[:APART]
    if nearest:
        places = {
            match.doc_id: match for match in _matches(run, cluster.dedup, {r[DOC_ID]: "" for r in nearest}, DOC_ID)
        }
        slugs = ((run.documents.shard_of(row[DOC_ID]), row[DOC_ID]) for row in nearest)
        known = run.documents.look_up([(s, id) for s, id in slugs if s], cluster.dedup.before, ["url"])
        for row in nearest:
            match = places.get(row[DOC_ID])
            told = {"keep": match.keep, "cluster_id": match.cluster_id} if match else {"keep": True, "cluster_id": ""}
            row.update(**told, url=known.get(row[DOC_ID], {}).get("url", ""))
    cluster.apart = nearest


def _evidence(paths: Sequence[str]) -> Iterator[pa.Table]:
    for path in paths:
        with open_binary(path) as stream:
            file = pq.ParquetFile(stream)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
