"""What a run has published: which documents count, and how much they weigh."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.classifiers.published_runs import page, pages, published
from tests.executors.support import rows
from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.published import Published
from tokenmill.core.errors import ConfigError


def read(found: Published, column: str, *without: str) -> list[object]:
    return [value for part in found.parts(without) for value in part.column(column).to_pylist()]


def test_documents_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    out = published(pages(50), tmp_path, files=3)
    found = Published.open(str(out))
    assert (len(found.files), found.shards) == (3, 3)
    assert read(found, "url") == [row["url"] for row in rows(out, "data")]
    assert sum(part.left_out for part in found.parts()) == 0


def test_verdicts_leave_documents_out_unless_their_filter_is_in_question(tmp_path: Path) -> None:
    first, second = ScoreFilter(min_score=1.0), ScoreFilter(column="dclm_score", max_score=0.5, keep_null=True)
    given = [page(n, n / 10, dclm=n / 40) for n in range(40)]
    found = Published.open(str(published(given, tmp_path, first, second, annotate=True)))
    assert [len(read(found, "url", *out)) for out in ((), ("score_filter",), ("score_filter", "score_filter_2"))] == [
        11,
        21,
        40,
    ]
    assert [(part.rows, part.left_out) for part in found.parts(("score_filter_2",))] == [(30, 10)]
    assert list(found.deciders("edu_score")) == ["score_filter"]
    assert found.deciders("dclm_score")["score_filter_2"]["max_score"] == 0.5
    assert found.deciders("other") == {}


def test_amounts_are_bytes_and_counted_or_estimated_tokens(tmp_path: Path) -> None:
    given = [page(0, 1.0, text="größe", token_count=3), page(1, 1.0, text="x" * 42), page(2, None, text=".")]
    for part in Published.open(str(published(given, tmp_path / "some"))).parts():
        amounts = part.amounts()
        assert part.estimated().tolist() == [False, True, True]
        assert amounts.dtype == np.int64
        assert amounts.tolist() == [[1, 7, 3], [1, 42, 10], [1, 1, 0]]
        assert (part.amounts(["tokens", "documents"]) == amounts[:, [2, 0]]).all()


def test_texts_are_not_read_where_tokens_are_counted(tmp_path: Path) -> None:
    out = published(pages(5), tmp_path)
    for part in Published.open(str(out)).parts():
        assert part.amounts(["documents", "tokens"])[:, 1].tolist() == [row["token_count"] for row in rows(out, "data")]
        assert "text" not in part._read


def test_folders_and_columns_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        Published.open(str(tmp_path))
    found = Published.open(str(published([page(0, 1.0)], tmp_path / "one")))
    found.require("edu_score", {"float"}, "score")
    with pytest.raises(ConfigError, match="did you mean 'edu_score'"):
        found.require("edu_scor", {"float"}, "score")
    with pytest.raises(ConfigError, match="'url' is no score"):
        found.require("url", {"float"}, "score")
    for path in Path(found.location, "phases").rglob("*.json"):
        path.unlink()
    with pytest.raises(ConfigError, match="no published documents"):
        Published.open(found.location)


def test_the_recipe_is_read_without_models_and_without_code_that_is_gone(tmp_path: Path) -> None:
    out = published([page(0, 1.0)], tmp_path, ScoreFilter(min_score=0.5))
    path = out / "run.json"
    content = json.loads(path.read_text())
    entry = next(entry for entry in content["stages"] if entry["stage"] == "given_scores")
    entry["class"] = "tests.classifiers.absent:Gone"
    path.write_text(json.dumps(content))
    stages = dict(Published.open(str(out)).stages)
    assert stages["given_scores"] is None
    assert stages["score_filter"] == ScoreFilter(min_score=0.5)
