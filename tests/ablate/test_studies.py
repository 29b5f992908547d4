"""Ladder, mixtures and anneals on small data: what is run, from where, on what."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ablate.small import small_ablation
from tokenmill.ablate.anneal import read_anneal
from tokenmill.ablate.blend import blend
from tokenmill.ablate.check import check
from tokenmill.ablate.ladder import read_ladder
from tokenmill.ablate.mixing import NATURAL, PROPOSAL, check_jobs, read_mixing
from tokenmill.ablate.prepare import Prepared, prepare
from tokenmill.ablate.run import Outcome, run
from tokenmill.core.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def prepared(place: Path) -> Prepared:
    return prepare(small_ablation(place), place / "out", workers=0)


def record(folder: Path) -> Any:
    return json.loads((folder / "ablation.json").read_text())


def test_a_blend_has_the_shares_that_were_asked_for(prepared: Prepared) -> None:
    arms = prepared.arms
    view = blend(arms, {"junk": 0.25, "clean": 0.75}, 4000, seed=1)
    assert view.tokens == pytest.approx(4000, rel=0.2)
    ids = {name: set(arm.numbers.tolist()) for name, arm in arms.items()}
    lengths = {name: arm.tokens / arm.documents for name, arm in arms.items()}
    places = np.array([view.pool.document_at(int(start)) for start in view._positions])
    junk = sum(number in ids["junk"] for number in places.tolist()) * lengths["junk"]
    clean = sum(number in ids["clean"] for number in places.tolist()) * lengths["clean"]
    assert junk / (junk + clean) == pytest.approx(0.25, abs=0.07)


def test_a_blend_of_one_repeats_it_as_often_as_it_takes(prepared: Prepared) -> None:
    arm = prepared.arms["clean"]
    view = blend(prepared.arms, {"clean": 1.0}, 3 * arm.tokens, seed=0)
    assert view.documents == 3 * arm.documents
    assert view.tokens == 3 * arm.tokens


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sizes": ["1M", "2M"], "ratios": [5, 10]}, "too few"),
        ({"size": ["1M"]}, "size"),
        ({"sizes": ["1M", "1M"]}, "different"),
        ({"sizes": ["100k", "0.1M", "1M"]}, "same size"),
        ({"sizes": ["1M", "../x", "2M"]}, "../x"),
        ({"ratios": [5, -1, 2]}, "above 0"),
        ({"target": {"parameters": "1B"}}, "parameters, tokens"),
        ([1], "mapping"),
    ],
)
def test_wrong_ladders_are_refused(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_ladder(data, "cpu")


def test_sections_have_defaults() -> None:
    assert len(read_ladder(None, "cpu").sizes) * len(read_ladder(None, "cpu").ratios) >= 6
    assert read_ladder({"target": {"parameters": "1B", "tokens": "20B"}}, "cpu").target == {
        "parameters": 1e9,
        "tokens": 2e10,
    }
    assert read_ladder({"sizes": ["2M", "900k", "1.5M"]}, "cpu").sizes == ("900k", "1.5M", "2M"), "smallest first"
    assert read_mixing(None, 3).mixtures >= 5
    assert read_anneal(None, ["a", "b", "c"], "b").candidates == ("a", "c")


def test_wrong_sections_of_mix_and_anneal_are_refused() -> None:
    with pytest.raises(ConfigError, match="too few"):
        read_mixing({"mixtures": 3}, 3)
    with pytest.raises(ConfigError, match="cubic"):
        read_mixing({"form": "cubic"}, 3)
    with pytest.raises(ConfigError, match="base"):
        read_anneal({"candidates": ["a"], "base": "a"}, ["a", "b"], "a")
    with pytest.raises(ConfigError, match="share"):
        read_anneal({"share": 0}, ["a", "b"], "a")


@pytest.mark.ci
def test_an_anneal_begins_where_the_stable_phase_ends(place: Path, prepared: Prepared) -> None:
    outcome = run(small_ablation(place, tokens=5120), place / "out", "anneal", workers=0)
    assert outcome.complete
    found = record(place / "out/anneal")
    roles = [(one["role"], one["arm"], one["seed"]) for one in found["runs"]]
    assert roles == [
        ("trunk", "junk", 0),
        ("main", "junk", 0),
        ("main", "clean", 0),
        ("main", "junk", 1),
        ("main", "clean", 1),
    ]
    trunk = json.loads((place / "out/anneal/runs/trunk/junk/seed-0/result.json").read_text())
    decay = json.loads((place / "out/anneal/runs/main/clean/seed-0/result.json").read_text())
    assert (trunk["steps"], decay["steps"]) == (16, 20)
    assert found["baseline"] == "junk"
    assert [{pair["first"], pair["second"]} for pair in outcome.decision["pairs"]] == [{"junk", "clean"}]
    lines = (place / "out/anneal/runs/main/clean/seed-0/evals.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["step"] >= 16, "the trunk's evaluations are not those of its anneals"


@pytest.mark.slow
def test_a_ladder_branches_and_gives_points_for_a_law(place: Path, prepared: Prepared) -> None:
    ladder = {"sizes": ["130k", "470k"], "ratios": [0.02, 0.05, 0.1]}
    train = {"layers": None, "width": None, "heads": None, "hidden": None, "batch_tokens": 256}
    outcome = run(small_ablation(place, ladder=ladder, train=train), place / "out", "ladder", workers=0)
    found = record(place / "out/ladder")
    assert len(found["runs"]) == 2 * 2 * 3
    assert outcome.complete, outcome.decision["missing"]
    assert outcome.decision["extrapolation"]["factor"] == pytest.approx(10)
    branch = next(one for one in found["runs"] if one["folder"].endswith("-steps"))
    begun = json.loads((place / "out/ladder" / branch["folder"] / "run.json").read_text())
    assert begun["start"]["data"] == "continue"


@pytest.mark.ci
def test_mixtures_are_tried_and_the_proposal_is_trained(place: Path, prepared: Prepared) -> None:
    ablation = small_ablation(place, mix={"mixtures": 6, "strength": 2})
    outcome = run(ablation, place / "out", "mix", workers=0)
    assert outcome.complete
    found = record(place / "out/mix")
    assert len([name for name in found["arms"] if name.startswith("mixture-")]) == 5
    weights = found["arms"]["proposal"]["weights"]
    assert sum(weights.values()) == pytest.approx(1)
    pairs = {(pair["first"], pair["second"]) for pair in outcome.decision["pairs"]}
    assert pairs <= {("proposal", "natural"), ("natural", "proposal")}, "random mixtures have one seed: not judged"
    assert pairs
    again = run(ablation, place / "out", "mix", workers=0)
    assert again.decision == outcome.decision


def test_another_proposal_has_another_place(place: Path) -> None:
    study = check(small_ablation(place), "mix").outline

    def places(share: float) -> list[str]:
        weights = {NATURAL: {"junk": 0.5, "clean": 0.5}, PROPOSAL: {"junk": share, "clean": 1 - share}}
        return [job.place for job in check_jobs(study, weights)]

    one, other = places(0.1), places(0.2)
    assert one == places(0.1)
    assert [place for place in one if place in other] == ["runs/main/natural/seed-1"]


@pytest.mark.slow
def test_more_mixtures_may_propose_another_one(place: Path, prepared: Prepared, tmp_path: Path) -> None:
    shutil.copytree(place / "out/data", tmp_path / "out/data")

    def mixed(mixtures: int, strength: float = 2.0) -> Outcome:
        ablation = small_ablation(place, mix={"mixtures": mixtures, "strength": strength})
        return run(ablation, tmp_path / "out", "mix", workers=0)

    assert mixed(6).complete
    few = record(tmp_path / "out/mix")
    with pytest.raises(ConfigError, match="other settings"):
        mixed(6, strength=9)
    assert record(tmp_path / "out/mix") == few, "the proposal that is there stays"
    assert mixed(9).complete
    assert mixed(6).complete, "and back: nothing of either is lost"
    assert record(tmp_path / "out/mix") == few
