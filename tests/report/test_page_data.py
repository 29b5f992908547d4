"""The data of the report: its numbers equal `refilter`'s, and hostile runs give a page all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.report.test_whatif import kept_with
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.run import RunRequest, run_recipe
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold
from tokenmill.report.html import island
from tokenmill.report.page_data import page_data

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"
RECIPES = """
import pyarrow as pa
from tokenmill import (C4Lines, C4Quality, Doc, Drop, Filter, FineWebQuality, GopherQuality, LanguageFilter, Pipeline,
                       ReadJsonl, Rule, WriteParquet)
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.core.stage import Annotate
from tokenmill.dedup.exact import ExactDedup

class Score(Annotate):
    "A score with gaps, and a group."
    reads = ("text",)
    adds = {"score": pa.float64(), "group": pa.string()}
    def annotate(self, batch):
        sizes = [len(text.as_py() or "") for text in batch.column("text")]
        scores = [None if n % 7 == 0 else float("nan") if n % 11 == 0 else (n % 13) / 4 for n in sizes]
        return {"score": pa.array(scores, pa.float64()), "group": pa.array([f"g{n % 3}" for n in sizes])}

class NoHam(Filter):
    reads = ("url",)
    def judge(self, doc):
        return "ham" if "ham/1" in doc.url else None

class ByGroup(Filter):
    reads = ("score", "group")
    most: float | None = 2.75
    def rules(self):
        return (Rule("score", "<", {"g0": 0.5, "g1": 0.25}, "group_low", "group"),
                Rule("score", ">=", self.most, "high"), Rule("group", "in", ("g9",), "odd"))

loose = {name: None for name in GopherQuality().config() if name not in ("min_words", "max_words", "min_stop_words")}
stages = [ReadJsonl(), Score(), NoHam(), GopherQuality(min_words=4, min_stop_words=1, max_words=None, **loose),
    C4Lines(terminal_punctuation=False), C4Quality(min_sentences=1),
    FineWebQuality(max_short_line_share=None, max_dup_line_char_share=None, max_newline_ratio=None), ByGroup(),
    ScoreFilter(column="score", min_score=0.5)]
plain = Pipeline("plain", [*stages, WriteParquet()])
exact = Pipeline("exact", [*stages, ExactDedup(), WriteParquet()])
middle = Pipeline("middle", [*stages[:-1], ExactDedup(), stages[-1], WriteParquet()])
"""


@pytest.fixture(scope="module")
def my(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mine") / "my_page.py"
    file.write_text(RECIPES)
    return file


def texts() -> list[dict[str, Any]]:
    words = "the and of red fish blue stone runs sky to try my".split()
    found = [
        " ".join(words[(i * k) % 12] for k in range(1, 4 + i % 9)) + (" {." if i % 5 == 0 else ".") for i in range(160)
    ]
    found += ["lorem ipsum the and of it.\nthe { of and.", "the and x [1] y\nthe and z", "日本語の本です。" * 5]
    return [
        {"text": text, "url": f"http://{'ham' if i % 4 == 0 else 'spam'}.org/{i}", "date": f"2024-0{1 + i % 3}-01"}
        for i, text in enumerate(found)
    ]


def annotate(recipe: str, source: Path, out: Path, **options: Any) -> Path:
    request = RunRequest(recipe, str(source), str(out), mode="annotate", **{"workers": 0, **options})
    assert run_recipe(request) == 0
    return out


@pytest.fixture(scope="module")
def annotated(my: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plain")
    source = place / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in texts()))
    return annotate(f"{my}:plain", source, place / "out")


def passed(run: Path, out: Path, settings: tuple[str, ...], barrier: str = "") -> int:
    """Documents that pass all filters of the run with other settings: its end, or what reaches the barrier."""
    assert refilter_run(str(run), str(out), settings, 0) == 0
    funnel = fold(RunFolder(str(out)))
    if barrier:
        return next(stage.into for stage in funnel.stages if stage.stage.removesuffix(".prepare") == barrier)
    return funnel.kept


def assert_equals_refilter(run: Path, tmp_path: Path, moves: list[dict[str, int]], barrier: str = "") -> None:
    """moves: id of a rule -> place of an edge, several at once."""
    data = page_data(RunFolder(str(run)))
    rules = {rule["id"]: rule for rule in data["rules"]}
    seen = set()
    for number, move in enumerate(moves):
        settings = tuple(
            f"{rules[name]['filter']}.{rules[name]['setting']}={json.dumps(rules[name]['edges'][edge])}"
            for name, edge in move.items()
        )
        expected = passed(run, tmp_path / str(number), settings, barrier)
        if len(move) == 1:
            ((name, edge),) = move.items()
            assert rules[name]["kept"][edge] == expected, (settings, expected)
        assert kept_with(data, move) == expected, (settings, expected)
        seen.add(expected)
    assert len(seen) > 1, "moving made no difference: the test shows nothing"


def test_moved_thresholds_keep_what_refilter_keeps(annotated: Path, tmp_path: Path) -> None:
    moves = [
        {"score_filter.low_score": 5},
        {"c4_quality.curly_bracket": 1, "gopher_quality.too_few_words": 2, "by_group.high": 3},
    ]
    assert_equals_refilter(annotated, tmp_path, moves)


@pytest.mark.ci
def test_more_moved_thresholds_keep_what_refilter_keeps(annotated: Path, tmp_path: Path) -> None:
    data = page_data(RunFolder(str(annotated)))
    movable = [rule for rule in data["rules"] if rule["setting"]]
    moves = [{rule["id"]: len(rule["edges"]) * (i % 4) // 4} for i, rule in enumerate(movable)]
    moves += [
        {"c4_quality.curly_bracket": 2, "c4_quality.lorem_ipsum": 3},
        {"c4_quality.curly_bracket": 0, "c4_quality.lorem_ipsum": 3},
        {"gopher_quality.too_few_words": 3, "score_filter.low_score": 1, "score_filter.high_score": 9},
    ]
    assert_equals_refilter(annotated, tmp_path, moves)


@pytest.mark.ci
def test_barriers_in_the_middle_and_at_the_end(my: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl([*texts(), *texts()])
    for recipe, moved, barrier, edges in (
        ("exact", "gopher_quality.too_few_words", "exact_dedup", (1, 4, 9)),
        ("middle", "score_filter.low_score", "", (1, 30, 50)),  # behind the barrier, whose verdicts stay as they are
    ):
        run = annotate(f"{my}:{recipe}", source, tmp_path / recipe)
        folder = tmp_path / f"{recipe}-again"
        folder.mkdir()
        assert_equals_refilter(run, folder, [{moved: edge} for edge in edges], barrier)
        rules = {rule["id"]: rule for rule in page_data(RunFolder(str(run)))["rules"]}
        again = "exact_dedup" if recipe == "middle" else None
        assert rules["gopher_quality.too_few_words"]["again"] == again
        assert rules["score_filter.low_score"]["again"] is None


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crawled") / "out"
    return annotate("fineweb", EXAMPLE, out, settings=("extract_text.extractor=resiliparse",))


@pytest.mark.ci
def test_fineweb_on_the_bundled_archive_keeps_what_refilter_keeps(crawled: Path, tmp_path: Path) -> None:
    moves = [
        {"language_filter.low_score": 40},
        {"gopher_quality.too_few_alpha_words": 60},
        {"c4_quality.curly_bracket": 5, "fineweb_quality.duplicate_lines": 20},
    ]
    assert_equals_refilter(crawled, tmp_path, moves, "minhash_dedup")


@pytest.mark.ci
def test_the_page_of_an_annotated_crawl(crawled: Path) -> None:
    folder = RunFolder(str(crawled))
    data = page_data(folder)
    overlap = fold(folder).overlap
    assert overlap is not None
    assert data["read"]["documents"] == data["read"]["of"] >= overlap.documents
    filtered = overlap.kept + overlap.only["minhash_dedup.duplicate"]
    for rule in data["rules"]:
        name = f"{rule['filter']}.{rule['reason']}"
        if name != "c4_quality.curly_bracket":  # two rules have this reason
            assert rule["removes"][rule["current"]] == overlap.removes(name), name
        assert rule["kept"][rule["current"]] == filtered
        assert sum(rule["counts"]) + rule["nulls"] == overlap.documents
        assert rule["edges"] == sorted(set(rule["edges"]))
        assert rule["edges"][rule["current"]] == rule["threshold"]
    assert kept_with(data, {}) == filtered
    assert sum(row["kept"] for row in data["languages"]) == overlap.kept
    assert sum(row["kept"] + row["dropped"] for row in data["languages"]) == overlap.documents
    assert data["samples"]["dropped"]["gopher_quality.too_few_alpha_words"][0]["signal"] == "gopher_alpha_word_share"
    assert len(data["samples"]["kept"]) == 20
    assert len(json.dumps(data, allow_nan=False)) < 400_000


def changed(run: Path, place: Path, columns: Callable[[pa.Table], pa.Table] | None = None) -> RunFolder:
    """A copy of a run, its published tables made anew by `columns`."""
    shutil.copytree(run, place)
    for path in [*place.glob("data/*.parquet"), *place.glob("dropped/*.parquet")] if columns else ():
        assert columns is not None
        pq.write_table(columns(pq.read_table(path)), path)
    return RunFolder(str(place))


def settings_of(place: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    run = json.loads((place / "run.json").read_text())
    edit(run)
    (place / "run.json").write_text(json.dumps(run))


def nothing_but_nulls(table: pa.Table) -> pa.Table:
    return pa.table({field.name: pa.nulls(table.num_rows, field.type) for field in table.schema})


def other_types(table: pa.Table) -> pa.Table:
    def other(dtype: pa.DataType) -> pa.Array:
        return pa.array([f"{i}x" for i in range(table.num_rows)] if dtype != pa.string() else range(table.num_rows))

    return pa.table({field.name: other(field.type) for field in table.schema})


def no_numbers(table: pa.Table) -> pa.Table:
    odd = [float("nan"), float("inf"), float("-inf"), 1e300, -5.0, None]
    whole = [2**62, -(2**62), 0, None]
    columns = {}
    for field in table.schema:
        values: list[Any] = odd if field.type == pa.float64() else whole if field.type == pa.int64() else []
        made = [values[i % len(values)] for i in range(table.num_rows)] if values else table[field.name]
        columns[field.name] = pa.array(made, field.type) if values else made
    return pa.table(columns)


def fewer_columns(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in table.schema.names if name not in ("doc_id", "score", "stage")])


@pytest.mark.parametrize("columns", [nothing_but_nulls, other_types, no_numbers, fewer_columns])
def test_tables_that_are_not_as_they_were(
    annotated: Path, tmp_path: Path, columns: Callable[[pa.Table], pa.Table]
) -> None:
    data = page_data(changed(annotated, tmp_path / "out", columns))
    json.dumps(data, allow_nan=False)
    assert data["read"]["documents"] == data["read"]["of"] > 0
    assert len(data["rules"]) >= 18  # the two thresholds by group are there where a group is
    assert data["whatif"]["documents"] == 163


def test_tokens_are_those_that_were_counted_else_an_estimate(annotated: Path, tmp_path: Path) -> None:
    def counted(table: pa.Table) -> pa.Table:
        if "token_count" not in table.schema.names:
            return table
        place = table.schema.get_field_index("token_count")
        return table.set_column(place, "token_count", pa.array([7] * table.num_rows, pa.int64()))

    totals = page_data(RunFolder(str(annotated)))["totals"]
    assert totals["tokens_kept"] == round(totals["bytes_kept"] / 4.2)
    assert totals["tokens_estimated"]
    data = page_data(changed(annotated, tmp_path / "out", counted))
    assert (data["totals"]["tokens_kept"], data["totals"]["tokens_estimated"]) == (163 * 7, False)
    assert data["funnel"][-1]["tokens_out"] == 163 * 7
    assert data["whatif"]["tokens"] is not None


def test_of_a_large_run_a_part_is_read_and_told(annotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenmill.report.page_data_read.DOCUMENTS", 50)
    monkeypatch.setattr("tokenmill.report.page_data_read.WHOLE_TEXTS", 50)
    data = page_data(RunFolder(str(annotated)))
    assert (data["read"]["documents"], data["read"]["of"]) == (50, 163)
    assert (data["whatif"]["documents"], data["whatif"]["of"]) == (50, 50)
    assert data["totals"]["records"] == 163
    rule = data["rules"][0]
    assert sum(rule["counts"]) + rule["nulls"] == 50
    assert kept_with(data, {}) == rule["kept"][rule["current"]]


@pytest.mark.ci
def test_hostile_texts_do_not_make_the_page_too_large(annotated: Path, tmp_path: Path) -> None:
    def hostile(table: pa.Table) -> pa.Table:
        if "text_bytes" not in table.schema.names and "text" not in table.schema.names:
            return table
        place = table.schema.get_field_index("text")
        return table.set_column(place, "text", pa.array(["\x80<\u202e" * 1000] * table.num_rows, pa.string()))

    folder = changed(annotated, tmp_path / "out", hostile)
    settings_of(tmp_path / "out", lambda run: run.update(recipe="<script>" * 20))  # a name is data, too
    data = page_data(folder)
    assert data["samples"]["kept"][0]["text"].startswith("\x80<\u202e")
    assert len(island(data).encode()) < 2_600_000


def test_runs_that_have_nothing_to_move_or_to_show(annotated: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    folder = changed(annotated, place)
    edits: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (lambda run: run["stages"][3].update(version=99), "not here as it was"),
        (lambda run: run.update(mode="filter"), "does not store signals"),
        (lambda run: run.update(mode="refilter", refilter={"run": "x"}), "annotated run"),
        (lambda run: run["columns"].update(stream="int64"), "mixture"),
    ]
    for edit, why in edits:
        settings_of(place, edit)
        data = page_data(folder)
        assert (data["rules"], data["whatif"]) == ([], None)
        assert any(why in note for note in data["notes"]), why
        assert data["totals"]["records"] == 163
    shutil.rmtree(place / "phases")
    data = page_data(folder)
    assert (data["read"], data["totals"]["records"], data["funnel"]) == ({"documents": 0, "of": 0}, 0, [])


def damaged_inside(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[4 : len(raw) // 2] = bytes(len(raw) // 2 - 4)
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [Path.unlink, damaged_inside, lambda path: path.write_bytes(b"PAR1 no more")])
def test_data_that_is_gone_or_damaged(annotated: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    folder = changed(annotated, tmp_path / "out")
    (path,) = (tmp_path / "out").glob("data/*.parquet")
    damage(path)
    data = page_data(folder)
    assert (data["read"], data["totals"]["kept"]) == ({"documents": 0, "of": 163}, 163)
    assert any("gone or damaged" in note and path.name in note for note in data["notes"])


def test_an_unfinished_run_and_one_on_an_object_store(annotated: Path, tmp_path: Path) -> None:
    whole = page_data(RunFolder(str(annotated)))
    memory = fsspec.filesystem("memory")
    memory.put(str(annotated), "/page-data/run", recursive=True)
    assert page_data(RunFolder("memory://page-data/run")) == whole
    memory.rm("/page-data", recursive=True)
    folder = changed(annotated, tmp_path / "out")
    for manifest in (tmp_path / "out").glob("phases/*/manifests/*.json"):
        manifest.unlink()
    data = page_data(folder)
    assert (data["run"]["shards_done"], data["run"]["shards"], data["totals"]["kept"]) == (0, 1, 0)
    assert [len(rule["edges"]) for rule in data["rules"]]
    assert data["whatif"] is None


def test_what_does_not_fit_is_left_out_in_order(annotated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(str(annotated))
    whole = page_data(folder)
    least = page_size({**whole, "whatif": None, "samples": {}})
    for room, documents in ((10**7, 163), (5000, 50)):
        monkeypatch.setattr("tokenmill.report.page_data.MOST_BYTES", least + room)
        monkeypatch.setattr("tokenmill.report.page_data.WHATIF_BYTES", 60 + documents * 37)
        data = page_data(folder)
        assert page_size(data) <= least + room
        assert documents * 0.8 <= data["whatif"]["documents"] <= documents * 1.1
        assert data["whatif"]["of"] == 163
        assert data["rules"] == whole["rules"]
    assert data == page_data(folder)
    assert len(data["samples"]["kept"]) < len(whole["samples"]["kept"])


def page_size(data: dict[str, Any]) -> int:
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
