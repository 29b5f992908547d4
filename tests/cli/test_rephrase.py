"""`tokenmill rephrase`: forecast, pilot, run, styles, as users see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httptools")

from tests.rephrase.test_stage import STYLE, Place, documents
from tests.rephrase.test_stage import server as server
from tokenmill.cli.rephrase import RephraseRequest, rephrase
from tokenmill.cli.rephrase_commands import _assignments, _routes
from tokenmill.cli.rephrase_styles import show_styles
from tokenmill.core.errors import ConfigError


def request(tmp_path: Path, server: Place, **changes: Any) -> RephraseRequest:
    (tmp_path / "words.md").write_text(STYLE)
    documents(tmp_path / "in", 24)
    settings = {"styles": (str(tmp_path / "words.md"),), "model": "page", "base_url": server.url, "concurrency": 4}
    usual = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "workers": 0, "settings": settings}
    return RephraseRequest(**{**usual, **changes})


def test_a_dry_run_tells_how_much_would_go_where_and_asks_nothing(
    tmp_path: Path, server: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(server.asked())
    assert rephrase(request(tmp_path, server, dry_run=True, as_json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["documents"] == 24
    assert told["styles"]["words"]["passages"] == 21
    assert "127.0.0.1" in told["destination"]
    assert len(server.asked()) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.ci
def test_a_pilot_forecasts_and_its_answers_are_used_again(
    tmp_path: Path, server: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assignments = ("price_in=1", "price_out=2")
    piloted = request(tmp_path, server, pilot=8, assignments=assignments)
    assert rephrase(piloted) == 0
    shown = capsys.readouterr().out
    assert "24 documents, from a pilot of 8" in shown
    assert "dollars per billion kept tokens" in shown
    before = len(server.asked())
    assert rephrase(request(tmp_path, server, pilot=8, assignments=assignments, as_json=True)) == 0
    assert len(server.asked()) == before  # the same pilot again asks nothing
    told = json.loads(capsys.readouterr().out[len("") :].split("\n{\n", 1)[-1].join(["{\n", ""]))
    rate = told["figures"]["accept_rate"]
    assert 0 < rate["low"] <= rate["value"] <= rate["high"] <= 1
    assert rephrase(request(tmp_path, server, assignments=assignments)) == 0
    run = capsys.readouterr()
    assert "rephrased" in run.out
    assert "21 passages" in run.err.replace("\n", " ")  # how much goes where, before it goes
    pages = [one["page"] for one in server.asked() if "cuts" not in one["page"]]
    assert len(pages) == len(set(pages)) or len(server.asked()) - before < 21


def test_styles_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_styles((), as_json=True)
    names = [style["name"] for style in json.loads(capsys.readouterr().out)]
    assert {"wikipedia", "diverse_qa", "distill", "faq", "prox_lines"} <= set(names)
    show_styles(("distill",))
    shown = capsys.readouterr().out
    assert "{document}" in shown
    assert "rejects" in shown


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recipe": "fineweb"}, "no recipe 'fineweb' rephrases"),
        ({"assignments": ("colour=1",)}, "no setting 'colour'"),
        ({"settings": {"styles": ("faq",), "model": "m"}}, "no server"),
        ({"settings": {"styles": ("faq",), "model": "m", "base_url": "http://example.org/v1"}}, "https"),
        ({"input": "/nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_work_is_told_at_once(tmp_path: Path, server: Place, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rephrase(request(tmp_path, server, **changes))
    assert not (tmp_path / "out").exists()


def test_options_are_read() -> None:
    assert _routes(["low=wikipedia", "high=distill, faq", "none="]) == {
        "low": ["wikipedia"],
        "high": ["distill", "faq"],
        "none": [],
    }
    assert _assignments(["temperature=0.5", "stop=null", "name=x"]) == {"temperature": 0.5, "stop": None, "name": "x"}
    for wrong in (lambda: _routes(["low"]), lambda: _assignments(["temperature"])):
        with pytest.raises(ConfigError):
            wrong()
