"""What is said about an ablation: which score decides, caveats, ladders, mixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ablate.runs import write_ablation
from tokenmill.ablate.analysis import Analysis, analyse
from tokenmill.ablate.scores import load


def made(folder: Path, **options: Any) -> Analysis:
    return analyse(load(write_ablation(folder, **{"held_out": False, "units": 30, "evals": 6, **options})), draws=200)


def test_tasks_decide_before_texts(tmp_path: Path) -> None:
    found = made(tmp_path, arms={"a": 0.0, "b": -0.1}, tasks={"sciq": 4, "lambada": 1})
    assert (found.primary, found.names) == ("task", ("lambada", "sciq"))
    expected = np.mean([np.log(found.scores.final(f"task/{t}/bpb")) for t in ("lambada", "sciq")], axis=0)
    assert np.allclose(found.panel.values, expected)
    assert len(found.panel.units) == 2
    assert found.judgement is not None
    assert found.judgement.pairs[0].better == "b"
    assert np.isfinite(found.accuracy()).all()


def test_texts_decide_without_tasks_and_held_out_never(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = made(tmp_path / "a", arms={"a": 0.0, "b": -0.1}, held_out=True)
    assert (found.primary, found.names) == ("text", ("wikitext",))
    (tmp_path / "b").mkdir()
    none = made(tmp_path / "b", arms={"a": 0.0, "b": -0.1}, held_out=True, texts=())
    assert none.primary == "none"
    assert none.judgement is None
    assert "nothing was evaluated that could rank arms" in none.caveats[0]


def test_settings_of_the_statistics(tmp_path: Path) -> None:
    found = made(tmp_path, arms={"a": 0.0, "b": -0.02}, protocol={"noise": {"sigma": 0.01, "df": 50}, "margin": 0.1})
    assert (found.noise.sigma, found.noise.df) == (0.01, 50)
    assert found.judgement is not None
    assert found.judgement.margin == 0.1
    assert found.judgement.pairs[0].verdict == "TIE"


def test_caveats(tmp_path: Path) -> None:
    found = made(
        tmp_path, arms={"a": 0.0, "b": -0.1}, seeds=1, fields={"b": {"epochs": 9.5}}, lr_check={"a": 0.0, "b": 0.2}
    )
    text = "\n".join(found.caveats)
    assert "b saw its documents 9.5 times" in text
    assert "assumed, not measured" in text
    assert "LR-sensitive" in text


def test_multiplier_of_every_arm(tmp_path: Path) -> None:
    found = made(tmp_path, arms={"a": 0.0, "b": -0.1, "c": -0.05}, evals=10)
    assert set(found.multipliers) == {("b", "a"), ("c", "a")}
    assert found.multipliers["b", "a"].value > found.multipliers["c", "a"].value > 1


def test_ladder(tmp_path: Path) -> None:
    def law(arm: str, n: float, d: float) -> float:
        return 0.8 + 40 / n**0.3 + (300 if arm == "a" else 330) / d**0.33

    sizes = [(int(n), int(n * r)) for n in (1e6, 4e6, 16e6) for r in (5, 20, 60)]
    found = made(tmp_path, arms={"a": 0, "b": 0}, kind="ladder", sizes=sizes, law=law, sigma=0.001, seeds=1, evals=3)
    assert found.scaling is not None
    assert found.scaling.arms == ("a", "b")
    assert found.scaling.p_best[0] > 0.9
    assert any("branches of 3 trunks" in one for one in found.caveats)
    assert {run.parameters for run in found.scores.runs} == {16_000_000}
    assert len(found.everything.runs) == 18
    (tmp_path / "few").mkdir()
    few = made(tmp_path / "few", arms={"a": 0, "b": 0}, kind="ladder", sizes=sizes[:4], law=law, seeds=1, evals=3)
    assert few.scaling is None
    assert any("no law of scaling" in one for one in few.caveats)


def test_mixtures(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).dirichlet([2, 2, 2], 12)
    arms = {f"m{at}": 0.2 * float(row[0]) - 0.2 * float(row[1]) for at, row in enumerate(weights)}
    fields = {
        f"m{at}": {"weights": dict(zip(("web", "books", "code"), map(float, row), strict=True))}
        for at, row in enumerate(weights)
    }
    found = made(tmp_path, arms=arms, kind="mix", fields=fields, seeds=1, evals=3)
    assert found.regression is not None
    assert found.proposal is not None
    assert found.regression.rank > 0.9
    assert found.proposal.sources == ("web", "books", "code")
    assert found.proposal.weights[1] > 0.7


def test_the_proposal_is_checked_against_the_natural_mixture_alone(tmp_path: Path) -> None:
    """Random mixtures have one seed, both of these two: what the first seed does to all must not count for them."""
    weights = np.random.default_rng(0).dirichlet([2, 2, 2], 12)
    arms = {f"m{at}": 0.2 * float(row[0]) - 0.2 * float(row[1]) for at, row in enumerate(weights)}
    arms["proposal"] = -0.19
    rows = {**{f"m{at}": row for at, row in enumerate(weights)}, "proposal": np.array([0.0, 1.0, 0.0])}
    fields = {
        arm: {"weights": dict(zip(("web", "books", "code"), map(float, row), strict=True)), "proposal": arm[0] == "p"}
        for arm, row in rows.items()
    }
    write_ablation(tmp_path, arms=arms, kind="mix", fields=fields, seeds=2, evals=3, units=20, held_out=False)
    path = tmp_path / "ablation.json"
    record = json.loads(path.read_text())
    record["runs"] = [r for r in record["runs"] if r["seed"] == 0 or r["arm"] in ("m0", "proposal")]
    path.write_text(json.dumps(record))
    found = analyse(load(tmp_path), draws=200)
    assert found.judgement is not None
    (pair,) = found.judgement.pairs
    assert {pair.first, pair.second} == {"m0", "proposal"}
    assert (pair.estimate.seeds, pair.verdict, pair.better) == (2, "WIN", "proposal")
    assert found.regression is not None
    assert found.regression.targets.size == 12
    # what was trained is shown, not what the regression says with the later runs
    assert found.proposal is not None
    assert found.proposal.weights.tolist() == [0.0, 1.0, 0.0]
    assert found.proposal.predicted == pytest.approx(float(found.regression.predict([0.0, 1.0, 0.0])[0]))


def test_noise_beyond_the_prior_and_missing_checks_are_told(tmp_path: Path) -> None:
    arms = {"a": 0.0, "b": -0.1, "c": -0.2}
    found = made(tmp_path, arms=arms, seeds=4, sigma=0.03, lr_check={"a": 0.0, "b": -0.1})
    text = "\n".join(found.caveats)
    assert found.judgement is not None
    measured = 100 * found.judgement.measured.variance**0.5
    assert f"{measured:.2f} % was measured with 6 degrees of freedom, the prior is 0." in text
    assert "the learning-rate check was not run for 2 of 3 pairs" in text


def test_few_units_are_told(tmp_path: Path) -> None:
    found = made(tmp_path, arms={"a": 0.0, "b": -0.1}, units=6)
    assert any(one.startswith("wikitext is measured on 6 units, which say as much as 6.0") for one in found.caveats)
    (tmp_path / "more").mkdir()
    assert not any("units" in one for one in made(tmp_path / "more", arms={"a": 0.0, "b": -0.1}).caveats)


def test_lost_tables_do_not_stop_a_report(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"a": 0.0, "b": -0.1, "c": -0.1}, held_out=False, units=30, evals=4)
    for path in tmp_path.glob("runs/compare/arm-2/seed-0*/items-*"):
        path.unlink()
    found = analyse(load(tmp_path), draws=100)
    assert found.judgement is not None
    pair = found.judgement.pair("b", "a")
    assert pair is not None
    assert pair.estimate.item_error > 0
    assert any("c, seed 0 has lost tables" in one for one in found.caveats)


def test_accuracies_that_say_nothing_yet_are_left_out(tmp_path: Path) -> None:
    tasks = [{"name": "sciq", "accuracy": "acc", "accuracy_from": 1_000_000}, {"name": "piqa", "accuracy_from": None}]
    arms = {"a": 0.0, "b": -0.1}
    found = made(tmp_path, arms=arms, tasks={"sciq": 4, "piqa": 2}, description={"tasks": tasks})
    expected = (found.scores.final("task/sciq/acc") - 0.25) / 0.75
    assert np.allclose(found.accuracy(), expected)
    measured = {"chance": {"task/sciq/acc": {"level": 0.3}}, "tasks": tasks}
    (tmp_path / "b").mkdir()
    found = made(tmp_path / "b", arms=arms, tasks={"sciq": 4, "piqa": 2}, description=measured)
    assert np.allclose(found.accuracy(), (found.scores.final("task/sciq/acc") - 0.3) / 0.7)


@pytest.mark.parametrize("kind", ["ladder", "mix", "anneal"])
def test_studies_without_any_run(tmp_path: Path, kind: str) -> None:
    found = made(tmp_path, arms={"a": 0.0, "b": 0.0}, kind=kind, description={"runs": []})
    assert found.judgement is None
    assert found.scaling is None
    assert found.proposal is None
