"""`WriteTokens`: from documents to shards, through the engine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import digests, run
from tests.tokens.bpe_tokenizer import EOS, WORDS, save_bpe
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.stage import InputShard, Stage
from tokenmill.filters.gopher import GopherQuality
from tokenmill.filters.pii import RedactPii
from tokenmill.io.parquet import ReadParquet
from tokenmill.tokens.formats.registry import format_names
from tokenmill.tokens.order import document_key
from tokenmill.tokens.stages import EncodeText
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import verify_set
from tokenmill.tokens.write import WriteTokens

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bpe(tmp_path_factory.mktemp("bpe")))


def write_documents(folder: Path, count: int = 90, files: int = 3, words: int = 40) -> dict[str, str]:
    """Parquet files of random words; doc_id -> text."""
    generator = random.Random(7)
    folder.mkdir(parents=True)
    known = {}
    for number in range(files):
        rows: list[dict[str, Any]] = []
        for row in range(count // files):
            text = " ".join(generator.choices(WORDS, k=generator.randrange(1, words)))
            if row % 10 == 3:
                text += f" {EOS}\n\x00 ünïcode 漢字"
            rows.append(
                {
                    "text": text,
                    "id": f"<urn:uuid:{number}-{row}>",
                    "url": f"https://example.org/{number}/{row}",
                    "file_path": f"crawl-{number}.warc.gz",
                    "warc_offset": 1000 * row,
                    "warc_length": 500,
                    "topic": "code" if row % 4 == 0 else "prose",
                    "edu_score": row / 10,
                }
            )
            known[f"{number}.parquet#{row}"] = text
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{number}.parquet", row_group_size=10)
    return known


def pipeline(bpe: str, *before: Stage, **settings: Any) -> Pipeline:
    source = ReadParquet(signals=("edu_score",), tags=("topic",))
    return Pipeline("tokens", [source, *before, WriteTokens(tokenizer=bpe, **{"shard_tokens": 700, **settings})])


def contents(output: Path) -> list[tuple[str, list[int]]]:
    """(doc_id, ids without EOS) of a set, in its order."""
    found = []
    for shard in TokenSet.open(output):
        for row in shard.documents().to_pylist():
            start = row["token_start"]
            found.append((row["doc_id"], shard.ids[start : start + row["token_count"]].tolist()))
    return found


def test_documents_come_out_as_the_tokenizer_encodes_them(bpe: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    known = write_documents(tmp_path / "in")
    outcome = run(pipeline(bpe, seed=3), tmp_path / "in", tmp_path / "out")
    assert outcome.kept == len(known)
    assert not outcome.failures
    found = contents(tmp_path / "out")
    library = Tokenizer.from_file(bpe)
    library.encode_special_tokens = True
    assert dict(found) == {name: library.encode(text, add_special_tokens=False).ids for name, text in known.items()}
    assert [name for name, _ in found] == sorted(known, key=lambda name: document_key(3, name))
    assert library.token_to_id(EOS) not in {id for _, ids in found for id in ids}


def test_the_set_says_what_it_is(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    found = TokenSet.open(tmp_path / "out")
    manifest = found.manifest
    assert manifest.documents == len(known)
    assert len(manifest.shards) > 3
    assert manifest.tokens == sum(len(shard.ids) for shard in found)
    assert manifest.tokenizer.eos_token == EOS
    assert manifest.dtype == "uint16"
    assert manifest.order == {"shuffled": True, "seed": 0}
    assert list(manifest.made_from) == [{"input": str(tmp_path / "in")}]
    assert verify_set(tmp_path / "out") == []
    row = next(iter(found)).documents().to_pylist()[0]
    number, position = row["doc_id"].removesuffix(".parquet").partition(".parquet#")[::2]
    assert row["url"] == f"https://example.org/{number}/{position}"
    assert row["warc_offset"] == 1000 * int(position)
    assert row["topic"] in ("code", "prose")
    assert row["edu_score"] == int(position) / 10


def test_counts_flow_back(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    counts = {name: len(ids) for name, ids in contents(tmp_path / "out")}
    for number in range(3):
        table = pq.read_table(tmp_path / f"out/data/{number}.parquet")
        assert "text" not in table.column_names
        assert "tokens" not in table.column_names
        names = [f"{number}.parquet#{row}" for row in range(table.num_rows)]
        assert table.column("token_count").to_pylist() == [counts.pop(name) for name in names]
    assert not counts
    assert len(known) == 90


def test_the_data_set_with_its_counts(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    run(pipeline(bpe, keep_text=True), tmp_path / "in", tmp_path / "out")
    counts = {name: len(ids) for name, ids in contents(tmp_path / "out")}
    for number in range(3):
        rows = pq.read_table(tmp_path / f"out/data/{number}.parquet").to_pylist()
        for row, document in enumerate(rows):
            name = f"{number}.parquet#{row}"
            assert (document["text"], document["token_count"]) == (known[name], counts[name])
    assert "text" not in TokenSet.open(tmp_path / "out").shards[0].documents().column_names


def test_source_order_is_the_order_of_the_input(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    run(pipeline(bpe, order="source"), tmp_path / "in", tmp_path / "out")
    assert [name for name, _ in contents(tmp_path / "out")] == list(known)
    assert TokenSet.open(tmp_path / "out").manifest.order == {"shuffled": False}


@pytest.mark.parametrize(
    "layout", [name if name == "megatron" else pytest.param(name, marks=pytest.mark.ci) for name in format_names()]
)
def test_every_layout_holds_the_same_tokens(bpe: str, tmp_path: Path, layout: str) -> None:
    write_documents(tmp_path / "in", count=30)
    run(pipeline(bpe, shard_tokens=300), tmp_path / "in", tmp_path / "ds")
    run(pipeline(bpe, shard_tokens=300, format=layout), tmp_path / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "ds")
    assert verify_set(tmp_path / "out") == []


def test_without_eos(bpe: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "in", count=30)
    run(pipeline(bpe, add_eos=False), tmp_path / "in", tmp_path / "out")
    found = TokenSet.open(tmp_path / "out")
    assert found.eos_id is None
    assert found.manifest.tokens == sum(len(ids) for _, ids in contents(tmp_path / "out"))
    assert verify_set(tmp_path / "out") == []


def test_an_input_without_documents_is_an_empty_set(bpe: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": pa.array([None, ""], pa.string())}), tmp_path / "in/0.parquet")
    run(Pipeline("t", [ReadParquet(), WriteTokens(tokenizer=bpe)]), tmp_path / "in", tmp_path / "out")
    found = TokenSet.open(tmp_path / "out")
    assert (found.manifest.documents, found.manifest.tokens, len(found.shards)) == (0, 0, 1)
    assert found.shards[0].documents().num_rows == len(found.shards[0].ids) == 0
    assert verify_set(tmp_path / "out") == []


@pytest.mark.ci  # sample: tests/tokens/mix/test_mixture.py
def test_workers_do_not_change_a_byte(bpe: str, tmp_path: Path) -> None:
    write_documents(tmp_path / "in")
    for workers in (0, 2):
        outcome = run(pipeline(bpe), tmp_path / "in", tmp_path / f"out{workers}", workers=workers)
        assert not outcome.failures
    assert digests(tmp_path / "out0") == digests(tmp_path / "out2")


def test_filters_before_the_sink_decide_what_is_tokenized(bpe: str, tmp_path: Path) -> None:
    known = write_documents(tmp_path / "in")
    filters = GopherQuality(min_words=20, max_words=10**6, min_mean_word_length=0, min_stop_words=0)
    outcome = run(pipeline(bpe, filters), tmp_path / "in", tmp_path / "out")
    assert 0 < outcome.kept < len(known)
    assert TokenSet.open(tmp_path / "out").manifest.documents == outcome.kept


def plan(stages: list[Stage], annotation: Annotation | None = None) -> Any:
    return make_plan(Pipeline("t", stages), [InputShard("a.parquet", "a.parquet", 1, "")], annotation)


def test_what_the_plan_refuses(bpe: str, tmp_path: Path) -> None:
    other = str(save_bpe(tmp_path, vocab_size=300))
    with pytest.raises(ConfigError, match="differ in tokenizer"):
        plan([ReadParquet(), EncodeText(tokenizer=other), WriteTokens(tokenizer=bpe)])
    with pytest.raises(ConfigError, match="filter mode only"):
        plan([ReadParquet(), WriteTokens(tokenizer=bpe)], Annotation())
    for settings, words in (
        ({"order": "random"}, "no order 'random'"),
        ({"shard_tokens": 0}, "shards of 0 tokens"),
        ({"format": "dss"}, "did you mean"),
        ({"eos": "<nothing>"}, "<nothing>"),
    ):
        with pytest.raises(ConfigError, match=words):
            plan([ReadParquet(), WriteTokens(tokenizer=bpe, **settings)])
    with pytest.raises(ConfigError, match="tokenizer"):
        plan([ReadParquet(), WriteTokens()])
    again = plan([ReadParquet(), EncodeText(tokenizer=bpe), RedactPii(), WriteTokens(tokenizer=bpe)])
    assert again.pipeline.labels[-2:] == ("encode_text_2", "write_tokens")  # the ids of the text as it was are no use
    with pytest.raises(ConfigError, match="cannot carry the column 'token_start'"):
        plan([ReadParquet(signals=("token_start",)), WriteTokens(tokenizer=bpe)])
    found = plan([ReadParquet(), EncodeText(tokenizer=bpe), WriteTokens(tokenizer=bpe)])
    assert found.pipeline.labels == ("read_parquet", "encode_text", "write_tokens")
    assert not found.inserted


def start(folder: Path, out: Path, bpe: str, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tokenmill", "tokenize", str(folder), "--tokenizer", bpe, "--output", str(out)]
    return subprocess.Popen(
        [*command, "--workers", str(workers), "--shard-tokens", "40k"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_killed_in_every_phase_and_resumed(bpe: str, tmp_path: Path) -> None:
    """So much that workers do the steps; each kill comes a little after a phase has begun."""
    write_documents(tmp_path / "in", count=6000, files=4, words=1500)
    assert start(tmp_path / "in", tmp_path / "whole", bpe, 2).wait() == 0
    whole = digests(tmp_path / "whole")
    generator = random.Random(5)
    hits = 0
    for number in range(6):
        process = start(tmp_path / "in", tmp_path / "out", bpe, 1 + number % 2)
        wanted = 1 + number // 2
        while process.poll() is None and not list((tmp_path / "out/phases").glob(f"{wanted:02d}-*")):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.6))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hits += 1
        process.wait()
        for path, digest in digests(tmp_path / "out").items():
            assert whole[path] == digest, path
    assert hits > 1
    assert start(tmp_path / "in", tmp_path / "out", bpe, 2).wait() == 0
    assert digests(tmp_path / "out") == whole
    assert verify_set(tmp_path / "out") == []


def test_the_runs_go_when_the_set_is_complete(bpe: str, tmp_path: Path) -> None:
    """They are as large as the shards. The same command again finds everything; what was lost is made anew."""
    write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    whole = digests(tmp_path / "out")
    assert not list((tmp_path / "out/phases").glob("*/run_ids/*"))
    (manifest,) = (tmp_path / "out/phases").glob("01-*/manifests/1.json")
    written = manifest.stat().st_mtime_ns
    assert run(pipeline(bpe), tmp_path / "in", tmp_path / "out").resumed
    assert manifest.stat().st_mtime_ns == written
    (tmp_path / "out/tokens/00001.ds").unlink()
    outcome = run(pipeline(bpe), tmp_path / "in", tmp_path / "out")
    assert not outcome.failures
    assert digests(tmp_path / "out") == whole
    assert not list((tmp_path / "out/phases").glob("*/run_ids/*"))


@pytest.mark.parametrize(
    ("order", "eos"),
    [
        ("shuffled", False),
        *(
            pytest.param(*one, marks=pytest.mark.ci)
            for one in (("shuffled", True), ("source", True), ("source", False))
        ),
    ],
)
def test_many_inputs_are_merged_first(
    bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, eos: bool
) -> None:
    """With 100,000 input shards a piece would be read from as many files. The shards are the same."""
    write_documents(tmp_path / "in", count=96, files=8)
    run(pipeline(bpe, order=order, add_eos=eos), tmp_path / "in", tmp_path / "plain")
    monkeypatch.setattr("tokenmill.tokens.write.FAN_IN", 3)
    run(pipeline(bpe, order=order, add_eos=eos), tmp_path / "in", tmp_path / "merged")
    assert len(list((tmp_path / "merged/phases").glob("02-*.merge@*/manifests/*.json"))) == 3
    for path in (tmp_path / "plain/tokens").iterdir():
        assert path.read_bytes() == (tmp_path / "merged/tokens" / path.name).read_bytes(), path.name
    assert not list((tmp_path / "merged/phases").glob("*/run_ids/*"))
    (tmp_path / "merged/tokens/00001.ds").unlink()
    assert not run(pipeline(bpe, order=order, add_eos=eos), tmp_path / "in", tmp_path / "merged").failures
    assert (tmp_path / "plain/tokens/00001.ds").read_bytes() == (tmp_path / "merged/tokens/00001.ds").read_bytes()


def test_tiny_documents_are_cut_into_runs_and_pieces(bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "plain")
    monkeypatch.setattr("tokenmill.tokens.runs.RUN_DOCUMENTS", 7)
    monkeypatch.setattr("tokenmill.tokens.gather.PIECE_DOCUMENTS", 5)
    run(pipeline(bpe), tmp_path / "in", tmp_path / "small")
    for path in (tmp_path / "plain/tokens").iterdir():
        if path.suffix != ".parquet" and path.name != "manifest.json":  # row groups end where pieces do
            assert path.read_bytes() == (tmp_path / "small/tokens" / path.name).read_bytes(), path.name
    assert contents(tmp_path / "plain") == contents(tmp_path / "small")


@pytest.mark.parametrize("left", [0.5, *(pytest.param(left, marks=pytest.mark.ci) for left in (0.0, 1.0))])
def test_runs_that_are_damaged_before_they_are_used_are_made_again(
    bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    write_documents(tmp_path / "in")
    run(pipeline(bpe), tmp_path / "in", tmp_path / "whole")

    def fails(*arguments: Any) -> None:
        raise ShardError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(WriteTokens, "run_task", fails)
        assert run(pipeline(bpe), tmp_path / "in", tmp_path / "out").failures
    (ids,) = (tmp_path / "out/phases").glob("01-*/run_ids/1.ids")
    ids.write_bytes(ids.read_bytes()[: int(left * ids.stat().st_size)])
    assert not run(pipeline(bpe), tmp_path / "in", tmp_path / "out").failures
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
