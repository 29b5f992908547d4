"""`tokenmill threshold` as a user sees it; small runs in this process."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.classifiers.published_runs import page, pages, published
from tests.executors.support import rows
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.cli import threshold
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.threshold import show_threshold
from tokenmill.core.errors import ConfigError

Show = Callable[..., str]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored pages; one has a hostile address and text."""
    hostile = page(999, 3.0, "d.org/\x1b[31m[bold]red", "\x1b]0;title\x07 [blink]text", language="en")
    return published([*pages(300), hostile], tmp_path_factory.mktemp("runs"), ScoreFilter(), files=2, annotate=True)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    def shown(run: Path, keep: str = "20%-of-tokens", **more: Any) -> str:
        options = {"per": None, "by": (), "examples": 3, "top": 20, "least_group": 20, "write": None, "as_json": False}
        show_threshold(str(run), score="edu_score", keep=keep, **{**options, **more})
        return capsys.readouterr().out

    return shown


def test_the_answer_in_words(annotated: Path, show: Show) -> None:
    output = show(annotated, examples=1000)
    answer = json.loads(show(annotated, as_json=True))
    least = answer["overall"]["threshold"]
    share = answer["kept"]["tokens"] / answer["total"]["tokens"]
    assert f"threshold: edu_score >= {least!r} keeps {share * 100:.1f}" in output
    for line in (
        "--keep 20%-of-tokens",
        "of these without a score",
        "next in nearness: >= ",
        "tokens are estimated where there is no token_count (1 of 301 documents): UTF-8 bytes / 4.2",
        "language: what changes most, by share of the tokens",
        "domain: what changes most",
        "topic: what changes most",
        "just above (kept)",
        "just below (lost)",
        "[bold]red",
        "[blink]text",
    ):
        assert line in output
    assert "\x1b" not in output
    assert "\x07" not in output
    assert f"score_filter.min_score={least!r}" in output


def test_the_answer_for_programs(annotated: Path, show: Show) -> None:
    answer = json.loads(show(annotated, as_json=True, per="language", by=("dump",)))
    assert answer["question"]["keep"] == "20%-of-tokens"
    assert sorted(answer["thresholds"]) == ["de", "en", "no"]
    assert answer["thresholds"]["de"] > answer["thresholds"]["en"]
    assert {share["value"] for share in answer["shares"]["topic"]} == {"science", "sports"}
    assert all(share["ratio"] >= 0 for shares in answer["shares"].values() for share in shares)
    assert [group["value"] for group in answer["groups"]] == ["de", "en", "no"]
    assert len(answer["above"]) == len(answer["below"]) == 3


def test_thresholds_per_group_are_written_and_refilter_uses_them(annotated: Path, show: Show, tmp_path: Path) -> None:
    path = tmp_path / "per language.yaml"
    output = show(annotated, per="language", write=str(path))
    assert "thresholds per language" in output
    assert "(all others)" in output
    answer = json.loads(show(annotated, per="language", as_json=True))
    content = yaml.safe_load(path.read_text())
    assert content["thresholds"] == answer["thresholds"]
    assert (content["column"], content["per"], content["keep"]) == ("edu_score", "language", "20%-of-tokens")
    assert content["default"] == answer["overall"]["threshold"]
    *_, command = output.partition("apply it: ")
    words = shlex.split(command.splitlines()[0])
    assert words[:5] == ["tokenmill", "refilter", str(annotated), "--output", "NEW"]
    assert words[5::2] == ["--set"] * 3
    assert words[-1] == f"score_filter.thresholds={path}"
    assert refilter_run(words[2], str(tmp_path / "kept"), tuple(words[6::2]), 0) == 0
    assert len(rows(tmp_path / "kept", "data")) == answer["kept"]["documents"]


def test_filters_are_left_aside_by_name(annotated: Path, show: Show) -> None:
    assert "left aside: the verdicts of score_filter" in show(annotated, without=("score_filter",))
    answer = json.loads(show(annotated, as_json=True, without=("score_filter",)))
    assert answer["without"] == answer["question"]["without"] == ["score_filter"]


def test_wrong_questions(annotated: Path, show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold, "ask", None)  # told before any document is read
    for more, message in (
        ({"write": str(tmp_path), "per": "language"}, "it is a folder"),
        ({"write": str(tmp_path / "absent" / "x.yaml"), "per": "language"}, "there is no folder"),
        ({"keep": "most"}, "cannot read --keep 'most'"),
        ({"write": "x.yaml"}, "--write is for thresholds per group"),
        ({"top": -1}, "--top -1 is below 0"),
        ({"examples": -1}, "--examples -1 is below 0"),
        ({"least_group": 0}, "--min-group 0 is below 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            show(annotated, **more)
