"""decision.json and the gates of continuous integration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ablate.runs import write_ablation
from tokenmill.ablate.analysis import analyse
from tokenmill.ablate.decision import decide, exit_code, write_decision
from tokenmill.ablate.scores import load
from tokenmill.core.errors import ConfigError


def decided(folder: Path, **options: Any) -> dict[str, Any]:
    options = {"held_out": False, "units": 40, "evals": 4, "sigma": 0.001, **options}
    return decide(analyse(load(write_ablation(folder, **options)), draws=200))


def test_a_winner(tmp_path: Path) -> None:
    found = decided(tmp_path, arms={"raw": 0.0, "clean": -0.08, "clean twice": -0.16})
    assert (found["winner"], found["verdict"], found["against"]) == ("clean twice", "WIN", "clean")
    assert found["leaders"] == ["clean twice"]
    assert found["effect"] == pytest.approx(0.08, abs=0.01)
    assert found["interval"][0] < 0.08 < found["interval"][1]
    assert found["p_best"]["clean twice"] > 0.99
    assert found["complete"]
    assert len(found["pairs"]) == 3


def test_a_tie_of_the_best(tmp_path: Path) -> None:
    found = decided(tmp_path, arms={"raw": 0.0, "clean": -0.08, "as clean": -0.0801})
    assert (found["winner"], found["verdict"]) == (None, "TIE")
    assert set(found["leaders"]) == {"clean", "as clean"}
    assert found["mde"] > 0


def test_written_as_json_without_numbers_that_it_has_not(tmp_path: Path) -> None:
    analysis = analyse(load(write_ablation(tmp_path, arms={"raw": 0.0}, texts=(), seeds=1, held_out=False)))
    path = write_decision(analysis, tmp_path)
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert found["winner"] is None
    assert found["verdict"] is None
    assert found["limits"]
    before = path.read_bytes()
    write_decision(analysis, tmp_path)
    assert path.read_bytes() == before


def test_gates(tmp_path: Path) -> None:
    found = decided(tmp_path, arms={"main": 0.0, "better": -0.1, "worse": 0.1, "same": 0.0005})
    assert exit_code(found) == 0
    assert exit_code(found, "worse") == 1
    assert exit_code(found, "worse", "worse") == 1
    assert exit_code(found, "worse", "same") == 0
    assert exit_code(found, "worse", "better") == 0
    assert exit_code(found, "not-better") == 1
    assert exit_code(found, "not-better", "same") == 1
    assert exit_code(found, "not-better", "better") == 0


def test_what_was_not_compared_shuts_the_gate(tmp_path: Path) -> None:
    one = decided(tmp_path, arms={"main": 0.0})
    assert exit_code(one, "worse") == exit_code(one, "not-better") == 1
    assert exit_code(one, "never") == 0


def test_an_unfinished_candidate_shuts_the_gate(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"main": 0.0, "other": -0.1, "late": -0.1}, held_out=False, evals=4)
    for path in tmp_path.glob("runs/compare/arm-2/*/result.json"):
        path.unlink()
    found = decide(analyse(load(tmp_path), draws=200))
    assert not found["complete"]
    assert found["provisional"]
    assert (found["winner"], found["unscored"], found["p_best"]["late"]) == (None, ["late"], None)
    assert found["verdict"] == "WIN"
    assert found["leaders"] == ["other"]
    assert exit_code(found, "worse", "late") == 1
    assert exit_code(found, "worse", "other") == 0


def test_arms_that_share_no_seed_are_not_ranked(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"main": 0.0, "other": -0.1}, held_out=False, evals=4)
    for arm, seed in ((0, 0), (1, 1)):
        for path in tmp_path.glob(f"runs/compare/arm-{arm}/seed-{seed}-*/result.json"):
            path.unlink()
    found = decide(analyse(load(tmp_path), draws=200))
    assert (found["winner"], found["verdict"], found["pairs"]) == (None, "TIE", [])
    assert set(found["leaders"]) == {"main", "other"}


def test_many_arms_tie_with_an_equal(tmp_path: Path) -> None:
    """The best is judged against all others, also where only the baseline's pairs would have been shown."""
    arms = {"main": 0.0, **{f"arm {at}": -0.06 for at in range(7)}}
    found = decided(tmp_path, arms=arms, seeds=2, units=20)
    assert (found["winner"], found["verdict"]) == (None, "TIE")
    assert len(found["leaders"]) == 7


def test_unknown_names(tmp_path: Path) -> None:
    found = decided(tmp_path, arms={"main": 0.0, "other": 0.0})
    with pytest.raises(ConfigError, match="no gate named 'wors'"):
        exit_code(found, "wors")
    with pytest.raises(ConfigError, match="is not an arm that is compared"):
        exit_code(found, "worse", "main")
    with pytest.raises(ConfigError, match="did you mean 'other'"):
        exit_code(found, "worse", "othe")
