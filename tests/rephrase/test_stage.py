"""The sink `WriteRephrased` with a real server, from documents to checked rows."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("httptools")

from tests.executors.support import run
from tokenmill.core.errors import ConfigError, FatalError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import make_plan
from tokenmill.executors.run import RunOutcome
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.pipelines import REPHRASING, recipe
from tokenmill.rephrase.stage import WriteRephrased, ranges

FAQ = Path(sys.modules["tokenmill.rephrase"].__path__[0]) / "prompts" / "faq.md"
SERVER = Path(__file__).with_name("page_server.py")
STYLE = """---
version: 1
title: The page in other words
kind: rewrite
input_tokens: 400
output_tokens: 300
min_tokens: 10
format: {kind: plain}
checks: {names_invented: null, names_kept: null}
---
Write the page again in other words, and in its own language.

{document}
"""
_WHO = ("Anna", "the baker", "our teacher", "a farmer", "her brother", "the captain", "every child", "the old painter")
_DOES = (
    "likes to see",
    "has found",
    "wants to draw",
    "will carry",
    "can repair",
    "is afraid of",
    "asks about",
    "forgets",
)
_WHAT = (
    "the big river",
    "a house",
    "seven boats",
    "green lamps",
    "the harbour",
    "some bread",
    "wet shoes",
    "the bridge",
)
_WHEN = (
    "in the morning",
    "after lunch",
    "on a cold day",
    "without a word",
    "before the rain",
    "at the market",
    "again",
)
ENDS = {1: "Nobody refuses.", 2: "Somebody cuts it.", 3: "This is raw.", 4: "It overflows."}
"""Number of a document, modulo 8 -> what makes the server answer otherwise. 5: too short to be asked about."""


@dataclass(frozen=True)
class Place:
    """A server, and what it was asked."""

    url: str
    log: Path

    def asked(self) -> list[dict[str, Any]]:
        whole, _, _ = self.log.read_text().rpartition("\n")  # behind it, a line that is being written
        return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def served(log: Path) -> Iterator[Place]:
    """The page server, in a process of its own."""
    log.touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), "page", "--port", str(port), "--log", str(log)])
    place = Place(f"http://127.0.0.1:{port}/v1", log)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1.0).close()
            break
        except OSError:
            time.sleep(0.05)
    try:
        yield place
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("server") / "log") as place:
        yield place


def documents(folder: Path, count: int, *, seed: int = 1, order: int = 0) -> Path:
    """Documents of sentences that hardly repeat, some of which make the server answer in a special way."""
    rows = []
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        length = 20 if number % 8 == 4 else 8
        said = [
            " ".join((draw.choice(_WHO), draw.choice(_DOES), draw.choice(_WHAT), draw.choice(_WHEN)))
            for _ in range(length)
        ]
        text = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in dict.fromkeys(said))
        text = "Too short." if number % 8 == 5 else " ".join(filter(None, (text, ENDS.get(number % 8))))
        rows.append(
            {"id": f"d{number}", "text": text, "url": f"http://h{number % 3}.org/{number}", "level": number % 2}
        )
    random.Random(order).shuffle(rows)
    folder.mkdir(exist_ok=True)
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def sink(tmp_path: Path, server: Place, **settings: Any) -> WriteRephrased:
    style = tmp_path / "words.md"
    style.write_text(STYLE)
    usual = {"styles": (str(style),), "model": "page", "base_url": server.url, "concurrency": 4}
    return WriteRephrased(**{**usual, **settings})


def done(stage: WriteRephrased, source: Path, output: Path, workers: int = 0, tags: tuple[str, ...] = ()) -> RunOutcome:
    outcome = run(
        Pipeline("p", [ReadJsonl(signals=("level",), tags=tags), stage]), source, output, workers=workers, seconds=60
    )
    assert outcome.failures == {}
    return outcome


def rows_of(output: Path, kind: str) -> list[dict[str, Any]]:
    found = [
        row
        for path in sorted((output / "rephrased" / kind).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    return sorted(found, key=lambda row: row["id"])


def test_every_document_ends_once_and_says_why(tmp_path: Path, server: Place) -> None:
    before = len(server.asked())
    done(sink(tmp_path, server, generator_license="apache-2.0"), documents(tmp_path / "in", 32), tmp_path / "out")
    kept, gone = rows_of(tmp_path / "out", "data"), rows_of(tmp_path / "out", "rejected")
    assert Counter(row["parent_id"] for row in [*kept, *gone]) == Counter(f"d{n}" for n in range(32))
    reasons = {row["parent_id"]: row["reason"] for row in gone}
    for number in range(32):
        wanted = {1: {"refusal"}, 2: {"length"}, 3: {"copied", "copied_run"}, 5: {"too_short"}}.get(number % 8, {None})
        assert reasons.get(f"d{number}") in wanted, (number, reasons.get(f"d{number}"))
    row = next(row for row in kept if row["parent_id"] == "d0")
    assert row["synthetic"] is True
    assert (row["model"], row["style"], row["generator_license"]) == ("page", "words", "apache-2.0")
    assert row["tokens_out"] == len(row["text"].split())
    assert json.loads(row["sampling"])["max_tokens"] == 300
    source = next(r for r in pq.read_table(next((tmp_path / "out" / "data").glob("*"))).to_pylist() if r["id"] == "d0")
    assert source["text"][row["char_start"] : row["char_end"]] == source["text"]
    overflowed = next(row for row in kept if row["parent_id"] == "d4")
    assert overflowed["attempts"] >= 2
    cut = [row for row in gone if row["reason"] == "length"]
    assert {row["attempts"] for row in cut} == {2}
    limits = [one["max_tokens"] for one in server.asked()[before:] if "cuts" in one["page"]]
    assert sorted(limits) == [300] * 4 + [600] * 4
    facts = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert facts["styles"]["words"]["accepted"] == len(kept)
    assert facts["styles"]["words"]["skipped"] == 4


def test_any_order_gives_the_same_rows_and_what_is_answered_is_not_asked_again(tmp_path: Path, server: Place) -> None:
    stage = sink(tmp_path, server, ledger=str(tmp_path / "ledger"))
    done(stage, documents(tmp_path / "in", 24), tmp_path / "one")
    before = len(server.asked())
    done(stage, documents(tmp_path / "other", 24, order=7), tmp_path / "two")
    assert len(server.asked()) == before
    for kind in ("data", "rejected"):
        one, two = rows_of(tmp_path / "one", kind), rows_of(tmp_path / "two", kind)
        for row in [*one, *two]:
            row.pop("parent_doc_id")  # says in which line of the file it was
            row.pop("source_row")
        assert one == two


def test_another_temperature_asks_anew_and_another_threshold_does_not(tmp_path: Path, server: Place) -> None:
    ledger = str(tmp_path / "ledger")
    source = documents(tmp_path / "in", 4)
    done(sink(tmp_path, server, ledger=ledger), source, tmp_path / "one")
    before = len(server.asked())
    done(sink(tmp_path, server, ledger=ledger, sampling={"temperature": 0.9}), source, tmp_path / "two")
    assert len(server.asked()) > before
    before = len(server.asked())
    strict = tmp_path / "strict" / "words.md"
    strict.parent.mkdir()
    strict.write_text(STYLE.replace("checks: {", "checks: {length_ratio: [3, 4], "))
    done(sink(tmp_path, server, ledger=ledger, styles=(str(strict),)), source, tmp_path / "three")
    assert len(server.asked()) == before
    assert rows_of(tmp_path / "three", "data") == []


def test_retry_asks_those_again_that_failed_so(tmp_path: Path, server: Place) -> None:
    ledger = str(tmp_path / "ledger")
    source = documents(tmp_path / "in", 8)
    done(sink(tmp_path, server, ledger=ledger), source, tmp_path / "one")
    before = len(server.asked())
    done(sink(tmp_path, server, ledger=ledger, retry=("length",)), source, tmp_path / "two")
    assert {("cuts" in one["page"]) for one in server.asked()[before:]} == {True}


def test_the_limit_stops_the_run_and_a_larger_one_goes_on(tmp_path: Path, server: Place) -> None:
    source, output = documents(tmp_path / "in", 24), tmp_path / "out"
    before = len(server.asked())
    with pytest.raises(FatalError, match="budget"):
        done(sink(tmp_path, server, max_tokens=600, concurrency=1), source, output)
    spent = len(server.asked()) - before
    assert 0 < spent < 10
    done(sink(tmp_path, server), source, output)
    pages = Counter(one["page"] for one in server.asked()[before:] if "cuts" not in one["page"])
    assert set(pages.values()) == {1}
    assert json.loads((output / "run.json").read_text())["stages"][1]["config"]["max_tokens"] == 0


def test_what_is_there_can_be_published_at_the_limit(tmp_path: Path, server: Place) -> None:
    stage = sink(tmp_path, server, max_tokens=600, concurrency=1, when_spent="publish")
    done(stage, documents(tmp_path / "in", 24), tmp_path / "out")
    reasons = Counter(row["reason"] for row in rows_of(tmp_path / "out", "rejected"))
    assert reasons["budget"] > 5
    assert rows_of(tmp_path / "out", "data")


def test_a_column_decides_on_styles(tmp_path: Path, server: Place) -> None:
    stage = sink(tmp_path, server, by="level", routes={"0": [], "1": [str(tmp_path / "words.md")]}, styles=())
    done(stage, documents(tmp_path / "in", 16), tmp_path / "out")
    asked = {row["parent_id"] for kind in ("data", "rejected") for row in rows_of(tmp_path / "out", kind)}
    assert asked == {f"d{n}" for n in range(1, 16, 2)}
    assert {row["level"] for row in rows_of(tmp_path / "out", "data")} == {1.0}


def test_edits_remove_lines_and_stay_the_authors(tmp_path: Path, server: Place) -> None:
    lines = [
        "We use cookies to serve you.",
        *(f"The boat number {n} sails to the island on day {n}." for n in range(9)),
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps({"id": "a", "text": "\n".join(lines)}))
    done(sink(tmp_path, server, styles=("prox_lines",)), tmp_path / "in", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out", "data")
    assert row["text"] == "\n".join(lines[1:])
    assert row["synthetic"] is False
    (program,) = json.loads(row["program"])
    (edit,) = program["diff"]
    assert "\n".join(lines)[edit["start"] : edit["end"]] == edit["old"]


def test_a_judge_reads_a_sample(tmp_path: Path, server: Place) -> None:
    done(sink(tmp_path, server, judge_share=1.0), documents(tmp_path / "in", 8), tmp_path / "out")
    kept = rows_of(tmp_path / "out", "data")
    judged = rows_of(tmp_path / "out", "judged")
    assert [row["id"] for row in judged] == [row["id"] for row in kept]
    told = {row["parent_id"]: (row["verdict"], row["failure"]) for row in judged}
    assert told.pop("d4") == (None, "context")  # both texts together do not fit
    assert set(told.values()) == {("faithful", None)}


@pytest.mark.ci
def test_workers_and_a_server_of_ones_own(tmp_path: Path, server: Place) -> None:
    source = documents(tmp_path / "in", 24)
    done(sink(tmp_path, server), source, tmp_path / "one")
    serve = f"{sys.executable} {SERVER} {{model}} --port {{port}} --host {{host}}"
    done(sink(tmp_path, server, engine="serve", serve=serve, base_url=""), source, tmp_path / "two", workers=2)
    for kind in ("data", "rejected"):
        one, two = (
            [(row["id"], row["text"], row.get("reason")) for row in rows_of(tmp_path / name, kind)]
            for name in ("one", "two")
        )
        assert one == two


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"styles": ()}, "no style"),
        ({"styles": ("wikipedai",)}, "wikipedia"),
        ({"model": ""}, "no model"),
        ({"engine": "cloud"}, "no engine"),
        ({"max_cost": 1.0}, "without prices"),
        ({"sampling": {"max_tokens": 3}}, "cannot set"),
        ({"by": "colour", "routes": {"x": ["faq"]}}, "no column 'colour'"),
        ({"styles": ("prox_lines",), "keep_documents": False}, "texts of the documents"),
        ({"judge_share": 0.1, "keep_documents": False}, "texts of the documents"),
        ({"styles": ("faq", str(FAQ))}, "are one style"),
        ({"retry": ("lenght",)}, "'length'"),
        ({"serve_seconds": 0.0}, "no time to start"),
    ],
)
def test_settings_that_cannot_work_are_told_before_any_work(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    usual = {"styles": ("faq",), "model": "m", "base_url": "http://localhost:1/v1"}
    with pytest.raises(ConfigError, match=told):
        make_plan(Pipeline("p", [ReadJsonl(), WriteRephrased(**{**usual, **settings})]), [])


@pytest.mark.parametrize("name", REPHRASING)
def test_recipes_want_a_model_and_know_their_styles(name: str) -> None:
    stage = recipe(name).stages[-1]
    assert isinstance(stage, WriteRephrased)
    assert stage.all_styles
    with pytest.raises(ConfigError):
        make_plan(recipe(name), [])


@pytest.mark.parametrize(("requests", "tasks"), [(0, 1), (8192, 1), (8193, 2), (100_000, 16)])
def test_ranges_cover_everything_once(requests: int, tasks: int) -> None:
    found = ranges(requests)
    assert len(found) == tasks
    edges = [(int(first, 16), int(last, 16)) for first, last in found]
    assert [first for first, _ in edges[1:]] == [last + 1 for _, last in edges[:-1]]
    assert (edges[0][0], edges[-1][1]) == (0, 0xFFFF)
