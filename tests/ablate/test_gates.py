"""Gates: what passes, what does not, and that none of those that decide looks at differences between arms."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ablate.runs import write_ablation
from tokenmill.ablate.gates import kendall, spearman, task_gates
from tokenmill.ablate.scores import load


def rewritten(folder: Path, change: object) -> None:
    """Changes a task's curve in all runs: change(arm number, share of the training, old value)."""
    for path in folder.glob("runs/compare/arm-*/*/evals.jsonl"):
        arm = int(path.parent.parent.name[4:])
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            old = line["metrics"]["task/sciq/bpb"]
            line["metrics"]["task/sciq/bpb"] = change(arm, line["step"] / 100, old)  # type: ignore[operator]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ablation(
        tmp_path, arms={"raw": 0.0, "clean": -0.1}, tasks={"sciq": 4}, units=30, held_out=False, texts=()
    )


def test_a_good_task_passes_all(folder: Path) -> None:
    found = task_gates(load(folder), "sciq")
    assert found.passed
    assert [gate.passed for gate in found.gates] == [True, True, True, True]
    assert [gate.decides for gate in found.gates] == [True, True, False, False]
    assert found.reasons == ()


def test_what_never_improves_is_shut(folder: Path) -> None:
    rewritten(folder, lambda arm, share, old: 2.0 + 0.001 * math.sin(40 * share))
    found = task_gates(load(folder), "sciq")
    assert not found.passed
    assert "not above the untrained model" in found.reasons[0]


def test_what_gets_worse_is_not_monotone(folder: Path) -> None:
    rewritten(folder, lambda arm, share, old: 3.0 if share == 0 else 1.0 + share)
    found = task_gates(load(folder), "sciq")
    assert found.gates[0].passed
    assert found.gates[1].passed is False
    assert found.gates[1].value == pytest.approx(spearman(np.arange(9), [-3.0, *(-1 - np.arange(1, 9) / 8)]))


def test_differences_between_arms_decide_nothing(folder: Path) -> None:
    """Other arms may do what they like: the baseline's gates that decide stay as they are."""
    before = task_gates(load(folder), "sciq")
    rewritten(folder, lambda arm, share, old: old if arm == 0 else 5 - old)
    after = task_gates(load(folder), "sciq")
    assert before.gates[:2] == after.gates[:2]
    assert before.passed == after.passed
    assert before.gates[2] != after.gates[2]


def test_equal_arms_are_uninformative_and_still_in(tmp_path: Path) -> None:
    scores = load(write_ablation(tmp_path, arms=dict.fromkeys("abcd", 0.0), tasks={"sciq": 1}, seeds=3, units=30))
    found = task_gates(scores, "sciq")
    assert found.passed
    assert found.gates[2].passed is False
    assert "uninformative here" in found.gates[2].reason


def test_one_arm_one_seed_is_not_measured(tmp_path: Path) -> None:
    scores = load(write_ablation(tmp_path, arms={"a": 0.0}, tasks={"sciq": 1}, seeds=1, units=30))
    found = task_gates(scores, "sciq")
    assert found.passed
    assert [gate.passed for gate in found.gates] == [True, True, None, None]


@given(st.lists(st.integers(-3, 3), min_size=3, max_size=7), st.integers(0, 1000))
def test_rank_correlations_against_their_definitions(values: list[int], seed: int) -> None:
    other = np.random.default_rng(seed).integers(-3, 3, len(values)).astype(float)
    mine = np.array(values, float)

    def ranks(x: np.ndarray) -> np.ndarray:
        return np.array([(x < v).sum() + ((x == v).sum() + 1) / 2 for v in x])

    if len(set(values)) > 1 and len(set(other.tolist())) > 1:
        assert spearman(mine, other) == pytest.approx(np.corrcoef(ranks(mine), ranks(other))[0, 1])
        pairs = list(itertools.combinations(range(len(values)), 2))
        agree = sum(np.sign(mine[a] - mine[b]) * np.sign(other[a] - other[b]) for a, b in pairs)
        untied = [sum(x[a] != x[b] for a, b in pairs) for x in (mine, other)]
        assert kendall(mine, other) == pytest.approx(agree / math.sqrt(untied[0] * untied[1]))
    else:
        assert math.isnan(spearman(mine, other))
        assert math.isnan(kendall(mine, other))
