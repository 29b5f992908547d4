"""Reading benchmarks: the three forms, samples, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.evaluate.support import write_kit
from tokenmill.core.errors import ConfigError
from tokenmill.train.evaluate.kit import Item, load_kit
from tokenmill.train.evaluate.tasks import NORMALISATIONS, TASKS, default_tasks, informative, task_info

CHOICE: dict[str, Any] = {"id": "a", "context": "Sky:", "choices": [" blue", " green"], "gold": 0}
CONTEXT: dict[str, Any] = {"id": "a", "contexts": ["Ann", "Bob"], "continuation": " left.", "gold": 1}
GOLD: dict[str, Any] = {"id": "a", "context": "One, two,", "continuation": " three"}


def test_three_forms_and_texts_of_all_kinds(tmp_path: Path) -> None:
    odd = {"context": "é\0\r:", "choices": [" \U0001f600", " ", "\n\n"], "gold": 2, "unit": "u", "subject": "x"}
    folder = write_kit(tmp_path / "kit", {"one.jsonl": [CHOICE, "", odd], "two.jsonl": [CONTEXT]})
    (folder / "three.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOLD).encode()))
    (folder / "README.md").write_text("no benchmark")
    one, three, two = load_kit(folder)
    assert [task.name for task in (one, three, two)] == ["one", "three", "two"]
    assert [task.form for task in (one, three, two)] == ["multiple-choice", "gold-continuation", "multiple-context"]
    assert one.items == (
        Item("a", "a", ("Sky:", "Sky:"), (" blue", " green"), 0),
        Item("3", "u", ("é\0\r:",) * 3, (" \U0001f600", " ", "\n\n"), 2),
    )
    assert two.items == (Item("a", "a", ("Ann", "Bob"), (" left.", " left."), 1),)
    assert three.items == (Item("a", "a", ("One, two,",), (" three",), 0),)
    assert (one.chance, two.chance, three.chance) == ((1 / 2 + 1 / 3) / 2, 0.5, None)
    # by name, in that order; a single file; the digest is of what the items say
    assert [task.name for task in load_kit(folder, ["two", "one"])] == ["two", "one"]
    (alone,) = load_kit(folder / "one.jsonl")
    assert alone.items == one.items
    assert alone.sha256 == one.sha256 != two.sha256


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2(.|\n)*no JSON"),
        ("[1]", "line 2(.|\n)*list, no object"),
        ({"id": "b", "context": "x"}, "line 2(.|\n)*keys context, id(.|\n)*multiple-choice: context, choices, gold"),
        ({**CHOICE, "id": "b", "continuation": "x"}, "several forms"),
        ({**GOLD, "id": "b"}, "line 2(.|\n)*gold-continuation, those before it multiple-choice"),
        (CHOICE, "line 1 has the id 'a'"),
        ({**CHOICE, "id": "b", "gold": 2}, "gold is 2, of 2 choices(.|\n)*0 to 1"),
        ({**CHOICE, "id": "b", "gold": -1}, "gold is -1"),
        ({**CHOICE, "id": "b", "gold": True}, "gold is True"),
        ({**CHOICE, "id": "b", "gold": "0"}, "gold is '0'"),
        ({**CHOICE, "id": "b", "choices": [" one"]}, "'choices' has 1 text"),
        ({**CHOICE, "id": "b", "choices": [" one", 2]}, "'choices' is no list of texts"),
        ({**CHOICE, "id": "b", "choices": " one"}, "'choices' is no list of texts"),
        ({**CHOICE, "id": "b", "context": ["x"]}, "'context' is no text"),
        ({**CHOICE, "id": "b", "choices": [" one", ""]}, "an answer is empty"),
        ({**CHOICE, "id": "b", "context": "Sky: "}, "ends in a space"),
        ({**CHOICE, "id": "b", "context": "\ud800"}, "surrogate"),
        ({**CHOICE, "id": None}, "id or unit is no text"),
        ({**CHOICE, "id": "b", "unit": 5}, "id or unit is no text"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: Any, message: str) -> None:
    folder = write_kit(tmp_path, {"mine.jsonl": [CHOICE, line]})
    with pytest.raises(ConfigError, match=message):
        load_kit(folder)


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmarks at"):
        load_kit(tmp_path / "nowhere")
    folder = write_kit(tmp_path / "a", {"mine.jsonl": [CHOICE]})
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        load_kit(folder, ["mines"])
    with pytest.raises(ConfigError, match="max_items=0"):
        load_kit(folder, max_items=0)
    (folder / "mine.jsonl.gz").write_bytes(gzip.compress(json.dumps(CHOICE).encode()))
    with pytest.raises(ConfigError, match="two files are the task 'mine'"):
        load_kit(folder)
    cut = write_kit(tmp_path / "b", {"empty.jsonl": ["", " "]})
    with pytest.raises(ConfigError, match="no items"):
        load_kit(cut)
    (cut / "empty.jsonl").unlink()
    (cut / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(CHOICE).encode())[:-12])
    with pytest.raises(ConfigError, match=r"cut\.jsonl\.gz cannot be read"):
        load_kit(cut)


def test_a_manifest_vouches_for_files(tmp_path: Path) -> None:
    folder = write_kit(tmp_path, {"mine.jsonl": [CHOICE], "other.jsonl": [GOLD]})
    digest = hashlib.sha256((folder / "mine.jsonl").read_bytes()).hexdigest()
    manifest = folder / "MANIFEST.json"
    manifest.write_text(json.dumps({"tasks": [{"file": "mine.jsonl", "sha256": digest}]}))
    assert len(load_kit(folder)) == 2
    (folder / "mine.jsonl").write_text(json.dumps({**CHOICE, "gold": 1}))
    with pytest.raises(ConfigError, match=r"mine\.jsonl is not the file that the manifest describes"):
        load_kit(folder)
    assert [task.name for task in load_kit(folder, ["other"])] == ["other"]
    for broken in ("{", "[]", '{"tasks": 1}', '{"tasks": [1]}', '{"tasks": [{}]}'):
        manifest.write_text(broken)
        with pytest.raises(ConfigError, match="manifest of the benchmarks cannot be read"):
            load_kit(folder)


def test_samples_are_of_whole_units_and_nested(tmp_path: Path) -> None:
    rows = [{**GOLD, "id": f"p{passage}_turn{turn}"} for passage in range(30) for turn in range(passage % 4 + 1)]
    folder = write_kit(tmp_path, {"coqa.jsonl": rows, "plain.jsonl": rows})
    (whole,) = load_kit(folder, ["coqa"])
    assert (whole.units, len(whole.items)) == (30, len(rows))
    before: set[str] = set()
    for most in (1, 5, 17, 40, len(rows) - 1):
        (part,) = load_kit(folder, ["coqa"], most)
        units = {item.unit for item in part.items}
        assert part.items == tuple(item for item in whole.items if item.unit in units)  # whole units, in order
        assert before <= units
        assert len(part.items) <= max(most, max(sum(i.unit == u for i in whole.items) for u in units))
        assert len(part.items) > most - 4 or most == 1
        before = units
    assert load_kit(folder, ["coqa"], len(rows))[0].items == whole.items
    assert load_kit(folder, ["plain"], 40)[0].units == 40  # of an unknown task every item is a unit
    some, other = (load_kit(folder, ["plain"], 20, seed)[0] for seed in (0, 1))
    assert some.items != other.items
    assert some.sha256 != other.sha256
    # the sample is part of the protocol: it must never change
    assert [item.id for item in load_kit(folder, ["plain"], 3)[0].items] == ["p7_turn2", "p17_turn1", "p19_turn0"]


def test_what_is_informative_at_which_size() -> None:
    assert default_tasks(1_300_000) == ["lambada", "sciq", "arc_easy", "hellaswag"]
    laptop, confirm = default_tasks(32_000_000), default_tasks(124_000_000)
    assert {"piqa", "commonsense_qa", "social_iqa", "mmlu", "jeopardy", "squad", "coqa"} <= set(laptop)
    assert {"arc_challenge", "openbookqa"} == {*confirm} - {*laptop} - {"copa"}
    assert not {"boolq", "winogrande", "gsm8k", "humaneval"} & {*confirm}
    assert not informative("hellaswag", "acc_char", 5_000_000)
    assert informative("hellaswag", "acc_char", 12_000_000)
    assert informative("hellaswag", "bpb", 1)
    assert not informative("mmlu", "acc_char", 10**9)
    assert not informative("boolq", "bpb", 10**9)
    assert informative("my_own", "acc_char", 1)
    assert task_info("my_own").normalisation == "char"
    assert {info.normalisation for info in TASKS.values()} <= set(NORMALISATIONS)


def test_the_public_kit(shared: Path) -> None:
    """Every file has the items and the chance level that its manifest says."""
    manifest = json.loads((shared / "eval-kit" / "MANIFEST.json").read_text())
    listed = {entry["task"]: entry for entry in manifest["tasks"]}
    small = [name for name, entry in listed.items() if entry["bytes"] < 150_000]
    for task in load_kit(shared / "eval-kit", small):
        entry = listed[task.name]
        assert (task.form, len(task.items)) == (entry["form"], entry["items"])
        assert round(task.chance or 0.0, 4) == entry["statistics"].get("chance_accuracy", 0.0)
    assert set(listed) == set(TASKS)
