"""One look: plain text in a pipe, JSON from every command that reads, titles that are not folded."""

from __future__ import annotations

import io
import json

import pytest
import typer
from rich.console import Console

from tests.cli.support import tokenmill
from tokenmill.cli.console import make_table, print_error
from tokenmill.cli.main import app
from tokenmill.core.errors import ConfigError

WRITES = {
    "run", "refilter", "tokenize", "export", "train-classifier", "bins", "forget", "gc", "push",
}  # fmt: skip
"""Commands whose result is what they write; all others are asked for facts."""


def commands() -> dict[str, list[str]]:
    """The options of every command."""
    group = typer.main.get_command(app)
    names = getattr(group, "commands", {})
    return {name: [text for one in command.params for text in one.opts] for name, command in names.items()}


def test_every_command_that_reads_has_json() -> None:
    missing = [name for name, options in commands().items() if name not in WRITES and "--json" not in options]
    assert not missing


def test_stages_plan_and_doctor_give_json() -> None:
    listed = json.loads(tokenmill("stages", "--json").stdout)
    assert {"stage": "gopher_quality", "kind": "Filter"}.items() <= next(
        one for one in listed if one["stage"] == "gopher_quality"
    ).items()
    one = json.loads(tokenmill("stages", "gopher_quality", "--json").stdout)
    assert {"reason": "too_few_words", "signal": "gopher_word_count", "comparison": "<"}.items() <= one["rules"][
        0
    ].items()
    assert next(field for field in one["settings"] if field["name"] == "min_words")["default"] == 50
    plan = json.loads(tokenmill("plan", "gopher", "--set", "gopher_quality.min_words=77", "--json").stdout)
    (quality,) = (entry for entry in plan["stages"] if entry["stage"] == "gopher_quality")
    assert quality["config"]["min_words"] == 77
    found = json.loads(tokenmill("doctor", "--json").stdout)
    assert {"python", "pyarrow"} <= {check["check"] for check in found["checks"]}


@pytest.mark.parametrize("command", [("stages",), ("stages", "gopher_quality"), ("plan", "gopher")])
def test_a_pipe_gets_plain_text(command: tuple[str, ...]) -> None:
    shown = tokenmill(*command).stdout
    assert "\x1b" not in shown
    assert not set("┃│┏┓└╭╮") & set(shown), "frames make rows hard to search"


def test_a_narrow_table_does_not_fold_its_title() -> None:
    table = make_table("a", title="a title that is longer than its table")
    table.add_row("1")
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    assert "a title that is longer than its table\n" in console.file.getvalue()


def test_an_error_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ConfigError("no [bold]stage[/] named \x1b[31mx", where="here", fix="this"))
    told = capsys.readouterr().err
    assert told.startswith("error: no [bold]stage[/] named [31mx\n")
    assert "\x1b" not in told
