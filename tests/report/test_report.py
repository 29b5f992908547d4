from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.dedup.support import deduplicate
from tests.executors.support import recipe, run
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.duplicates import duplicates
from tokenmill.report.funnel import fold
from tokenmill.report.html import funnel_rows, human_bytes, percent, render
from tokenmill.report.samples import collect_samples
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


class Elements(HTMLParser):
    """Counts elements and collects attribute names."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)


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
    rows = funnel_rows(funnel)
    shares = [reason["share"] for row in rows for reason in row["reasons"]] + [rows[-1]["share"]]
    assert sum(shares) == pytest.approx(1.0)
    assert [(row["stage"], row["into"], row["out"]) for row in rows] == [
        ("read_jsonl", 49, 48),
        ("trap", 48, 40),
        ("upper", 40, 40),
        ("write_parquet", 40, 40),
    ]


def test_the_report_gains_no_element_or_attribute_from_hostile_pages(finished: RunFolder) -> None:
    page = render(fold(finished), collect_samples(finished, per_reason=50))
    found = Elements()
    found.feed(page)
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert "svg" not in found.tags
    assert found.tags.count("h1") == 1
    assert "a" not in found.tags
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page
    assert re.search(r"default-src 'none'", page)
    assert "7 documents" in page


def test_samples_are_stable_limited_and_masked(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([{"text": "a@b.io"[:4]}] * 30)
    run(recipe("trap"), source, tmp_path / "out", sample_dropped=1.0)
    samples = collect_samples(RunFolder(str(tmp_path / "out")))
    assert {key: len(found) for key, found in samples.items()} == {"trap.short": 5}
    assert samples == collect_samples(RunFolder(str(tmp_path / "out")))


def test_the_card_is_deterministic_and_counts(finished: RunFolder) -> None:
    write_report(finished)
    first = finished.read_text("README.md") or ""
    write_report(finished)
    assert finished.read_text("README.md") == first
    assert "49 read = 40 kept + 8 dropped\n+ 1 quarantined" in first
    assert '"path": "data/*.parquet"' in first


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
    page = (tmp_path / "out/report.html").read_text()
    assert "components of up to 3" in page
    assert "exact 1 copy of a.jsonl#0" in page
