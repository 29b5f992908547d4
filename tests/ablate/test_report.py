"""Reports: whole, escaped, the same bytes every time, and there even where little was measured."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ablate.runs import write_ablation
from tokenmill.ablate.analysis import analyse
from tokenmill.ablate.decision import decide
from tokenmill.ablate.report.page import contents, escape, render_html, render_markdown
from tokenmill.ablate.report.style import amount, inline, label, legend_columns, looks
from tokenmill.ablate.report.tables import all_tables, scores_table
from tokenmill.ablate.report.write import write_report
from tokenmill.ablate.scores import load

HOSTILE = 'x<script>alert(1)</script>|$\\frac{1}$ _`"&'
PLAIN = "_fine web"


class Page(HTMLParser):
    """Tags that are open, attributes, and the visible text."""

    void = frozenset({"meta", "br", "img", "link", "hr", "input", "path", "use"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [str(v) for k, v in attrs if k in ("href", "src", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> dict[str, str]:
    made = [p for p in folder.rglob("*") if p.is_file() and "runs" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in made}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    arms = {HOSTILE: 0.0, PLAIN: -0.1}
    write_ablation(folder, arms=arms, tasks={"sciq": 4}, evals=5, units=25, fields={PLAIN: {"epochs": 5.0}})
    found = write_report(folder)
    assert [path.name for path in found[:3]] == ["report.html", "report.md", "decision.json"]
    assert all(path.is_file() for path in found)
    return folder


@pytest.mark.ci
def test_the_page_is_whole_and_needs_nothing_else(report: Path) -> None:
    page = Page((report / "report.html").read_text())
    assert page.open == []
    assert "script" not in page.seen
    assert page.seen.count("svg") == 5
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    words = "".join(page.words)
    assert HOSTILE in words
    assert "WIN: _fine web wins" in words
    assert "saw its documents 5.0 times" in words
    assert "Held-out loss on an arm's own documents is shown and never ranks arms." in words


def test_markdown_has_the_same_tables_and_no_markup_of_names(report: Path) -> None:
    text = (report / "report.md").read_text()
    assert "<script" not in text
    assert escape(HOSTILE) in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    for name in re.findall(r"\]\((figures/.*?)\)", text):
        assert (report / name).is_file()


def test_tables_are_data(report: Path) -> None:
    (row,) = read(report / "tables/pairs.csv")
    assert (row["first"], row["second"], row["verdict"], row["better"]) == (HOSTILE, PLAIN, "WIN", PLAIN)
    assert float(row["effect"]) == pytest.approx(-0.1, abs=0.02)
    scores = read(report / "tables/scores.csv")
    assert [one["arm"] for one in scores] == [PLAIN, HOSTILE]
    assert float(scores[0]["P(best)"]) > 0.99
    assert {p.stem for p in (report / "tables").iterdir()} == {"arms", "scores", "pairs", "tasks", "matrix", "cost"}


def test_pictures_are_whole(report: Path) -> None:
    names = {p.stem for p in (report / "figures").glob("*.svg")}
    assert (
        names
        == {"aggregate", "pairs", "tasks", "ranks", "matrix"}
        == {p.stem for p in (report / "figures").glob("*.png")}
    )
    for path in (report / "figures").glob("*.svg"):
        xml.etree.ElementTree.parse(path)


@pytest.mark.ci
def test_the_same_bytes(report: Path) -> None:
    before = files(report)
    write_report(report)
    assert files(report) == before


def test_one_arm_and_nothing_measured(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"alone": 0.0}, texts=(), held_out=False, seeds=1, evals=2)
    write_report(tmp_path)
    assert "No score yet" in (tmp_path / "report.md").read_text()


def test_one_arm(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"alone": 0.0}, held_out=False, seeds=1, evals=3, units=10)
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "One arm: alone" in text
    assert not (tmp_path / "tables/pairs.csv").exists()


def test_unfinished(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"a": 0.0, "b": 0.0}, held_out=False, evals=3, units=10, description={"runs": []})
    write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "## Missing runs" in text
    assert text.count("not started") == 4


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["ladder", "mix"])
def test_studies(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"kind": kind, "seeds": 1, "held_out": False, "evals": 4, "units": 20}
    if kind == "ladder":
        sizes = [(int(n), int(n * r)) for n in (1e6, 4e6, 16e6) for r in (5, 20, 60)]
        law = lambda arm, n, d: 0.8 + 40 / n**0.3 + (300 + len(arm)) / d**0.33  # noqa: E731
        options |= {"arms": {"a": 0, "bbb": 0}, "sizes": sizes, "law": law}
    else:
        weights = np.random.default_rng(0).dirichlet([2, 2, 2], 14)
        options["arms"] = {f"m{at}": float(row[0]) / 5 for at, row in enumerate(weights)}
        options["fields"] = {
            f"m{at}": {"weights": dict(zip(("web", "books", "code"), map(float, row), strict=True))}
            for at, row in enumerate(weights)
        }
    write_ablation(tmp_path, **options)
    write_report(tmp_path)
    key, table = ("ladder", "scaling") if kind == "ladder" else ("mixture", "mixture")
    assert (tmp_path / f"figures/{key}.svg").is_file()
    assert (tmp_path / f"tables/{table}.csv").is_file()
    before = files(tmp_path)
    write_report(tmp_path)
    assert files(tmp_path) == before


def test_labels() -> None:
    assert label("a$b$") == r"a\$b\$"
    assert label("_hidden").startswith(" ")
    assert len(label("x" * 500)) == 32
    assert label("a\nb\x00c") == "a b c"
    assert [amount(v) for v in (0, 999, 1500, 2.5e6, 3e9, 1e13)] == ["0", "999", "1.5k", "2.5M", "3B", "10T"]


def test_columns_of_legends() -> None:
    assert legend_columns(["a", "b"]) == 6
    assert legend_columns(["fineweb_without_minhash_dedup", "raw"]) == 2
    assert legend_columns(["x" * 500]) == 1


def test_names_that_hide_or_calculate(tmp_path: Path) -> None:
    arms = {"=1+1": 0.0, "\u202egnp.exe": -0.1, "@sum": 0.0}
    write_ablation(tmp_path, arms=arms, held_out=False, seeds=1, evals=2, units=5, texts=("-text",))
    analysis = analyse(load(tmp_path), draws=20)
    tables = all_tables(analysis)
    cells = {table.key: list(csv.DictReader(io.StringIO(table.to_csv()))) for table in tables}
    assert [row["arm"] for row in cells["arms"]] == ["'=1+1", "gnp.exe", "'@sum"]
    assert "'-text" in cells["scores"][0]
    page = contents(analysis, decide(analysis), tables, [])
    for text in (render_html(page), render_markdown(page)):
        assert "gnp.exe" in text
        assert "\u202e" not in text


def test_scores_of_arms_that_lack_a_seed(tmp_path: Path) -> None:
    """Of two equal arms one lacks the seed that is worse for all: plain means would rank it first."""
    write_ablation(tmp_path, arms={"a": 0.0, "b": 0.003}, held_out=False, evals=3, units=10, sigma=0.0)
    for arm in (0, 1):
        (path,) = tmp_path.glob(f"runs/compare/arm-{arm}/seed-1*/evals.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["metrics"] = {name: value * 1.2 for name, value in row["metrics"].items()}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    next(tmp_path.glob("runs/compare/arm-1/seed-1*/result.json")).unlink()
    analysis = analyse(load(tmp_path), draws=50)
    rows = scores_table(analysis).rows
    gain = {row[0]: row[5] for row in rows}
    effect = float(analysis.panel.values[0, 0] - analysis.panel.values[1, 0])
    assert gain == {"a": pytest.approx(0), "b": pytest.approx(effect)}
    assert abs(effect) < 0.05


def test_headlines_of_the_unfinished_and_of_margins(tmp_path: Path) -> None:
    write_ablation(tmp_path, arms={"a": 0.0, "b": -0.2, "c": 0.0}, held_out=False, evals=3, units=40)

    def headline() -> tuple[str, str]:
        analysis = analyse(load(tmp_path), draws=100)
        page = contents(analysis, decide(analysis), [], [])
        return page.headline, " ".join(page.details)

    for path in tmp_path.glob("runs/compare/arm-2/seed-1*/result.json"):
        path.unlink()
    assert headline()[0] == "WIN: b wins (unfinished: 1 run is missing)"
    for path in tmp_path.glob("runs/compare/arm-2/seed-0*/result.json"):
        path.unlink()
    assert headline()[0] == "WIN: b wins (unfinished: c has no run)"
    path = tmp_path / "ablation.json"
    record = json.loads(path.read_text())
    record["protocol"]["margin"] = 0.5
    path.write_text(json.dumps(record))
    assert "This effect is within the margin of 50 %" in headline()[1]
    record["protocol"]["margin"] = 0.197
    path.write_text(json.dumps(record))
    assert "from the margin of 19.7 % would take" in headline()[1]


def test_looks_differ_without_colour() -> None:
    found = looks([f"arm {at}" for at in range(12)], "arm 3")
    shapes = {(one["marker"], one["markerfacecolor"] == "white", str(one["linestyle"])) for one in found.values()}
    assert len(shapes) == 12
    assert found["arm 3"]["color"] == "#000000"


def test_inline() -> None:
    head = '<?xml version="1.0"?>\n<svg width="10pt" height="5pt" viewBox="0 0 1 1">'
    svg = f'{head}<g id="a"/><use xlink:href="#a"/></svg>'
    found = inline(svg, "k")
    assert found.startswith("<svg ")
    assert 'viewBox="0 0 1 1"' in found
    assert "10pt" not in found
    assert "5pt" not in found
    assert 'id="k-a"' in found
    assert 'href="#k-a"' in found
