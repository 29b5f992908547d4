"""`explain` agrees with the run on real pages, whatever became of them. On a part of one archive of the crawl."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executors.explore import run_example, sampled
from tokenmill.core.errors import ConfigError
from tokenmill.executors.explain import Explainer
from tokenmill.filters.blocklist import DATATROVE
from tokenmill.filters.url import UrlFilter
from tokenmill.io.members import Loss
from tokenmill.io.records import iter_records
from tokenmill.pipelines.fineweb import fineweb

STRETCHES = ((0, 2_600_000), (5_900_000, 6_200_000))
"""Bytes of the archive that are read: pages of every kind, and further on copies of some of them."""
ARCHIVE = "crawl/crawl-00000.warc.gz"


@pytest.fixture
def archive(shared: Path, tmp_path: Path) -> Path:
    """The first records of an archive of the crawl, as a file of their own."""
    source = shared / ARCHIVE
    if not source.is_file():
        pytest.skip(f"the crawl is not here: {source}")
    offsets = [one.offset for one in iter_records(str(source)) if not isinstance(one, Loss)]
    folder = tmp_path / "in"
    folder.mkdir()
    content = source.read_bytes()
    with open(folder / source.name, "wb") as stream:
        for stretch in STRETCHES:
            start, stop = (next(offset for offset in offsets if offset >= place) for place in stretch)
            stream.write(content[start:stop])
    return folder


@pytest.mark.ci  # sample: tests/executors/test_explain.py
@pytest.mark.parametrize("annotate", [False, True], ids=["filter", "annotate"])
def test_fifty_pages_of_the_crawl_agree(archive: Path, tmp_path: Path, annotate: bool) -> None:
    try:
        UrlFilter(lists=DATATROVE).digests()
    except ConfigError as error:
        pytest.skip(f"the lists of addresses are not here: {error}")
    output = run_example(tmp_path / "out", source=archive, recipe=fineweb(), annotate=annotate)
    chosen = sampled(output, 11, 50)
    assert len(chosen) == 50
    stages = set()
    with Explainer(output) as explainer:
        for id in chosen:
            found = explainer.explain(id)
            assert found.source == "replay", found.notes
            assert found.agrees, (found.doc_id, found.recorded, found.replayed, found.differences)
            assert found.recorded is not None
            stages.add(found.recorded.stage)
    assert {"", "language_gate", "language_filter", "gopher_repetition", "read_warc"} <= stages
    assert "minhash_dedup" in stages
