"""The command line as a user meets it; its start, and recipes that are edited, in processes of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.support import EXAMPLE, in_process_of_its_own, tokenmill
from tests.executors.support import TRAPS, digests


@pytest.fixture
def source(write_jsonl: Callable[..., Path]) -> Path:
    return write_jsonl([f"document {i}" if i % 4 else "abc" for i in range(60)])


def test_run_writes_everything_and_run_json_runs_again(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    done = in_process_of_its_own("run", f"{TRAPS}:trap", "--input", source, "--output", out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "60 records read, 45 kept" in done.stdout
    assert f"report   {out}/report.html" in done.stdout
    assert "1/1 shards" in done.stderr
    names = {path.name for path in out.iterdir()}
    assert names == {"data", "dropped", "phases", "recipe", "run.json", "README.md", "report.html"}
    assert (out / "recipe/trap_recipe.py").read_text() == TRAPS.read_text()


@pytest.mark.slow
def test_run_json_runs_again_from_anywhere_with_its_options_and_its_code(tmp_path: Path, source: Path) -> None:
    mine = tmp_path / "mine.py"
    shutil.copy(TRAPS, mine)
    out, again = tmp_path / "out", tmp_path / "again"
    arguments = ["--output", out, "--workers", "0", "--sample-dropped", "1"]
    first = in_process_of_its_own("run", f"{mine}:trap", "--input", "in", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    mine.unlink()
    second = in_process_of_its_own("run", out / "run.json", "--output", again, "--workers", "1")
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("note:") == 0
    before, after = digests(out), digests(again)
    assert before.pop("run.json") != after.pop("run.json")  # the one names mine.py, the other its copy
    assert before == after
    (source / "a.jsonl").write_text('{"text": "something else"}\n')
    third = in_process_of_its_own("run", out / "run.json", "--output", tmp_path / "third")
    assert third.returncode == 2
    assert "input a.jsonl has changed" in third.stderr


@pytest.mark.ci  # sample: tests/executors/test_run.py, another run in the same folder is refused
def test_an_edited_recipe_does_not_resume_the_old_run(tmp_path: Path, source: Path) -> None:
    mine = tmp_path / "mine.py"
    shutil.copy(TRAPS, mine)
    arguments = ["run", f"{mine}:trap", "--input", source, "--output", tmp_path / "out", "--workers", "0"]
    assert in_process_of_its_own(*arguments).returncode == 0
    mine.write_text(mine.read_text().replace("< 5", "< 500"))
    refused = in_process_of_its_own(*arguments)
    assert refused.returncode == 2
    assert "holds another run" in refused.stderr
    assert "'source'" in refused.stderr


def test_yaml_recipes_name_stages_and_settings(tmp_path: Path, source: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "recipe: mine\nstages:\n  - read_jsonl\n  - stage: gopher_quality\n    config: {min_words: 3}\n"
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
    arguments = ["run", f"{TRAPS}:trap", "--input", source, "--output", tmp_path / "out", "--workers", "0"]
    failed = tokenmill(*arguments)
    assert failed.returncode == 75
    assert "1 shard failed" in failed.stderr
    assert "bad" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["run", "finweb", "--input", "IN"], "did you mean 'fineweb'", marks=pytest.mark.ci),
        (["run", "gopher", "--input", "IN", "--set", "gopher_qualty.min_words=3"], "did you mean 'gopher_quality'"),
        pytest.param(
            ["run", "gopher", "--input", "IN", "--set", "gopher_quality.min_word=3"],
            "did you mean 'min_words'",
            marks=pytest.mark.ci,
        ),
        pytest.param(
            ["run", "gopher", "--input", "IN", "--set", "gopher_quality.min_words=x"],
            "has the wrong type",
            marks=pytest.mark.ci,
        ),
        pytest.param(
            ["run", "gopher", "--input", "IN", "--set", "min_words"], "--set stage.field=value", marks=pytest.mark.ci
        ),
        (["run", "gopher", "--input", "/does/not/exist"], "does not exist"),
        pytest.param(["run", "gopher"], "--input FOLDER", marks=pytest.mark.ci),
        pytest.param(["run", "nothing.py:mine", "--input", "IN"], "no Python file", marks=pytest.mark.ci),
        pytest.param(["run", "nothing.json"], "no file at nothing.json", marks=pytest.mark.ci),
        (["run", "gopher", "--input", "IN", "--document-seconds", "0"], "is not above 0"),
        pytest.param(["run", "gopher", "--input", "IN", "--sample-dropped", "2"], "is no share", marks=pytest.mark.ci),
        pytest.param(["run", "gopher", "--input", "nope://x"], "cannot open nope://x", marks=pytest.mark.ci),
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "def f(:\n", "SyntaxError"),
        pytest.param("missing.py", "import json\nimport no_such_module_here\n", "line 2", marks=pytest.mark.ci),
        pytest.param("empty.py", "x = 1\n", "pipelines and functions in it: none", marks=pytest.mark.ci),
        ("bad.yaml", "recipe: r\nstages:\n  - config: {}\n", "is no stage"),
        pytest.param("bad.json", "{", "cannot be read", marks=pytest.mark.ci),
    ],
)
def test_recipes_that_cannot_be_read(tmp_path: Path, source: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    failed = tokenmill("run", tmp_path / name, "--input", source, "--output", tmp_path / "out")
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.ci
def test_places_that_cannot_work(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = ["run", f"{TRAPS}:trap", "--input", source]
    for output, message in (
        (tmp_path / "file", "is a file"),
        (tmp_path, "the input lies in the output folder"),
        ("memory://x", "lives in one process"),
    ):
        failed = tokenmill(*run, "--output", output)
        assert failed.returncode == 2
        assert message in failed.stderr


def test_a_stage_that_returns_nonsense_is_the_authors_error(tmp_path: Path, source: Path) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from tokenmill import Filter, Pipeline\nfrom tokenmill.io.jsonl import ReadJsonl\n"
        "from tokenmill.io.parquet import WriteParquet\n"
        "class SaysTrue(Filter):\n    reads = ('text',)\n    def judge(self, doc):\n        return True\n"
        "mine = Pipeline('mine', [ReadJsonl(), SaysTrue(), WriteParquet()])\n"
    )
    failed = tokenmill("run", f"{recipe}:mine", "--input", source, "--output", tmp_path / "out", "--workers", "1")
    assert failed.returncode == 2
    assert "says_true returned True (bool)" in failed.stderr
    assert "None to keep the document" in failed.stderr


def test_a_failing_set_up_is_told_once_with_its_cause(tmp_path: Path, source: Path) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from tokenmill import Filter, Pipeline\nfrom tokenmill.io.jsonl import ReadJsonl\n"
        "from tokenmill.io.parquet import WriteParquet\n"
        "class NeedsModel(Filter):\n    def setup(self):\n        open('/no/such/model.bin')\n"
        "mine = Pipeline('mine', [ReadJsonl(), NeedsModel(), WriteParquet()])\n"
    )
    failed = tokenmill("run", f"{recipe}:mine", "--input", source, "--output", tmp_path / "out", "--workers", "1")
    assert failed.returncode == 75
    assert failed.stderr.count("error: the stages cannot be set up") == 1
    assert "No such file or directory: '/no/such/model.bin'" in failed.stderr


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
    assert "input: 1 file, 1.7 MiB" in shown.stdout


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
    assert "trafilatura" in shown.stdout


def test_the_command_line_stays_small() -> None:
    from tokenmill.cli.main import app

    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    names = {command.callback.__name__ for one in groups for command in one.registered_commands if command.callback}
    assert names == {
        "run", "refilter", "plan", "status", "report", "clusters", "explain", "diff", "stages", "doctor",
        "label", "train_classifier", "training_set", "threshold", "bins",
        "tokenize", "origin", "export", "decontaminate", "mix", "ablate", "rephrase", "forget", "gc", "push",
    }  # fmt: skip


def test_all_stages_are_found_and_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys\n"
        "from tokenmill.cli.recipes import import_stages\n"
        "from tokenmill.core.stage import registered_stages\n"
        "import_stages()\n"
        "heavy = {'torch', 'transformers', 'ray', 'datatrove', 'fasttext', 'httptools', 'uvloop', 'numba'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(sorted(registered_stages()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, found = done.stdout.splitlines()
    assert heavy == "[]"
    package = Path(__file__).resolve().parents[2] / "tokenmill"
    for path in sorted((package / "classifiers").rglob("*.py")):
        for name in re.findall(r"^class (\w+)\((?:Scorer|Annotate|Filter|Rewrite)\)", path.read_text(), re.M):
            made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("fast_text", "fasttext")
            assert repr(made) in found, path
