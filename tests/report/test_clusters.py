from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.dedup.support import WORDS, deduplicate, walk
from tests.executors.support import run
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.dedup.exact import ExactDedup, UrlDedup
from tokenmill.dedup.lines import LineDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.cluster import find, open_cluster
from tokenmill.report.clusters import Clusters
from tokenmill.report.differences import CHANGES, blocks, difference


def text(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def opened(output: Path) -> Clusters:
    return Clusters(RunFolder(str(output)))


def test_counts_are_those_of_the_table(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    texts = [text(n % 7) for n in range(20)] + walk(60, 5) + [text(n) for n in range(90, 99)]
    table = deduplicate(write_jsonl(texts), tmp_path / "out", MinHashDedup())
    clusters: dict[str, list[dict[str, Any]]] = {}
    for row in table.values():
        clusters.setdefault(str(row["cluster_id"]), []).append(row)
    found = opened(tmp_path / "out")
    (dedup,) = found.dedups
    survey = found.survey(dedup, 3)
    assert (survey.documents, survey.outside, survey.removed_by_index) == (len(texts), 0, 0)
    assert survey.removed == sum(not row["keep"] for row in table.values())
    assert survey.apart == sum(row["rule"] == "representative" and row["cluster_size"] == 1 for row in table.values())
    several = {id: rows for id, rows in clusters.items() if len(rows) > 1}
    assert survey.sizes.total() == len(several)
    largest = sorted(several.items(), key=lambda item: (-len(item[1]), item[0]))[:3]
    assert survey.largest == [(len(rows), id) for id, rows in largest]
    for brief, (id, rows) in zip(found.briefs(dedup, survey.largest), largest, strict=True):
        assert (brief.cluster_id, brief.representative_id) == (id, rows[0]["representative_id"])
        assert brief.rules["exact"] == sum(row["rule"] == "exact" for row in rows)
        assert brief.lowest == min((row["score"] for row in rows if row["rule"] == "jaccard"), default=None)
    removed = found.removed_bytes(dedup)
    assert removed == sum(len(texts[int(id.rpartition("#")[2])]) for id, row in table.items() if not row["keep"])


def test_a_split_component_shows_what_was_compared_and_stayed_apart(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    texts = walk(60, 5)
    table = deduplicate(write_jsonl(texts), tmp_path / "out", MinHashDedup())
    found = opened(tmp_path / "out")
    (dedup,) = found.dedups
    (match,) = find(found, dedup, "a.jsonl#0")
    cluster = open_cluster(found, dedup, match, 100)
    mine = {id: row for id, row in table.items() if row["cluster_id"] == match.cluster_id}
    assert [member["doc_id"] for member in cluster.members[:1]] == [cluster.representative_id]
    assert {member["doc_id"] for member in cluster.members} == set(mine)
    scores = [member["score"] for member in cluster.members[1:] if member["rule"] == "jaccard"]
    assert scores == sorted(scores)
    assert cluster.component is not None
    assert cluster.component > cluster.size
    assert 1 < cluster.component_clusters <= len({row["cluster_id"] for row in table.values()})
    assert cluster.apart
    assert cluster.apart_count >= len(cluster.apart)
    for row in cluster.apart:
        assert row["doc_id"] not in mine
        assert row["compared_with"] in mine
        assert row["score"] < cluster.least == 0.7
        assert row["keep"] == table[row["doc_id"]]["keep"]
    for member in cluster.members[1:]:
        assert member["text"] == texts[int(member["doc_id"].rpartition("#")[2])]
        accepted = [one for one in member["compared"] if one["accepted"]]
        assert [one["compared_with"] for one in accepted] == [cluster.representative_id]
        assert accepted[0]["score"] == member["score"]


def test_documents_are_found_by_id_record_address_and_a_part_of_it(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"text": text(n % 3), "url": f"http://e{n % 3}.org/{n}", "id": f"<urn:uuid:{n:032}>"} for n in range(9)]
    deduplicate(write_jsonl(rows), tmp_path / "out", ExactDedup())
    found = opened(tmp_path / "out")
    (dedup,) = found.dedups
    for query in ("a.jsonl#4", "http://e1.org/4", rows[4]["id"], f"{4:032}", "E1.ORG/4"):
        assert [(match.doc_id, match.cluster_id) for match in find(found, dedup, query)] == [("a.jsonl#4", "a.jsonl#1")]
    assert {match.doc_id for match in find(found, dedup, "e2.org")} == {"a.jsonl#2", "a.jsonl#5", "a.jsonl#8"}
    assert find(found, dedup, "e9.org") == []
    assert find(found, dedup, "a.jsonl#9") == []


def test_what_was_kept_is_found_in_data_and_what_went_in_dropped(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    # nothing but keys is stored before this one: documents are read from the source again
    rows = [{"text": text(n), "url": f"http://e.org/{n % 4}"} for n in range(16)]
    pipeline = Pipeline("urls", [ReadJsonl(), UrlDedup(), WriteParquet()])
    run(pipeline, write_jsonl(rows), tmp_path / "out", sample_dropped=0.0)
    found = opened(tmp_path / "out")
    (dedup,) = found.dedups
    (match,) = find(found, dedup, "a.jsonl#10")
    cluster = open_cluster(found, dedup, match, 20)
    first, *others = cluster.members
    assert (first["doc_id"], first["url"], first["text"]) == ("a.jsonl#2", "http://e.org/2", rows[2]["text"])
    # the first three of a reason have their text in dropped/
    assert [(member["doc_id"], member["url"], member.get("text")) for member in others] == [
        ("a.jsonl#10", "http://e.org/2", None),
        ("a.jsonl#6", "http://e.org/2", rows[6]["text"]),
        ("a.jsonl#14", "http://e.org/2", None),
    ]
    assert [told is None for _, told in cluster.differences(3)] == [True, False, True]
    assert len(find(found, dedup, "http://e.org/3")) == 4


def test_texts_of_dropped_documents_are_used_where_they_are_kept(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    rows = [{"text": f"page {n} of a site " + text(1, 2000), "url": "http://e.org"} for n in range(2)]
    pipeline = Pipeline("urls", [ReadJsonl(), UrlDedup(), WriteParquet()])
    run(pipeline, write_jsonl(rows), tmp_path / "out", sample_dropped=1.0)
    found = opened(tmp_path / "out")
    cluster = open_cluster(found, found.dedups[0], find(found, found.dedups[0], "a.jsonl#1")[0], 20)
    ((member, told),) = cluster.differences(None)
    assert (member["text_from"], member["text_cut"], len(member["text"])) == ("dropped", True, 4000)
    assert told is not None
    assert told.cut
    assert [(piece.kind, piece.text) for piece in told.pieces[1:3]] == [("gone", "0"), ("new", "1")]


def test_a_representative_of_an_earlier_run_is_looked_up_there(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    old = [{"text": text(n), "url": f"http://old.org/{n}"} for n in range(3)]
    deduplicate(write_jsonl(old, "old.jsonl"), tmp_path / "old", MinHashDedup())
    new = [{"text": text(n) + " more", "url": f"http://new.org/{n}"} for n in range(2, 5)]
    (tmp_path / "in" / "old.jsonl").rename(tmp_path / "old.jsonl")
    deduplicate(write_jsonl(new, "new.jsonl"), tmp_path / "new", MinHashDedup(index=(str(tmp_path / "old"),)))
    found = opened(tmp_path / "new")
    (dedup,) = found.dedups
    assert found.survey(dedup, 5).removed_by_index == 1
    (match,) = find(found, dedup, "new.jsonl#0")
    assert find(found, dedup, "old.jsonl#2") == [match]
    cluster = open_cluster(found, dedup, match, 5)
    first, second = cluster.members
    assert (first["url"], first["earlier_run"]) == ("http://old.org/2", str(tmp_path / "old"))
    assert second["score"] == pytest.approx(116 / 117)
    ((_, told),) = cluster.differences(None)
    assert told is not None
    assert (told.equal, told.gone, told.new) == (120, 0, 1)


def test_blocks_are_equal_in_order_and_cover_what_nobody_touched() -> None:
    rng = random.Random(3)
    for count in (0, 1, 40, 3000):
        a = rng.choices(WORDS, k=count)
        b = list(a)
        for _ in range(count // 50):
            b[rng.randrange(len(b))] = "x"
        found = blocks(a, b)
        assert all(a[i : i + size] == b[j : j + size] for i, j, size in found)
        assert all(i + size <= k and j + size <= m for (i, j, size), (k, m, _) in pairwise(found))
        assert sum(size for _, _, size in found) >= count - 2 * (count // 50)


def test_texts_without_anchors_are_compared_in_bounded_time() -> None:
    assert blocks(["a", "b"] * 5000, ["b", "a"] * 4000) == []


def test_differences_are_short_and_personal_data_is_masked() -> None:
    long = " ".join(f"w{n}" for n in range(400))
    told = difference(f"{long} to bob@corp.io end", f"{long} to bob@corp.io and al@corp.io end")
    assert [(piece.kind, piece.words) for piece in told.pieces] == [
        ("elided", 394),
        ("equal", 8),
        ("new", 2),
        ("equal", 1),
    ]
    shown = " ".join(piece.text for piece in told.pieces)
    assert "corp" not in shown
    assert "to <email:1> and <email:2> end" in shown
    many = difference(" ".join(f"a{n} same" for n in range(50)), " ".join(f"b{n} same" for n in range(50)))
    assert many.hidden == 50 - CHANGES
    assert (many.equal, many.gone, many.new) == (50, 50, 50)
    chinese = difference("今天天气很好我们去公园", "今天天气不好我们去公园")
    assert [(p.kind, p.text) for p in chinese.pieces if p.kind != "equal"] == [("gone", "很"), ("new", "不")]


@pytest.mark.ci
def test_runs_that_remove_passages_too(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([text(n) for n in (1, 1, 2)])
    deduplicate(source, tmp_path / "both", LineDedup(), MinHashDedup())
    found = opened(tmp_path / "both")
    assert ([dedup.label for dedup in found.dedups], found.passages) == (["minhash_dedup"], ["line_dedup"])
    deduplicate(source, tmp_path / "lines", LineDedup())
    with pytest.raises(ConfigError, match="line_dedup removes passages, not documents"):
        opened(tmp_path / "lines")
