"""`tokenmill tokenize` as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import run as run_pipeline
from tests.tokens.bpe_tokenizer import save_bpe
from tests.tokens.test_write import contents, write_documents
from tokenmill.cli.main import app
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.filters.gopher import GopherQuality
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.parquet import ReadParquet, WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.tokenset import TokenSet

pytest.importorskip("tokenizers")


def tokenmill(*arguments: str | Path) -> int:
    """The exit code of a command, run in this process."""
    try:
        code = app([*map(str, arguments)], standalone_mode=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return int(code or 0)


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bpe(tmp_path_factory.mktemp("bpe"))


def test_a_finished_run(bpe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = write_documents(tmp_path / "in")
    source = ReadParquet(signals=("edu_score",), tags=("topic",))
    run_pipeline(Pipeline("clean", [source, WriteParquet()]), tmp_path / "in", tmp_path / "run")
    arguments = ["tokenize", tmp_path / "run", "--tokenizer", bpe, "--output", tmp_path / "out", "--workers", "0"]
    assert tokenmill(*arguments, "--shard-tokens", "1k", "--seed", "4") == 0
    said = capsys.readouterr().out
    found = TokenSet.open(tmp_path / "out")
    assert f"{found.manifest.tokens:,} in {len(found.shards)} shards of uint16 (ds), 90 documents" in said
    assert {name for name, _ in contents(tmp_path / "out")} == set(known)
    row = found.shards[0].documents().to_pylist()[0]
    assert row["topic"] in ("code", "prose")
    assert isinstance(row["edu_score"], float)
    assert row["file_path"].startswith("crawl-")
    card = (tmp_path / "out/README.md").read_text()
    assert "`token_count` counts tokens of `tokenizer.json`, without EOS. The texts are in `tokens/`" in card
    assert tokenmill(*arguments, "--shard-tokens", "1k", "--seed", "4") == 0  # nothing left to do
    with pytest.raises(ConfigError, match="holds another run"):
        tokenmill(*arguments, "--shard-tokens", "1k", "--seed", "5")
    assert tokenmill("tokenize", tmp_path / "out", "--verify") == 0
    assert tokenmill("run", tmp_path / "out/run.json", "--output", tmp_path / "again", "--workers", "0") == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_json_lines_and_chosen_tags(bpe: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": f"the {n}", "topic": "a", "score": n} for n in range(5)]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["tokenize", tmp_path / "in", "--tokenizer", bpe, "--workers", "0"]
    assert tokenmill(*arguments, "--output", tmp_path / "out", "--tag", "topic") == 0
    table = TokenSet.open(tmp_path / "out").shards[0].documents()
    assert table.column("topic").to_pylist() == ["a"] * 5
    assert "score" not in table.column_names


def test_what_cannot_be_tokenized(bpe: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "in")
    pipeline = Pipeline("clean", [ReadParquet(), GopherQuality(), WriteParquet()])
    inputs = list_inputs(str(tmp_path / "in"), (".parquet",))
    spec = RunSpec.of(make_plan(pipeline, inputs, Annotation()), Options(), str(tmp_path / "in"))
    execute(spec, RunFolder(str(tmp_path / "annotated")), InlineExecutor())
    plain = RunSpec.of(make_plan(pipeline, inputs), Options(), str(tmp_path / "in"))
    execute(plain, RunFolder(str(tmp_path / "half")), InlineExecutor())
    next((tmp_path / "half/phases").glob("*/_SUCCESS.json")).unlink()
    pq.write_table(pa.table({"text": ["a"], "token_start": [1], "list": [[1]]}), tmp_path / "odd.parquet")
    (tmp_path / "both").mkdir()
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "both/a.parquet")
    (tmp_path / "both/b.jsonl").write_text('{"text": "a"}\n')
    rest = ["--tokenizer", bpe, "--output", tmp_path / "out", "--workers", "0"]
    for place, words in (
        ("annotated", "is an annotated run"),
        ("half", "is not finished"),
        ("both", "files of 2 kinds"),
        ("nothing", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=words):
            tokenmill("tokenize", tmp_path / place, *rest)
    for more, words in (
        (["--output", tmp_path / "out"], "no tokenizer given"),
        (rest[:2], "no output given"),
        ([*rest, "--train-bpe", "300"], "two ways"),
        ([*rest[2:], "--train-bpe", "300", "--format", "nope"], "no layout"),
        ([*rest[2:], "--train-bpe", "300", "--set", "write_tokens.sed=1"], "did you mean"),
        ([*rest[4:], "--train-bpe", "300", "--output", tmp_path / "annotated"], "holds another run"),
        ([*rest, "--tag", "topik"], "did you mean"),
        ([*rest, "--format", "megatrn"], "did you mean"),
        ([*rest, "--shard-tokens", "many"], "is not a number of tokens"),
        ([*rest, "--set", "write_tokens.oder=source"], "did you mean"),
    ):
        with pytest.raises(ConfigError, match=words):
            tokenmill("tokenize", tmp_path / "in", *more)
    for tag, words in (("token_start", "means something else"), ("list", "of type list")):
        with pytest.raises(ConfigError, match=words):
            tokenmill("tokenize", tmp_path / "odd.parquet", *rest, "--tag", tag)
    assert not (tmp_path / "out").exists()
    assert tokenmill("tokenize", tmp_path / "odd.parquet", *rest) == 0
    assert TokenSet.open(tmp_path / "out").shards[0].documents().column("token_start").to_pylist() == [0]


def test_large_and_dictionary_texts_go_along(bpe: Path, tmp_path: Path) -> None:
    columns = {
        "text": ["a", "b"],
        "large": pa.array(["x", "y"], pa.large_string()),
        "coded": pa.array(["u", "v"]).dictionary_encode(),
        "flag": [True, False],
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    rest = ["--tokenizer", bpe, "--output", tmp_path / "out", "--workers", "0", "--order", "source"]
    assert tokenmill("tokenize", tmp_path / "in.parquet", *rest) == 0
    table = TokenSet.open(tmp_path / "out").shards[0].documents()
    assert table.column("large").to_pylist() == ["x", "y"]
    assert table.column("coded").to_pylist() == ["u", "v"]
    assert table.column("flag").to_pylist() == ["True", "False"]


def test_a_tokenizer_of_the_corpus_itself(
    bpe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_documents(tmp_path / "in", count=300)
    arguments = ["tokenize", tmp_path / "in", "--train-bpe", "300", "--reference", bpe, "--workers", "0"]
    assert tokenmill(*arguments, "--output", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "bytes per token on" in said
    report = json.loads((tmp_path / "out/tokenizer/report.json").read_text())
    assert report["held_out"]["bytes_per_token"] > 1
    assert report["held_out"]["reference_bytes_per_token"] > 1
    found = TokenSet.open(tmp_path / "out").manifest
    assert found.tokenizer.sha256 == report["sha256"]
    assert (tmp_path / "out/tokenizer/tokenizer.json").read_bytes() == (
        tmp_path / "out/tokens/tokenizer.json"
    ).read_bytes()

    def trains(*arguments: Any, **more: Any) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr("tokenmill.cli.train_bpe.train_on_documents", trains)
    assert tokenmill(*arguments, "--output", tmp_path / "out") == 0
    with pytest.raises(AssertionError, match="trained twice"):
        tokenmill(*arguments, "--output", tmp_path / "out", "--pretokenizer", "gpt2")
