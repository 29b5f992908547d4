"""`tokenmill bins` as a user sees it."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest

from tests.classifiers.published_runs import page, published
from tests.executors.support import rows
from tokenmill.classifiers.bins import ScoreBins
from tokenmill.cli.bins import make_bins
from tokenmill.cli.refilter import refilter_run


def test_the_lines_that_it_prints_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [page(n, 0.125 if n < 30 else n / 10, dclm=n / 50) for n in range(50)]
    run = published(given, tmp_path / "my run", ScoreBins(columns=("edu_score",)), annotate=True)
    out = tmp_path / "my bins.yaml"
    make_bins(str(run), ("edu_score", "edu_score", "dclm_score"), str(out), bins=10, weight="documents")
    output = capsys.readouterr().out
    assert "5 of the 10 bins of edu_score are empty" in output
    assert "bins of dclm_score are empty" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("use them: ")]
    call = ast.parse(line.removeprefix("use them: "), mode="eval").body
    assert isinstance(call, ast.Call)
    settings = {word.arg or "": ast.literal_eval(word.value) for word in call.keywords}
    stage = ScoreBins(**settings)
    assert stage.columns == ("edu_score", "dclm_score")
    stage.digests()
    make_bins(str(run), ("edu_score",), str(out), bins=10, weight="documents")
    *_, last = capsys.readouterr().out.splitlines()
    words = shlex.split(last.partition(": ")[2])
    words[words.index("NEW")] = str(tmp_path / "binned")
    assert words[:3] == ["tokenmill", "refilter", str(run)]
    assert ast.literal_eval(line.partition("columns=")[2].partition(", edges")[0]) == stage.columns
    assert refilter_run(words[2], words[6], (words[4],), 0) == 0
    binned = [row["edu_score_bin"] for row in rows(tmp_path / "binned", "data")]
    assert binned[:30] == [0] * 30
    assert sorted(set(binned)) == [0, 6, 7, 8, 9]
