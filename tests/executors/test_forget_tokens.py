"""`forget` on a run with token shards: they are those of a run that has never seen the document."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.executors.removal import check_digests, copied, mentions
from tests.executors.support import run
from tests.executors.test_forget import check_kills, kill_and_go_on
from tests.executors.trees import tree
from tests.tokens.bpe_tokenizer import save_bpe
from tests.tokens.test_write import pipeline, write_documents
from tokenmill.executors.forget import ForgetRequest, Forgotten, forget
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import verify_set

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bpe(tmp_path_factory.mktemp("bpe")))


def ask(out: Path, **wanted: Any) -> Forgotten:
    return forget(RunFolder(str(out)), ForgetRequest(time="2026-03-01", **wanted))


def without(source: Path, folder: Path, url: str) -> Path:
    """The same files, in which the text of a document is empty, so that it is read and no document."""
    shutil.copytree(source, folder)
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        rows = [{**row, "text": "" if row["url"] == url else row["text"]} for row in table.to_pylist()]
        pq.write_table(table.from_pylist(rows, schema=table.schema), path, row_group_size=10)
    return folder


@pytest.mark.ci
@pytest.mark.parametrize("layout", ["ds", "megatron", "olmo", "llmc", "nanogpt"])
def test_tokens_are_those_of_a_run_without_the_document(bpe: str, layout: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "in")
    url = "https://example.org/1/7"
    settings = {"format": layout, "shard_tokens": 100_000}  # one shard: where shards are cut follows their lengths
    run(pipeline(bpe, **settings), tmp_path / "in", tmp_path / "out")
    run(pipeline(bpe, **settings), without(tmp_path / "in", tmp_path / "fewer", url), tmp_path / "never")
    found = ask(tmp_path / "out", urls=(url,))
    assert [grave.was for grave in found.documents] == ["kept"]
    assert mentions(tmp_path / "out", url, "urn:uuid:1-7") == []
    mine, wanted = tree(tmp_path / "out"), tree(tmp_path / "never")
    shards = [name for name in wanted if name.startswith("tokens/0")]
    assert len(shards) > 1
    assert {name: mine[name] for name in shards} == {name: wanted[name] for name in shards}
    check_digests(tmp_path / "out")


def test_only_the_shards_that_hold_it_change(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    out = copied(tmp_path / "out", tmp_path)
    before = TokenSet.open(out).manifest
    ask(out, ids=("<urn:uuid:2-3>",))
    after = TokenSet.open(out)
    assert verify_set(out) == []
    changed = [new.name for old, new in zip(before.shards, after.manifest.shards, strict=True) if old != new]
    assert len(changed) == 1
    assert after.manifest.documents == before.documents - 1 == len(known) - 1
    assert sum(shard.tokens for shard in after.manifest.shards) == after.manifest.tokens < before.tokens
    twice = tree(out)
    assert not ask(out, ids=("<urn:uuid:2-3>",)).documents
    assert not run(pipeline(bpe), tmp_path / "in", out).failures  # nothing to do, and nothing is done
    assert tree(out) == twice


@pytest.mark.slow
def test_killed_while_tokens_are_written_again(bpe: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    results = kill_and_go_on(tmp_path / "out", tmp_path, *range(2, 1000, 4))
    assert not results[-1]["killed"]
    assert any("write_tokens.shards" in result["call"] for result in results)
    check_kills(tmp_path / "out", tmp_path, results)
