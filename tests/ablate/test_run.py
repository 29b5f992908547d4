"""A whole ablation on small data: prepared, trained, measured, judged, reported, resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.ablate.small import sentences, small_ablation, write_documents
from tokenmill.ablate.check import check
from tokenmill.ablate.compare import compare_jobs
from tokenmill.ablate.run import report, run, study_folder
from tokenmill.ablate.runner import Job, Observer, _Seconds
from tokenmill.ablate.scores import load
from tokenmill.core.errors import ConfigError
from tokenmill.train.create import choose_device


class Watch(Observer):
    """Notes what was done."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.made: list[str] = []
        self.reused: list[str] = []
        self.left: list[str] = []
        self.lines: list[str] = []
        self._stop_after = stop_after

    def ended(self, job: Job, result: Any, *, reused: bool) -> None:
        (self.reused if reused else self.made).append(job.name)
        if self._stop_after is not None and len(self.made) >= self._stop_after:
            raise KeyboardInterrupt

    def stopped(self, left: Sequence[Job]) -> None:
        self.left = [job.name for job in left]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and a finished comparison in out/ that tests look at and leave as it is."""
    folder = tmp_path_factory.mktemp("ablation")
    run(small_ablation(folder), folder / "out", workers=0)
    return folder


def copy_of(place: Path, target: Path) -> Path:
    """The finished comparison, to be changed."""
    return Path(shutil.copytree(place / "out", target / "out"))


def contents(folder: Path) -> dict[str, bytes]:
    """Everything but what tells times and places."""
    patterns = ("items-*.parquet", "evals.jsonl", "asked.json", "run.json", "model.safetensors")
    found = [path for pattern in patterns for path in folder.glob(f"runs/**/{pattern}")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.ci  # four runs take seconds; sample: tests/ablate/test_report.py
def test_every_arm_and_seed_is_run_and_the_record_says_so(place: Path) -> None:
    record = json.loads((place / "out/ablation.json").read_text())
    assert [(one["arm"], one["seed"]) for one in record["runs"]] == [
        ("junk", 0),
        ("clean", 0),
        ("junk", 1),
        ("clean", 1),
    ], "complete pairs first"
    assert record["texts"] == ["neutral"]
    assert record["held_out"] == ["junk", "clean"]
    assert [task["name"] for task in record["tasks"]] == ["next_word"]
    assert record["chance"]["task/next_word/acc_char"]["uniform"] == 0.5
    arms = record["arms"]
    assert abs(arms["junk"]["tokens"] / arms["clean"]["tokens"] - 1) < 0.05, "equal amounts"
    assert all(0 < arm["epochs"] < 1 for arm in arms.values())
    scores = load(place / "out")
    assert scores.missing == ()
    assert scores.final("text/neutral/bpb").shape == (2, 2)


@pytest.mark.ci
def test_a_score_is_in_the_item_tables_as_well(place: Path) -> None:
    folder = place / "out/runs/main/clean/seed-0"
    last = json.loads((folder / "evals.jsonl").read_text().splitlines()[-1])
    table = pq.read_table(folder / f"items-{last['step']:08d}.parquet")
    rows = [row for row in table.to_pylist() if row["task"] == "text/neutral"]
    bits = sum(row["nats"] for row in rows) / 0.6931471805599453 / sum(row["bytes"] for row in rows)
    assert bits == pytest.approx(last["metrics"]["text/neutral/bpb"], rel=1e-9)


@pytest.mark.ci
def test_reports_and_decision_are_written(place: Path) -> None:
    decision = json.loads((place / "out/decision.json").read_text())
    assert decision["complete"] is True
    assert {(one["first"], one["second"]) for one in decision["pairs"]} in ({("junk", "clean")}, {("clean", "junk")})
    html = (place / "out/report.html").read_text()
    assert "clean" in html
    assert "<svg" in html
    assert (place / "out/report.md").is_file()
    assert list((place / "out/tables").glob("*.csv"))


@pytest.mark.ci
def test_a_finished_ablation_is_not_run_again(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    before = contents(out)
    watch = Watch()
    outcome = run(small_ablation(place), out, workers=0, observer=watch)
    assert outcome.complete
    assert watch.made == []
    assert len(watch.reused) == 4
    assert contents(out) == before


@pytest.mark.slow
def test_a_stopped_ablation_goes_on_to_the_same_bytes(place: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(small_ablation(place), tmp_path / "out", workers=0, observer=Watch(stop_after=1))
    incomplete = report(tmp_path / "out")
    assert not incomplete.complete
    assert len(incomplete.decision["missing"]) == 3
    watch = Watch()
    assert run(small_ablation(place), tmp_path / "out", workers=0, observer=watch).complete
    assert watch.reused == ["junk, seed 0"]
    assert contents(tmp_path / "out") == contents(place / "out")


@pytest.mark.ci
def test_seeds_can_be_added(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    watch = Watch()
    run(small_ablation(place, seeds=3), out, workers=0, observer=watch)
    assert watch.made == ["junk, seed 2", "clean, seed 2"]
    assert load(out).seeds == (0, 1, 2)


@pytest.mark.ci
def test_runs_that_do_not_end_in_time_are_left(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    watch = Watch()
    outcome = run(small_ablation(place, seeds=3), out, workers=0, minutes=1e-9, observer=watch)
    assert not outcome.complete
    assert watch.left == ["junk, seed 2", "clean, seed 2"], "what is done before is no reason to stop"


@pytest.mark.ci
def test_other_questions_are_refused(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    before = (out / "ablation.json").read_bytes()
    with pytest.raises(ConfigError, match="measured on other texts") as caught:
        run(small_ablation(place, evaluate={"text_bytes": 500}), out, workers=0)
    assert "text/neutral" in caught.value.why
    assert (out / "ablation.json").read_bytes() == before


@pytest.mark.ci
def test_other_settings_are_refused_with_what_differs(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    before = (out / "ablation.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        run(small_ablation(place, train={"lr": 0.02}, seeds=3), out, workers=0)
    assert "lr" in caught.value.why
    assert (out / "ablation.json").read_bytes() == before, "a refused command says nothing of the runs that are there"
    assert not list(out.glob("runs/*/*/seed-2"))


def test_how_long_a_run_takes_follows_from_those_before(tmp_path: Path) -> None:
    outline = check(small_ablation(tmp_path, lr_check=True)).outline
    main, other = (next(job for job in compare_jobs(outline) if job.role == role) for role in ("main", "lr_check"))
    seconds = _Seconds()
    assert seconds.expected(main) == 0, "nothing is known"
    seconds.add(main, 30.0)
    seconds.add(main, 20.0)
    assert seconds.expected(main) == seconds.expected(other) == 30, "another learning rate takes as long"
    longer = replace(main, protocol=main.protocol.with_settings(steps=3 * main.steps))
    assert seconds.expected(longer) == pytest.approx(90)
    assert seconds.expected(replace(longer, start=("x", 2 * main.steps, "continue"))) == 30


@pytest.mark.ci
def test_a_run_that_takes_longer_than_the_time_is_not_begun(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    result = out / "runs/main/junk/seed-0/result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "seconds": 3600.0}))
    watch = Watch()
    assert not run(small_ablation(place, seeds=3, lr_check=True), out, workers=0, minutes=10, observer=watch).complete
    assert watch.made == []
    assert watch.left == ["junk, seed 2", "clean, seed 2", "junk, seed 0, lr_check", "clean, seed 0, lr_check"]
    watch = Watch()
    run(small_ablation(place, lr_check=True), out, workers=0, minutes=10, observer=watch)
    assert watch.left == ["junk, seed 0, lr_check", "clean, seed 0, lr_check"], "another learning rate takes as long"


def test_views_are_checked_before_the_first_run(place: Path, tmp_path: Path) -> None:
    write_documents(tmp_path / "tiny", sentences(3, 12))
    arms = {"clean": {"documents": str(place / "clean")}, "tiny": {"documents": str(tmp_path / "tiny")}}
    changes: dict[str, Any] = {"match": "pool", "arms": arms, "evaluate": {"held_out": 0.3}, "tokens": 10_240}
    with pytest.raises(ConfigError, match="one step takes") as caught:
        run(small_ablation(place, **changes, train={"batch_tokens": 1024}), tmp_path / "out", workers=0)
    assert "tiny, seed 0" in caught.value.where
    assert not (tmp_path / "out/runs").exists()
    assert not (tmp_path / "out/ablation.json").exists()


@pytest.mark.ci
def test_runs_with_one_digest_of_all_questions_are_taken(place: Path, tmp_path: Path) -> None:
    """As the first version wrote it."""
    out = copy_of(place, tmp_path)
    before = contents(out)
    asked = json.loads((out / "ablation.json").read_text())["asked"]
    for path in out.glob("runs/main/*/*/asked.json"):
        path.write_text(json.dumps({"asked": asked}))
    assert run(small_ablation(place), out, workers=0).complete
    assert contents(out) == before
    path.write_text(json.dumps({"asked": "0" * 64}))
    with pytest.raises(ConfigError, match="measured on other texts"):
        run(small_ablation(place), out, workers=0)


@pytest.mark.slow
def test_arms_can_be_added_and_removed(tmp_path: Path) -> None:
    small_ablation(tmp_path)
    write_documents(tmp_path / "third", sentences(5, 120))
    out = tmp_path / "out"

    def compared(*names: str) -> tuple[Watch, Any]:
        watch, arms = Watch(), {name: {"documents": name} for name in names}
        ablation = small_ablation(tmp_path, seeds=2, match="pool", arms=arms)
        outcome = run(ablation, out, workers=0, observer=watch)
        assert outcome.complete
        return watch, outcome

    compared("junk", "clean")
    before = contents(out)
    watch, _ = compared("junk", "clean", "third")
    assert watch.made == ["third, seed 0", "third, seed 1"]
    assert {name: data for name, data in contents(out).items() if name in before} == before
    scores = load(out)
    own = scores.final("held_out/third/bpb")
    assert np.isfinite(own[2]).all()
    assert np.isnan(own[:2]).all(), "runs that were there have not read a text that came later"
    assert np.isfinite(scores.final("held_out/clean/bpb")).all()
    assert np.isfinite(scores.final("text/neutral/bpb")).all()
    watch, outcome = compared("clean", "third")
    assert watch.made == []
    assert [{pair["first"], pair["second"]} for pair in outcome.decision["pairs"]] == [{"clean", "third"}]


@pytest.mark.ci
def test_item_tables_and_questions_are_whole_or_not_there(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copy_of(place, tmp_path)
    folder = out / "runs/main/clean/seed-1"
    shutil.rmtree(folder)
    flushed: set[str] = set()
    named: dict[str, bool] = {}
    fsync, replace = os.fsync, os.replace

    def noting(descriptor: int) -> None:
        flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def naming(source: str, target: str) -> None:
        named[Path(target).name] = str(source) in flushed
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting)
    monkeypatch.setattr(os, "replace", naming)
    run(small_ablation(place), out, workers=0)
    written = {path.name for path in folder.glob("items-*.parquet")} | {"asked.json"}
    assert len(written) == 4
    assert {name: named[name] for name in written} == dict.fromkeys(written, True)


@pytest.mark.ci
def test_identical_arms_are_a_tie_to_the_bit(tmp_path: Path) -> None:
    arms = {"one": {"documents": "clean"}, "other": {"documents": "clean"}}
    outcome = run(small_ablation(tmp_path, arms=arms, baseline="one"), tmp_path / "out", workers=0)
    scores = load(tmp_path / "out")
    one, other = scores.final("text/neutral/bpb")
    assert (one == other).all(), "a seed fixes initial weights and order"
    assert [pair["verdict"] for pair in outcome.decision["pairs"]] == ["TIE"]
    assert any("noise" in note for note in scores.description["notes"])


@pytest.mark.ci
def test_the_learning_rate_is_checked_with_one_seed(place: Path, tmp_path: Path) -> None:
    out = copy_of(place, tmp_path)
    outcome = run(small_ablation(place, lr_check=True), out, workers=0)
    runs = [one for one in json.loads((out / "ablation.json").read_text())["runs"] if one["role"] == "lr_check"]
    assert [(one["arm"], one["seed"]) for one in runs] == [("junk", 0), ("clean", 0)]
    settings = json.loads((out / "runs/lr_check/junk/seed-0/run.json").read_text())["settings"]
    assert settings["lr"] == pytest.approx(0.0025)
    assert outcome.decision["pairs"][0]["lr_check"] != "not run"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate": {"kit": None, "texts": None}}, "nothing says which arm is better"),
        ({"evaluate": {"texts": {"neutral": "nowhere.txt"}}}, "nothing at"),
        ({"preset": "smok"}, "smok"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(small_ablation(tmp_path, **changes), tmp_path / "out", workers=0)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("compare", {"evaluate": {"tasks": ["next_wrod"]}}, "next_wrod"),
        ("compare", {"evaluate": {"texts": {"neutral": "damaged.txt.gz"}}}, "damaged"),
        ("compare", {"noise": "much"}, "noise"),
        ("compare", {"ladder": {"sizs": [1]}}, "sizs"),
        ("compare", {"train": {"learning_rate": 1}}, "learning_rate"),
        ("compare", {"input": ".", "arms": {"a": {"recipe": "finweb"}}}, "finweb"),
        ("compare", {"input": ".", "arms": {"a": {"recipe": "raw", "without": ["nothing"]}}}, "nothing"),
        ("ladder", {"ladder": {"sizes": ["100k", "0.1M", "1M"]}}, "same size"),
        ("ladder", {"ladder": {"ratios": [0.001, 1, 2]}, "train": {"batch_tokens": 64}}, "too few"),
        ("mix", {"mix": {"mixturs": 1}}, "mixturs"),
        ("mix", {"arms": {"clean": {"documents": "clean"}}}, "two arms"),
        ("anneal", {"anneal": {"base": "cleen"}}, "cleen"),
        ("anneal", {"anneal": {"tokens": 1}, "tokens": 8192}, "too few for a decay"),
        ("anneal", {"train": {"schedule": "cosine"}}, "stable part"),
        ("anneel", {}, "anneel"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "damaged.txt.gz").write_bytes(b"\x1f\x8bno gzip")
    with pytest.raises(ConfigError, match=message):
        run(small_ablation(tmp_path, **changes), tmp_path / "out", kind, workers=0)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run(small_ablation(tmp_path), tmp_path / "out", workers=0)


def test_a_study_has_a_folder_of_its_own() -> None:
    assert study_folder(Path("out"), "compare") == Path("out")
    assert study_folder(Path("out"), "ladder") == Path("out/ladder")
    with pytest.raises(ConfigError, match="anneal"):
        study_folder(Path("out"), "aneal")


def test_there_is_nothing_to_report_of_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no compare study"):
        report(tmp_path)


def test_the_device_is_there_or_refused() -> None:
    import torch

    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="CUDA"):
            choose_device("cuda")
