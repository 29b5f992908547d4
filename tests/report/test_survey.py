"""The pass over published tables: what is read of a large run, domains, notices, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenmill.io.runfolder import RunFolder
from tokenmill.report.shares import domain_of
from tokenmill.report.survey import Survey, _domains
from tokenmill.report.survey_files import FileChoice, reading, some_parts
from tokenmill.report.survey_samples import POOL, TEXT_CHARS, Pool, masked_url, sample
from tokenmill.text.hosts import host_of

KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 40 + "-----END PRIVATE KEY-----"


def shards(place: Path, count: int, rows: int) -> list[dict[str, Any]]:
    """Manifests of shards with one file of `data/` each, of row groups of 10 rows."""
    (place / "data").mkdir(parents=True)
    found = []
    for number in range(count):
        path = f"data/{number:03}.parquet"
        table = pa.table({"n": list(range(number * rows, (number + 1) * rows)), "text": ["x"] * rows})
        pq.write_table(table, place / path, row_group_size=10)
        waits = {"kind": "data", "path": f"phases/x/data/{number}.parquet", "rows": rows}
        found.append({"files": [{"kind": "data", "path": path, "rows": rows}, waits, {**waits, "kind": "table"}]})
    return found


def test_a_small_run_is_read_whole_and_a_large_one_in_part(tmp_path: Path) -> None:
    manifests, folder = shards(tmp_path, 12, 50), RunFolder(str(tmp_path))
    choice, backwards = FileChoice(), FileChoice()
    for manifest in manifests:
        choice.add(manifest)
    for manifest in reversed(manifests):
        backwards.add(manifest)
    whole = reading(folder, choice, "data", 600, ["n"])
    assert (whole.rows, whole.of, whole.range_of("n"), whole.range_of("m")) == (600, 600, (0, 599), None)
    assert sorted(n for _, batch in whole.batches(["n", "gone"]) for n in batch.column("n").to_pylist()) == [
        *range(600)
    ]
    part = reading(folder, choice, "data", 100)
    assert (part.rows, part.of) == (100, 600)
    assert len({one.path for one in part.parts}) > 3  # spread over files
    assert part.parts == reading(folder, backwards, "data", 100).parts
    texts = some_parts(part.parts, 30)
    with_text = [batch.num_rows for _, batch in part.batches(["n", "text"], texts) if "text" in batch.schema.names]
    assert sum(with_text) == 30


def test_memory_and_files_opened_do_not_grow_with_the_run(tmp_path: Path) -> None:
    choice = FileChoice(most=4)
    for manifest in shards(tmp_path, 12, 50):
        choice.add(manifest)
    assert (choice.rows["data"], choice.files["data"], len(choice.paths("data", 600))) == (600, 12, 4)
    found = reading(RunFolder(str(tmp_path)), choice, "data", 600)
    assert (found.rows, found.of) == (200, 600)


def test_of_a_row_group_without_end_the_first_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"n": range(20_000)}), tmp_path / "data/a.parquet")
    choice = FileChoice()
    choice.add({"files": [{"kind": "data", "path": "data/a.parquet", "rows": 20_000}]})
    found = reading(RunFolder(str(tmp_path)), choice, "data", 5000)
    assert [batch.num_rows for _, batch in found.batches(["n"])] == [4096, 904]
    assert (found.rows, found.of) == (5000, 20_000)


ADDRESSES = [
    "http://News.BBC.co.uk:80/x?y", "https://a:b@x.example.org/", "//x.org/", "http://1.2.3.4/", None, "",
    "javascript:alert(1)", "http://[::1]/", "http://x.org\\@evil.com/", "http://x.org.", "http://münchen.de/a",
    "mailto:a@b.org", "http://a..b.com/", "http:///x", "HTTP://EXAMPLE.COM", " http://lead.com/", "http://x.org:1:2/",
    "http://x.org:99999/", "http://[bad", "x" * 5000, "http://" + "a" * 5000 + ".com/",
]  # fmt: skip


def test_domains_are_those_of_hosts_read_one_by_one() -> None:
    names, codes = _domains(pa.array(ADDRESSES))
    expected = [(domain_of(host_of(url)) or "")[:120] if url else "" for url in ADDRESSES]
    assert [names[code] for code in codes] == expected


def row(text: str, url: str = "http://e.org/") -> dict[str, Any]:
    return {"doc_id": "d", "url": url, "why": "", "signal": None, "value": None, "threshold": None, "text": text}


def test_personal_data_is_masked_before_the_text_is_cut() -> None:
    for place in range(TEXT_CHARS - 40, TEXT_CHARS + 2):
        shown = sample(row("x" * place + " someone.else@private-domain.de " + "y" * 90))
        assert "someone" not in shown["text"]
        assert len(shown["text"]) <= TEXT_CHARS
    shown = sample(row("x" * 900 + "\n" + KEY))
    assert "MIIEvQ" not in shown["text"]
    assert not sample(row("short"))["cut"]
    assert sample(row("x" * 2000))["cut"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@e.org/a?token=secret&name=secret#secret", "https://...@e.org/a?token=...&name=...#..."),
        ("http://e.org/?secret", "http://e.org/?..."),
        ("http://user:secret@[bad/?k=secret", "http://...@[bad/"),
        ("http://e.org/someone@private-domain.de", "http://e.org/firstname.lastname@example.org"),
        ("", ""),
        ("javascript:alert(1)", "javascript:alert(1)"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    found = masked_url(url)
    assert "secret" not in found
    assert found.replace("email@example.com", "firstname.lastname@example.org") == shown


def test_pools_have_the_same_samples_in_any_order() -> None:
    ids = [f"a#{i}" for i in range(200)]
    pools = []
    for order in (ids, ids[::-1]):
        pool = Pool()
        for doc_id in order:
            pool.offer(doc_id, lambda doc_id=doc_id: row(f"text of {doc_id}"))  # type: ignore[misc]
        pools.append([dict(one) for one in pool.rows()])
    assert pools[0] == pools[1]
    assert len(pools[0]) == POOL
    assert all(one["text"] == f"text of {one['doc_id']}" for one in pools[0])


def test_sums_of_a_batch() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "url": ["http://a.org/1", "http://a.org/2", "http://b.org/", None],
            "language": ["en", "en", None, "de"],
            "date": ["2024-05-01T00:00:00Z", "2024-05-02", "no date", "2024-13-01"],
            "robots": ["noai", "noai, noindex", "", None],
            "license": [None, "http://creativecommons.org/licenses/by/4.0/", None, None],
            "pii_emails": pa.array([2, 1, 3, None], pa.int64()),
            "token_count": pa.array([5, None, 9, 7], pa.int64()),
            "text": ["we delve into", "plain", "délve into", "delve into"],
        }
    )
    kept = pa.array([True, True, False, True]).to_numpy(zero_copy_only=False)
    survey = Survey(["pii_emails"], knows_dropped=True)
    survey.add(batch, kept, pa.array([13, 5, 11, 10]).to_numpy())
    reasons = pa.array([None, None, "f.r", None])
    survey.read_texts(batch, kept, reasons, ["1", "2", "3", "4"], lambda row: {"why": str(row)})
    found = survey.to_json()
    assert found["languages"] == [
        {"name": "en", "kept": 2, "dropped": 0},
        {"name": "de", "kept": 1, "dropped": 0},
        {"name": None, "kept": 0, "dropped": 1},
    ]
    assert found["domains"] == {
        "kept": [{"name": "a.org", "documents": 2, "bytes": 18}],
        "dropped": [{"name": "b.org", "documents": 1}],
        "distinct_kept": 1,
        "distinct_dropped": 1,
    }
    assert found["pii"] == [{"kind": "emails", "documents": 2, "spans": 3}]
    assert found["optout"] == [
        {"signal": "noai", "documents": 2, "kept": 2},
        {"signal": "cc-by", "documents": 1, "kept": 1},
        {"signal": "noindex", "documents": 1, "kept": 1},
    ]
    assert found["phrases"] == {
        "documents": 3,
        "months": [{"month": "2024-05", "documents": 2, "with": 1}],
        "phrases": [{"phrase": "delve into", "documents": 2}],
    }
    tokens = found["lengths"][0]
    assert (tokens["unit"], sum(tokens["kept"]), sum(tokens["dropped"])) == ("tokens", 2, 1)
    assert len(tokens["edges"]) == len(tokens["kept"]) + 1
    assert tokens["edges"][0] <= 5 < tokens["edges"][1]
    assert (survey.documents, survey.kept) == (4, 3)
    assert list(survey.pools) == ["f.r"]
    json.dumps(found, allow_nan=False)
