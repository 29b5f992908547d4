"""Phases of an earlier run are taken over: what is linked is what would have been made."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.executors.support import digests, rows
from tokenmill.core.errors import ConfigError
from tokenmill.core.materialize import Materialize
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import Stage
from tokenmill.dedup.exact import ExactDedup
from tokenmill.executors.adopt import adopt, adopt_from
from tokenmill.executors.host import Limits
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.filters.gopher import GopherQuality
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder

FIRST = GopherQuality(min_words=3)
DEDUP = ExactDedup(by="text")


@pytest.fixture
def source(write_jsonl: Callable[..., Path]) -> Path:
    texts = [f"the library of number{n % 7} and further chapters to be written with that" for n in range(30)] + [
        "too short"
    ] * 3
    write_jsonl([{"id": str(n), "text": text} for n, text in enumerate(texts)], "a.jsonl")
    return write_jsonl([{"id": f"b{n}", "text": text} for n, text in enumerate(texts[::2])], "b.jsonl")


def spec_of(source: Path, *stages: Stage, **options: Any) -> RunSpec:
    plan = make_plan(Pipeline("p", [ReadJsonl(), *stages, WriteParquet()]), list_inputs(str(source), (".jsonl",)))
    return RunSpec.of(plan, Options(**options), str(source))


def go(spec: RunSpec, place: Path) -> RunFolder:
    folder = RunFolder(str(place))
    outcome = execute(spec, folder, InlineExecutor(), limits=Limits(document_seconds=8))
    assert outcome.failures == {}
    return folder


def attempts(folder: RunFolder) -> set[str]:
    """Which tries made the shards: two runs that share one have not both done the work."""
    paths = Path(folder.path("phases")).glob("*/manifests/*.json")
    return {json.loads(path.read_text())["attempt"] for path in paths}


def test_shared_phases_are_taken_and_the_result_is_that_of_a_run_by_itself(tmp_path: Path, source: Path) -> None:
    one, other = spec_of(source, FIRST, Materialize(), DEDUP), spec_of(source, FIRST, Materialize())
    first = go(one, tmp_path / "one")
    folder = RunFolder(str(tmp_path / "other"))
    assert adopt(other, folder, one, first) == [other.plan.phases[0].directory]
    assert adopt(other, folder, one, first) == []
    go(other, tmp_path / "other")
    alone = go(other, tmp_path / "alone")
    assert digests(tmp_path / "other") == digests(tmp_path / "alone")
    assert rows(tmp_path / "other", "dropped") == rows(tmp_path / "alone", "dropped") != []
    assert len(attempts(first) & attempts(folder)) == 2
    assert not attempts(first) & attempts(alone)
    kept = next(Path(first.path("phases")).glob("01*/*/a.parquet")).relative_to(tmp_path / "one")
    assert os.path.samefile(tmp_path / "one" / kept, tmp_path / "other" / kept)


def test_equal_runs_share_everything(tmp_path: Path, source: Path) -> None:
    spec = spec_of(source, FIRST, DEDUP)
    first, folder = go(spec, tmp_path / "one"), RunFolder(str(tmp_path / "other"))
    assert adopt(spec, folder, spec, first) == [phase.directory for phase in spec.plan.phases]
    go(spec, tmp_path / "other")
    assert attempts(folder) == attempts(first)
    assert digests(tmp_path / "other") == digests(tmp_path / "one")


@pytest.mark.parametrize("stop", [1, 4, *(pytest.param(stop, marks=pytest.mark.ci) for stop in (2, 3, 5, 6, 7))])
def test_killed_while_phases_are_taken(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    spec = spec_of(source, FIRST, Materialize(), DEDUP)
    first, folder = go(spec, tmp_path / "one"), RunFolder(str(tmp_path / "other"))
    replace, done = os.replace, [0]

    def killed(*paths: Any) -> None:
        done[0] += 1
        if done[0] > stop * 3:
            raise KeyboardInterrupt
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            adopt(spec, folder, spec, first)
    if stop % 2:
        adopt(spec, folder, spec, first)
    go(spec, tmp_path / "other")
    assert digests(tmp_path / "other") == digests(tmp_path / "one")
    assert not list(tmp_path.glob("other/phases/*/attempts"))


def test_files_are_copied_where_there_are_no_links(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(source, FIRST, DEDUP)
    first = go(spec, tmp_path / "one")

    def refused(*paths: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refused)
        taken = adopt(spec, RunFolder(str(tmp_path / "other")), spec, first)
    assert len(taken) == len(spec.plan.phases)
    assert digests(tmp_path / "other") == {k: v for k, v in digests(tmp_path / "one").items() if k != "README.md"}
    assert not os.path.samefile(tmp_path / "one/data/a.parquet", tmp_path / "other/data/a.parquet")


def test_other_work_is_not_taken(tmp_path: Path, source: Path) -> None:
    one = spec_of(source, FIRST, Materialize(), DEDUP)
    first = go(one, tmp_path / "one")
    for number, other in enumerate(
        [
            spec_of(source, GopherQuality(min_words=4), Materialize(), DEDUP),
            spec_of(source, FIRST, Materialize(), DEDUP, seed=1),
            spec_of(source, FIRST, Materialize(), DEDUP, sample_dropped=1.0),
            spec_of(source / "a.jsonl", FIRST, Materialize(), DEDUP),
        ]
    ):
        assert adopt(other, RunFolder(str(tmp_path / f"other{number}")), one, first) == []


def test_only_whole_phases_are_taken(tmp_path: Path, source: Path) -> None:
    spec = spec_of(source, FIRST, Materialize(), DEDUP)
    first = go(spec, tmp_path / "one")
    second = spec.plan.phases[1].directory
    (tmp_path / "one/phases" / second / "_SUCCESS.json").unlink()
    assert adopt(spec, RunFolder(str(tmp_path / "a")), spec, first) == [spec.plan.phases[0].directory]
    next(Path(first.path("phases")).glob("01*/*/a.parquet")).write_bytes(b"cut")
    assert adopt(spec, RunFolder(str(tmp_path / "b")), spec, first) == []


@pytest.mark.ci
def test_each_run_gives_what_it_has(tmp_path: Path, source: Path) -> None:
    """The third run has its first phase in common with the first run, and the second one too with the second."""
    low = GopherQuality(min_words=8)
    one = spec_of(source, FIRST, Materialize(), DEDUP)
    two = spec_of(source, FIRST, Materialize(), low, Materialize(), DEDUP)
    three = spec_of(source, FIRST, Materialize(), low, Materialize())
    earlier = [(spec, go(spec, tmp_path / name)) for name, spec in (("one", one), ("two", two))]
    taken = adopt_from(three, RunFolder(str(tmp_path / "three")), earlier)
    assert taken == [phase.directory for phase in three.plan.phases[:2]]


def test_a_folder_with_another_run_is_refused(tmp_path: Path, source: Path) -> None:
    spec = spec_of(source, FIRST, Materialize())
    first = go(spec, tmp_path / "one")
    go(spec_of(source, DEDUP), tmp_path / "other")
    before = digests(tmp_path / "other")
    with pytest.raises(ConfigError, match="holds another run"):
        adopt(spec, RunFolder(str(tmp_path / "other")), spec, first)
    assert digests(tmp_path / "other") == before
