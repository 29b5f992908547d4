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
    assert [total.documents for total in plan.totals] == [50, 10]
    assert (plan.tokens, plan.bytes, plan.warnings, plan.errors) == (1500, 3000, (), ())
    assert plan.notes[0] == "the weights of one add up to 10; shares are in proportion to them"
    assert any("code is used up in two" in note for note in plan.notes)
    assert 600 / code.manifest.tokens < plan.rows[3].epochs_so_far < 640 / code.manifest.tokens  # and what was cut off
    taken = make(mixture, tmp_path / "out").manifest.more["mixture"]["taken"]
    planned = {(row.stage, row.stream): row for row in plan.rows}
    for one in taken:
        row = planned[one["stage"], one["stream"]]
        assert (one["tokens"], one["share"], one["unique_tokens"]) == (row.tokens, row.share, row.unique_tokens)
        assert (one["epochs"], one["epochs_so_far"]) == (row.epochs, row.epochs_so_far)
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


@pytest.mark.ci
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


def long_documents(folder: Path) -> TokenSet:
    """Ten documents of 99 tokens and EOS."""
    return random_set(folder, [6, 4], seed=3, shortest=99, longest=99, row_group_rows=3)


def test_ends_that_are_cut_off_count_as_seen(tmp_path: Path) -> None:
    """Twelve stages take 120 tokens of 1,000, and begin a document each: ten documents are there."""
    assert long_documents(tmp_path / "books").manifest.tokens == 1000
    stages = [{"name": f"s{n}", "tokens": 10, "weights": {"books": 1}} for n in range(12)]
    plan = plan_mixture(mixture_of(tmp_path, {"books": "books"}, stages, max_epochs=1))
    assert plan.errors == ("books is seen 1.11 times, max_epochs is 1",)
    assert plan.totals[0].used == 1
    assert "books is used up in s10: its documents begin again, in another order" in plan.notes
    assert any("books: 1,080 tokens are cut off" in note for note in plan.notes)
    made = make(mixture_of(tmp_path, {"books": "books"}, stages), tmp_path / "out")
    taken = made.manifest.more["mixture"]["taken"]
    assert [one["epochs_so_far"] for one in taken] == [row.epochs_so_far for row in plan.rows]
    assert len({row["doc_id"] for shard in made for row in shard.documents().to_pylist()}) == 10
    plan_mixture(mixture_of(tmp_path, {"books": "books"}, stages[:10], max_epochs=1)).check()


def test_positions_of_parts_with_conditions(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [40, 0, 30], seed=1)
    upweight = {"web": {"by": "topic", "to": {"software": 0.5}}}
    stages = [
        {"name": f"s{n}", "tokens": 77, "weights": {"web": 1}, **({"upweight": upweight} if n % 2 else {})}
        for n in range(12)
    ]
    mixture = mixture_of(tmp_path, {"web": {"tokens": "web", "where": {"score": ">=1"}}}, stages)
    measured = measure(mixture)
    plan = plan_mixture(mixture)
    taken = make(mixture, tmp_path / "out").manifest.more["mixture"]["taken"]
    last = {one["stream"]: one["epochs_so_far"] for one in taken if one["stage"] == "s11"}
    assert len(last) == 2
    assert {row.stream: row.epochs_so_far for row in plan.rows[-2:]} == last
    assert sum(sum(tokens) for tokens in measured.of_shards.values()) == plan.totals[0].unique_tokens


def test_values_that_nothing_has_are_told(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [30], seed=1)
    stage = {"name": "a", "tokens": 10, "weights": {"web": 1}}
    stage["upweight"] = {"web": {"by": "topic", "times": {"sofware": 10, "false": 2, "news": 1.1}}}
    source = {"tokens": "web", "where": {"topic": ["news", "sport", "sprot"]}}
    notes = plan_mixture(mixture_of(tmp_path, {"web": source}, [stage])).notes
    assert "no document of web has topic 'sprot', which its `where` asks for" in notes
    assert "no document of web is one of web[topic=sofware], which a stage upweights" in notes
    assert any("web[topic=false]" in note and "quote them" in note for note in notes)
    assert not any("topic=news" in note or "'news'" in note for note in notes if note.startswith("no document"))


def rare(tmp_path: Path, shared: Path, **more: Any) -> Any:
    """A run with a tag that the sample does not show: a mixture of all, and of that tag."""
    (tmp_path / "run").mkdir()
    topics = ["rare", *["news"] * 4999]
    pq.write_table(pa.table({"text": ["some words"] * 5000, "topic": topics}), tmp_path / "run/a.parquet")
    given = {"run": "run", "tokenizer": str(shared / "tokenizers/gpt2")}
    sources = {"all": given, "rare": {**given, "where": {"topic": "rare"}}}
    stage = {"name": "a", "tokens": 1000, "weights": {"all": 0.99, "rare": 0.01}}
    return mixture_of(tmp_path, sources, [stage], seed=1, **more)


@pytest.mark.ci
def test_what_a_sample_does_not_show_is_not_known_to_be_absent(tmp_path: Path, shared: Path) -> None:
    plan = plan_mixture(rare(tmp_path, shared, max_epochs=2))
    row = plan.rows[1]
    assert (row.stream, row.tokens, row.unique_tokens, row.epochs, row.estimated) == ("rare", 10, 0, 0.0, True)
    assert any(note.startswith("no document of the sample of rare is one of rare") for note in plan.notes)
    plan.check()


def test_estimates_are_no_reason_to_refuse(tmp_path: Path, shared: Path) -> None:
    mixture = rare(tmp_path, shared)
    stage = {"name": "a", "tokens": 100_000, "weights": {"all": 1}}
    plan = plan_mixture(mixture_of(tmp_path, mixture.to_json()["sources"], [stage], max_epochs=2))
    plan.check()
    assert any("max_epochs is 2: if it is so once the run is tokenized" in warning for warning in plan.warnings)


def test_what_cannot_go_together_is_refused_before_runs_are_tokenized(tmp_path: Path, shared: Path) -> None:
    random_set(tmp_path / "web", [3], seed=1)
    (tmp_path / "run").mkdir()
    pq.write_table(pa.table({"text": ["some words"], "score": ["high"]}), tmp_path / "run/a.parquet")
    given = {"run": "run", "tokenizer": str(shared / "tokenizers/gpt2")}
    with pytest.raises(ConfigError, match=r"books would be tokenized differently from web \(tokenizer, EOS\)"):
        plan_mixture(mixture_of(tmp_path, {"web": "web", "books": given}, [{"name": "all"}]))
    with pytest.raises(ConfigError, match="no layout of token shards is called 'nonsense'"):
        plan_mixture(mixture_of(tmp_path, {"books": given}, [{"name": "all"}], format="nonsense"))
    pq.write_table(pa.table({"text": ["some words"], "score": [1]}), tmp_path / "other.parquet")
    sources = {"books": given, "more": {**given, "run": "other.parquet"}}
    with pytest.raises(ConfigError, match="the tag score is string in books and double in more"):
        plan_mixture(mixture_of(tmp_path, sources, [{"name": "all"}]))
    random_set(tmp_path / "code", [3], seed=2, tags={"score": ["high"] * 3})
    with pytest.raises(ConfigError, match="the tag score is double in web and string in code"):
        plan_mixture(mixture_of(tmp_path, TWO, [{"name": "all"}]))


def test_tags_of_runs_have_the_types_that_sets_will_have(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "run").mkdir()
    table = pa.table({"text": ["some words"] * 4, "clean": [True, False, None, True], "stars": [1, 2, 3, 2**60]})
    pq.write_table(table, tmp_path / "run/a.parquet")
    given = {"run": "run", "tokenizer": str(shared / "tokenizers/gpt2"), "where": {"clean": "True", "stars": ">=1.5"}}
    (total,) = plan_mixture(mixture_of(tmp_path, {"books": given}, [{"name": "all"}])).totals
    assert total.documents == 1
    with pytest.raises(ConfigError, match="the tag clean holds texts, and true is none"):
        plan_mixture(mixture_of(tmp_path, {"books": {**given, "where": {"clean": True}}}, [{"name": "all"}]))


def test_documents_that_are_marked_as_synthetic_are_remarked_where_the_source_does_not_say_so(tmp_path: Path) -> None:
    random_set(tmp_path / "a", [20], tags={"synthetic": ["True"] * 20})
    stages = [{"name": "all", "tokens": 50, "weights": {"a": 1}}]
    for said in (False, True):
        plan = plan_mixture(
            mixture_of(tmp_path, {"a": {"tokens": str(tmp_path / "a"), "synthetic": said, "order": "as_is"}}, stages)
        )
        assert any("marked as synthetic" in warning for warning in plan.warnings) is not said
        assert any("is synthetic" in note for note in plan.notes) is said
