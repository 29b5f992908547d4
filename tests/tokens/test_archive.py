"""From documents of a set to the archives that they came from, through the runs between, and to their records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.io.archives import documents as read_documents
from tests.io.archives import member, page, record
from tests.tokens.support import make_set
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.archive import Archive, archived_record, find_archive
from tokenmill.tokens.origin import DocumentPlace, origin


def run(folder: Path, location: Path | str, shards: dict[str, Path | str] | None = None) -> Path:
    """A folder of a run that has read these files."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [{"name": name, "path": str(path)} for name, path in (shards or {}).items()]
    (folder / "run.json").write_text(json.dumps({"input": {"location": str(location), "shards": listed}}))
    return folder


def place_of(folder: Path, made_from: list[dict[str, Any]], **tags: Any) -> DocumentPlace:
    tokens = make_set(folder, [[[1]]], made_from=made_from, tags={name: [value] for name, value in tags.items()})
    return origin(tokens.shards[0].path, 0)


def test_through_runs(tmp_path: Path) -> None:
    archive = tmp_path / "crawl" / "a.warc.gz"
    archive.parent.mkdir()
    archive.touch()
    first = run(tmp_path / "first", archive.parent, {"a.warc.gz": archive})
    second = run(tmp_path / "second", first / "data", {"a.parquet": first / "data" / "a.parquet"})
    third = run(tmp_path / "third", second / "data")
    made = {
        "from its data": [{"input": str(third / "data")}],
        "from the run": [{"run": str(third)}],
        "from the archives": [{"input": str(archive.parent)}],
        "from the archive": [{"input": str(archive)}],
        "from a pattern of the first": [{"input": str(first / "data" / "*.parquet")}, {"run": str(first)}],
        "by name of the source": [{"run": "/nowhere", "source": "b"}, {"run": str(first), "source": "a"}],
    }
    for number, made_from in enumerate(made.values()):
        place = place_of(tmp_path / f"set{number}", made_from, source="a")
        assert find_archive(place) == Archive(str(archive), True)
    by_set = place_of(tmp_path / "mixture", [{"set": str(tmp_path / "gone")}, {"set": str(tmp_path / "set1")}])
    assert find_archive(by_set) == Archive(str(archive), True)


def test_through_a_refiltered_run(tmp_path: Path) -> None:
    """It lists the annotated documents that it has read under the names of the archives."""
    archive = tmp_path / "crawl" / "a.warc.gz"
    archive.parent.mkdir()
    archive.touch()
    for number, location in enumerate((archive.parent, archive, archive.parent / "*.gz", tmp_path / "list.paths")):
        annotated = run(tmp_path / f"annotated{number}", location, {"a.warc.gz": archive})
        (annotated / "data").mkdir()
        (annotated / "data" / "a.parquet").touch()
        again = run(tmp_path / f"again{number}", location, {"a.warc.gz": annotated / "data" / "a.parquet"})
        place = place_of(tmp_path / f"set{number}", [{"run": str(again)}])
        assert find_archive(place) == Archive(str(archive), True)


@pytest.mark.parametrize(
    "shards", ["3", "[3]", '[{"name": "a.warc.gz"}]', '[{"path": 3, "name": "a.warc.gz"}]', "null"]
)
def test_damaged_lists_of_files_are_passed_over(tmp_path: Path, shards: str) -> None:
    (tmp_path / "run.json").write_text(f'{{"input": {{"location": "/crawl", "shards": {shards}}}}}')
    found = find_archive(place_of(tmp_path / "set", [{"run": str(tmp_path)}]))
    assert found == Archive("/crawl/a.warc.gz", False)


def test_signed_addresses(tmp_path: Path) -> None:
    signed = "https://example.org/crawl/a.warc.gz?signature=1"
    first = run(tmp_path / "first", "https://example.org/crawl.paths", {"a.warc.gz": signed})
    assert find_archive(place_of(tmp_path / "set", [{"run": str(first)}])) == Archive(signed, None)


@pytest.mark.parametrize("location", ["data/a.parquet", "data/*.parquet", "data/", "data", ""])
def test_from_files_of_a_run(tmp_path: Path, location: str) -> None:
    archive = tmp_path / "crawl" / "a.warc.gz"
    archive.parent.mkdir()
    archive.touch()
    first = run(tmp_path / "first", archive.parent, {"a.warc.gz": archive})
    (first / "data").mkdir()
    (first / "data" / "a.parquet").touch()
    second = run(tmp_path / "second", f"{first}/{location}", {"a.parquet": first / "data" / "a.parquet"})
    for number, made_from in enumerate(([{"input": f"{first}/{location}"}], [{"run": str(second)}])):
        assert find_archive(place_of(tmp_path / f"set{number}", made_from)) == Archive(str(archive), True)


def test_archives_that_are_elsewhere(tmp_path: Path) -> None:
    first = run(tmp_path / "first", tmp_path / "crawl", {"a.warc.gz": tmp_path / "crawl" / "a.warc.gz"})
    place = place_of(tmp_path / "set", [{"input": str(first / "data")}])
    assert find_archive(place) == Archive(str(tmp_path / "crawl" / "a.warc.gz"), False)
    moved = tmp_path / "moved" / "a.warc.gz"
    moved.parent.mkdir()
    moved.touch()
    assert find_archive(place, [str(moved.parent)]) == Archive(str(moved), True)
    far = place_of(tmp_path / "far", [{"input": "https://example.org/crawl/"}])
    assert find_archive(far) == Archive("https://example.org/crawl/a.warc.gz", None)
    own = place_of(tmp_path / "own", [], file_path="s3://bucket/a.warc.gz")
    assert find_archive(own) == Archive("s3://bucket/a.warc.gz", None)
    assert find_archive(place_of(tmp_path / "none", [], file_path=None)) is None
    assert find_archive(place_of(tmp_path / "unknown", [])) is None


def test_runs_in_a_circle(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, two / "data")
    run(two, one / "data")
    place = place_of(tmp_path / "set", [{"run": str(one)}])
    found = find_archive(place)
    assert found is not None
    assert found.there is False
    again = place_of(tmp_path / "itself", [{"set": str(tmp_path / "itself")}])
    assert find_archive(again) is None


@pytest.mark.parametrize("content", ["", "[]", '{"input": 3}', '{"input": {}}'])
def test_damaged_runs_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    found = find_archive(place_of(tmp_path / "set", [{"run": str(tmp_path)}]))
    assert found == Archive(str(tmp_path / "a.warc.gz"), False)


@pytest.mark.parametrize("again", [False, True])
def test_every_record(tmp_path: Path, again: bool) -> None:
    """Records in members of their own, and three in one member, which are told apart by doc_id.

    again: or by their id, where the documents were read again from Parquet, which gave them another doc_id.
    """
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    path = crawl / "a.warc.gz"
    parts = [record(0, kind="warcinfo"), record(1), record(2) + record(3) + record(4), record(5)]
    path.write_bytes(b"".join(map(member, parts)))
    rows, _ = read_documents(path)
    assert len(rows) == 5
    kept = ("doc_id", "id", "url", "file_path", "warc_offset", "warc_length")
    tags = {name: [row[name] for row in rows] for name in kept}
    if again:
        tags["doc_id"] = [f"a.parquet#{n}" for n in range(5)]
    tokens = make_set(tmp_path / "set", [[[n] for n in range(5)]], tags=tags, made_from=[{"input": str(crawl)}])
    for number, row in enumerate(rows):
        place = origin(tokens.shards[0].path, 2 * number)
        archive = find_archive(place)
        assert archive is not None
        found = archived_record(place, archive)
        assert found.headers["warc-record-id"] == row["id"] == place.row["id"]
        assert found.http is not None
        assert found.block[found.http.size :] == row["payload"] == page(number + 1)


def test_no_id_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(member(record(1) + record(2)))
    place = place_of(tmp_path / "set", [], warc_offset=0, doc_id="a.parquet#0")
    found = archived_record(place, Archive(str(path), True))
    assert found.headers["warc-record-id"].endswith("1>")


def test_no_record(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(member(record(1)) + member(record(2)))
    archive = Archive(str(path), True)
    wrong: list[tuple[dict[str, Any], Archive, str]] = [
        ({"warc_offset": None}, archive, "has no record in an archive"),
        ({"warc_offset": 0}, Archive(str(path), False), "is not there"),
        ({"warc_offset": 0}, Archive(str(tmp_path / "b"), None), "no record could be read at offset 0"),
        ({"warc_offset": 7}, archive, "no record could be read at offset 7"),
        ({"warc_offset": 10**9}, archive, "no record could be read at offset 1,000,000,000"),
        ({"warc_offset": 0, "doc_id": "a.warc.gz#0+99"}, archive, "no record could be read at offset 0"),
    ]
    for number, (tags, where, what) in enumerate(wrong):
        place = place_of(tmp_path / str(number), [], **tags)
        with pytest.raises(ConfigError, match=what):
            archived_record(place, where)
