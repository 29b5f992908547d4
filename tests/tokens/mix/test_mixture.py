from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.properties import examples
from tests.tokens.mix.support import expected, make, mixture_of, published, random_set, rows_of, specified
from tests.tokens.support import save
from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.mix import window
from tokenmill.tokens.mix.spec import Mixture
from tokenmill.tokens.mix.window import StageSchedule, parts_of
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.verify import verify_set

TWO = {"web": "web", "code": "code"}


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 300 ids, so that small stages have many."""
    monkeypatch.setattr(window, "WINDOW_BYTES", 600)


@examples(2, 9)
@pytest.mark.usefixtures("small_windows")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.booleans(),
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
    st.tuples(st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.sampled_from([0.1, 0.7])),
    st.integers(150, 2000),
)
def test_every_document_is_where_the_twin_says(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    eos: bool,
    tokens: tuple[int, int],
    weights: tuple[float, float],
    shard_tokens: int,
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    eos_id = 0 if eos else None
    random_set(folder / "web", [20, 9], seed=1, eos_id=eos_id)
    random_set(folder / "code", [*counts, 8], seed=2, eos_id=eos_id, row_group_rows=5)
    stages = [
        {"name": "one", "tokens": tokens[0], "weights": {"web": weights[1], "code": weights[0]}},
        {"name": "two", "tokens": tokens[1], "weights": {"web": 0.5, "code": weights[1]}},
    ]
    mixture = mixture_of(folder, TWO, stages, seed=5, shard_tokens=shard_tokens)
    made = make(mixture, folder / "out")
    windows = {}
    for stage in mixture.stages:
        shards, fine = parts_of(StageSchedule(stage.name, stage.tokens or 0, ()), shard_tokens, 2)
        windows[stage.name] = shards * fine
    wanted = expected(mixture, windows)
    for name, rows in wanted.items():
        assert rows_of(made, name) == rows
    assert verify_set(folder / "out") == []
    assert made.manifest.tokens == sum(tokens)
    for name, count in zip(wanted, tokens, strict=True):
        assert sum(shard.tokens for shard in made if shard.entry.facts["stage"] == name) == count


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("tokens", [4000, pytest.param(20_000, marks=pytest.mark.ci)])
def test_proportions_hold_in_every_run_of_windows(tmp_path: Path, tokens: int) -> None:
    """To 0.1 %, or a document where windows are as small as here."""
    random_set(tmp_path / "web", [400, 300], seed=1, longest=3, shortest=3)
    random_set(tmp_path / "code", [100, 90], seed=2, longest=3, shortest=3)
    stage = {"name": "one", "tokens": tokens, "weights": {"web": 0.83, "code": 0.17}}
    made = make(mixture_of(tmp_path, TWO, [stage], shard_tokens=2000), tmp_path / "out")
    tables = [shard.documents(["source", "token_count"]) for shard in made]
    found = [
        [sum(c + 1 for s, c in zip(*table.to_pydict().values(), strict=True) if s == name) for name in TWO]
        for table in tables
    ]
    assert np.sum(found, 0).tolist() == [tokens * 83 // 100, tokens * 17 // 100]  # exact over the stage
    for first, last in itertools.combinations(range(len(found) + 1), 2):
        web, code = np.sum(found[first:last], 0)
        assert abs(web / (web + code) - 0.83) <= 0.001 + 4 / (web + code)


def test_each_document_is_seen_as_often_as_the_others_or_once_more(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [30, 20, 25], seed=1)
    random_set(tmp_path / "code", [10], seed=2)
    unique = sum(len(shard.ids) for shard in make(_whole(tmp_path, "web"), tmp_path / "all"))
    stages = [
        {"name": "one", "tokens": unique + 77, "weights": {"web": 1}},
        {"name": "two", "tokens": 2 * unique, "weights": {"web": 0.75, "code": 0.25}},
    ]
    made = make(mixture_of(tmp_path, TWO, stages), tmp_path / "out")
    seen = Counter(row.doc_id for row in rows_of(made) if row.source == "web")
    assert set(seen.values()) == {2, 3}
    assert len(seen) == 75
    by_epoch: dict[int, list[str]] = {}
    for row in rows_of(made):
        if row.source == "web":
            by_epoch.setdefault(row.epoch, []).append(row.doc_id)
    assert [len(set(ids)) == len(ids) for ids in by_epoch.values()] == [True, True, True]
    assert len(by_epoch[0]) == len(by_epoch[1]) == 75  # nothing a second time before all have been seen
    assert by_epoch[0] != by_epoch[1]


def _whole(folder: Path, name: str) -> Mixture:
    return mixture_of(folder, {name: name}, [{"name": "all"}])


def test_without_weights_and_tokens_a_stage_is_everything_once(tmp_path: Path) -> None:
    web, code = random_set(tmp_path / "web", [30, 20], seed=1), random_set(tmp_path / "code", [10, 0], seed=2)
    made = make(mixture_of(tmp_path, TWO, [{"name": "all"}]), tmp_path / "out")
    assert made.manifest.tokens == web.manifest.tokens + code.manifest.tokens
    of_set = {
        row["doc_id"]: shard.ids[row["token_start"] : row["token_start"] + row["token_count"] + 1].tolist()
        for tokens in (web, code)
        for shard in tokens
        for row in shard.documents().to_pylist()
    }
    rows = rows_of(made)
    assert {row.doc_id: list(row.ids) for row in rows} == of_set
    assert len(rows) == len(of_set) == 60
    assert not any(row.cut for row in rows)


def test_lineage_is_that_of_the_sets(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [30], seed=1)
    random_set(tmp_path / "code", [10], seed=2, first=1000)
    made = make(mixture_of(tmp_path, TWO, [{"name": "all"}]), tmp_path / "out")
    kept = ("id", "url", "dump", "date", "file_path", "warc_offset", "warc_length", "language", "topic", "score")
    before = {row["doc_id"]: [row[name] for name in kept] for row in web.shards[0].documents().to_pylist()}
    after = {
        row["doc_id"]: [row[name] for name in kept]
        for shard in made
        for row in shard.documents().to_pylist()
        if row["source"] == "web"
    }
    assert after == before
    assert [(entry["source"], entry["input"]) for entry in made.manifest.made_from] == [
        ("web", "/archives/web"),
        ("code", "/archives/code"),
    ]
    taken = made.manifest.more["mixture"]["taken"]
    assert [one["stream"] for one in taken] == ["web", "code"]
    assert [one["epochs"] for one in taken] == [1.0, 1.0]


def test_upweighted_parts_go_on_where_the_whole_source_stopped(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [60, 60, 60], seed=1)
    topics = {row["doc_id"]: row["topic"] == "software" for shard in web for row in shard.documents().to_pylist()}
    software = sum(
        row["token_count"] + 1 for shard in web for row in shard.documents().to_pylist() if topics[row["doc_id"]]
    )
    share = software / web.manifest.tokens
    stages = [
        {"name": "one", "tokens": 1000, "weights": {"web": 1}},
        {
            "name": "two",
            "tokens": software,
            "weights": {"web": 1},
            "upweight": {"web": {"by": "topic", "to": {"software": 0.6}}},
        },
    ]
    made = make(mixture_of(tmp_path, {"web": "web"}, stages), tmp_path / "out")
    one, two = rows_of(made, "one"), rows_of(made, "two")
    assert abs(sum(len(row.ids) for row in one if topics[row.doc_id]) - 1000 * share) <= 1
    assert abs(sum(len(row.ids) for row in two if topics[row.doc_id]) - 0.6 * software) <= 1
    assert not {row.doc_id for row in one} & {row.doc_id for row in two}  # together less than an epoch
    assert {row.epoch for row in (*one, *two)} == {0}


def test_sources_by_tags(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [60, 60], seed=1)
    sources = {
        "good": {"tokens": "web", "where": {"score": ">=4"}},
        "site": {"tokens": "web/tokens", "where": {"domain": "site1.co.uk", "topic": ["news", "sport"]}},
    }
    mixture = mixture_of(tmp_path, sources, [{"name": "all"}])
    made = make(mixture, tmp_path / "out")
    for shard in made:
        for row in shard.documents().to_pylist():
            if row["source"] == "good":
                assert row["score"] >= 4
            else:
                assert "site1" in row["url"]
                assert row["topic"] in ("news", "sport")
    counts = Counter(row.source for row in rows_of(made))
    assert 15 < counts["good"] < 35
    assert 5 < counts["site"] < 24


@pytest.mark.parametrize("most", [1, pytest.param(2, marks=pytest.mark.ci)])
def test_the_same_bytes_with_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("tokenmill.executors.run.SMALL_ROWS", -1)  # steps are the workers' too
    random_set(tmp_path / "web", [30, 20, 10], seed=1)
    random_set(tmp_path / "code", [10, 10], seed=2)
    stages = [{"name": "one", "tokens": 1500, "weights": {"web": 0.7, "code": 0.3}}, {"name": "two", "tokens": 900}]
    stages[1]["weights"] = {"code": 1}
    mixture = mixture_of(tmp_path, TWO, stages, shard_tokens=400)
    found = []
    for workers in range(most + 1):
        make(mixture, tmp_path / f"out{workers}", workers)
        found.append(published(tmp_path / f"out{workers}"))
    assert all(other == found[0] for other in found[1:])
    assert len([name for name in found[0] if name.endswith(".ds")]) == 4 + 3


def test_how_a_set_is_cut_into_row_groups_does_not_matter(tmp_path: Path) -> None:
    found = []
    for rows in (3, 10_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        random_set(folder / "web", [30, 20, 10], seed=1, row_group_rows=rows)
        made = make(
            mixture_of(folder, {"web": "web"}, [{"name": "one", "tokens": 2500, "weights": {"web": 1}}]), folder / "o"
        )
        found.append(rows_of(made))
    assert found[0] == found[1]


def test_another_seed_is_another_order_of_the_same_documents(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [30, 20, 10], seed=1)
    rows = [
        rows_of(make(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}], seed=seed), tmp_path / f"out{seed}"))
        for seed in (1, 2)
    ]
    assert rows[0] != rows[1]
    assert sorted(row.doc_id for row in rows[0]) == sorted(row.doc_id for row in rows[1])


@pytest.mark.parametrize(
    "layout", ["olmo", *(pytest.param(name, marks=pytest.mark.ci) for name in ("megatron", "nanogpt"))]
)
def test_other_layouts(tmp_path: Path, layout: str) -> None:
    random_set(tmp_path / "web", [10], seed=1)
    random_set(tmp_path / "code", [8], seed=3, layout="olmo")
    ds = make(mixture_of(tmp_path, TWO, [{"name": "all"}]), tmp_path / "ds")
    made = make(mixture_of(tmp_path, TWO, [{"name": "all"}], format=layout), tmp_path / "out")
    assert made.manifest.layout == layout
    assert rows_of(made) == rows_of(ds)


def test_documents_without_names_are_shuffled_too(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [30], seed=1, tags={"doc_id": [None] * 30})
    made = make(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}]), tmp_path / "out")
    found = [row["id"] for row in made.shards[0].documents().to_pylist()]
    before = [row["id"] for row in web.shards[0].documents().to_pylist()]
    assert found != before
    assert sorted(found) == sorted(before)


def test_tags_of_all_sets_are_kept(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [4], seed=1, tags={"grade": [1, 2, 3, 4]})
    random_set(tmp_path / "code", [3], seed=2, tags={"grade": [0.5, 1.5, 2.5], "stars": [7, 8, 9]})
    made = make(mixture_of(tmp_path, TWO, [{"name": "all"}]), tmp_path / "out")
    rows = made.shards[0].documents().to_pylist()
    assert sorted(row["grade"] for row in rows) == [0.5, 1, 1.5, 2, 2.5, 3, 4]
    assert sorted(row["stars"] for row in rows if row["source"] == "code") == [7, 8, 9]
    assert {row["stars"] for row in rows if row["source"] == "web"} == {None}


def test_tags_that_cannot_be_one_column_are_refused(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [2], seed=1, tags={"grade": [1, 2]})
    random_set(tmp_path / "code", [2], seed=2, tags={"grade": ["a", "b"]})
    with pytest.raises(ConfigError, match="the tag grade is int64 in web and string in code"):
        specified(mixture_of(tmp_path, TWO, [{"name": "all"}]))


def test_a_table_that_changed_since_it_was_counted_is_noticed(tmp_path: Path) -> None:
    web = random_set(tmp_path / "web", [30], seed=1)
    random_set(tmp_path / "other", [30], seed=9)
    spec = specified(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}]))
    web.shards[0].documents_path.write_bytes((tmp_path / "other/tokens/00000.documents.parquet").read_bytes())
    (error,) = execute(spec, RunFolder(str(tmp_path / "out")), InlineExecutor()).failures.values()
    assert isinstance(error, ShardError)
    assert "has changed" in str(error)


def test_a_mixture_of_a_mixture(tmp_path: Path) -> None:
    random_set(tmp_path / "web", [30], seed=1)
    random_set(tmp_path / "code", [10], seed=2)
    make(mixture_of(tmp_path, TWO, [{"name": "all"}]), tmp_path / "first")
    made = make(mixture_of(tmp_path, {"first": "first"}, [{"name": "again"}]), tmp_path / "out")
    rows = made.shards[0].documents().to_pylist()
    assert {(row["source"], row["stage"]) for row in rows} == {("first", "again")}
    assert {entry["input"] for entry in made.manifest.made_from} == {"/archives/web", "/archives/code"}


def test_cuts_and_copies_of_a_mixture_of_a_mixture(tmp_path: Path) -> None:
    """What was cut stays cut, and copies of a document do not stand together."""
    random_set(tmp_path / "web", [40], seed=1, shortest=5)
    tokens = 4 * sum(shard.tokens for shard in TokenSet.open(tmp_path / "web")) + 3
    stages = [{"name": f"s{n}", "tokens": tokens, "weights": {"web": 1}} for n in range(2)]
    first = make(mixture_of(tmp_path, {"web": "web"}, stages), tmp_path / "one")
    mixed = mixture_of(tmp_path, {"mixed": "one"}, [{"name": "all"}])
    second = rows_of(make(mixed, tmp_path / "two"))
    before = sorted((row.doc_id, row.ids) for row in rows_of(first) if row.cut)
    assert before
    assert sorted((row.doc_id, row.ids) for row in second if row.cut) == before
    together = sum(a.doc_id == b.doc_id for a, b in itertools.pairwise(second))
    assert together < len(second) / 10  # one in forty by chance; seven of eight where copies share a key


def test_windows_are_bounded_by_documents_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_set(tmp_path / "web", [100], seed=1, shortest=1, longest=3)
    mixture = mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}])
    monkeypatch.setattr(window, "WINDOW_DOCUMENTS", 20)
    sizes: list[int] = []
    shuffled = window.WindowMaker.window

    def counted(self: window.WindowMaker, *args: Any) -> window.Window:
        made = shuffled(self, *args)
        sizes.append(made.rows.num_rows)
        return made

    monkeypatch.setattr(window.WindowMaker, "window", counted)
    assert len(rows_of(make(mixture, tmp_path / "out"))) == 100
    assert len(sizes) == 5
    assert max(sizes) < 30


def test_shards_say_which_tokenizer(tmp_path: Path) -> None:
    """By its name: folders of the machine that made them are nobody's business."""
    web = random_set(tmp_path / "web", [3], seed=1)
    named = replace(web.manifest.tokenizer, name="/home/me/gpt2")
    save(web.folder, replace(web.manifest, tokenizer=named))
    made = make(mixture_of(tmp_path, {"web": "web"}, [{"name": "all"}]), tmp_path / "out")
    (metadata,) = made.folder.glob("*.ds.metadata")
    assert metadata.read_text().startswith("gpt2|2\n")
