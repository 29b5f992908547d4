"""Nemotron-CC's labels of quality: three models, 20 bins each, the best bin counts (arXiv:2412.02595).

No page is dropped for its quality: each gets `quality_level`, from `low` to `high`, for mixtures and for rephrasing.
The models give `nemotron_edu_score` and `mixtral_edu_score` (0 to 5, from labels of Nemotron-4-340B and of Mixtral
8x22B) and `dclm_score`; models that `tokenmill train-classifier` wrote serve as well.

The edges of the bins are percentiles of the run itself, so there are two commands more. The first run leaves bins null:

    tokenmill run nemotron-cc-quality --mode annotate --input ... --output all/
    tokenmill bins all/ --score nemotron_edu_score --score mixtral_edu_score --score dclm_score --write bins.yaml
    tokenmill refilter all/ --set score_bins.edges=bins.yaml --output out/

Differences: pages are those of `fineweb` (Nemotron-CC: jusText, and fuzzy deduplication over all crawls); heuristic
filters come before the models, where the paper leaves them out for pages of high quality.
"""

from __future__ import annotations

from tokenmill.classifiers.bins import QualityLevel, ScoreBins
from tokenmill.classifiers.encoder.stage import EncoderScore
from tokenmill.classifiers.ensemble import Ensemble
from tokenmill.classifiers.fasttext.stage import FastTextScore
from tokenmill.core.pipeline import Pipeline
from tokenmill.pipelines.dclm_baseline import MODEL as DCLM
from tokenmill.pipelines.fineweb import fineweb

NEMOTRON = "nvidia/nemocurator-fineweb-nemotron-4-edu-classifier"
MIXTRAL = "nvidia/nemocurator-fineweb-mixtral-edu-classifier"
SCORES = ("nemotron_edu_score", "mixtral_edu_score", "dclm_score")


def nemotron_cc_quality() -> Pipeline:
    """WARC to English pages with a level of quality."""
    *stages, sink = fineweb().stages
    bins = ", ".join(f"{score}_bin" for score in SCORES)
    return Pipeline(
        "nemotron-cc-quality",
        [
            *stages,
            FastTextScore(model=DCLM, label="hq", column=SCORES[2], text="dclm"),
            EncoderScore(model=NEMOTRON, column=SCORES[0]),
            EncoderScore(model=MIXTRAL, column=SCORES[1]),
            ScoreBins(columns=SCORES),
            Ensemble(expression=f"max({bins})", column="quality_bin"),
            QualityLevel(column="quality_bin"),
            sink,
        ],
    )
