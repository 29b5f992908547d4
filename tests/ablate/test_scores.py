"""Run folders as arrays: final values, curves, units, gaps, and what is missing."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.ablate.runs import write_ablation
from tokenmill.ablate.scores import final_value, load, random_centred
from tokenmill.core.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ablation(tmp_path, arms={"raw": 0.0, "clean": -0.02}, tasks={"sciq": 4, "lambada": 1}, units=15)


def test_arrays(folder: Path) -> None:
    scores = load(folder)
    assert (scores.arms, scores.seeds, scores.baseline, scores.missing) == (("raw", "clean"), (0, 1), "raw", ())
    assert scores.names("task") == ("lambada", "sciq")
    assert scores.names("text") == ("wikitext",)
    assert set(scores.names("held_out")) == {"raw", "clean"}
    tokens, curves = scores.curve("text/wikitext/bpb")
    assert tokens[[0, -1]].tolist() == [0, 600_000]
    assert curves.shape == (2, 2, 9)
    final = scores.final("text/wikitext/bpb")
    assert np.allclose(final, curves[:, :, -3:].mean(axis=2))
    assert scores.accuracy("sciq") == "task/sciq/acc"
    assert scores.accuracy("lambada") is None


def test_units_are_the_items_of_the_final_tables(folder: Path) -> None:
    scores = load(folder)
    units = scores.units("task/sciq")
    assert units is not None
    assert units.nats.shape == (2, 2, 15)
    run = scores.run("clean", 1)
    assert run is not None
    seen = []
    for path in run.tables[-3:]:
        rows = [r for r in pq.read_table(path).to_pylist() if r["task"] == "task/sciq" and r["gold"]]
        seen.append([r["nats"] for r in sorted(rows, key=lambda r: r["unit"])])
    assert np.allclose(units.nats[1, 1], np.mean(seen, axis=0))
    # bits per byte from the units are those that the run wrote
    mean = units.nats[1, 1].sum() / math.log(2) / units.bytes.sum()
    assert mean == pytest.approx(scores.final("task/sciq/bpb")[1, 1])
    assert units.chance == pytest.approx(0.25)
    assert math.isnan(scores.units("task/lambada").chance)  # type: ignore[union-attr]
    assert scores.units("task/none") is None


def test_unfinished_runs(folder: Path) -> None:
    first, second = (
        folder / "runs/compare/arm-1/seed-0-1300000-600000",
        folder / "runs/compare/arm-1/seed-1-1300000-600000",
    )
    (first / "result.json").unlink()
    with open(first / "evals.jsonl", "a") as stream:
        stream.write('{"step": 101, "tok')
    for path in second.iterdir():
        path.unlink()
    scores = load(folder)
    assert scores.missing == ("clean, seed 0: stopped after 600,000 tokens", "clean, seed 1: not started")
    final = scores.final("text/wikitext/bpb")
    assert np.isfinite(final[0]).all()
    assert np.isnan(final[1]).all()
    assert np.isfinite(scores.curve("text/wikitext/bpb")[1][1, 0]).all()


def test_runs_that_were_not_listed_yet_are_missing(folder: Path) -> None:
    path = folder / "ablation.json"
    found = json.loads(path.read_text())
    found["runs"] = found["runs"][:3]
    path.write_text(json.dumps(found))
    assert load(folder).missing == ("clean, seed 1: not started",)


def test_a_run_whose_final_scores_are_no_numbers_is_not_finished(folder: Path) -> None:
    path = folder / "runs/compare/arm-1/seed-0-1300000-600000/evals.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["metrics"]["task/sciq/bpb"] = None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = load(folder)
    (missing,) = scores.missing
    assert missing.startswith("clean, seed 0: its final evaluations have no task/sciq/bpb; delete its folder (runs/")
    assert np.isnan(scores.final("task/sciq/bpb")).tolist() == [[False, False], [True, False]]
    assert np.isfinite(scores.final("text/wikitext/bpb")).all()


def test_a_cut_table_is_named(folder: Path) -> None:
    scores = load(folder)
    path = scores.runs[0].tables[-1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="a table of items cannot be read") as error:
        scores.units("task/sciq")
    assert str(path) in str(error.value)
    assert "or delete the file" in str(error.value)


def test_lost_tables_are_told(folder: Path) -> None:
    assert load(folder).doubts == ()
    first, second = load(folder).runs[0], load(folder).runs[1]
    first.tables[-1].unlink()
    for path in second.tables:
        path.unlink()
    one, other = load(folder).doubts
    assert one.startswith("raw, seed 0 has lost tables of items (step 100, in runs/")
    assert one.endswith("the others count")
    assert other.endswith("the noise of its items is not counted")
    assert load(folder).units("task/sciq") is not None
    for run in load(folder).runs[2:]:
        run.tables[-1].unlink()
    (together,) = load(folder).doubts
    assert together.startswith("4 runs have lost tables of items; the first: raw, seed 0")


def test_runs_with_other_settings_than_recorded_are_told(folder: Path) -> None:
    settings = {"steps": 100, "lr": 0.004}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    path = folder / "ablation.json"
    found = json.loads(path.read_text())
    for entry, used in zip(found["runs"], (settings, {**settings, "lr": 0.008}), strict=False):
        entry["settings"] = digest
        (folder / entry["folder"] / "run.json").write_text(json.dumps({"settings": used}))
    path.write_text(json.dumps(found))
    (doubt,) = load(folder).doubts
    assert doubt.startswith("raw, seed 1 was trained with other settings than the record says")


def test_other_items_are_refused(folder: Path) -> None:
    run = load(folder).run("raw", 0)
    assert run is not None
    for path in run.tables:
        table = pq.read_table(path)
        pq.write_table(table.filter(np.asarray(table["unit"]) != 3), path)
    with pytest.raises(ConfigError, match="not answered the same items"):
        load(folder).units("text/wikitext")


def test_no_ablation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of an ablation"):
        load(tmp_path)
    (tmp_path / "ablation.json").write_text("[]")
    with pytest.raises(ConfigError, match="not the folder of an ablation"):
        load(tmp_path)


def test_final_value_and_centring() -> None:
    assert final_value(np.array([9.0, 1.0, 3.0]), 2) == 2.0
    assert math.isnan(final_value(np.array([9.0, 1.0, np.nan, 3.0]), 2))
    assert final_value(np.array([np.nan, 1.0, 3.0]), 2) == 2.0
    assert math.isnan(final_value(np.array([np.nan]), 3))
    assert random_centred([0.25, 1.0, 0.0], 0.25).tolist() == pytest.approx([0.0, 1.0, -1 / 3])
