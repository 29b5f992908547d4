"""The whole crawl of the developers: conservation, unique ids, stable order, same bytes with 1 and 2 workers.

Slow (`make test-slow`); `make test-ci` runs the first file of it, the fast suite the bundled archive
(`test_recipes`).
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from tests.executors.support import digests, rows, run
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import recipe
from tokenmill.report.funnel import fold


def check(source: Path, out: Path) -> None:
    """What must hold of any finished run over WARC files."""
    records = sum(1 for path in sorted(source.glob("*.warc.gz")) for _ in ArchiveIterator(str(path), parse_http=False))
    responses = [
        record.headers["WARC-Record-ID"]
        for path in sorted(source.glob("*.warc.gz"))
        for record in ArchiveIterator(str(path), record_types=WarcRecordType.response, parse_http=False)
    ]
    funnel = fold(RunFolder(str(out)))
    assert funnel.records == records
    assert funnel.balance == 0
    for before, after in zip(funnel.stages, funnel.stages[1:], strict=False):
        assert before.balanced
        assert before.out == after.into
    found = {kind: rows(out, kind) for kind in ("data", "dropped", "quarantine")}
    ids = [row["id"] for kind in found for row in found[kind]]
    assert sorted(ids) == sorted(responses)
    assert len(set(ids)) == len(ids)
    for path in sorted((out / "data").glob("*.parquet")):
        offsets = pq.read_table(path).column("warc_offset").to_pylist()
        assert offsets == sorted(offsets)


@pytest.mark.ci  # sample: test_recipes.test_conservation_order_and_ids
def test_the_first_file_of_the_crawl(shared: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "crawl-00000.warc.gz").symlink_to(shared / "crawl/crawl-00000.warc.gz")
    settings = [("extract_text", "extractor", "resiliparse")]
    outcome = run(recipe("fineweb").with_settings(settings), source, tmp_path / "out", workers=1, seconds=8)
    assert outcome.failures == {}
    assert outcome.quarantined == 0
    check(source, tmp_path / "out")


@pytest.mark.slow
def test_the_whole_crawl_with_1_and_2_workers(shared: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        outcome = run(recipe("fineweb"), shared / "crawl", tmp_path / f"out{workers}", workers=workers, seconds=8)
        assert outcome.failures == {}
        check(shared / "crawl", tmp_path / f"out{workers}")
    assert digests(tmp_path / "out1") == digests(tmp_path / "out2")
