"""Reading benchmark files: known forms, any other objects, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokens.decontaminate.kit import multiple_choice, write_jsonl, write_kit
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.decontaminate.benchmarks import file_digests, read_items, skipped_files, task_of


def test_known_forms(tmp_path: Path) -> None:
    contexts = {
        "id": "w",
        "contexts": ["Ann saw Bob so Ann", "Ann saw Bob so Bob"],
        "continuation": " waved.",
        "gold": 1,
    }
    write_jsonl(tmp_path / "winogrande.jsonl", [contexts])
    choices, endings, short, pairs = (
        next(item for item in read_items([str(write_kit(tmp_path))]) if item.task == task)
        for task in ("choices", "endings", "short", "winogrande")
    )
    asked = "What happens to the copper kettle that somebody left beside the old mill number 0 of the valley last week?"
    assert choices.pieces == (("question", asked),)
    assert (choices.name, choices.answer, choices.flows) == ("choices:q0", "it boils over", False)
    assert choices.source.startswith("Question: What")
    assert choices.source.endswith("\nAnswer: it boils over")
    assert (endings.flows, endings.pieces[0][0]) == (True, "context")
    assert (short.question, short.answer, short.flows) == ("who built the old mill 0", "Ada Marlow", False)
    assert (pairs.question, pairs.answer, pairs.flows) == ("Ann saw Bob so Bob", "waved.", True)


def test_instructions_and_labels_are_of_the_prompt(tmp_path: Path) -> None:
    rows = [
        {
            "id": n,
            "context": f"Read this and answer.\n\nPassage: Story {n // 10} has\n\ntwo parts. Note: rare\n"
            f"Question: why {n}?\nAnswer:",
            "continuation": " so",
        }
        for n in range(100)
    ]
    item = read_items([str(write_jsonl(tmp_path / "coqa.jsonl", rows))])[55]
    assert item.pieces == (("passage", "Story 5 has\n\ntwo parts. Note: rare"), ("question", "why 55?"))


def test_a_label_that_few_items_have_is_text(tmp_path: Path) -> None:
    rows = [
        {"context": f"Roof removal: A man {n}", "continuation": " falls"}
        if n == 3
        else {"context": "x", "continuation": " y"}
        for n in range(20)
    ]
    item = read_items([str(write_jsonl(tmp_path / "h.jsonl", rows))])[3]
    assert (item.id, item.pieces) == ("3", (("context", "Roof removal: A man 3"),))


@pytest.mark.parametrize(
    ("row", "pieces", "answer"),
    [
        ({"text": "one", "url": "http://x", "n": 5}, (("text", "one"), ("n", "5")), ""),
        ({"question": "Q?", "answer": "A"}, (("question", "Q?"),), "A"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": 1}, (("question", "Q?"),), "b"),
        ({"question": "Q?", "answers": {"text": ["first", "second"], "start": [3]}}, (("question", "Q?"),), "first"),
        ({"problem": "P", "support": "S", "solution": "X"}, (("support", "S"), ("problem", "P")), "X"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "B"}, (("question", "Q?"),), "b"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "(b)"}, (("question", "Q?"),), "b"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "1"}, (("question", "Q?"),), "b"),
        ({"question": "Q?", "choices": ["2", "1"], "answer": "1"}, (("question", "Q?"),), "1"),
        ({"question": "Q?", "choices": ["a", "b"], "answer": "E"}, (("question", "Q?"),), "E"),
        (
            {"question": "Q?", "choices": {"label": ["1", "2"], "text": ["a", "b"]}, "answerKey": "1"},
            (("question", "Q?"),),
            "a",
        ),
        ({"question": "Q?", "answers": {"answer_start": [3], "text": ["first"]}}, (("question", "Q?"),), "first"),
        ({"question": "Q?", "answers": {"start": 3, "value": "first"}}, (("question", "Q?"),), "first"),
        ({"question": "Q?", "answer": 59}, (("question", "Q?"),), "59"),
        ({"goal": "G", "sol1": "x", "sol2": "y", "label": 1}, (("goal", "G"),), "y"),
        ({"goal": "G", "sol1": "x", "sol2": "y", "label": -1}, (("goal", "G"),), ""),
        (
            {"sentence": "Ann saw Bob so _ waved.", "option1": "Ann", "option2": "Bob", "answer": "2"},
            (("context", "Ann saw Bob so Bob"),),
            "waved.",
        ),
        ({"turns": ["one", "two"], "empty": "  "}, (("turns", "one"), ("turns", "two")), ""),
    ],
)
def test_other_objects(tmp_path: Path, row: dict[str, Any], pieces: tuple[tuple[str, str], ...], answer: str) -> None:
    item = read_items([str(write_jsonl(tmp_path / "mine.jsonl", [row]))])[0]
    assert (item.task, item.id, item.pieces, item.answer) == ("mine", "0", pieces, answer)


def test_fields_are_chosen(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "Q", "context": "C", "hint": "H", "answer": "A"}])
    assert read_items([str(path)], ["question", "hint"])[0].pieces == (("hint", "H"), ("question", "Q"))
    with pytest.raises(ConfigError, match="holds no benchmark items"):
        read_items([str(path)], ["nothing"])
    numbers = write_jsonl(tmp_path / "b.jsonl", [{"n": 1, "m": [2, "3"]}])
    with pytest.raises(ConfigError, match="holds no benchmark items"):
        read_items([str(numbers)])


def test_surrogates_of_json_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "bad \\ud800 one"}\n\n')
    assert read_items([str(tmp_path)])[0].pieces == (("text", "bad ? one"),)


def test_folders_files_and_patterns(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit")
    several = [str(kit), str(kit / "short.jsonl"), str(kit / "*.jsonl")]
    assert [item.name for item in read_items(several)] == [item.name for item in read_items([str(kit)])]
    assert list(file_digests(several)) == ["choices", "endings", "short"]
    before = file_digests([str(kit)])
    write_jsonl(kit / "choices.jsonl.gz", multiple_choice(39))
    after = file_digests([str(kit)])
    assert [name for name in before if before[name] != after[name]] == ["choices"]


def test_tasks_of_the_same_name_have_digests_of_their_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_jsonl(tmp_path / folder / "task.jsonl", [{"text": folder}])
    assert list(file_digests([str(tmp_path)])) == ["task", "task'"]


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("/mmlu/test.jsonl", "mmlu"),
        ("s3://x/y/Validation.jsonl.gz", "y"),
        ("dev.jsonl", "dev"),
        ("/a/b.jsonl.gz", "b"),
        ("s3://x/c.d.ndjson", "c.d"),
        ("e", "e"),
        ("f.json", "f"),
    ],
)
def test_names_of_tasks(path: str, task: str) -> None:
    assert task_of(path) == task


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_what_is_no_benchmark(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x"}) + "\n" + line + "\n")
    with pytest.raises(ConfigError, match="is no JSON Lines\n  where: line 2"):
        read_items([str(path)])


@pytest.mark.parametrize("gold", ["B", None, [0], 2, -1, True, 0.5, "-1"])
@pytest.mark.parametrize(
    "form", [{"context": "C", "choices": ["a", "b"]}, {"contexts": ["a", "b"], "continuation": "c"}]
)
def test_a_wrong_gold_is_told(tmp_path: Path, gold: Any, form: dict[str, Any]) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{**form, "gold": 1}, {**form, "gold": gold}])
    with pytest.raises(ConfigError, match=r"a right answer\n  where: line 2\n  why:   gold is .* from 0 to 1"):
        read_items([str(path)])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b"[" * 100_000),
        ("a.jsonl", b'{"a": ' * 3000 + b'"x"' + b"}" * 3000),
        ("a.jsonl", b"\xff\xfe\x00bad\n"),
        ("a.jsonl.gz", b"not gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9, mtime=0)[:-12]),
    ],
)
def test_damage_is_told(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"{name} is no JSON Lines"):
        read_items([str(tmp_path)])


def test_speakers_are_no_prompt(tmp_path: Path) -> None:
    turns = "A: Did you feed the {}?\nB: It bit me again.\nA: Wear gloves then.\nB: They smell."
    rows = [{"dialogue": turns.format(bird)} for bird in ("parrot", "goose", "crow")]
    items = read_items([str(write_jsonl(tmp_path / "a.jsonl", rows))])
    assert items[1].pieces == (("dialogue", rows[1]["dialogue"]),)


def test_files_that_are_not_read_are_told(tmp_path: Path) -> None:
    kit = write_kit(tmp_path / "kit")
    assert skipped_files([str(kit)]) == []
    for name in ("mmlu.parquet", "deep/arc.json", "MANIFEST.json"):
        (kit / name).parent.mkdir(exist_ok=True)
        (kit / name).write_text("{}")
    assert skipped_files([str(kit)]) == [str(kit / "deep/arc.json"), str(kit / "mmlu.parquet")]
    assert skipped_files([str(kit / "short.jsonl")]) == []


def test_splits_are_of_the_task_of_their_folder(tmp_path: Path) -> None:
    for task in ("mmlu", "gsm8k"):
        write_jsonl(tmp_path / task / "test.jsonl", [{"text": task}])
    assert [item.name for item in read_items([str(tmp_path)])] == ["gsm8k:0", "mmlu:0"]


def test_nothing_given(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no benchmark files given"):
        read_items([])
    with pytest.raises(ConfigError, match="no benchmark files at"):
        read_items([str(tmp_path)])
