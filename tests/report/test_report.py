from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dedup.support import deduplicate
from tests.executors.support import recipe, run
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.duplicates import duplicates
from tokenmill.report.funnel import fold
from tokenmill.report.page_data import page_data
from tokenmill.report.survey_samples import masked_url
from tokenmill.report.units import human_bytes, percent
from tokenmill.report.write import write_report

# texts of under five characters are dropped by the test recipe, so hostile ones arrive in the report as addresses
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</pre><h1>x</h1>",
    "{{ 7 * 7 }}",
    "<svg/onload=alert(1)>",
    "' onmouseover='alert(1)",
]


@pytest.fixture
def finished(tmp_path: Path, write_jsonl: Callable[..., Path]) -> RunFolder:
    rows = [{"text": f"document {i}", "url": f"http://e.org/{i}"} for i in range(40)]
    rows += [{"text": f"<b>{i}", "url": url} for i, url in enumerate(HOSTILE)]
    rows += [{"text": "raise"}, {"text": ""}]
    run(recipe("trap"), write_jsonl(rows), tmp_path / "out", sample_dropped=1.0)
    return RunFolder(str(tmp_path / "out"))


def test_the_funnel_adds_up_to_everything_that_was_read(finished: RunFolder) -> None:
    funnel = fold(finished)
    assert (funnel.records, funnel.kept, funnel.balance) == (49, 40, 0)
    assert funnel.dropped == {"read_jsonl.empty": 1, "trap.short": 7}
    assert funnel.quarantined == {"trap.ValueError": 1}
    data = page_data(finished)
    reasons = [reason["count"] for row in data["funnel"] for reason in row["reasons"]]
    assert sum(reasons) + data["totals"]["kept"] == data["totals"]["records"]
    assert [(row["stage"], row["kind"], row["into"], row["out"]) for row in data["funnel"]] == [
        ("read_jsonl", "Source", 49, 48),
        ("trap", "Filter", 48, 40),
        ("upper", "Rewrite", 40, 40),
        ("write_parquet", "Sink", 40, 40),
    ]
    assert data["funnel"][1]["reasons"] == [
        {"reason": "short", "count": 7, "kind": "dropped"},
        {"reason": "ValueError", "count": 1, "kind": "quarantined"},
    ]
    shown = {sample["url"] for sample in data["samples"]["dropped"]["trap.short"]}
    assert shown == {masked_url(url) for url in HOSTILE}


def test_the_card_is_deterministic_and_counts(finished: RunFolder) -> None:
    write_report(finished)
    first = finished.read_text("README.md") or ""
    write_report(finished)
    assert finished.read_text("README.md") == first
    assert "49 read = 40 kept + 8 dropped\n+ 1 quarantined" in first
    assert "path: data/*.parquet" in first


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")])
def test_bytes(count: int, shown: str) -> None:
    assert human_bytes(count) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0.0 %"), (0.1234, "12.3 %"), (1, "100.0 %"), (0.00123, "0.12 %")])
def test_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_duplicates_are_told_from_the_facts_of_the_steps(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    text = "a text of more than five words, number"
    texts = [f"{text} one"] * 3 + [f"{text} of another"] * 2 + ["something else that is not like the others at all"]
    deduplicate(write_jsonl(texts), tmp_path / "out", MinHashDedup())
    folder = RunFolder(str(tmp_path / "out"))
    (found,) = duplicates(folder)
    assert (found.documents, found.candidates, found.components, found.largest) == (6, 5, 2, 3)
    assert (found.removed, found.kept_after_all, dict(found.sizes)) == (3, 2, {"2": 1, "3": 1})
    write_report(folder)
    data = page_data(folder)
    (clusters,) = data["clusters"]
    assert (clusters["documents"], clusters["dropped"]) == (6, 3)
    assert clusters["sizes"] == [[2, 2, 1, 2], [3, 3, 1, 3]]
    (shown,) = data["samples"]["dropped"].values()
    assert "exact 1 copy of a.jsonl#0" in {sample["why"] for sample in shown}
    assert "exact 1 copy of a.jsonl#0" in (tmp_path / "out/report.html").read_text()
