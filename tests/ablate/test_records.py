"""What an ablation's folder was made with: it binds once something was made, and not before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokenmill.ablate.records import mark_ready, pools_of, record
from tokenmill.core.errors import ConfigError

SETTINGS = {"tokenizer": "", "train": {"vocab_size": 300}, "held_out": 0.02, "held_out_bytes": 1000}
ARMS = {"a": {"kind": "documents", "documents": "in"}, "b": {"kind": "tokens", "tokens": "set"}}
CHANGED = {**ARMS, "a": {"kind": "documents", "documents": "in", "text_column": "body"}}


def write(place: Path, value: Any = None) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(value or {}))


def union(data: Path, *arms: str, number: int = 0) -> None:
    write(data / f"pool/{number:02d}/union.json", {"arms": dict.fromkeys(arms, 1)})


def test_nothing_binds_before_something_was_made(tmp_path: Path) -> None:
    record(tmp_path, SETTINGS, ARMS)
    for name in ("a", "b"):
        write(tmp_path / f"documents/{name}/00000.parquet")
    record(tmp_path, {**SETTINGS, "held_out": 0.1, "tokenizer": "gpt2"}, CHANGED)
    assert json.loads((tmp_path / "settings.json").read_text())["held_out"] == 0.1
    assert json.loads((tmp_path / "arms/a.json").read_text()) == CHANGED["a"]
    assert [path.parent.name for path in tmp_path.glob("documents/*/*")] == ["b"]  # a list of other documents is gone
    record(tmp_path, {**SETTINGS, "held_out_bytes": 2000}, CHANGED)
    assert list(tmp_path.glob("documents/*/*")) == []  # and so are texts of another size


@pytest.mark.parametrize("made", ["pool/00/union.json", "runs/a/run.json", "mixtures/a/run.json", "ready.json"])
def test_an_arm_binds_with_what_was_made_of_it(tmp_path: Path, made: str) -> None:
    record(tmp_path, SETTINGS, ARMS)
    write(tmp_path / made, {"arms": {"a": 1}} if made.endswith("union.json") else {"arms": ["a"]})
    with pytest.raises(ConfigError, match=r"arm a is another one[\s\S]*text_column is None there, 'body' here"):
        record(tmp_path, SETTINGS, CHANGED)
    assert json.loads((tmp_path / "arms/a.json").read_text()) == ARMS["a"]
    record(tmp_path, SETTINGS, {**ARMS, "b": {"kind": "tokens", "tokens": "other"}})


@pytest.mark.parametrize(
    ("made", "change", "bound"),
    [
        ("pool/00/union.json", {"held_out": 0.1}, True),
        ("pool/00/union.json", {"held_out_bytes": 9}, True),
        ("pool/00/union.json", {"train": {"vocab_size": 310}}, False),
        ("pool/00/run.json", {"train": {"vocab_size": 310}}, True),
        ("tokenizer/tokenizer.json", {"train": {"vocab_size": 310}}, True),
        ("tokenizer/tokenizer.json", {"held_out": 0.1}, False),
        ("ready.json", {"held_out": 0.1}, True),
        ("ready.json", {"tokenizer": "gpt2"}, True),
    ],
)
def test_settings_bind_with_what_was_made_by_them(
    tmp_path: Path, made: str, change: dict[str, Any], bound: bool
) -> None:
    record(tmp_path, SETTINGS, ARMS)
    write(tmp_path / made, {"arms": ["a"]})
    if bound:
        with pytest.raises(ConfigError, match=f"{next(iter(change))} is .* there[\\s\\S]*leave these settings"):
            record(tmp_path, {**SETTINGS, **change}, ARMS)
    else:
        record(tmp_path, {**SETTINGS, **change}, ARMS)


def test_what_was_ready_stays_when_arms_are_added(tmp_path: Path) -> None:
    mark_ready(tmp_path, ["b"])
    mark_ready(tmp_path, ["c", "b"])
    assert json.loads((tmp_path / "ready.json").read_text()) == {"arms": ["b", "c"]}
    union(tmp_path, "a")
    union(tmp_path, "b", "c", number=1)
    assert {name: path.name for name, path in pools_of(tmp_path).items()} == {"a": "00", "b": "01", "c": "01"}
