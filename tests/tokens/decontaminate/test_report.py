"""Which items leak: over runs that drop, mask and find, and over plain files. And the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tokens.decontaminate.kit import clean_texts, multiple_choice, short_questions, write_jsonl, write_kit
from tokenmill.cli.decontaminate import DecontaminateRequest, decontaminate
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.decontaminate import report as module
from tokenmill.tokens.decontaminate.documents import find_documents
from tokenmill.tokens.decontaminate.index import load_index
from tokenmill.tokens.decontaminate.report import Report, make_report
from tokenmill.tokens.decontaminate.runs import has_searched
from tokenmill.tokens.decontaminate.stage import FindContamination

QUESTIONS = [row["context"].partition(" ")[2].partition("\n")[0] for row in multiple_choice(40)]
SHORT = short_questions(20)[3]
LEAKS = {"choices:q7": 3, "choices:q9": 1, "short:3": 1}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_kit(tmp_path_factory.mktemp("kit")))


def leaking() -> list[dict[str, Any]]:
    rows = [{"text": text, "url": f"http://h{n % 4}.org/{n}", "id": str(n)} for n, text in enumerate(clean_texts(24))]
    for place, question in ((2, QUESTIONS[7]), (6, QUESTIONS[7]), (11, f"{QUESTIONS[7]} {QUESTIONS[9]}")):
        rows[place]["text"] += f"\n{question}"
    rows[16]["text"] = f"{SHORT['context']} {SHORT['continuation']} {rows[16]['text']}"
    return rows


def parquet(folder: Path, rows: list[dict[str, Any]], column: str = "text") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: [row["text"] for row in rows], **{k: [row[k] for row in rows] for k in ("url", "id")}})
    pq.write_table(table, folder / "a.parquet", row_group_size=7)
    return str(folder)


def report_on(location: str, kit: str, **settings: Any) -> Report:
    return make_report(find_documents(location, **settings), load_index([kit]))


def leaks(report: Report) -> dict[str, int]:
    return {row["item"]: row["documents"] for row in report.items_table()}


def test_plain_files(kit: str, tmp_path: Path) -> None:
    for location in (
        parquet(tmp_path / "p", leaking()),
        str(write_jsonl(tmp_path / "j" / "a.jsonl.gz", leaking())),
    ):
        report = report_on(location, kit)
        assert leaks(report) == LEAKS
        assert (report.documents, report.contaminated, report.unknown) == (24, 4, 0)
        assert report.top_hosts() == [("h2.org", 2), ("h0.org", 1), ("h3.org", 1)]
        tasks = {
            row["task"]: (row["items"], row["leaked"], row["questions"], row["finds"]) for row in report.tasks_table()
        }
        assert tasks == {"choices": (40, 2, 2, 4), "endings": (40, 0, 0, 0), "short": (20, 1, 1, 1)}
        first = next(report.items_table())
        assert (first["first_document"], first["field"], first["share"]) == ("http://h2.org/2", "question", 1.0)
        assert first["excerpt"].startswith("What happens to the")


def test_passages_to_read_are_no_questions(tmp_path: Path) -> None:
    story = " ".join(f"word{n}" for n in range(40))
    rows = [
        {"context": f"Passage: {story}\nQuestion: {QUESTIONS[n]}\nAnswer:", "continuation": " so", "id": n}
        for n in range(4)
    ]
    benchmark = str(write_jsonl(tmp_path / "read.jsonl", rows))
    leaking = [{"text": f"{text} {story}"} for text in clean_texts(2)] + [{"text": QUESTIONS[2]}]
    location = str(write_jsonl(tmp_path / "in" / "a.jsonl", leaking))
    (row,) = report_on(location, benchmark).tasks_table()
    assert (row["leaked"], row["questions"], row["finds"]) == (4, 1, 9)


def test_another_text_column(kit: str, tmp_path: Path) -> None:
    location = parquet(tmp_path / "p", leaking(), "main_text")
    assert leaks(report_on(location, kit, text_column="main_text")) == LEAKS
    with pytest.raises(ConfigError, match="no column 'text'"):
        report_on(location, kit)


def test_files(kit: str, tmp_path: Path) -> None:
    report = report_on(parquet(tmp_path / "p", leaking()), kit)
    paths = report.write(tmp_path / "out")
    told = json.loads(paths[0].read_text())
    assert (told["documents"], told["contaminated"], len(told["items"])) == (24, 4, 3)
    with open(paths[1], newline="") as stream:
        assert {row["item"]: int(row["documents"]) for row in csv.DictReader(stream)} == LEAKS


def test_very_many_hosts_take_no_more_memory(kit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_HOSTS", 8)
    rows = [{"text": QUESTIONS[1], "url": f"http://{'often' if n % 2 else n}.org/", "id": str(n)} for n in range(60)]
    report = report_on(parquet(tmp_path / "p", rows), kit)
    assert report.top_hosts(1) == [("often.org", 30)]
    assert len(report.hosts) <= 8


def request(kit: str, **settings: Any) -> DecontaminateRequest:
    return DecontaminateRequest(**{"input": None, "against": (kit,), "workers": 0, "preflight": False, **settings})


@pytest.mark.parametrize("action", ["drop", "mask", "find"])
def test_runs(kit: str, tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    location = parquet(tmp_path / "in", leaking())
    out = str(tmp_path / "out")
    assert decontaminate(request(kit, input=location, output=out, action=action)) == 0
    report = report_on(out, kit)
    wanted = {"choices:q7": 3, "short:3": 1} if action == "mask" else LEAKS  # a masked document names one item
    assert leaks(report) == wanted
    assert (report.documents, report.contaminated, report.unknown) == (24, 4, 0)
    assert report.masked == (4 if action == "mask" else 0)
    capsys.readouterr()
    again = request(kit, input=out, report=True, json=True, output=str(tmp_path / "told"))
    assert decontaminate(again) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "told" / "contamination.json").read_text())
    if action != "find":  # the data of a run is clean
        clean = str(tmp_path / "clean")
        assert decontaminate(request(kit, input=out, output=clean, action="find")) == 0
        assert leaks(report_on(clean, kit)) == {}


def test_dropped_texts_that_are_not_kept(kit: str, tmp_path: Path) -> None:
    rows = leaking()
    rows[2]["text"] = f"{'word ' * 2000}{QUESTIONS[7]}"  # behind what `dropped/` keeps of a text
    out = str(tmp_path / "out")
    decontaminate(request(kit, input=parquet(tmp_path / "in", rows), output=out))
    report = report_on(out, kit)
    assert (report.documents, report.contaminated, report.unknown) == (24, 3, 1)
    for told in (4, 3):  # with the input of the run, and without it
        assert decontaminate(request(kit, input=out, report=True, output=str(tmp_path / "told"))) == 0
        assert json.loads((tmp_path / "told" / "contamination.json").read_text())["contaminated"] == told
        (tmp_path / "in" / "a.parquet").unlink(missing_ok=True)


def test_thresholds_of_a_run(kit: str, tmp_path: Path) -> None:
    rows = leaking()
    rows[0]["text"] += " " + " ".join(QUESTIONS[5].split()[:12])
    location = parquet(tmp_path / "in", rows)
    for share, dropped in ((0.2, 5), (0.5, 4)):
        out = str(tmp_path / str(share))
        decontaminate(request(kit, input=location, output=out, min_share=share))
        assert pq.read_table(f"{out}/data").num_rows == 24 - dropped


def test_tables(kit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = parquet(tmp_path / "in", leaking())
    assert decontaminate(request(kit, input=location, report=True)) == 0
    told = capsys.readouterr().out
    assert "4 of 24 documents hold benchmark items" in told
    assert "choices:q7" in told
    assert "h2.org" in told


def test_the_self_test(kit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert decontaminate(request(kit, self_test=True, per_task=5, output=str(tmp_path))) == 0
    told = capsys.readouterr()
    assert "all targets are met" in told.err
    assert "made up" in told.out
    assert json.loads((tmp_path / "self-test.json").read_text())["failures"] == []
    location = parquet(tmp_path / "in", leaking())
    assert decontaminate(request(kit, self_test=True, per_task=5, documents=location, json=True)) == 1
    told = capsys.readouterr()
    assert "false positives: 16.6667% is above 0.1%" in told.err
    assert json.loads(told.out)["false_positives"]["hits"] == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"against": ()}, "no benchmarks given"),
        ({}, "no documents given"),
        ({"input": "x"}, "no output given"),
        ({"input": "x", "min_share": 2.0}, "--min-share 2 is no share"),
        ({"input": "x", "min_13grams": 0}, "would find everything"),
        ({"self_test": True, "per_task": 0}, "plants nothing"),
    ],
)
def test_wrong_arguments(kit: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decontaminate(request(kit, **settings))


def test_places(kit: str, tmp_path: Path) -> None:
    location = parquet(tmp_path / "in", leaking())
    with pytest.raises(ConfigError, match="the output lies in the input"):
        decontaminate(request(kit, input=location, output=f"{location}/out"))
    with pytest.raises(ConfigError, match="no meaning with --action find"):
        decontaminate(request(kit, input=location, output=str(tmp_path / "o"), action="find", min_share=0.5))


OTHER = "Which of our neighbours has painted the whole garden fence in a single night without any light?"


def told(out: str, kit: str, capsys: pytest.CaptureFixture[str], **settings: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert decontaminate(request(kit, input=out, report=True, json=True, **settings)) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("action", ["drop", "mask", "find"])
def test_what_a_run_did_not_look_for_is_looked_for(
    kit: str, tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = leaking()
    rows[1]["text"] += f"\n{OTHER}"
    rows[2]["text"] += f"\n{OTHER}"  # has another item as well
    out = str(tmp_path / "out")
    assert decontaminate(request(kit, input=parquet(tmp_path / "in", rows), output=out, action=action)) == 0
    other = str(write_jsonl(tmp_path / "other.jsonl", [{"question": OTHER, "id": "fence"}]))
    found = told(out, other, capsys)
    assert (found["contaminated"], found["items"][0]["item"]) == (2, "other:fence")
    both = told(out, kit, capsys, against=(kit, other))
    assert {row["item"]: row["documents"] for row in both["items"]}["other:fence"] == 2


def test_only_the_same_search_counts(kit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = parquet(tmp_path / "in", leaking())
    out = str(tmp_path / "out")
    decontaminate(request(kit, input=location, output=out))
    recorded = find_documents(out).searched
    least = {"min_share": 0.3, "min_13grams": 8}
    assert has_searched(recorded, [kit], **least)  # type: ignore[arg-type]
    assert not has_searched(recorded, [kit], ["question"], **least)  # type: ignore[arg-type]
    assert not has_searched(recorded, [kit], min_share=0.29, min_13grams=8)
    assert not has_searched(recorded, [kit], min_share=0.3, min_13grams=7)
    assert not has_searched(recorded, [f"{kit}/short.jsonl"], **least)  # type: ignore[arg-type]
    assert not has_searched(find_documents(location).searched, [kit], **least)  # type: ignore[arg-type]
    later = {**recorded, "stages": [*recorded["stages"], {"stage": "mask_pii", "config": {}, "version": 1}]}
    assert not has_searched(later, [kit], **least)  # type: ignore[arg-type]
    monkeypatch.setattr(FindContamination, "version", 99)
    assert not has_searched(recorded, [kit], **least)  # type: ignore[arg-type]


def test_lower_thresholds_than_those_of_a_run(kit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = leaking()
    rows[0]["text"] += " " + " ".join(QUESTIONS[5].split()[:9])
    out = str(tmp_path / "out")
    decontaminate(request(kit, input=parquet(tmp_path / "in", rows), output=out))
    assert told(out, kit, capsys)["contaminated"] == 4
    assert told(out, kit, capsys, min_share=0.1)["contaminated"] == 5
    low = str(tmp_path / "low")
    decontaminate(request(kit, input=str(tmp_path / "in"), output=low, min_share=0.1))
    assert pq.read_table(f"{low}/data").num_rows == 19


def test_items_that_cannot_be_found_are_no_all_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = str(write_jsonl(tmp_path / "tiny.jsonl", [{"question": "why", "answer": "so"}] * 3))
    location = parquet(tmp_path / "in", leaking())
    assert decontaminate(request(tiny, input=location, output=str(tmp_path / "out"))) == 0
    assert "warning: not one of the 3 items of tiny can be found" in capsys.readouterr().err
    (row,) = told(location, tiny, capsys)["tasks"]
    assert (row["items"], row["findable"], row["leaked"], row["share"]) == (3, 0, 0, None)
    assert decontaminate(request(tiny, input=location, report=True)) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("tiny")]
    assert line.split() == ["tiny", "3", "0", "0", "-", "0", "0"]


def test_unfinished_and_annotated_runs_are_refused(kit: str, tmp_path: Path) -> None:
    location = parquet(tmp_path / "in", leaking())
    out = tmp_path / "out"
    decontaminate(request(kit, input=location, output=str(out), action="find"))
    again = request(kit, input=str(out), output=str(tmp_path / "again"))
    (out / "run.json").write_text((out / "run.json").read_text().replace('"mode": "filter"', '"mode": "annotate"'))
    with pytest.raises(ConfigError, match="is an annotated run"):
        decontaminate(again)
    (out / "run.json").write_text((out / "run.json").read_text().replace('"annotate"', '"filter"'))
    next(out.glob("phases/*/_SUCCESS.json")).unlink()
    with pytest.raises(ConfigError, match="is not finished"):
        decontaminate(again)


def test_files_of_two_kinds_are_refused(kit: str, tmp_path: Path) -> None:
    location = parquet(tmp_path / "in", leaking())
    write_jsonl(tmp_path / "in" / "b.jsonl", leaking())
    with pytest.raises(ConfigError, match="files of 2 kinds"):
        decontaminate(request(kit, input=location, output=str(tmp_path / "out")))


def test_files_that_are_no_json_lines_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = write_kit(tmp_path / "kit")
    (kit / "mmlu.parquet").touch()
    location = parquet(tmp_path / "in", leaking())
    assert decontaminate(request(str(kit), input=location, report=True)) == 0
    assert f"not read as benchmarks, for only JSON Lines are: {kit}/mmlu.parquet" in capsys.readouterr().err
