"""Recipes with models, on the bundled archive, with models that are made on the spot."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fasttext")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.classifiers.encoder import support
from tests.executors.support import rows, run
from tests.text.fasttext_models import sentences
from tokenmill.classifiers.bins import write_bins
from tokenmill.classifiers.fasttext.train import FastTextSettings, train_fasttext
from tokenmill.cli.refilter import refilter_run
from tokenmill.cli.run import RunRequest, run_recipe
from tokenmill.core.errors import ConfigError
from tokenmill.core.plan import make_plan
from tokenmill.pipelines import REPHRASING, WITH_MODELS, recipe

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"


@pytest.fixture(scope="module")
def fasttext_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fasttext")
    pairs = [("hq" if label == "tea" else "cc", text) for label, text in sentences(300)]
    settings = FastTextSettings(bucket=5000, lr=0.5, epoch=20, minn=2, maxn=4)
    train_fasttext([text for _, text in pairs], [label for label, _ in pairs], folder, settings)
    return str(folder)


@pytest.fixture(scope="module")
def encoder_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(support.model_folder(tmp_path_factory.mktemp("encoder"), num_labels=1, max_position_embeddings=520))


@pytest.mark.parametrize("name", sorted(set(WITH_MODELS) - set(REPHRASING)))
def test_a_model_that_cannot_be_had_is_one_error_before_any_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"cannot be had from the hub"):
        make_plan(recipe(name), [])


@pytest.mark.ci
def test_dclm_baseline(fasttext_model: str, tmp_path: Path) -> None:
    settings = [("fasttext_score", "model", fasttext_model), ("score_filter", "min_score", 0.32)]
    outcome = run(recipe("dclm-baseline").with_settings(settings), EXAMPLE, tmp_path / "out", workers=1, seconds=8)
    assert outcome.failures == {}
    kept, dropped = rows(tmp_path / "out", "data"), rows(tmp_path / "out", "dropped")
    assert kept
    assert all(row["dclm_score"] >= 0.32 for row in kept)
    low = [row for row in dropped if row["stage"] == "score_filter"]
    assert low
    assert all(row["reason"] == "low_score" and row["value"] < 0.32 for row in low)


@pytest.mark.ci
def test_fineweb_edu(encoder_model: str, tmp_path: Path) -> None:
    settings = [("encoder_score", "model", encoder_model), ("encoder_score", "max_tokens", 128)]
    outcome = run(recipe("fineweb-edu").with_settings(settings), EXAMPLE, tmp_path / "out", workers=1, seconds=20)
    assert outcome.failures == {}
    kept = rows(tmp_path / "out", "data")
    dropped = [row for row in rows(tmp_path / "out", "dropped") if row["stage"] == "score_filter"]
    assert len(kept) + len(dropped) > 10
    assert all(row["edu_score_int"] == min(5, max(0, round(row["edu_score"]))) >= 3 for row in kept)
    assert all(row["value"] < 3 for row in dropped)


@pytest.mark.slow
def test_nemotron_cc_quality(fasttext_model: str, encoder_model: str, tmp_path: Path) -> None:
    """Scores first; then edges from the run's own percentiles, and bins without inference."""
    settings = [
        ("fasttext_score", "model", fasttext_model),
        *(("encoder_score" + number, "model", encoder_model) for number in ("", "_2")),
        *(("encoder_score" + number, "max_tokens", 128) for number in ("", "_2")),
    ]
    given = tuple(f"{stage}.{field}={value}" for stage, field, value in settings)
    request = RunRequest(
        "nemotron-cc-quality", str(EXAMPLE), str(tmp_path / "all"), settings=given, workers=1, mode="annotate"
    )
    assert run_recipe(request) == 0
    assert {row["quality_level"] for row in rows(tmp_path / "all", "data")} == {None}
    scores = ("nemotron_edu_score", "mixtral_edu_score", "dclm_score")
    write_bins(str(tmp_path / "all"), scores, str(tmp_path / "bins.yaml"))
    edges = (f"score_bins.edges={tmp_path / 'bins.yaml'}",)
    assert refilter_run(str(tmp_path / "all"), str(tmp_path / "out"), edges, workers=0) == 0
    found = rows(tmp_path / "out", "data")
    assert len(found) > 10
    assert all(row["quality_bin"] == max(row[f"{score}_bin"] for score in scores) for row in found)
    assert {"high", "low"} <= {row["quality_level"] for row in found} | {"low"}
