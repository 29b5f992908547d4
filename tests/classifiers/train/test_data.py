"""Labelled documents: what is read, in which order, and what is refused."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.classifiers.train.support import rows, write_rows
from tokenmill.classifiers.train.data import Labelled, load_labelled
from tokenmill.classifiers.train.settings import TrainSettings, check_settings
from tokenmill.core.errors import ConfigError

SETTINGS = TrainSettings(encoder="none", label="grade", compare=("other",), split="part")


def same(first: Labelled, second: Labelled) -> bool:
    alike = (first.texts, first.groups, first.splits, first.digest) == (
        *(second.texts, second.groups, second.splits, second.digest),
    )
    return alike and bool((first.labels == second.labels).all())


def test_all_formats_and_orders_give_the_same(tmp_path: Path) -> None:
    found = rows(30)
    plain = load_labelled(write_rows(tmp_path / "a.jsonl", found), SETTINGS)
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "b.parquet")
    random.Random(1).shuffle(found)
    with gzip.open(tmp_path / "c.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in found))
    for name in ("b.parquet", "c.jsonl.gz"):
        assert same(load_labelled(str(tmp_path / name), SETTINGS), plain)
    assert plain.names == ("0", "1", "2", "3")
    assert all(group.startswith("host") and group.endswith(".example") for group in plain.groups)
    assert np.isfinite(plain.others["other"]).all()


def test_rows_without_text_or_label_are_left_out(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = rows(10)
    found += [{**found[0], "text": " "}, {**found[1], "grade": None}, {**found[2], "text": 3}]
    data = load_labelled(write_rows(tmp_path / "a.jsonl", found), SETTINGS)
    assert (len(data.texts), data.skipped) == (10, 3)


@given(text=st.text(st.characters(exclude_categories=()), min_size=1).filter(str.strip))
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    found = [{"text": text, "grade": number} for number in range(2)]
    path = write_rows(tmp_path_factory.mktemp("any") / "a.jsonl", found)
    data = load_labelled(path, TrainSettings(encoder="none", label="grade"))
    assert data.labels.tolist() in ([0, 1], [1, 0])
    data.texts[0].encode()  # lone surrogates are gone
    assert all(group.startswith("id:") for group in data.groups)


def test_names_of_classes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", rows(30))
    many = load_labelled(path, replace(SETTINGS, problem="classes", label="kind"))
    assert many.names == ("all of it", "none", "some")
    assert load_labelled(path, replace(SETTINGS, problem="binary", label="good")).names == ("0", "1")
    grouped = load_labelled(path, replace(SETTINGS, group="part"))
    assert set(grouped.groups) == {"plain", "enriched"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": "grades"}, "did you mean 'grade'"),
        ({"label": "kind"}, "no grades"),
        ({"problem": "binary"}, "binary needs two"),
        ({"compare": ("elsewhere",)}, "no column 'elsewhere'"),
        ({"text": "good"}, "no labelled document"),
    ],
)
def test_columns_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = write_rows(tmp_path / "a.jsonl", rows(30))
    with pytest.raises(ConfigError, match=says):
        load_labelled(path, replace(SETTINGS, **changes))


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "grade": 1', encoding="utf-8")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    for name in ("a.jsonl", "b.parquet"):
        with pytest.raises(ConfigError, match=name):
            load_labelled(str(tmp_path / name), TrainSettings(encoder="none", label="grade"))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "forest"},
        {"problem": "ranking"},
        {"pick": "best"},
        {"encoder": ""},
        {"pick": "qwk", "problem": "classes"},
        {"folds": 1},
        {"inner_folds": 1},
        {"repeats": 0},
        {"strengths": ()},
        {"strengths": (1.0, 0.0)},
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_settings(replace(SETTINGS, **changes))
