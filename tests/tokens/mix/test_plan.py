from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tokens.mix.support import make, mixture_of, random_set
from tests.tokens.support import save
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.measure import measure
from tokenmill.tokens.mix.plan import plan_mixture
from tokenmill.tokens.mix.select import Atom
from tokenmill.tokens.mix.source import open_sets
from tokenmill.tokens.tokenset import SetManifest, TokenSet

TWO = {"web": "web", "code": "code"}


def test_the_plan_is_what_is_made(tmp_path: Path) -> None:
    web, code = random_set(tmp_path / "web", [30, 20], seed=1), random_set(tmp_path / "code", [10], seed=2, first=100)
    stages = [
        {"name": "one", "tokens": 500, "weights": {"web": 8, "code": 2}},
        {"name": "two", "tokens": 1000, "weights": {"web": 0.5, "code": 0.5}},
    ]
    mixture = mixture_of(tmp_path, TWO, stages)
    plan = plan_mixture(mixture)
    assert [(row.stage, row.stream, row.tokens) for row in plan.rows] == [
        ("one", "web", 400),
        ("one", "code", 100),
        ("two", "web", 500),
        ("two", "code", 500),
    ]
    assert [row.unique_tokens for row in plan.rows[:2]] == [web.manifest.tokens, code.manifest.tokens]
    assert plan.rows[3].epochs == 500 / code.manifest.tokens
    assert plan.rows[3].epochs_so_far == 600 / code.manifest.tokens
    assert [total.documents for total in plan.totals] == [50, 10]
    assert (plan.tokens, plan.bytes, plan.warnings, plan.errors) == (1500, 3000, (), ())
    assert plan.notes[0] == "the weights of one add up to 10; shares are in proportion to them"
    assert any("code is used up in two" in note for note in plan.notes)
    taken = make(mixture, tmp_path / "out").manifest.more["mixture"]["taken"]
    planned = {(row.stage, row.stream): row for row in plan.rows}
    for one in taken:
        row = planned[one["stage"], one["stream"]]
        assert (one["tokens"], one["share"], one["unique_tokens"]) == (row.tokens, row.share, row.unique_tokens)
        assert one["epochs"] == row.epochs
    json.dumps(plan.to_json())


def test_what_is_repeated_too_often(tmp_path: Path) -> None:
    tokens = random_set(tmp_path / "code", [10], seed=2).manifest.tokens
    stages = [{"name": "one", "tokens": 5 * tokens, "weights": {"code": 1}}]
    (warning,) = plan_mixture(mixture_of(tmp_path, {"code": "code"}, stages)).warnings
    assert "code is seen 5.0 times: above 4 epochs" in warning
    limited = mixture_of(tmp_path, {"code": "code"}, stages, max_epochs=4.5)
    with pytest.raises(ConfigError, match="more often than it allows") as error:
        plan_mixture(limited).check()
    assert "code is seen 5.00 times, max_epochs is 4.5" in str(error.value)
    own = mixture_of(tmp_path, {"code": {"tokens": "code", "max_epochs": 5}}, stages, max_epochs=2)
    plan_mixture(own).check()  # exactly five
    stages[0]["tokens"] = 5 * tokens + 1
    with pytest.raises(ConfigError, match="more often"):
        plan_mixture(mixture_of(tmp_path, own.to_json()["sources"], stages)).check()


def test_upweighted_parts_have_rows_of_their_own(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [60], seed=1)
    tokens = sum(row["token_count"] + 1 for row in web.shards[0].documents().to_pylist() if row["topic"] == "software")
    stages: list[dict[str, Any]] = [
        {"name": "one", "tokens": 100, "weights": {"web": 1}},
        {
            "name": "two",
            "tokens": 1000,
            "weights": {"web": 1},
            "upweight": {"web": {"by": "topic", "to": {"software": 0.5}}},
        },
    ]
    plan = plan_mixture(mixture_of(tmp_path, {"web": "web"}, stages))
    assert [(row.stream, row.tokens) for row in plan.rows] == [
        ("web", 100),
        ("web[topic=software]", 500),
        ("web[rest]", 500),
    ]
    share = tokens / web.manifest.tokens
    assert plan.rows[1].natural_in_source == share
    assert any(note.startswith(f"web[topic=software] is {share:.2%} of its source, and 50.00%") for note in plan.notes)


def test_synthetic_shares(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [60], seed=1)
    random_set(tmp_path / "qa", [60], seed=2, first=60)
    sources = {"web": "web", "qa": {"tokens": "qa", "synthetic": True}}
    plan = plan_mixture(mixture_of(tmp_path, sources, [{"name": "a", "tokens": 100, "weights": {"web": 3, "qa": 1}}]))
    assert "25.0% of a is synthetic" in plan.notes


def test_counts_without_conditions_are_those_of_the_manifest(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [60], seed=1)
    web.shards[0].documents_path.rename(tmp_path / "kept")
    pq.write_table(pq.read_table(tmp_path / "kept").slice(0, 1), web.shards[0].documents_path)  # nobody reads it
    measured = measure(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}]))
    assert measured.streams[Atom("web")].tokens == web.manifest.tokens


def change(tokens: TokenSet, **changes: Any) -> None:
    save(tokens.folder, SetManifest(**{**vars(tokens.manifest), **changes}))


def test_sets_that_do_not_go_together(tmp_path: Path) -> None:
    mixture = mixture_of(tmp_path, TWO, [{"name": "all"}])
    with pytest.raises(ConfigError, match="holds no token set"):
        open_sets(mixture)
    web = random_set(tmp_path / "web", [3], seed=1)
    code = random_set(tmp_path / "code", [3], seed=2, eos_id=7)
    with pytest.raises(ConfigError, match=r"web and code were tokenized differently \(EOS\)") as error:
        open_sets(mixture)
    assert "EOS 0 in web, 7 in code" in str(error.value)
    code = random_set(tmp_path / "large", [3], seed=2, vocab_size=70_000)
    with pytest.raises(ConfigError, match=r"tokenized differently \(dtype\)"):
        open_sets(mixture_of(tmp_path, {"web": "web", "code": "large"}, [{"name": "all"}]))
    change(code, dtype="uint16", tokenizer=type(web.manifest.tokenizer)("x", "1" * 64, 65_536, 0, "<eos>"))
    with pytest.raises(ConfigError, match=r"tokenized differently \(tokenizer\)"):
        open_sets(mixture_of(tmp_path, {"web": "web", "code": "large"}, [{"name": "all"}]))


def test_sets_that_cannot_be_mixed(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [3], seed=1)
    mixture = mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}])
    change(web, order={"shuffled": False})
    with pytest.raises(ConfigError, match="source web is not shuffled"):
        open_sets(mixture)
    assert open_sets(mixture_of(tmp_path, {"web": {"tokens": "web", "order": "as_is"}}, [{"name": "all"}]))
    change(web, offset=-1, layout="mds")
    with pytest.raises(ConfigError, match="layout mds"):
        open_sets(mixture)
    change(web)
    (web.folder / "tokenizer.json").write_text('{"edited": 1}')
    with pytest.raises(ConfigError, match="is not the tokenizer of the set"):
        open_sets(mixture)
    (web.folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="is not the tokenizer of the set"):
        open_sets(mixture)


def test_a_layout_that_cannot_hold_the_ids_is_refused_before_the_work(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [3], seed=1, vocab_size=70_000)
    for layout, wrong in (("dss", "did you mean 'ds'"), ("nanogpt", "uint32")):
        with pytest.raises(ConfigError, match=wrong):
            make(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}], format=layout), tmp_path / layout)


@pytest.fixture
def run_folder(tmp_path: Path, shared: Path) -> Path:
    """Documents as a run publishes them, in files of different sizes."""
    for number, count in enumerate((300, 100, 50)):
        texts = [f"Document {number} {n}. " + "All words are alike. " * (n % 7) for n in range(count)]
        topics = ["software" if n % 4 == 0 else "news" for n in range(count)]
        (tmp_path / "run/data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": texts, "topic": topics}), tmp_path / f"run/data/{number}.parquet")
    return tmp_path / "run"


def test_a_run_that_is_not_tokenized_is_estimated(tmp_path: Path, run_folder: Path, shared: Path) -> None:
    from tokenmill.tokens.tokenizer import load_tokenizer

    tokenizer = str(shared / "tokenizers/gpt2")
    texts = [text for path in run_folder.rglob("*.parquet") for text in pq.read_table(path)["text"].to_pylist()]
    exact = sum(len(e.ids) + 1 for e in load_tokenizer(tokenizer).make().encode_batch(texts))
    sources = {
        "books": {"run": str(run_folder), "tokenizer": tokenizer},
        "software": {"run": str(run_folder), "tokenizer": tokenizer, "where": {"topic": "software"}},
    }
    plan = plan_mixture(mixture_of(tmp_path, sources, [{"name": "all"}]))
    assert all(row.estimated for row in plan.rows)
    assert abs(plan.totals[0].unique_tokens / exact - 1) < 0.1
    assert abs(plan.totals[0].documents / 450 - 1) < 0.1
    assert abs(plan.totals[1].documents / plan.totals[0].documents - 0.25) < 0.12


def test_a_run_without_tokenizer(tmp_path: Path) -> None:
    mixture = mixture_of(tmp_path, {"books": {"run": "run"}}, [{"name": "all"}])
    with pytest.raises(ConfigError, match="source books is a run, and no tokenizer is given"):
        plan_mixture(mixture)
