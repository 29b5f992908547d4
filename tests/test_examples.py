"""The files in examples/ work as a new user would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tokenmill import Doc
from tokenmill.core.pipeline import load_file

ROOT = Path(__file__).resolve().parents[1]


def test_the_custom_filter_needs_no_engine() -> None:
    example = load_file(str(ROOT / "examples/my_filter.py"))
    assert example.NoRecipeSpam().judge(Doc(text="a\nb")) == "short_lines"
    assert example.NoRecipeSpam().judge(Doc(text="a line that is long enough to be a sentence")) is None
    assert example.NoRecipeSpam(max_short_lines=1.0).judge(Doc(text="a\nb")) is None


@pytest.mark.ci
def test_the_command_in_the_example_runs_and_its_reason_is_in_the_funnel(tmp_path: Path) -> None:
    (command,) = re.findall(r"^    tokenmill (run .*)$", (ROOT / "examples/my_filter.py").read_text(), re.M)
    arguments = command.replace("out/", str(tmp_path / "out")).split()
    done = subprocess.run(
        [sys.executable, "-m", "tokenmill", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no_recipe_spam" in done.stdout
    assert "short_lines" in done.stdout
    assert "short_lines" in (tmp_path / "out/report.html").read_text()
    dropped = pq.read_table(tmp_path / "out/dropped").to_pylist()
    mine = [row for row in dropped if row["stage"] == "no_recipe_spam"]
    assert mine
    assert {row["reason"] for row in mine} == {"short_lines"}
    assert pq.read_table(tmp_path / "out/data").num_rows > 20


def test_the_thresholds_of_the_example_are_settings_with_documentation() -> None:
    from tokenmill.core.settings import field_docs

    example = load_file(str(ROOT / "examples/my_filter.py"))
    (setting,) = field_docs(example.NoRecipeSpam)
    assert (setting.name, setting.default) == ("max_short_lines", 0.8)
    assert "20 characters" in setting.text
    changed = example.mine.with_settings([("no_recipe_spam", "max_short_lines", 0.7)])
    assert changed.stages[2].max_short_lines == 0.7
