"""Labelled documents: what is read, in which order, and what is refused."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
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
    found = [{"text": f"{text}{number}", "grade": number, "url": f"h{number}.org/"} for number in range(2)]
    path = write_rows(tmp_path_factory.mktemp("any") / "a.jsonl", found)
    data = load_labelled(path, TrainSettings(encoder="none", label="grade"))
    assert data.labels.tolist() in ([0, 1], [1, 0])
    data.texts[0].encode()  # lone surrogates are gone
    assert set(data.groups) == {"h0.org", "h1.org"}


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


def test_documents_without_a_group_are_told(tmp_path: Path) -> None:
    found = rows(30)
    for row in found[:4]:
        row["url"] = None
    said: list[str] = []
    data = load_labelled(write_rows(tmp_path / "a.jsonl", found), SETTINGS, said.append)
    assert data.ungrouped == 4
    assert sum(group.startswith("id:") for group in data.groups) == 4
    assert said == ["4 of 30 documents have no host in 'url': each is a group by itself"]


@pytest.mark.parametrize("changes", [{}, {"group": "cluster"}])
def test_no_group_at_all_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{**row, "url": "", "cluster": None} for row in rows(30)])
    with pytest.raises(ConfigError, match="--group id treats each document alone"):
        load_labelled(path, replace(SETTINGS, **changes))
    data = load_labelled(path, replace(SETTINGS, group="id"))
    assert len(set(data.groups)) == 30
    assert data.ungrouped == 0


def test_group_0_is_a_group(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{**row, "cluster": number // 10} for number, row in enumerate(rows(30))])
    data = load_labelled(path, replace(SETTINGS, group="cluster"))
    assert sorted(set(data.groups)) == ["0", "1", "2"]
    assert data.ungrouped == 0


def test_copies_of_a_text_stay_together(tmp_path: Path) -> None:
    found = rows(30)
    found[3]["text"], found[4]["text"] = found[3]["text"] + " end", found[3]["text"] + "  end\n"
    found[3]["url"], found[4]["url"] = "https://one.example/", "https://two.example/"
    said: list[str] = []
    data = load_labelled(write_rows(tmp_path / "a.jsonl", found), SETTINGS, said.append)
    assert (data.joined, data.groups[3], data.groups[4]) == (2, "one.example", "one.example")
    assert "2 documents have texts that are there under several groups" in said[0]


def test_lines_may_lack_columns_but_not_all_of_them(tmp_path: Path) -> None:
    found = rows(30)
    del found[0]["grade"], found[1]["other"]
    path = write_rows(tmp_path / "a.jsonl", found)
    data = load_labelled(path, SETTINGS)
    assert (len(data.texts), data.skipped) == (29, 1)
    assert np.isnan(data.others["other"]).tolist() == [True] + [False] * 28
    Path(path).write_text(Path(path).read_text() + "[1]\n\n")
    assert load_labelled(path, SETTINGS).skipped == 2


def test_a_folder_of_labels_is_read_without_its_ledger(tmp_path: Path) -> None:
    found = rows(30)
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "labels.parquet")
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / "ledger.jsonl").write_text('{"key": "a"}\n')
    said: list[str] = []
    data = load_labelled(str(tmp_path), SETTINGS, said.append)
    assert same(data, load_labelled(str(tmp_path / "labels.parquet"), SETTINGS))
    assert said == [f"not read in {tmp_path}: labels.json, ledger.jsonl"]
    # any other folder: all that can be labels, and a word on the rest
    (tmp_path / "labels.json").rename(tmp_path / "notes.md")
    (tmp_path / "ledger.jsonl").unlink()
    said.clear()
    assert same(load_labelled(str(tmp_path), SETTINGS, said.append), data)
    assert said == [f"not read in {tmp_path}: notes.md"]


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    found = [{**row, "html": "z" * 50_000} for row in rows(60)]
    path = write_rows(tmp_path / "a.jsonl", found)
    del found
    tracemalloc.start()
    data = load_labelled(path, SETTINGS)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.texts) == 60
    assert kept < 500_000
    assert most < 1_500_000


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
        {"seed": -1},
        {"seed": 1 << 32},
        {"long_documents": "windows_max"},
        {"long_documents": "windows_mean", "problem": "binary"},
        {"long_documents": "windows_max", "problem": "classes"},
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_settings(replace(SETTINGS, **changes))


def test_messages_name_the_options() -> None:
    with pytest.raises(ConfigError, match="--pick with one of auto, qwk, macro_f1, worst_f1"):
        check_settings(replace(SETTINGS, pick="worst_class_f1"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--pick macro_f1, worst_f1 or auto"):
        check_settings(replace(SETTINGS, pick="qwk", problem="classes"))


def test_windows_that_give_the_same_scores_are_allowed() -> None:
    check_settings(replace(SETTINGS, long_documents="windows_mean"))
    check_settings(replace(SETTINGS, long_documents="windows_max", kind="fasttext"))
