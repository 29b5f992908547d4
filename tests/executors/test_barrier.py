"""Barriers in runs: reading again instead of keeping, annotate and refilter, object stores, failures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dedup.support import corpus, table
from tests.executors.support import digests, rows, run
from tests.io.archives import record
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.run import RunRequest, run_recipe
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Filter
from tokenmill.dedup.exact import ExactDedup, UrlDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors import steps
from tokenmill.extract.decode import DecodeHtml
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.warc import ReadWarc
from tokenmill.report.funnel import fold

Write = Callable[..., Path]


class NoSeven(Filter):
    """Drops every document whose address ends in 7, so that what is read again has gaps."""

    reads = ("url",)

    def judge(self, doc: Any) -> str | None:
        return "seven" if doc["url"].endswith("7") else None


def archives(folder: Path) -> Path:
    folder.mkdir()
    for shard in range(3):
        body = b"".join(
            record(
                10 * shard + n, b"<p>the same page</p>" if n % 3 == 0 else f"<p>page {shard} {n}</p>".encode(), extra=""
            )
            for n in range(10)
        )
        (folder / f"{shard}.warc").write_bytes(body + record(99, kind="request"))
    return folder


def test_payloads_are_not_kept_between_phases_but_read_again(tmp_path: Path) -> None:
    source = archives(tmp_path / "in")
    pipeline = Pipeline("p", [ReadWarc(), NoSeven(), ExactDedup(by="payload"), DecodeHtml(), WriteParquet()])
    assert run(pipeline, source, tmp_path / "out").failures == {}
    (first,) = (tmp_path / "out/phases").glob("01-*/data")
    assert pq.read_schema(next(first.iterdir())).names == ["doc_id", "id", "url", "date", "_exact_dedup_digest"]
    funnel = fold(RunFolder(str(tmp_path / "out")))
    counts = {stage.stage: (stage.into, stage.out) for stage in funnel.stages}
    assert counts == {
        "read_warc": (33, 30),
        "no_seven": (30, 27),
        "exact_dedup.prepare": (27, 27),
        "exact_dedup": (27, 16),
        "decode_html": (16, 16),
        "write_parquet": (16, 16),
    }
    assert (funnel.balance, funnel.kept) == (0, 16)
    found = table(tmp_path / "out", "exact_dedup")
    assert [row["cluster_size"] for row in found.values() if row["keep"]].count(12) == 1
    kept = {row["id"] for row in rows(tmp_path / "out", "data")}
    assert len(kept) == 16
    assert sum(len(rows(tmp_path / "out", kind)) for kind in ("data", "dropped")) == 30


@pytest.mark.parametrize(
    ("sneaky", "message"), [(False, "has changed since the run was planned"), (True, "does not fit the table")]
)
def test_an_archive_that_changed_under_the_run_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sneaky: bool, message: str
) -> None:
    """sneaky: size and time of the last change are those of before, so only the documents can tell."""
    source = archives(tmp_path / "in")
    pipeline = Pipeline("p", [ReadWarc(), ExactDedup(by="payload"), WriteParquet()])
    done = steps.run_task

    def spoiling(*arguments: Any) -> Any:
        archive = source / "1.warc"
        before = archive.stat()
        changed = record(1) + record(2)
        archive.write_bytes(changed + (before.st_size - len(changed)) * b"\n" if sneaky else changed)
        if sneaky:
            os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
        return done(*arguments)

    monkeypatch.setattr("tokenmill.executors.worker.run_task", spoiling)
    outcome = run(pipeline, source, tmp_path / "out")
    assert list(outcome.failures) == ["1"]
    assert message in str(outcome.failures["1"])
    assert not (tmp_path / "out/data/1.parquet").exists()


RECIPE = """
from tokenmill import Filter, GopherQuality, Pipeline, ReadJsonl, WriteParquet
from tokenmill.dedup.exact import ExactDedup
from tokenmill.dedup.minhash import MinHashDedup

class Before(Filter):
    reads = ("text",)
    word: str = "bano"
    def judge(self, doc):
        return "word" if self.word in doc["text"] else None

class After(Filter):
    reads = ("text",)
    word: str = "caki"
    def judge(self, doc):
        return "word" if self.word in doc["text"] else None

mine = Pipeline("mine", [ReadJsonl(), Before(), ExactDedup(), MinHashDedup(), After(), WriteParquet()])
"""


@pytest.mark.ci  # sample: stages that read what a barrier adds
def test_annotated_and_filtered_again_gives_the_bytes_of_a_plain_run(write_jsonl: Write, tmp_path: Path) -> None:
    """Documents that a filter would have dropped must not be what others are copies of."""
    (tmp_path / "r.py").write_text(RECIPE)
    texts = corpus(200, seed=11)
    source = write_jsonl([f"bano {text}" if n % 5 == 0 else text for n, text in enumerate(texts)])
    recipe = f"{tmp_path / 'r.py'}:mine"

    def tokenmill(output: str, *settings: str, mode: str | None = None) -> Path:
        folder = tmp_path / output
        request = RunRequest(recipe, str(source), str(folder), tuple(settings), workers=0, mode=mode)
        assert run_recipe(request) == 0
        return folder

    annotated = tokenmill("annotated", mode="annotate")
    assert fold(RunFolder(str(annotated))).kept == 200
    stored = rows(annotated, "data")
    assert {row["exact_dedup_verdict"] for row in stored} == {None, "duplicate"}
    assert all(
        row["minhash_cluster_size"] is None for row in stored if row["before_verdict"] or row["exact_dedup_verdict"]
    )
    changes = [[], ["after.word=duki"], ["before.word=duki"], ["minhash_dedup.min_similarity=0.9", "after.word=z"]]
    phases = []
    for number, settings in enumerate(changes):
        again = tmp_path / f"again{number}"
        assert refilter_run(str(annotated), str(again), tuple(settings), 0) == 0
        plain = tokenmill(f"plain{number}", *settings)
        assert data_of(again) == data_of(plain)
        assert table_of(again) == (table_of(plain) if number > 1 else None)
        phases.append(len(list((again / "phases").glob("*@*"))))
        counts = [[(s.stage, s.into, s.out) for s in fold(RunFolder(str(f))).stages[1:]] for f in (again, plain)]
        assert [c for c in counts[1] if ".prepare" not in c[0]] == [c for c in counts[0] if ".prepare" not in c[0]]
    assert phases == [1, 1, 15, 8]


def data_of(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(folder).items() if name.startswith("data/")}


def table_of(folder: Path) -> dict[str, Any] | None:
    return table(folder, "minhash_dedup") or None


READERS = """
import pyarrow as pa
from tokenmill import Annotate, Filter, LineDedup, MinHashDedup, Pipeline, ReadJsonl, WriteParquet

class BigCluster(Filter):
    reads = ("minhash_cluster_size",)
    def judge(self, doc):
        return "big" if (doc["minhash_cluster_size"] or 0) > 1 else None

class Twice(Annotate):
    reads = ("minhash_cluster_size",)
    adds = {"twice": pa.int64()}
    def annotate(self, batch):
        return {"twice": pa.array([2 * (n or 0) for n in batch.column(0).to_pylist()])}

judged = Pipeline("judged", [ReadJsonl(), LineDedup(), MinHashDedup(), BigCluster(), WriteParquet()])
derived = Pipeline("derived", [ReadJsonl(), MinHashDedup(), Twice(), WriteParquet()])
"""


@pytest.mark.ci
def test_stages_that_read_what_a_barrier_adds(write_jsonl: Write, tmp_path: Path) -> None:
    (tmp_path / "readers.py").write_text(READERS)
    source = str(write_jsonl(corpus(200, seed=14)))
    setting = ("minhash_dedup.min_similarity=0.95",)
    for name in ("judged", "derived"):
        request = RunRequest(f"{tmp_path}/readers.py:{name}", source, str(tmp_path / name), workers=0, mode="annotate")
        assert run_recipe(request) == 0
    assert refilter_run(str(tmp_path / "judged"), str(tmp_path / "again"), setting, 0) == 0
    assert (
        run_recipe(RunRequest(f"{tmp_path}/readers.py:judged", source, str(tmp_path / "fresh"), setting, workers=0))
        == 0
    )
    assert data_of(tmp_path / "again") == data_of(tmp_path / "fresh")
    assert table_of(tmp_path / "again") == table_of(tmp_path / "fresh") is not None
    with pytest.raises(ConfigError, match="from which twice has made columns"):
        refilter_run(str(tmp_path / "derived"), str(tmp_path / "no"), setting, 0)


class Repeats(ReadJsonl):
    """A source that gives two documents one id."""

    def read(self, shard: Any, skip: Any) -> Any:
        for batch in super().read(shard, skip):
            yield batch.set_column(batch.schema.get_field_index("doc_id"), "doc_id", pa.array(["x"] * batch.num_rows))


def test_repeated_ids_are_noticed_where_documents_are_read_again(write_jsonl: Write, tmp_path: Path) -> None:
    pipeline = Pipeline("d", [Repeats(), ExactDedup(), WriteParquet()])
    outcome = run(pipeline, write_jsonl(["one", "two"]), tmp_path / "out")
    assert "two documents x" in str(outcome.failures["a"])


def test_what_cannot_be_done_again_is_refused(write_jsonl: Write, tmp_path: Path) -> None:
    source = write_jsonl(["one two three", "one two four"])
    rest = RECIPE.replace("MinHashDedup(), After()", "MinHashDedup(), After(), C4Lines()").replace(
        "Filter, G", "C4Lines, Filter, G"
    )
    for number, (text, message) in enumerate([(rest, "a later stage changes texts"), (RECIPE, "the run enforced it")]):
        (tmp_path / f"r{number}.py").write_text(
            text.replace("Before", f"Before{number}").replace("After", f"After{number}")
        )
        folder = tmp_path / f"annotated{number}"
        enforce = ("minhash_dedup",) if number else ()
        recipe = f"{tmp_path}/r{number}.py:mine"
        request = RunRequest(recipe, str(source), str(folder), workers=0, mode="annotate", enforce=enforce)
        assert run_recipe(request) == 0
        with pytest.raises(ConfigError, match=message):
            refilter_run(
                str(folder), str(tmp_path / "no"), (f"before{number}.word=x" if number else "minhash_dedup.rows=7",), 0
            )


def test_on_an_object_store(write_jsonl: Write, tmp_path: Path) -> None:
    pipeline = Pipeline("d", [ReadJsonl(), UrlDedup(), MinHashDedup(), WriteParquet()])
    source = write_jsonl(corpus(100, seed=12))
    run(pipeline, source, tmp_path / "local")
    run(pipeline, source, "memory://dedup/out")
    local, remote = RunFolder(str(tmp_path / "local")), RunFolder("memory://dedup/out")
    for path in (*digests(tmp_path / "local"), "dedup/minhash_dedup/group-00000.parquet"):
        if path.endswith(".parquet"):
            assert remote._fs.cat_file(remote._full(path)) == local._fs.cat_file(local._full(path))


def test_without_documents(write_jsonl: Write, tmp_path: Path) -> None:
    pipeline = Pipeline("d", [ReadJsonl(), ExactDedup(), MinHashDedup(), WriteParquet()])
    outcome = run(pipeline, write_jsonl([]), tmp_path / "out")
    assert outcome.failures == {}
    assert rows(tmp_path / "out", "data") == []
    assert fold(RunFolder(str(tmp_path / "out"))).complete


def test_a_failing_task_fails_the_run_and_the_next_one_goes_on(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline("d", [ReadJsonl(), MinHashDedup(), WriteParquet()])
    source = write_jsonl(corpus(50, seed=13))
    run(pipeline, source, tmp_path / "whole")

    def broken(*arguments: Any) -> Any:
        raise OSError(5, "Input/output error", "/dev/sda")

    with monkeypatch.context() as patch:
        patch.setattr("tokenmill.dedup.documents.verify_bucket", broken)
        outcome = run(pipeline, source, tmp_path / "out")
    assert list(outcome.failures) == ["bucket-00000"]
    assert not (tmp_path / "out/data").exists()
    assert run(pipeline, source, tmp_path / "out").failures == {}
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_the_plan_shows_steps_and_what_settings_mean(write_jsonl: Write) -> None:
    pipeline = Pipeline("d", [ReadJsonl(), MinHashDedup(scope=("dump",)), WriteParquet()])
    plan = make_plan(pipeline, list_inputs(str(write_jsonl(["a"])), (".jsonl",)))
    steps = ["", "keys", "candidates", "clusters", "gather", "verify", "table", ""]
    assert [phase.step for phase in plan.phases] == steps
    assert len({phase.directory for phase in plan.phases}) == 8
    assert json.dumps(pipeline.stages[1].describe()).count("0.75: 77.2%") == 1  # type: ignore[attr-defined]
