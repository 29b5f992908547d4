"""`tokenmill clusters` as a user sees it; small runs in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.dedup.support import WORDS, deduplicate
from tokenmill.cli.main import app
from tokenmill.core.errors import ConfigError
from tokenmill.dedup.exact import ExactDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.runfolder import RunFolder

BASE = random.Random(7).choices(WORDS, k=90)


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["clusters", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four copies of a page (one changed, one hostile), and others."""
    folder = tmp_path_factory.mktemp("clusters")
    changed = [*BASE[:40], "write", "to", "bob@corp.io", *BASE[42:]]
    rows: list[dict[str, Any]] = [
        {"text": " ".join(BASE), "url": f"http://a.org/{n}", "date": "2024-05-28T10:00:00Z"} for n in range(2)
    ]
    rows.append({"text": " ".join(changed), "url": "http://b.org/\x1b[31mred[bold]"})
    rows += [{"text": " ".join(random.Random(n).choices(WORDS, k=60)), "url": f"http://c.org/{n}"} for n in range(3)]
    rows.append({"text": rows[3]["text"] + " end", "url": "http://c.org/9"})
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    deduplicate(folder / "in", folder / "out", ExactDedup(normalise="none"), MinHashDedup())
    return folder / "out"


@pytest.mark.ci
def test_all_deduplications_and_the_largest_clusters(finished: Path) -> None:
    output = shown(finished)
    for line in ("exact_dedup", "minhash_dedup", "jaccard >= 0.7", "the 2 largest clusters of minhash_dedup"):
        assert line in output
    assert "a.jsonl#0" in output
    assert "a.org 1, b.org 1" in output
    assert "\x1b" not in output
    other = shown(finished, "--stage", "exact_dedup")
    assert "removed are documents with the same text" in other
    assert "the 1 largest clusters of exact_dedup" in other


def test_one_cluster_with_its_difference(finished: Path) -> None:
    output = shown(finished, "a.jsonl#2")
    assert "minhash_dedup: cluster a.jsonl#0" in output
    assert "2 documents, 1 kept, removed: 1 jaccard" in output
    assert "a.jsonl#2  <- asked for" in output
    assert "http://b.org/[31mred[bold]" in output
    assert "2024-05-28" in output
    assert f"- {BASE[40]} {BASE[41]}" in output
    assert "+ write to <email:1>" in output
    assert "... 32 equal words ..." in output
    assert "88 words equal, 2 only in what is kept, 3 only here" in output
    assert "corp" not in output
    assert "(+)" not in shown(finished, "a.jsonl#2", "--diff", "0")


def test_the_deduplication_that_took_a_document_out_is_chosen(finished: Path) -> None:
    output = shown(finished, "http://a.org/1")
    assert "exact_dedup: cluster a.jsonl#0" in output
    assert "the same text as what is kept" in output
    assert "the same 90 words" in output
    assert "equal words ..." not in output


def test_a_document_that_is_alone(finished: Path) -> None:
    output = shown(finished, "a.jsonl#4")
    assert "minhash_dedup: cluster a.jsonl#4" in output
    assert "1 document; no other had its keys" in output


def test_several_clusters_are_listed(finished: Path) -> None:
    output = shown(finished, "c.org")
    assert "4 documents of 3 clusters match c.org" in output
    assert "give one of these ids" in output
    listed = json.loads(shown(finished, "c.org", "--json"))
    assert [match["cluster_size"] for match in listed["matches"]] == [2, 2, 1, 1]


def test_json(finished: Path) -> None:
    overview = json.loads(shown(finished, "--json"))
    assert [stage["stage"] for stage in overview["stages"]] == ["exact_dedup", "minhash_dedup"]
    assert [stage["removed"] for stage in overview["stages"]] == [1, 2]
    assert overview["stages"][1]["rules"] == {"jaccard": 2, "representative": 2, "unique": 2}
    assert [brief["cluster_id"] for brief in overview["largest"]] == ["a.jsonl#0", "a.jsonl#3"]
    output = shown(finished, "a.jsonl#2", "--json")
    cluster = json.loads(output)
    assert "\x1b" not in output
    assert "bob@corp.io" not in output
    assert [(m["doc_id"], m["keep"], m["rule"]) for m in cluster["members"]] == [
        ("a.jsonl#0", True, "representative"),
        ("a.jsonl#2", False, "jaccard"),
    ]
    assert cluster["members"][1]["compared"][0]["accepted"] is True
    assert cluster["members"][1]["compared"][0]["score"] == cluster["members"][1]["score"]
    assert cluster["differences"]["a.jsonl#2"]["new"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no document 'nonsense' came to exact_dedup, minhash_dedup"),
        (["a.jsonl#99"], "give an id such as a.jsonl#0"),
        (["--stage", "minhash_dedp"], "did you mean 'minhash_dedup'"),
        (["--top", "-1"], "--top -1 is below 0"),
        (["a.jsonl#0", "--members", "1"], "--members 1 is below 2"),
    ],
)
def test_wrong_arguments(finished: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        shown(finished, *arguments)
    assert message in str(error.value)


def test_folders_without_clusters(tmp_path: Path, write_jsonl: Callable[..., Path], finished: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        shown(tmp_path / "nowhere")
    from tests.executors.support import recipe, run

    run(recipe("trap"), write_jsonl(["a document"]), tmp_path / "out")
    with pytest.raises(ConfigError, match="has no deduplication"):
        shown(tmp_path / "out")
    source = finished.parent / "in"
    deduplicate(source, tmp_path / "begun", MinHashDedup())
    folder = RunFolder(str(tmp_path / "begun"))
    (table,) = (p["directory"] for p in folder.read_json("run.json")["phases"] if p["step"] == "table")
    folder.remove(f"phases/{table}/_SUCCESS.json")
    with pytest.raises(ConfigError, match="minhash_dedup: not finished"):
        shown(tmp_path / "begun")
