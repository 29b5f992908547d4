"""The protocol: when runs are measured, and what its hash stands for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ablate.small import small_ablation
from tokenmill.ablate.protocol import eval_steps, final_steps, make_protocol
from tokenmill.core.errors import ConfigError


@given(st.integers(1, 100_000), st.integers(1, 50))
def test_a_run_is_measured_before_it_begins_and_at_its_end(steps: int, evals: int) -> None:
    found = eval_steps(steps, evals)
    assert found[0] == 0
    assert found[-1] == steps
    assert all(first < second for first, second in pairwise(found))
    assert set(final_steps(steps)) <= set(found)
    assert len(found) <= evals + 3


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (100, (96, 98, 100)), (1000, (960, 980, 1000))]
)
def test_the_score_is_a_mean_over_the_last_four_percent(steps: int, expected: tuple[int, ...]) -> None:
    assert final_steps(steps) == expected


def test_the_hash_changes_with_what_decides_and_with_nothing_else(tmp_path: Path) -> None:
    def hash_of(**changes: object) -> str:
        ablation = small_ablation(tmp_path, **changes)
        return str(make_protocol(ablation, vocab_size=300, tokenizer="a" * 64).to_json()["hash"])

    base = hash_of()
    assert hash_of() == base
    assert hash_of(name="other") == base
    for changes in ({"seeds": 3}, {"train": {"lr": 0.02}}, {"tokens": 3072}, {"match": "pool"}):
        assert hash_of(**changes) != base


def test_an_unknown_training_setting_is_refused(tmp_path: Path) -> None:
    ablation = small_ablation(tmp_path, train={"learning_rate": 0.1})
    with pytest.raises(ConfigError, match="learning_rate"):
        make_protocol(ablation, vocab_size=300)


def test_the_hash_does_not_change_with_the_machine(tmp_path: Path) -> None:
    protocol = make_protocol(small_ablation(tmp_path), vocab_size=300, tokenizer="a" * 64)
    base = protocol.to_json()
    for changes in (
        {"micro_tokens": 64},
        {"checkpoint_every": 3},
        {"keep_steps": (2,)},
        {"log_every": 7},
        {"compile": True},
        {"shard": True},
        {"track": "trackio"},
        {"activation_checkpointing": True},
    ):
        found = protocol.with_settings(**changes).to_json()
        assert found["hash"] == base["hash"], changes
        assert found["settings"] != base["settings"], "the record has them all"
    assert protocol.with_settings(weight_decay=0.2).to_json()["hash"] != base["hash"]
