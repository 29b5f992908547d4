"""Deduplication of documents: the table against a plain twin, and the same bytes however it is run."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.dedup.support import Twin, check_interrupted, corpus, deduplicate, published, walk
from tests.executors.support import rows
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import Annotate, Filter, Stage
from tokenmill.dedup import candidates, gather, groups
from tokenmill.dedup.exact import ExactDedup, UrlDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.text.minhash import MinHash

Write = Callable[..., Path]


class NoBad(Filter):
    """Drops what ends badly."""

    reads = ("text",)

    def judge(self, doc: Any) -> str | None:
        return "bad" if doc["text"].endswith("bad") else None


def ids_of(count: int, name: str = "a.jsonl") -> list[str]:
    return [f"{name}#{number}" for number in range(count)]


def assert_same(found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    assert list(found) == list(wanted)
    for id, row in wanted.items():
        score = row.pop("score")
        assert found[id].pop("score") == pytest.approx(score)
        assert found[id] == row


@pytest.mark.parametrize("measure", ["jaccard", "containment", "none"])
def test_the_table_is_that_of_the_twin(write_jsonl: Write, tmp_path: Path, measure: str) -> None:
    texts = corpus(400, seed=1)
    found = deduplicate(write_jsonl(texts), tmp_path / "out", MinHashDedup(verify=measure))
    twin = Twin(dict(zip(ids_of(400), texts, strict=True)), MinHash(), measure=measure).table()
    assert_same(found, twin)
    rules = {row["rule"] for row in found.values()}
    assert rules == {"unique", "representative", "exact", "unverified" if measure == "none" else measure}
    kept = [row["text"] for row in rows(tmp_path / "out", "data")]
    assert kept == [text for id, text in zip(ids_of(400), texts, strict=True) if found[id]["keep"]]


def test_a_component_of_many_representatives_is_that_of_the_twin(write_jsonl: Write, tmp_path: Path) -> None:
    texts = walk(200, seed=2)
    stage = MinHashDedup(large_cluster=20, large_min_similarity=0.6, max_comparisons=3)
    found = deduplicate(write_jsonl(texts), tmp_path / "out", stage)
    twin = Twin(dict(zip(ids_of(200), texts, strict=True)), MinHash(), large=20, least_large=0.6, most=3)
    assert max(map(len, twin.components)) > 100
    assert sum(row["keep"] for row in found.values()) > 20
    assert_same(found, twin.table())


def test_preference_and_scope(write_jsonl: Write, tmp_path: Path) -> None:
    texts = corpus(300, seed=3)
    rng = random.Random(3)
    documents = [
        {"text": text, "date": f"2024-0{rng.randrange(1, 9)}", "dump": rng.choice(["CC-1", "CC-2", None])}
        for text in texts
    ]
    found = deduplicate(
        write_jsonl(documents), tmp_path / "out", MinHashDedup(scope=("dump",), prefer=("-date", "length"))
    )
    ids = ids_of(300)
    order = sorted(range(300), key=lambda i: (-int(str(documents[i]["date"])[5:]), len(texts[i].encode()), i))
    twin = Twin(
        dict(zip(ids, texts, strict=True)),
        MinHash(),
        better=[ids[i] for i in order],
        scope={id: str(documents[i]["dump"]) for i, id in enumerate(ids)},
    )
    assert_same(found, twin.table())
    assert sum(row["keep"] for row in found.values()) > sum(
        row["keep"] for row in Twin(dict(zip(ids, texts, strict=True)), MinHash()).table().values()
    )


SHORT = ["one two three four", "One two, three four", "one two three four", "!", "!", "?", "a b c d e", "A B C D E."]


@pytest.mark.parametrize(("short", "kept"), [("exact", [0, 1, 3, 5, 6]), ("keep", [0, 1, 2, 3, 4, 5, 6])])
def test_documents_shorter_than_a_shingle_are_compared_as_a_whole(
    write_jsonl: Write, tmp_path: Path, short: str, kept: list[int]
) -> None:
    documents = [{"text": text, "id": str(number)} for number, text in enumerate(SHORT)]
    found = deduplicate(write_jsonl(documents), tmp_path / "out", MinHashDedup(short_documents=short))
    assert [n for n, id in enumerate(ids_of(len(SHORT))) if found[id]["keep"]] == kept


def shards(write: Write, count: int = 5) -> Path:
    texts = corpus(60 * count, seed=5)
    random.Random(1).shuffle(texts)
    for number in range(count):
        folder = write(texts[number::count], f"part-{number}.jsonl")
    write([], "part-empty.jsonl")
    return folder


STAGES = (ExactDedup(normalise="words", prefer=("-length",)), MinHashDedup())


@pytest.mark.ci  # sample: tests/tokens/mix/test_mixture.py, whose steps are done by workers too
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_same_bytes_with_any_number_of_workers(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    source = shards(write_jsonl)
    deduplicate(source, tmp_path / "out0", *STAGES)
    monkeypatch.setattr("tokenmill.executors.run.SMALL_ROWS", 0)  # so that workers do the steps
    wanted = published(tmp_path / "out0")
    assert len([name for name in wanted if name.startswith("dedup/")]) == 4
    deduplicate(source, tmp_path / "out", *STAGES, workers=workers)
    assert published(tmp_path / "out") == wanted


@pytest.mark.ci  # sample: the table is that of the twin
@pytest.mark.parametrize(("records", "most"), [(200, 4), (50, 15)])
def test_the_same_table_in_many_groups_ranges_and_buckets(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, most: int
) -> None:
    source = shards(write_jsonl)
    wanted = deduplicate(source, tmp_path / "one", *STAGES)
    monkeypatch.setattr(groups, "FEWEST_DOCUMENTS", 70)
    monkeypatch.setattr(candidates, "TASK_RECORDS", records)
    monkeypatch.setattr(gather, "BUCKET_DOCUMENTS", 20)
    monkeypatch.setattr(gather, "READ_ROWS", 10)
    monkeypatch.setattr(gather, "HELD_BYTES", 2000)
    found = deduplicate(source, tmp_path / "many", *STAGES)
    assert found == wanted
    names = [path.name.partition("@")[0] for path in (tmp_path / "many/phases").glob("*-minhash*")]
    assert len(names) == 7
    counts = {p.name.partition("@")[0]: len(list(p.glob("manifests/*"))) for p in (tmp_path / "many/phases").glob("*")}
    assert counts["09-minhash_dedup.keys"] > 3
    assert counts["10-minhash_dedup.candidates"] > most * 4
    assert counts["13-minhash_dedup.verify"] > 3


def test_the_order_in_which_inputs_are_listed_does_not_matter(write_jsonl: Write, tmp_path: Path) -> None:
    from tokenmill.core.pipeline import Pipeline
    from tokenmill.core.plan import make_plan
    from tokenmill.io.filesystem import list_inputs
    from tokenmill.io.jsonl import ReadJsonl
    from tokenmill.io.parquet import WriteParquet

    inputs = list_inputs(str(shards(write_jsonl)), (".jsonl",))
    pipeline = Pipeline("dedup", [ReadJsonl(), *STAGES, WriteParquet()])
    forwards, backwards = make_plan(pipeline, inputs), make_plan(pipeline, inputs[::-1])
    assert forwards.inputs == backwards.inputs
    assert forwards.fingerprint == backwards.fingerprint


@pytest.mark.parametrize(("stages", "least"), [(STAGES[:1], 5), pytest.param(STAGES, 20, marks=pytest.mark.ci)])
def test_interrupted_at_every_commit_and_resumed(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: tuple[Stage, ...], least: int
) -> None:
    """The run stops before or after each commit of any phase, and the next one goes on: same bytes at the end."""
    assert check_interrupted(shards(write_jsonl, count=2), tmp_path, stages, monkeypatch) > least


def test_a_new_crawl_against_the_index_of_an_earlier_one(write_jsonl: Write, tmp_path: Path) -> None:
    texts = corpus(400, seed=7)
    random.Random(2).shuffle(texts)
    source = write_jsonl(texts[:200], "old.jsonl")
    old = deduplicate(source, tmp_path / "old", MinHashDedup())
    shutil.rmtree(source)
    source = write_jsonl(texts[200:], "new.jsonl")
    found = deduplicate(source, tmp_path / "new", MinHashDedup(index=(str(tmp_path / "old"),), prefer=("-length",)))
    kept = [id for id in old if old[id]["keep"]]
    everything = {
        **{id: texts[int(id.partition("#")[2])] for id in kept},
        **dict(zip(ids_of(200, "new.jsonl"), texts[200:], strict=True)),
    }
    new = sorted(found, key=lambda id: (-len(everything[id].encode()), int(id.partition("#")[2])))
    twin = Twin(everything, MinHash(), better=[*kept, *new]).table()
    for id, row in found.items():
        representative = row["representative_id"].removeprefix("index[0]/")
        assert (representative, row["keep"]) == (twin[id]["representative_id"], twin[id]["keep"]), id
    assert sum(not row["keep"] and row["representative_id"].startswith("index[0]/old") for row in found.values()) > 20
    third = deduplicate(source, tmp_path / "third", MinHashDedup(index=(str(tmp_path / "old"), str(tmp_path / "new"))))
    assert not any(row["keep"] for row in third.values())


def test_indexes_that_hold_the_same_documents(write_jsonl: Write, tmp_path: Path) -> None:
    texts = walk(60, seed=4)
    source = write_jsonl(texts, "old.jsonl")
    for name in ("one", "two"):
        deduplicate(source, tmp_path / name, MinHashDedup())
    shutil.rmtree(source)
    places = (str(tmp_path / "one"), f"{tmp_path / 'two'}/")
    found = deduplicate(write_jsonl(texts[::-1], "new.jsonl"), tmp_path / "out", MinHashDedup(index=places))
    assert not any(row["keep"] for row in found.values())


def test_what_an_index_has_not_published_deletes_nothing(write_jsonl: Write, tmp_path: Path) -> None:
    text = "a text of more than five words that is"
    source = write_jsonl([f"{text} bad", f"{text} quite good"], "old.jsonl")
    deduplicate(source, tmp_path / "old", MinHashDedup(min_similarity=0.99), NoBad())
    assert [row["text"] for row in rows(tmp_path / "old", "data")] == [f"{text} quite good"]
    shutil.rmtree(source)
    source = write_jsonl([f"{text} bad", f"{text} quite good"], "new.jsonl")
    stage = MinHashDedup(index=(str(tmp_path / "old"),), min_similarity=0.99)
    found = deduplicate(source, tmp_path / "new", stage)
    assert [row["keep"] for row in found.values()] == [True, False]


def test_another_run_in_the_place_of_an_index_is_noticed(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl(corpus(20, seed=8))
    deduplicate(source, tmp_path / "old", MinHashDedup())
    stage = MinHashDedup(index=(str(tmp_path / "old"),))
    deduplicate(source, tmp_path / "new", stage)
    shutil.rmtree(tmp_path / "old")
    deduplicate(write_jsonl(corpus(20, seed=9), "b.jsonl"), tmp_path / "old", MinHashDedup())
    (source / "b.jsonl").unlink()
    with pytest.raises(ConfigError, match="minhash_dedup used"):
        deduplicate(source, tmp_path / "new", MinHashDedup(index=(str(tmp_path / "old"),)))
    next((tmp_path / "old").rglob("*.keys")).unlink()
    with pytest.raises(ConfigError, match="a file of the index is gone"):
        deduplicate(source, tmp_path / "again", MinHashDedup(index=(str(tmp_path / "old"),)))


class Typed(Annotate):
    """Columns of types that nothing can be sorted or compared by."""

    adds = {"many": pa.list_(pa.string()), "number": pa.float64()}

    def annotate(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        return {name: pa.nulls(batch.num_rows, dtype) for name, dtype in self.adds.items()}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (ExactDedup(by="number"), "cannot compare 'number'"),
        (ExactDedup(by="many"), "cannot compare 'many'"),
        (MinHashDedup(scope=("many",)), "cannot sort or compare 'many'"),
        (MinHashDedup(prefer=("many:a|b",)), "cannot sort or compare 'many'"),
    ],
)
def test_columns_of_types_that_do_not_fit(write_jsonl: Write, tmp_path: Path, stage: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        deduplicate(write_jsonl(["a"]), tmp_path / "out", Typed(), stage)


def test_keys_of_another_scheme_are_refused(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl(corpus(20, seed=8))
    deduplicate(source, tmp_path / "old", MinHashDedup())
    index = (str(tmp_path / "old"),)
    with pytest.raises(ConfigError, match=r"scheme is 'affine64-v1' there, 'datatrove-v1' here"):
        deduplicate(source, tmp_path / "new", MinHashDedup(scheme="datatrove-v1", index=index))
    with pytest.raises(ConfigError, match="scope is"):
        deduplicate(source, tmp_path / "new", MinHashDedup(scope=("dump",), index=index))
    with pytest.raises(ConfigError, match="has no exact_dedup"):
        deduplicate(source, tmp_path / "new", ExactDedup(index=index))
    with pytest.raises(ConfigError, match="holds no run"):
        deduplicate(source, tmp_path / "new", MinHashDedup(index=(str(tmp_path / "nothing"),)))


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        (ExactDedup(normalise="none"), [0, 1, 2, 4, 5]),
        (ExactDedup(), [0, 2, 4, 5]),
        (ExactDedup(normalise="words"), [0, 5]),
        (ExactDedup(by="url", prefer=("-date",)), [1, 2, 3, 4, 5]),
        (UrlDedup(), [0, 3, 5]),
        (UrlDedup(prefer=("date:c|b", "length")), [1, 3, 5]),
        (UrlDedup(scope=("text",)), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_exact_and_url(write_jsonl: Write, tmp_path: Path, stage: Any, kept: list[int]) -> None:
    documents = [
        {"text": "One two 3", "url": "http://a.org/x?utm_source=q", "date": "a"},
        {"text": "One  two\n3 ", "url": "https://www.a.org/x", "date": "c"},
        {"text": "one two 4", "url": "http://a.org/x?utm_source=q", "date": "b"},
        {"text": "One two 3", "url": "https://b.org", "date": "a"},
        {"text": "One two; 3", "url": "https://A.org/x", "date": "b"},
        {"text": "Two one 3", "url": None, "date": "b"},
        {"text": "Ten", "url": "N/A"},
        {"text": "Six", "url": "N/A"},
    ]
    found = deduplicate(write_jsonl(documents), tmp_path / "out", stage)
    assert [n for n, id in enumerate(ids_of(6)) if found[id]["keep"]] == kept
    assert [found[id]["keep"] for id in ids_of(8)[6:]] == (
        [True, False] if getattr(stage, "by", "") == "url" else [True, True]
    )
    dropped = [row for row in rows(tmp_path / "out", "dropped") if row["url"] != "N/A"]
    assert len(dropped) == 6 - len(kept)
    assert all(row["detail"].startswith("exact 1 copy of a.jsonl#") for row in dropped)


def test_rehydration_weights(write_jsonl: Write, tmp_path: Path) -> None:
    text = "these are more than five words of text"
    documents = [text] * 6 + ["another text with more than five words"] * 4 + ["a third text that is quite alone here"]
    deduplicate(write_jsonl(documents), tmp_path / "out", MinHashDedup(rehydration=("fineweb2",)))
    kept = rows(tmp_path / "out", "data")
    assert [(row["minhash_cluster_size"], row["minhash_rehydration_weight"]) for row in kept] == [
        (6, 5),
        (4, 3),
        (1, 1),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"verify": "jacard"}, "did you mean 'jaccard'"),
        ({"scheme": "affine64"}, "affine64-v1"),
        ({"min_similarity": 70.0}, "no similarity"),
        ({"rehydration": ("2:2",)}, "begin with size 1"),
        ({"rehydration": ("much",)}, "cannot be read"),
        ({"max_comparisons": 0}, "at least 1"),
        ({"short_documents": "drop"}, "short_documents"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MinHashDedup(**settings)


def test_a_preference_that_cannot_be_read_or_has_no_column(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl(["a"])
    with pytest.raises(ConfigError, match="cannot be read"):
        deduplicate(source, tmp_path / "out", MinHashDedup(prefer=("dump:",)))
    with pytest.raises(ConfigError, match=r"reads \['quality'\]"):
        deduplicate(source, tmp_path / "out", MinHashDedup(prefer=("-quality",)))
