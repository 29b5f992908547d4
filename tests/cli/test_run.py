"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executors.support import TRAPS, digests

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


def tokenmill(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tokenmill", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def source(write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl([f"document {i}" if i % 4 else "abc" for i in range(60)])


def test_run_writes_everything_and_run_json_runs_again(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    done = tokenmill("run", f"{TRAPS}:trap", "--input", source, "--output", out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "60 records read, 45 kept" in done.stdout
    assert f"report   {out}/report.html" in done.stdout
    assert "1/1 shards" in done.stderr
    names = {path.name for path in out.iterdir()}
    assert names == {"data", "dropped", "phases", "run.json", "README.md", "report.html"}
    again = tokenmill("run", out / "run.json", "--output", tmp_path / "again", "--workers", "0")
    assert again.returncode == 0, again.stderr
    assert digests(tmp_path / "again") == digests(out)


def test_yaml_recipes_name_stages_and_settings(tmp_path: Path, source: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "recipe: mine\nstages:\n  - stage: read_jsonl\n  - stage: gopher_quality\n    config: {min_words: 3}\n"
        "  - stage: write_parquet\n"
    )
    done = tokenmill("run", recipe, "--input", source, "--output", tmp_path / "out", "--workers", "0")
    assert done.returncode == 0, done.stderr
    assert "too_few_words 60" in done.stdout


def test_set_changes_a_setting(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--input", source, "--output", out, "--workers", "0", "--set", "write_parquet.compression_level=1"]
    assert tokenmill("run", f"{TRAPS}:trap", *arguments).returncode == 0
    stages = json.loads((out / "run.json").read_text())["stages"]
    assert stages[-1]["config"]["compression_level"] == 1


def test_too_much_quarantine_is_exit_code_3(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    source = write_jsonl(["raise"] * 3 + ["document"] * 7)
    arguments = ["run", f"{TRAPS}:trap", "--input", source, "--workers", "0"]
    strict = tokenmill(*arguments, "--output", tmp_path / "a")
    assert strict.returncode == 3
    assert "3 documents (30.0%) are in quarantine" in strict.stderr
    assert tokenmill(*arguments, "--output", tmp_path / "b", "--max-quarantined", "0.5").returncode == 0


def test_a_failed_shard_is_exit_code_75_with_a_table(tmp_path: Path, source: Path) -> None:
    (source / "bad.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    arguments = ["run", f"{TRAPS}:trap", "--input", source, "--output", tmp_path / "out", "--workers", "1"]
    failed = tokenmill(*arguments)
    assert failed.returncode == 75
    assert "1 shards failed" in failed.stderr
    assert "bad" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "finweb", "--input", "IN"], "did you mean 'fineweb'"),
        (["run", "gopher", "--input", "IN", "--set", "gopher_qualty.min_words=3"], "did you mean 'gopher_quality'"),
        (["run", "gopher", "--input", "IN", "--set", "gopher_quality.min_word=3"], "did you mean 'min_words'"),
        (["run", "gopher", "--input", "IN", "--set", "gopher_quality.min_words=x"], "has the wrong type"),
        (["run", "gopher", "--input", "IN", "--set", "min_words"], "--set stage.field=value"),
        (["run", "gopher", "--input", "/does/not/exist"], "does not exist"),
        (["run", "gopher"], "--input FOLDER"),
        (["run", "nothing.py:mine", "--input", "IN"], "no Python file"),
        (["run", "nothing.json"], "no file at nothing.json"),
    ],
)
def test_bad_configuration_is_exit_code_2_with_what_to_do(
    tmp_path: Path, source: Path, arguments: list[str], message: str
) -> None:
    filled = [str(source) if argument == "IN" else argument for argument in arguments]
    failed = tokenmill(*filled, "--output", tmp_path / "out")
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_archive_of_the_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    failed = tokenmill("run", "gopher", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert failed.returncode == 2
    assert "none ends in" in failed.stderr


def test_plan_shows_stages_columns_and_inputs_and_writes_nothing() -> None:
    shown = tokenmill("plan", "gopher", "--input", EXAMPLE)
    assert shown.returncode == 0, shown.stderr
    assert "gopher_quality" in shown.stdout
    assert "published columns: text, id, dump, url" in shown.stdout
    assert "input: 1 files, 1.7 MiB" in shown.stdout


def test_status_of_a_run_and_of_a_folder_without_one(tmp_path: Path, source: Path) -> None:
    tokenmill("run", f"{TRAPS}:trap", "--input", source, "--output", tmp_path / "out", "--workers", "0")
    shown = tokenmill("status", tmp_path / "out")
    assert shown.returncode == 0
    assert "1 of 1 shards, complete" in shown.stdout
    missing = tokenmill("status", tmp_path / "nowhere")
    assert missing.returncode == 2
    assert "holds no run" in missing.stderr


def test_stages_lists_all_and_shows_the_rules_of_one() -> None:
    listed = tokenmill("stages")
    assert listed.returncode == 0, listed.stderr
    for name in ("read_warc", "url_filter", "extract_text", "gopher_quality", "c4_quality", "write_parquet"):
        assert name in listed.stdout
    one = tokenmill("stages", "gopher_quality")
    assert "min_words" in one.stdout
    assert "gopher_word_count < 50" in one.stdout
    unknown = tokenmill("stages", "gopher_qualty")
    assert unknown.returncode == 2
    assert "did you mean 'gopher_quality'" in unknown.stderr


def test_doctor_finds_this_machine_fit() -> None:
    shown = tokenmill("doctor")
    assert shown.returncode == 0, shown.stdout
    assert "fasttext-predict" in shown.stdout


def test_the_command_line_stays_small() -> None:
    from tokenmill.cli.main import app

    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names == {"run", "plan", "status", "stages", "doctor"}
