from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.tokens.mix.support import published, random_set, rows_of
from tokenmill.cli.mix import MixRequest, mix
from tokenmill.cli.mixture_files import is_mixture
from tokenmill.cli.tokenize import TokenizeRequest, documents_of, tokenize
from tokenmill.core.errors import ConfigError
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.tokens.tokenset import TokenSet


def write(folder: Path, stages: list[dict[str, object]], sources: dict[str, object] | None = None) -> str:
    given = sources or {"web": {"tokens": "web"}, "code": {"tokens": "code"}}
    (folder / "m.yaml").write_text(
        yaml.safe_dump({"name": "mine", "sources": given, "stages": stages}, sort_keys=False)
    )
    return str(folder / "m.yaml")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    random_set(tmp_path / "web", [30], seed=1)
    random_set(tmp_path / "code", [10], seed=2, first=100)
    return tmp_path


STAGE: dict[str, object] = {"name": "one", "tokens": 500, "weights": {"web": 0.8, "code": 0.2}}


def test_the_plan_is_shown_and_nothing_written(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(sets, [STAGE])
    before = sorted(sets.rglob("*"))
    assert mix(MixRequest(path, plan_only=True)) == 0
    shown = capsys.readouterr().out
    assert "stage one: 500 tokens" in shown
    assert "80.00%" in shown
    assert mix(MixRequest(path, plan_only=True, as_json=True)) == 0
    assert json.loads(capsys.readouterr().out)["rows"][1]["tokens"] == 100
    assert sorted(sets.rglob("*")) == before


def test_a_mixture_is_made_and_resumed(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = MixRequest(write(sets, [STAGE]), output=str(sets / "out"), workers=0)
    assert mix(request) == 0
    shown = capsys.readouterr().out
    assert "stage one: 500 tokens" in shown
    assert "tokens   500 in 1 shards of uint16 (ds)" in shown
    before = published(sets / "out")
    assert mix(request) == 0
    assert published(sets / "out") == before
    with pytest.raises(ConfigError, match="holds another run"):
        mix(MixRequest(write(sets, [{**STAGE, "tokens": 400}]), output=str(sets / "out"), workers=0))


def test_what_is_refused(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no output given"):
        mix(MixRequest(write(sets, [STAGE])))
    path = write(sets, [{**STAGE, "tokens": 10_000_000}])
    Path(path).write_text(Path(path).read_text() + "max_epochs: 2\n")
    for request in (MixRequest(path, plan_only=True), MixRequest(path, output=str(sets / "out"), workers=0)):
        with pytest.raises(ConfigError, match="repeats documents more often than it allows"):
            mix(request)
        assert "stage one: 10,000,000 tokens" in capsys.readouterr().out  # the plan tells why
    assert not (sets / "out").exists()


def test_no_room(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10**9})())
    path = write(sets, [{**STAGE, "tokens": 10**12}])
    with pytest.raises(ConfigError, match="there is no room for this mixture"):
        mix(MixRequest(path, output=str(sets / "out"), workers=0))


def tiny_tokenizer(path: Path) -> None:
    """A token for each byte, and the end of texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))


def test_runs_are_tokenized_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer(tmp_path / "tokenizer.json")
    for name, count in (("books", 30), ("web", 10)):
        (tmp_path / name).mkdir()
        texts = [f"{name} {n} " * (n % 5 + 1) for n in range(count)]
        pq.write_table(pa.table({"text": texts, "topic": ["a", "b"] * (count // 2)}), tmp_path / name / "x.parquet")
    sources: dict[str, object] = {
        "books": {"run": "books", "tokenizer": "tokenizer.json"},
        "web": {"run": "web", "tokenizer": "tokenizer.json"},
        "half": {"run": "books", "tokenizer": "tokenizer.json", "where": {"topic": "a"}},
    }
    stage: dict[str, object] = {"name": "one", "tokens": 300, "weights": {"books": 0.5, "web": 0.25, "half": 0.25}}
    path = write(tmp_path, [stage], sources)
    assert mix(MixRequest(path, plan_only=True)) == 0
    assert "~" in capsys.readouterr().out
    assert mix(MixRequest(path, output=str(tmp_path / "out"), workers=0)) == 0
    assert "~" not in capsys.readouterr().out.rpartition("stage one")[2]
    made = TokenSet.open(tmp_path / "out")
    assert {name: sum(len(r.ids) for r in rows_of(made) if r.source == name) for name in sources} == {
        "books": 150,
        "web": 75,
        "half": 75,
    }
    assert TokenSet.open(tmp_path / "out/sources/books").manifest.documents == 30
    assert not (tmp_path / "out/sources/half").exists()  # one run is tokenized once
    assert mix(MixRequest(path, output=str(tmp_path / "out"), plan_only=True)) == 0
    assert "~" not in capsys.readouterr().out


def test_estimates_are_decided_on_when_runs_are_tokenized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer(tmp_path / "tokenizer.json")
    pq.write_table(pa.table({"text": ["words"] * 9}), tmp_path / "books.parquet")
    sources: dict[str, object] = {"books": {"run": "books.parquet", "tokenizer": "tokenizer.json", "max_epochs": 2}}
    path = write(tmp_path, [{"name": "one", "tokens": 300, "weights": {"books": 1}}], sources)
    with pytest.raises(ConfigError, match=r"books is seen 5\.56 times, max_epochs is 2"):
        mix(MixRequest(path, output=str(tmp_path / "out"), workers=0))
    assert "if it is so once the run is tokenized" in capsys.readouterr().err
    assert TokenSet.open(tmp_path / "out/sources/books").manifest.tokens == 54
    assert not (tmp_path / "out/tokens").exists()


def test_the_plan_as_json_and_a_mixture_are_not_made_at_once(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(sets, [STAGE])
    with pytest.raises(ConfigError, match="--json shows the plan and writes nothing"):
        mix(MixRequest(path, output=str(sets / "out"), as_json=True))
    assert not (sets / "out").exists()
    for request in (MixRequest(path, as_json=True), MixRequest(path, "out", plan_only=True, as_json=True)):
        assert mix(request) == 0
        assert json.loads(capsys.readouterr().out)["tokens"] == 500


def test_a_run_that_is_not_finished_is_refused_by_the_plan(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "books/data").mkdir(parents=True)
    pq.write_table(pa.table({"text": ["words"]}), tmp_path / "books/data/x.parquet")
    (tmp_path / "books/run.json").write_text('{"mode": "filter", "phases": [{"directory": "01-x@y"}]}')
    path = write(tmp_path, [{"name": "all"}], {"books": {"run": "books", "tokenizer": "tokenizer.json"}})
    for request in (MixRequest(path, plan_only=True), MixRequest(path, output=str(tmp_path / "out"), workers=0)):
        with pytest.raises(ConfigError, match="is not finished"):
            mix(request)


def test_numbers_of_json_lines_are_compared_as_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer(tmp_path / "tokenizer.json")
    rows = [
        {"text": f"document {n}", "level": n % 12, "topic": "a" if n % 2 else "b", "clean": True} for n in range(60)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for name, tags in (("all", None), ("asked", ("level", "later"))):
        request = TokenizeRequest(str(tmp_path / "in.jsonl"), str(tmp_path / name), str(tmp_path / "tokenizer.json"))
        assert tokenize(replace(request, tags=tags, workers=0)) == 0
        table = TokenSet.open(tmp_path / name).shards[0].documents()
        assert table.schema.field("level").type == pa.float64()
        assert ("topic" in table.column_names, "later" in table.column_names) == (tags is None, tags is not None)
        path = write(tmp_path, [{"name": "s"}], {"web": {"tokens": name, "where": {"level": ">=10"}}})
        capsys.readouterr()
        assert mix(MixRequest(path, plan_only=True, as_json=True)) == 0
        assert json.loads(capsys.readouterr().out)["totals"][0]["documents"] == 10
    path = write(tmp_path, [{"name": "s"}], {"web": {"tokens": "asked", "where": {"later": ">=10"}}})
    with pytest.raises(ConfigError, match="the tag later holds texts"):
        mix(MixRequest(path, plan_only=True))


def test_columns_of_json_lines_that_mean_something_else(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "token_start": 3, "language_score": 0.5, "level": 1, "": 2}')
    _, _, reader = documents_of(str(tmp_path / "in.jsonl"))
    assert isinstance(reader, ReadJsonl)
    assert (reader.signals, reader.tags) == (("level",), ())
    with pytest.raises(ConfigError, match=r"'token_start' of in\.jsonl cannot go along"):
        documents_of(str(tmp_path / "in.jsonl"), ["token_start"])


def test_mixtures_are_known_from_recipes(sets: Path) -> None:
    assert is_mixture(write(sets, [STAGE]))
    (sets / "recipe.yaml").write_text("recipe: mine\nstages: [read_warc]\n")
    (sets / "broken.yaml").write_text("[")
    (sets / "mine.py").write_text(
        "from tokenmill.pipelines import recipe\n\ndef mine():\n    return recipe('fineweb')\n"
    )
    for other in ("recipe.yaml", "broken.yaml", "none.yaml", "mine.py:mine", "none.py:mine"):
        assert not is_mixture(str(sets / other))
    assert not is_mixture("fineweb")
