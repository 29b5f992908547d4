"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("command", ["plan", pytest.param("run", marks=pytest.mark.ci)])
def test_the_filter_in_the_readme_runs(tmp_path: Path, command: str) -> None:
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
        if "my.py" in block
    ]
    (tmp_path / "my.py").write_text(code)
    arguments = [command, "my.py:mine", "--input", str(ROOT / "examples/data")]
    if command == "run":
        arguments += ["--output", "out", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tokenmill", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if command == "run":
        assert pq.read_table(tmp_path / "out/data").num_rows > 20
    assert "no_recipe_spam" in done.stdout
    check = (
        "from my import NoRecipeSpam\nfrom tokenmill import Doc\n"
        "assert NoRecipeSpam().judge(Doc(text='a\\nb')) == 'short_lines'"
    )
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, check=True)


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.M), target
