"""What is published can be read by `datasets`, DuckDB and Polars, with the same rows and types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import recipe, run
from tests.io.hub_server import TOKEN, hub
from tokenmill.cli.push import PushRequest, push_run
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.write import write_report

library = pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
pytest.importorskip("huggingface_hub.constants")
NAME = "owner/pages"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's own
DUMPS = ("CC-MAIN-2024-10", "CC-MAIN-2024-18")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A published data set of two dumps, as a reader has downloaded it."""
    place = tmp_path_factory.mktemp("published")
    (place / "in").mkdir()
    for number, dump in enumerate(DUMPS):
        rows = [{"text": f"text {number} {i}", "url": f"http://e.org/{i}", "dump": dump} for i in range(50 + number)]
        lines = (json.dumps({**row, "language": "no", "language_score": 0.5}) + "\n" for row in rows)
        (place / "in" / f"part {number}.jsonl").write_text("".join(lines))
    run(recipe("trap"), place / "in", place / "out")
    write_report(RunFolder(str(place / "out")))
    with pytest.MonkeyPatch.context() as patch, hub() as server:
        patch.setattr(library.constants, "HF_HUB_OFFLINE", False)
        patch.setattr(library.constants, "HF_HUB_DISABLE_XET", False)
        patch.setenv("HF_TOKEN", TOKEN)
        assert push_run(PushRequest(str(place / "out"), NAME, endpoint=server.url)) == 0
        yield server.store(NAME, place / "downloaded")
        library.utils.close_session()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("data/*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_duckdb(folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = duckdb.sql(f"select * from '{folder}/data/*.parquet' order by filename, id", connection=duckdb.connect())
    found = table.fetchall()
    expected = rows_of(folder)
    assert table.columns == list(expected[0])
    assert sorted(found, key=str) == sorted((tuple(row.values()) for row in expected), key=str)
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert (types["text"], types["token_count"], types["language_score"]) == ("VARCHAR", "BIGINT", "DOUBLE")


def test_polars(folder: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed (extra `dev`)")
    found = polars.scan_parquet(folder / "data/*.parquet").collect()
    assert found.to_dicts() == rows_of(folder)
    assert found.schema["token_count"] == polars.Int64
    assert found.schema["text"] == polars.String


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore")
def test_datasets(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the card: its configurations, splits and features; and file by file, without it."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra `dev`)")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    options = {"cache_dir": str(tmp_path / "cache"), "split": "train"}
    expected = rows_of(folder)
    loaded = datasets.load_dataset(str(folder), **options)
    assert loaded.to_list() == expected
    schema = pq.read_schema(next(folder.glob("data/*.parquet")))
    assert loaded.features.arrow_schema.types == schema.types
    assert datasets.load_dataset("parquet", data_files=f"{folder}/data/*.parquet", **options).to_list() == expected
    for number, dump in enumerate(DUMPS):
        assert len(datasets.load_dataset(str(folder), dump, **options)) == 50 + number
    streamed = datasets.load_dataset(str(folder), split="train", streaming=True)
    assert pa.Table.from_pylist(list(streamed)).num_rows == len(expected)
