"""`tokenmill clusters`: what deduplication has put together, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tokenmill.cli.console import make_table, output_console, safe
from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.cluster import Cluster, Match, find, open_cluster, unknown
from tokenmill.report.clusters import Brief, Clusters, Dedup, Survey
from tokenmill.report.differences import Difference, Piece
from tokenmill.report.units import human_bytes, percent

_RULES = ("exact", "jaccard", "containment", "unverified")
_STYLES = {"gone": ("- ", "red"), "new": ("+ ", "green"), "equal": ("  ", ""), "elided": ("  ", "dim")}
_LISTED = 20
"""Most documents in a list of what a search has found."""


def show_clusters(
    location: str, query: str | None, *, stage: str | None, top: int, members: int, diff: int | None, as_json: bool
) -> None:
    """Print the deduplications of a run and their largest clusters, or one cluster.

    query: an id, address or part of one. diff: members whose differences are shown, None for a few.
    """
    for name, value, least in (("--top", top, 0), ("--members", members, 2), ("--diff", diff or 0, 0)):
        if value < least:
            raise ConfigError(f"{name} {value} is below {least}")
    run = Clusters(RunFolder(location))
    console = output_console()
    if query is None:
        _overview(console, run, run.chosen(stage), top, as_json)
        return
    dedup, matches = _search(run, query, stage)
    ids = list(dict.fromkeys(match.cluster_id for match in matches))
    if len(ids) > 1:
        _list(console, dedup, matches, query, as_json)
        return
    asked = next((match for match in matches if not match.keep), matches[0])
    cluster = open_cluster(run, dedup, asked, members)
    if as_json:
        _print_json(_cluster_json(cluster, diff))
        return
    _print_cluster(console, cluster)
    if diff != 0:
        _print_differences(console, cluster, diff)


def _search(run: Clusters, query: str, stage: str | None) -> tuple[Dedup, list[Match]]:
    """The deduplication in which the document is, and what was found: the last one that put it together with others,
    else the last one that it came to.
    """
    found: tuple[Dedup, list[Match]] | None = None
    for dedup in reversed(run.dedups) if stage is None else [run.chosen(stage)]:
        matches = find(run, dedup, query)
        if any(match.cluster_size > 1 for match in matches):
            return dedup, matches
        if matches and found is None:
            found = dedup, matches
    if found is None:
        raise unknown(run, query)
    return found


def _overview(console: Console, run: Clusters, dedup: Dedup, top: int, as_json: bool) -> None:
    surveys = {one.label: run.survey(one, top if one is dedup else 0) for one in run.dedups}
    briefs = run.briefs(dedup, surveys[dedup.label].largest)
    if as_json:
        stages = [_survey_json(run, one, surveys[one.label]) for one in run.dedups]
        largest = [{**vars(brief), "hosts": dict(brief.hosts.most_common(10))} for brief in briefs]
        _print_json({"stages": stages, "unfinished": run.unfinished, "stage": dedup.label, "largest": largest})
        return
    console.print(_surveys_table(run, surveys))
    for label in run.passages:
        where = run.folder.path(f"dedup/{label}")
        console.print(f"{label} removes passages, not documents: samples in {safe(where)}", highlight=False)
    for label in run.unfinished:
        console.print(f"{label}: not finished", highlight=False)
    survey = surveys[dedup.label]
    console.print()
    for line in _about(dedup, survey):
        console.print(f"{dedup.label}: {safe(line)}", highlight=False)
    if not survey.sizes and not briefs:
        console.print(f"{dedup.label}: no two documents were alike", highlight=False)
        return
    if survey.sizes:
        console.print(_sizes_table(survey))
    if briefs:
        console.print(_largest_table(console, dedup, briefs))
        options = f" --stage {dedup.label}" if len(run.dedups) > 1 else ""
        console.print(
            f"one of them: tokenmill clusters RUN{options} 'ID OR PART OF A URL'", style="dim", highlight=False
        )


def _about(dedup: Dedup, survey: Survey) -> Iterator[str]:
    if dedup.measure in ("jaccard", "containment"):
        limit = f"{dedup.measure} >= {dedup.least(None):g}"
        if dedup.config["large_min_similarity"] != dedup.config["min_similarity"]:
            large, size = dedup.config["large_min_similarity"], dedup.config["large_cluster"]
            limit += f" (>= {large:g} where more than {size:,} documents hang together)"
        yield f"removed are copies with the same {dedup.same}, and documents with {limit}"
    elif "verify" in dedup.config:
        yield "candidates were removed without being compared"
    else:
        yield f"removed are documents with the same {dedup.same}"
    if survey.apart:
        yield f"{survey.apart:,} documents were candidates, and are like none that they were compared with: kept"
    if survey.removed_by_index:
        yield f"{survey.removed_by_index:,} of the removed are like documents of an earlier run"
    if survey.outside:
        yield f"{survey.outside:,} documents took no part"


def _surveys_table(run: Clusters, surveys: Mapping[str, Survey]) -> Table:
    table = make_table(title=f"{safe(run.run['recipe'])}: deduplication")
    rules = [rule for rule in _RULES if any(survey.rules[rule] for survey in surveys.values())]
    for name in ("stage", "documents", "clusters", "largest", "removed", "of all", *rules, "bytes gone"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=name != "stage", overflow="fold")
    for dedup in run.dedups:
        survey = surveys[dedup.label]
        gone = run.removed_bytes(dedup)
        table.add_row(
            safe(dedup.label),
            f"{survey.documents:,}",
            f"{sum(survey.sizes.values()):,}",
            f"{max(survey.sizes, default=1):,}",
            f"{survey.removed:,}",
            percent(survey.removed / max(survey.documents, 1)),
            *(f"{survey.rules[rule]:,}" for rule in rules),
            "?" if gone is None else human_bytes(gone),
        )
    return table


def _sizes_table(survey: Survey) -> Table:
    """Clusters by powers of two of their size."""
    table = make_table(title="sizes of clusters")
    for name in ("size", "clusters", "removed", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    clusters: Counter[int] = Counter()
    removed: Counter[int] = Counter()
    for size, count in survey.sizes.items():
        clusters[size.bit_length()] += count
        removed[size.bit_length()] += (size - 1) * count
    for bits in range(2, max(clusters) + 1):
        bounds = f"{1 << (bits - 1):,} - {(1 << bits) - 1:,}"
        bar = "█" * -(-30 * removed[bits] // max(removed.values()))
        table.add_row(bounds, f"{clusters[bits]:,}", f"{removed[bits]:,}", bar)
    return table


def _largest_table(console: Console, dedup: Dedup, briefs: Sequence[Brief]) -> Table:
    """One row per cluster; long names stand below one another, so that they can be copied."""
    table = make_table(title=f"the {len(briefs)} largest clusters of {dedup.label}", show_lines=True)
    rules = [rule for rule in _RULES if any(brief.rules[rule] for brief in briefs)]
    lowest = any(brief.lowest is not None for brief in briefs)
    for name in ("size", *rules, *(["lowest"] if lowest else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("cluster, the document that was kept, most frequent hosts", overflow="fold")
    width = console.width - 16 - 14 * (len(rules) + lowest)
    for brief in briefs:
        score = "" if brief.lowest is None else f"{brief.lowest:.3f}"
        known = brief.hosts.total()
        hosts = ", ".join(f"{host} {n:,}" for host, n in brief.hosts.most_common(3))
        more = f" and {len(brief.hosts) - 3} more" if len(brief.hosts) > 3 else ""
        sample = f" (of {known:,} looked up)" if known < brief.size else ""
        lines = [Text(_plain(brief.cluster_id), "bold")]
        if brief.representative_id != brief.cluster_id:
            lines.append(Text(f"kept: {_plain(brief.representative_id)}"))
        lines += [Text(_cut(brief.url, width)), Text(_plain(f"{hosts}{more}{sample}") if hosts else "", "dim")]
        told = Text("\n").join(line for line in lines if line)
        table.add_row(f"{brief.size:,}", *(f"{brief.rules[rule]:,}" for rule in rules), *([score] * lowest), told)
    return table


def _list(console: Console, dedup: Dedup, matches: Sequence[Match], query: str, as_json: bool) -> None:
    """Documents of several clusters: the largest clusters first."""
    ordered = sorted(matches, key=lambda match: (-match.cluster_size, match.cluster_id, match.doc_id))
    if as_json:
        keys = (DOC_ID, "url", "cluster_id", "cluster_size", "keep")
        _print_json({"stage": dedup.label, "matches": [{key: getattr(m, key) for key in keys} for m in ordered]})
        return
    clusters = {match.cluster_id for match in matches}
    title = f"{len(matches):,} documents of {len(clusters):,} clusters match {_cut(query, 60)}"
    table = make_table(title=Text(title))
    table.add_column("cluster of", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("document", overflow="fold")
    first = list({match.cluster_id: match for match in reversed(ordered)}.values())[::-1]
    for match in first[:_LISTED]:
        address = [Text(_cut(match.url, console.width - 30), "dim")] if match.url else []
        told = Text("\n").join([Text(_plain(match.doc_id)), *address])
        table.add_row(f"{match.cluster_size:,}", "kept" if match.keep else "removed", told)
    console.print(table)
    if len(first) > _LISTED:
        console.print(f"and {len(first) - _LISTED:,} more clusters", highlight=False)
    console.print("give one of these ids, or more of the address", highlight=False)


def _print_cluster(console: Console, cluster: Cluster) -> None:
    dedup, told = cluster.dedup, [f"{cluster.rules[rule]:,} {rule}" for rule in _RULES if cluster.rules[rule]]
    heading = Text(f"{dedup.label}: cluster {_plain(cluster.cluster_id)}", "bold")
    console.print(heading, soft_wrap=True)
    if cluster.size == 1:
        kept = "compared, and like none of them: kept" if cluster.rules["representative"] else "no other had its keys"
        console.print(f"1 document; {kept}", highlight=False)
    else:
        console.print(f"{cluster.size:,} documents, 1 kept, removed: {', '.join(told)}", highlight=False)
    if cluster.component and cluster.component > cluster.size:
        split = f"{cluster.component:,} documents are connected as candidates; comparing them made"
        console.print(f"{split} {cluster.component_clusters:,} clusters, at {cluster.least:g}", highlight=False)
    console.print(_members_table(console, cluster))
    if len(cluster.members) < cluster.size:
        more = cluster.size - len(cluster.members)
        console.print(f"{more:,} more (--members {cluster.size}); the least similar come first", highlight=False)
    missing = [m for m in cluster.members if m.get("text") is None]
    if missing:
        console.print(
            f"? text not kept ({len(missing)} documents): what went before its text was stored has it for a sample "
            "only, in dropped/ (tokenmill run --sample-dropped 1 keeps all)",
            highlight=False,
        )
    if cluster.apart:
        console.print(_apart_table(console, cluster))


def _members_table(console: Console, cluster: Cluster) -> Table:
    table = make_table(show_lines=True)
    score = cluster.dedup.measure in ("jaccard", "containment")
    dates = any(member.get("date") for member in cluster.members)
    for name in ("", "rule", *(["score"] if score else []), *(["date"] if dates else []), "length"):
        table.add_column(name, justify="right" if name in ("score", "length") else "left", no_wrap=True)
    table.add_column("document, address, what it was compared with", overflow="fold")
    width = console.width - 34 - 8 * score - 13 * dates
    for member in cluster.members:
        lines = [Text(_plain(member[DOC_ID]), "bold")]
        if member[DOC_ID] == cluster.asked != cluster.representative_id:
            lines[0].append("  <- asked for", "cyan not bold")
        if "earlier_run" in member:
            lines.append(Text(f"of an earlier run {_plain(member['earlier_run'])}".rstrip()))
        lines += [Text(_cut(member["url"], width))] if member.get("url") else []
        lines += [Text(line, "dim") for line in _reasons(cluster, member)]
        text = member.get("text")
        table.add_row(
            Text("kept", "green") if member["keep"] else Text("removed", "red"),
            "" if member["keep"] else str(member["rule"]),
            *([f"{member['score']:.3f}" if member["score"] is not None and not member["keep"] else ""] * score),
            *([_plain(str(member.get("date") or ""))[:10]] * dates),
            "?" if text is None else human_bytes(len(text.encode("utf-8", "replace"))) + "+" * member["text_cut"],
            Text("\n").join(lines),
        )
    return table


def _reasons(cluster: Cluster, member: Mapping[str, Any]) -> Iterator[str]:
    """What was compared; what the columns of the table say is not said again."""
    failed = [one for one in member["compared"] if not one["accepted"]] if "compared" in member else []
    if failed and cluster.size > 1:  # of a single document, the table of those that stayed apart tells it
        nearest = max(failed, key=lambda one: one["score"])
        others = f", and with {len(failed) - 1} more that are less like it" if len(failed) > 1 else ""
        score = f"{nearest['score']:.3f} < {cluster.least:g}"
        yield f"not like {_plain(nearest['compared_with'])}: {score}{others}"
    if member["keep"]:
        return
    if member["rule"] == "exact":
        yield f"the same {cluster.dedup.same} as what is kept"
    elif member["rule"] == "unverified":
        yield "a candidate, removed without being compared"
    elif not any(one["accepted"] for one in member["compared"]):
        yield "the same text as one that was compared"


def _apart_table(console: Console, cluster: Cluster) -> Table:
    title = f"compared and kept apart, below {cluster.least:g}"
    if cluster.apart_count > len(cluster.apart):
        title += f": {cluster.apart_count:,} documents, of which the {len(cluster.apart)} most similar"
    table = make_table(title=title)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("became", overflow="fold", max_width=18)
    table.add_column("document, address", overflow="fold", ratio=1)
    for row in cluster.apart:
        fate = "kept" if row["keep"] else "removed, in another cluster"
        lines = [Text(_plain(row[DOC_ID])), Text(_cut(row["url"], console.width - 50), "dim")]
        if row["compared_with"] != cluster.representative_id:
            lines[0].append(f"  (with {_plain(row['compared_with'])})", "dim")
        told = Text("\n").join(line for line in lines if line)
        table.add_row(f"{row['score']:.3f}", fate, told)
    return table


def _print_differences(console: Console, cluster: Cluster, most: int | None) -> None:
    for member, found in cluster.differences(most):
        if found is None and most is None:
            continue  # the table says already that texts are missing
        console.print()
        heading = f"{_plain(member[DOC_ID])} (+) against {_plain(cluster.representative_id)} (-), which is kept"
        console.print(Text(heading, "bold"), soft_wrap=True)
        if found is None:
            console.print("  text not kept", highlight=False)
            continue
        for piece in _lines(found):
            mark, style = _STYLES[piece.kind]
            words = f"... {piece.words:,} equal words ..." if piece.kind == "elided" else _plain(piece.text)
            for line in Text(words, style).wrap(console, max(20, min(console.width, 120) - 4)):
                line.rstrip()
                console.print(Text.assemble("  ", (mark, style), line), highlight=False)
        console.print(f"  {_counts(found)}", style="dim", highlight=False)


def _counts(found: Difference) -> str:
    """A difference in numbers."""
    if not found.gone and not found.new:
        return f"the same {found.equal:,} words" + (" in what was compared" if found.cut else "")
    told = f"{found.equal:,} words equal, {found.gone:,} only in what is kept, {found.new:,} only here"
    if found.hidden:
        told += f"; {found.hidden:,} more changes are not shown"
    return told + ("; only the beginnings were compared" if found.cut else "")


def _lines(found: Difference) -> list[Piece]:
    """The pieces without the equal text of texts that do not differ."""
    return list(found.pieces) if found.gone or found.new else []


def _survey_json(run: Clusters, dedup: Dedup, survey: Survey) -> dict[str, Any]:
    told = {key: value for key, value in vars(survey).items() if key != "largest"}
    return {"stage": dedup.label, "config": dict(dedup.config), "removed_bytes": run.removed_bytes(dedup), **told}


def _cluster_json(cluster: Cluster, diff: int | None) -> dict[str, Any]:
    """A cluster as plain values. Texts are left out: their length in characters stands for them."""
    told = {key: value for key, value in vars(cluster).items() if key not in ("dedup", "members")}
    members = [
        {**{k: v for k, v in member.items() if k != "text"}, "chars": None if text is None else len(text)}
        for member in cluster.members
        for text in [member.get("text")]
    ]
    differences = {
        member[DOC_ID]: None if found is None else {**vars(found), "pieces": [vars(piece) for piece in found.pieces]}
        for member, found in cluster.differences(diff)
    }
    return {"stage": cluster.dedup.label, **told, "members": members, "differences": differences}


def _print_json(value: Mapping[str, Any]) -> None:
    """ASCII only, so that nothing in it can steer a terminal."""
    print(json.dumps(value, indent=1).replace("\x7f", "\\u007f"))


def _plain(text: str) -> str:
    """Text from archives for a `Text`, which knows no markup: without control characters, in one line."""
    return " ".join(Text.from_markup(safe(text)).plain.split())


def _cut(text: str, width: int) -> str:
    """An address in one line of the table."""
    text = _plain(text)
    return text if len(text) <= width else text[: max(width, 20) - 3] + "..."
