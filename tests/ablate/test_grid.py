"""A grid of arms: bucket x style x ratio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokens.mix.support import random_set
from tokenmill.ablate.arms import checked_mixture, mixture_spec
from tokenmill.ablate.spec import parse_ablation
from tokenmill.core.errors import ConfigError

GRID = {
    "real": "real",
    "synthetic": "synthetic",
    "by": {"quality_level": ["low", "high"], "style": ["wikipedia", "diverse_qa"]},
    "ratios": [0.25, 0.5],
    "tokens": "20k",
}


def ablation(tmp_path: Path, **changes: Any) -> Any:
    return parse_ablation({"name": "g", "grid": {**GRID, **changes}}, "g.yaml", tmp_path)


def test_the_product_of_buckets_styles_and_ratios_and_the_real_tokens(tmp_path: Path) -> None:
    found = ablation(tmp_path)
    assert list(found.arms) == [
        "real",
        *(f"{b}-{s}-{r}" for b in ("low", "high") for s in ("wikipedia", "diverse_qa") for r in ("25", "50")),
    ]
    assert found.baseline == "real"
    cell = json.loads(found.arms["low-diverse_qa-25"].mixture)
    assert cell["stages"][0]["weights"] == {"real": 0.75, "synthetic": 0.25}
    assert cell["sources"]["synthetic"]["where"] == {"quality_level": "low", "style": "diverse_qa"}
    assert cell["sources"]["synthetic"]["synthetic"] is True
    assert cell["sources"]["real"]["tokens"] == str(tmp_path / "real")
    assert (
        found.arms["low-diverse_qa-25"].what()
        == "mixture real 0.75, synthetic (quality_level low, style diverse_qa) 0.25"
    )


def test_a_ratio_of_one_has_no_real_tokens(tmp_path: Path) -> None:
    cell = json.loads(ablation(tmp_path, ratios=[1]).arms["low-wikipedia-100"].mixture)
    assert list(cell["sources"]) == ["synthetic"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ratios": [0]}, "above 0"),
        ({"ratios": 0.5}, "no list"),
        ({"by": {"style": []}}, "no list"),
        ({"by": {"style": ["a b", "a_b"]}}, "two arms"),
        ({"by": {"n": list(range(40))}}, "at most 64"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ablation(tmp_path, **changes)


def test_arms_of_ones_own_stand_beside_the_grid(tmp_path: Path) -> None:
    data = {"name": "g", "grid": GRID, "arms": {"other": {"tokens": "third"}}, "baseline": "other"}
    assert "other" in parse_ablation(data, "g.yaml", tmp_path).arms
    with pytest.raises(ConfigError, match="'real' too"):
        parse_ablation({**data, "arms": {"real": {"tokens": "x"}}, "baseline": "real"}, "g.yaml", tmp_path)


def test_a_cell_takes_the_documents_of_its_bucket_and_style(tmp_path: Path) -> None:
    styles = ["wikipedia" if n % 2 else "diverse_qa" for n in range(60)]
    random_set(tmp_path / "real", [100], seed=1)
    random_set(tmp_path / "synthetic", [60], seed=2, tags={"style": styles}, first=1000)
    arm = ablation(tmp_path, by={"style": ["wikipedia"]}, tokens=800).arms["wikipedia-50"]
    mixture, sets = checked_mixture(arm)
    assert {found.key: found.tokens.manifest.documents for found in sets} == {"real": 100, "synthetic": 60}
    assert mixture.stages[0].weights == {"real": 0.5, "synthetic": 0.5}


def test_a_value_that_no_document_has_is_told_before_any_work_and_with_its_arm(tmp_path: Path) -> None:
    random_set(tmp_path / "real", [100], seed=1)
    random_set(tmp_path / "synthetic", [60], seed=2, tags={"style": ["wikipedia"] * 60}, first=1000)
    arms = ablation(tmp_path, by={"style": ["wikipedia", "tutorial"]}, tokens=800, ratios=[0.5]).arms
    mixture_spec(arms["wikipedia-50"])
    with pytest.raises(ConfigError) as caught:
        mixture_spec(arms["tutorial-50"])
    assert "arm tutorial-50" in caught.value.where
    assert "tutorial" in str(caught.value)
