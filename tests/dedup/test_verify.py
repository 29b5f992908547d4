"""Verification of one bucket: what must hold whatever the keys said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill.core.barrier import ShardData
from tokenmill.dedup.groups import Group
from tokenmill.dedup.verify import Policy, verify_bucket


class Out:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str, extension: str) -> str:
        return str(self.folder / f"{kind}{extension}")

    def alive(self) -> None:
        pass


def verify(
    folder: Path, rows: list[dict[str, Any]], policy: Policy
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Labels and evidence of one bucket with these documents."""
    schema = pa.schema(
        [
            ("document", pa.uint64()),
            ("component", pa.uint64()),
            ("copy_of", pa.uint64()),
            ("old", pa.bool_()),
            ("doc_id", pa.string()),
            ("digest", pa.binary(16)),
            ("shingles", pa.large_list(pa.uint64())),
        ]
    )
    with pa.OSFile(str(folder / "bucket.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    group = Group("group-00000", (ShardData("s", "", 100),), 0)
    verify_bucket([str(folder / "bucket.arrow")], 0, 1, [group], policy, (), Out(folder))
    with pa.OSFile(str(folder / "labels.arrow")) as stream:
        labels = pa.ipc.open_file(stream).get_batch(0).to_pylist()
    return labels, pq.read_table(folder / "evidence.parquet").to_pylist()


def row(
    number: int, shingles: list[int], *, copy_of: int | None = None, digest: int = 0, old: bool = False
) -> dict[str, Any]:
    return {
        "document": number,
        "component": 0,
        "copy_of": number if copy_of is None else copy_of,
        "old": old,
        "doc_id": f"d{number}",
        "digest": np.array([digest or number, 0], "<u8").tobytes(),
        "shingles": shingles,
    }


def test_equal_keys_of_different_digests_are_no_copies(tmp_path: Path) -> None:
    rows = [row(0, list(range(10)), digest=5), row(1, [], copy_of=0, digest=6), row(2, [], copy_of=0, digest=5)]
    for measure in ("jaccard", "containment"):
        labels, _ = verify(tmp_path, rows, Policy(measure))
        assert [label["keep"] for label in labels] == [True, True, False]
        assert [label["rule"] for label in labels] == ["representative", "representative", "exact"]
        assert [label["cluster_size"] for label in labels] == [2, 1, 2]


def test_the_threshold_is_met_exactly_and_not_missed(tmp_path: Path) -> None:
    first, seven, six = list(range(10)), [*range(7)], [*range(6)]
    labels, evidence = verify(tmp_path, [row(0, first), row(1, seven), row(2, six)], Policy(min_similarity=0.7))
    assert [label["keep"] for label in labels] == [True, False, True]
    assert labels[1]["score"] == 0.7
    found = [(e["doc_id"], e["compared_with"], e["score"], e["accepted"]) for e in evidence]
    assert found == [("d1", "d0", 0.7, True), ("d2", "d0", 0.6, False)]
    labels, _ = verify(tmp_path, [row(0, first), row(1, seven), row(2, six)], Policy("containment"))
    assert [(label["keep"], label["score"]) for label in labels] == [(True, 1.0), (False, 1.0), (False, 1.0)]


def test_a_truncated_copy_goes_and_not_what_it_is_cut_from(tmp_path: Path) -> None:
    rows = [row(0, list(range(6))), row(1, list(range(10))), row(2, [], copy_of=0, digest=0)]
    rows[2]["digest"] = rows[0]["digest"]
    labels, _ = verify(tmp_path, rows, Policy("containment"))
    assert [label["representative_id"] for label in labels] == ["d1", "d1", "d1"]


def test_many_comparisons_may_be_allowed(tmp_path: Path) -> None:
    rows = [row(number, [number, 1000 + number]) for number in range(50)]
    labels, evidence = verify(tmp_path, rows, Policy(max_comparisons=10**9))
    assert all(label["keep"] for label in labels)
    assert len(evidence) == 50 * 49 // 2


def test_indexes_with_the_same_texts(tmp_path: Path) -> None:
    """Each document of an index represents, also a copy of another: the tables must have room for all of them."""
    rows = []
    for number in range(40):
        shingles = list(range(number, number + 30))
        rows.append({**row(200 + number, shingles, old=True), "digest": np.array([number, 7], "<u8").tobytes()})
        rows.append({**row(300 + number, [], copy_of=200 + number, old=True), "digest": rows[-1]["digest"]})
    rows += [row(number, list(range(number, number + 29))) for number in range(20)]
    labels, _ = verify(tmp_path, rows, Policy(max_comparisons=3))
    assert [label["representative_id"] for label in labels] == [f"d{200 + number}" for number in range(20)]


def test_a_failure_represents_others(tmp_path: Path) -> None:
    rows = [row(0, list(range(10))), row(1, list(range(5, 15))), row(2, list(range(6, 16)))]
    labels, evidence = verify(tmp_path, rows, Policy())
    assert [label["representative_id"] for label in labels] == ["d0", "d1", "d1"]
    assert len(evidence) == 3


def test_documents_of_an_index_stay_and_represent(tmp_path: Path) -> None:
    rows = [row(200, list(range(10)), old=True), row(201, list(range(10)), old=True), row(3, list(range(9)))]
    for measure in ("jaccard", "none"):
        labels, _ = verify(tmp_path, rows, Policy(measure))
        assert len(labels) == 1  # those of the index are in its own table
        assert (labels[0]["representative_id"], labels[0]["keep"]) == ("d200", False)


def test_an_empty_bucket(tmp_path: Path) -> None:
    assert verify(tmp_path, [], Policy()) == ([], [])
