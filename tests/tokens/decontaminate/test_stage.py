"""The stages: what they add, drop and cut, alone and in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import digests, rows, run
from tests.tokens.decontaminate.kit import clean_texts, multiple_choice, short_questions, write_jsonl, write_kit
from tokenmill.cli.refilter import refilter_run
from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Stage
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.decontaminate.benchmarks import file_digests, read_items
from tokenmill.tokens.decontaminate.plant import planted
from tokenmill.tokens.decontaminate.stage import (
    DropContaminated,
    FindContamination,
    MaskContamination,
    characters,
    decontamination,
    widened,
    without,
)

QUESTION = multiple_choice(40)[7]["context"].partition(" ")[2].partition("\n")[0]
SHORT = short_questions(20)[3]
HOST = clean_texts(1)[0]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_kit(tmp_path_factory.mktemp("kit")))


def found(kit: str, *texts: str | None) -> list[dict[str, Any]]:
    columns = FindContamination(against=(kit,)).annotate(pa.record_batch({"text": pa.array(texts, pa.string())}))
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*(c.to_pylist() for c in columns.values()), strict=True)
    ]


def test_what_is_added(kit: str) -> None:
    texts = (
        f"{HOST}\n{QUESTION}",
        HOST,
        None,
        f"x {SHORT['context']} {SHORT['continuation']}",
        " ".join(QUESTION.split()[:14]),
    )
    whole, clean, null, short, part = found(kit, *texts)
    assert whole == {"contamination": "choices:q7", "contamination_share": 1.0, "contamination_13grams": 8}
    assert clean == null == {"contamination": None, "contamination_share": 0.0, "contamination_13grams": 0}
    assert short == {"contamination": "short:3", "contamination_share": 1.0, "contamination_13grams": 0}
    assert (part["contamination"], part["contamination_13grams"]) == ("choices:q7", 2)
    assert 0.3 < part["contamination_share"] < 1


def test_the_largest_share_names_the_item(kit: str) -> None:
    other = multiple_choice(40)[8]["context"].split()
    (row,) = found(kit, f"{' '.join(other[1:16])} and then {QUESTION}")
    assert row["contamination"] == "choices:q7"


def test_thresholds_decide() -> None:
    rules = DropContaminated().rules()
    assert [(rule.reason, rule.threshold) for rule in rules] == [("contaminated", 0.5), ("contaminated_in_part", 16)]
    for share, runs, reason in ((0.5, 0, "contaminated"), (0.49, 16, "contaminated_in_part"), (0.49, 15, None)):
        verdict = DropContaminated().judge(Doc(text="", contamination_share=share, contamination_13grams=runs))
        assert (verdict.reason if isinstance(verdict, Drop) else verdict) == reason
    off = DropContaminated(min_share=None, min_13grams=None)
    assert off.judge(Doc(text="", contamination_share=1.0, contamination_13grams=99)) is None


def masked(kit: str, text: str, **settings: Any) -> dict[str, Any]:
    changes = MaskContamination(against=(kit,), **{"min_words_left": 0, "min_share_left": 0.0, **settings}).rewrite(
        Doc(text=text)
    )
    assert not isinstance(changes, Drop)
    return dict(changes)


def test_whole_sentences_are_cut_out(kit: str) -> None:
    text = f"First of all. He asked: {QUESTION.upper()} Nobody knew.\nThe end, größer 日本。"
    assert masked(kit, text) == {
        "text": "First of all. Nobody knew.\nThe end, größer 日本。",
        "contamination": "choices:q7",
        "contamination_share": 1.0,
        "contamination_13grams": 8,
        "contamination_masked": 1,
    }
    assert (
        masked(kit, text, replacement="[cut]")["text"] == "First of all. \n[cut]\nNobody knew.\nThe end, größer 日本。"
    )


@pytest.mark.parametrize(
    "behind",
    [
        "\nA) nothing at all\nB) it boils over\nAnswer: B) It boils over",
        " A: It BOILS\nover.",
        f" A: {'Let me think of it. ' * 5}So it boils over, I think.",
    ],
)
def test_the_answer_goes_with_the_question(kit: str, behind: str) -> None:
    question = multiple_choice(1)[0]["context"].partition(" ")[2].partition("\n")[0]
    left = masked(kit, f"Before it.\n\nQuestion: {question}{behind}\n\nBehind it, all boils over.")["text"]
    assert "boils" not in left.partition("Behind")[0].lower()
    assert left.startswith("Before it.")
    assert left.endswith("Behind it, all boils over.") or "think" not in behind


def test_answers_far_behind_stay(kit: str) -> None:
    question = multiple_choice(1)[0]["context"].partition(" ")[2].partition("\n")[0]
    far = f"{'one two three four five six seven eight. ' * 4}It boils over."
    assert masked(kit, f"Before it. {question} {far}")["text"] == f"Before it. {far}"
    assert masked(kit, f"Before it. {question} {far[42:]}")["text"] != f"Before it. {far[42:]}"


def test_wrapped_items_are_cut_whole(kit: str) -> None:
    wrapped = QUESTION.replace(" ", "\n")
    changes = masked(kit, f"Before it.\n{wrapped}\nBehind it.")
    assert (changes["text"], changes["contamination_masked"]) == ("Before it.\nBehind it.", 1)


def test_a_clean_text_stays(kit: str) -> None:
    changes = masked(kit, HOST)
    assert "text" not in changes
    assert changes == {
        "contamination": None,
        "contamination_share": 0.0,
        "contamination_13grams": 0,
        "contamination_masked": 0,
    }


@pytest.mark.parametrize(
    ("settings", "goes"),
    [
        ({"min_words_left": 5}, False),
        ({"min_words_left": 6}, True),
        ({"min_words_left": 0, "min_share_left": 0.1}, False),
        ({"min_words_left": 0, "min_share_left": 0.5}, True),
    ],
)
def test_too_little_left(kit: str, settings: dict[str, Any], goes: bool) -> None:
    stage = MaskContamination(against=(kit,), **{"min_share_left": 0.0, **settings})
    outcome = stage.rewrite(Doc(text=f"These are the five words. {QUESTION}"))
    expected = Drop("contaminated", "contamination_share", 1.0, 0.5)
    assert outcome == expected if goes else not isinstance(outcome, Drop)


@given(st.text(st.sampled_from('ab.é\n 日。!?"')), st.data())
def test_spans_in_characters(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=4)))
    spans = [(min(pair), max(pair)) for pair in places if pair[0] != pair[1]]
    in_bytes = [(len(text[:start].encode()), len(text[:stop].encode())) for start, stop in spans]
    merged = characters(text, np.array(in_bytes, np.int64).reshape(-1, 2))
    assert merged == ([(min(start for start, _ in spans), max(stop for _, stop in spans))] if spans else [])
    pieces = widened(text, merged)
    assert all(start <= first and last <= stop for (start, stop), (first, last) in zip(pieces, merged, strict=True))
    left = without(text, pieces, "")
    assert len(left.replace("\n", "")) == len(text.replace("\n", "")) - sum(
        len(text[start:stop].replace("\n", "")) for start, stop in pieces
    )


def test_distant_places_are_cut_apart() -> None:
    text = "One. " + "Between them. " * 40 + "Two."
    spans = characters(text, np.array([[len(text) - 4, len(text)], [0, 3]]))
    assert widened(text, spans) == [(0, 5), (len(text) - 4, len(text))]


def test_what_is_left_is_clean(kit: str) -> None:
    stage = MaskContamination(against=(kit,))
    hosts = clean_texts(8)
    for item in read_items([kit])[::3]:
        for kind in ("verbatim", "rewrapped", "embedded"):
            changes = stage.rewrite(Doc(text=planted(item, kind, hosts, 0)))
            assert not isinstance(changes, Drop)
            assert found(kit, changes["text"])[0]["contamination_share"] < 0.5


def test_an_item_that_a_cut_puts_together_is_cut_too(kit: str) -> None:
    words = QUESTION.split()
    text = f"{HOST}\nNow {' '.join(words[:9])}\n{multiple_choice(40)[20]['context']}\n{' '.join(words[9:])}\n{HOST}"
    assert found(kit, masked(kit, text)["text"])[0]["contamination_share"] < 0.5


def documents(tmp_path: Path) -> Path:
    texts = clean_texts(30)
    texts[4] += "\n" + QUESTION
    texts[11] = QUESTION
    texts[20] = f"{SHORT['context']} {SHORT['continuation']}"
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        lines = [json.dumps({"text": text, "id": str(n)}) for n, text in enumerate(texts) if n % 2 == number]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def pipeline(*stages: Stage) -> Pipeline:
    return Pipeline("mine", [ReadJsonl(), *stages, WriteParquet()])


def test_a_run_drops(kit: str, tmp_path: Path) -> None:
    source = documents(tmp_path)
    run(pipeline(*decontamination([kit])), source, tmp_path / "out")
    dropped = rows(tmp_path / "out", "dropped")
    assert sorted((row["id"], row["stage"], row["reason"]) for row in dropped) == [
        (number, "drop_contaminated", "contaminated") for number in ("11", "20", "4")
    ]
    kept = rows(tmp_path / "out", "data")
    assert len(kept) == 27
    assert {row["contamination"] for row in kept} == {None}
    recorded = json.loads((tmp_path / "out" / "run.json").read_text())
    assert recorded["digests"]["find_contamination"].items() >= file_digests([kit]).items()


def test_a_run_masks(kit: str, tmp_path: Path) -> None:
    run(pipeline(*decontamination([kit], "mask")), documents(tmp_path), tmp_path / "out")
    kept = {row["id"]: row for row in rows(tmp_path / "out", "data")}
    assert sorted(row["id"] for row in rows(tmp_path / "out", "dropped")) == ["11", "20"]
    assert kept["4"]["text"].strip() == clean_texts(30)[4]
    assert (kept["4"]["contamination"], kept["4"]["contamination_masked"]) == ("choices:q7", 1)
    assert kept["5"]["text"] == clean_texts(30)[5]


def test_a_run_finds(kit: str, tmp_path: Path) -> None:
    run(pipeline(*decontamination([kit], "find")), documents(tmp_path), tmp_path / "out")
    named = {row["id"]: row["contamination"] for row in rows(tmp_path / "out", "data") if row["contamination"]}
    assert named == {"4": "choices:q7", "11": "choices:q7", "20": "short:3"}


def test_thresholds_move_without_the_benchmarks_texts(kit: str, tmp_path: Path) -> None:
    source = documents(tmp_path)
    (source / "2.jsonl").write_text(
        json.dumps({"text": f"{HOST} {' '.join(QUESTION.split()[:13])}", "id": "part"}) + "\n"
    )
    stages = pipeline(FindContamination(against=(kit,)), DropContaminated())
    plan = make_plan(stages, list_inputs(str(source), ReadJsonl.suffixes), Annotation())
    execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(tmp_path / "all")), InlineExecutor())
    verdicts = {row["id"]: row["drop_contaminated_verdict"] for row in rows(tmp_path / "all", "data")}
    assert {name for name, verdict in verdicts.items() if verdict} == {"4", "11", "20"}
    for share, gone in ((0.3, 4), (0.5, 3), (1.1, 0)):
        out = tmp_path / f"share-{share}"
        refilter_run(str(tmp_path / "all"), str(out), (f"drop_contaminated.min_share={share}",), 0)
        assert len(rows(out, "data")) == 31 - gone


@pytest.mark.ci
def test_the_same_bytes_with_workers(kit: str, tmp_path: Path) -> None:
    source = documents(tmp_path)
    for workers in (0, 2):
        run(pipeline(*decontamination([kit])), source, tmp_path / str(workers), workers=workers, seconds=30.0)
    assert digests(tmp_path / "0") == digests(tmp_path / "2")
    assert pq.read_table(tmp_path / "2" / "data").num_rows == 27


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_share": 0.0}, "would cut everything"),
        ({"min_share": 1.5}, "cut everything"),
        ({"min_13grams": 0}, "at least one run"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskContamination(**settings)


def test_no_benchmarks_are_told_by_the_plan(tmp_path: Path) -> None:
    source = documents(tmp_path)
    with pytest.raises(ConfigError, match="no benchmark files given"):
        run(pipeline(FindContamination(), DropContaminated()), source, tmp_path / "out")
    with pytest.raises(ConfigError, match="no action 'burn'"):
        decontamination(["x"], "burn")


def test_thresholds_below_what_is_named(kit: str, tmp_path: Path) -> None:
    """They lower what the finder names where both are made together, and are refused elsewhere."""
    finder, drop = decontamination([kit], min_share=0.1, min_13grams=3)
    assert isinstance(finder, FindContamination)
    assert isinstance(drop, DropContaminated)
    assert (finder.min_share, finder.min_13grams) == (drop.noted_share, drop.noted_13grams) == (0.1, 3)
    text = " ".join(QUESTION.split()[:10])  # 3 of its 13 runs of 8 words
    columns = finder.annotate(pa.record_batch({"text": [text]}))
    assert drop.judge(Doc(text=text, **{name: column[0].as_py() for name, column in columns.items()})) is not None
    assert found(kit, text)[0]["contamination"] is None
    (mask,) = decontamination([kit], "mask", min_share=0.1)
    assert isinstance(mask, MaskContamination)
    assert mask.min_share == 0.1
    for settings, name in (({"min_share": 0.29}, "share"), ({"min_13grams": 7}, "13grams")):
        with pytest.raises(ConfigError, match=rf"min_{name} = .* asks for more than was looked for"):
            DropContaminated(**settings)
    for wrong in ({"min_share": 0.31}, {"min_13grams": 9}):
        with pytest.raises(ConfigError, match="names too little"):
            FindContamination(**wrong)
    source = documents(tmp_path)
    plan = make_plan(pipeline(*decontamination([kit])), list_inputs(str(source), ReadJsonl.suffixes), Annotation())
    execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(tmp_path / "all")), InlineExecutor())
    with pytest.raises(ConfigError, match="asks for more than was looked for"):
        refilter_run(str(tmp_path / "all"), str(tmp_path / "less"), ("drop_contaminated.min_share=0.2",), 0)


def test_wrong_benchmarks_are_told_by_the_plan(tmp_path: Path) -> None:
    kit = write_jsonl(tmp_path / "kit" / "a.jsonl", [{"context": "C", "choices": ["a"], "gold": "B"}])
    source = documents(tmp_path)
    for action in ("drop", "mask", "find"):
        stages = pipeline(*decontamination([str(kit)], action))
        with pytest.raises(ConfigError, match="has an item without a right answer"):
            make_plan(stages, list_inputs(str(source), ReadJsonl.suffixes))
