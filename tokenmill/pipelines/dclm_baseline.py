"""DCLM-Baseline: the best tenth of DCLM-RefinedWeb by a fastText classifier (arXiv:2406.11794, section 4.4).

The model has the labels `hq` (like instructions of OpenHermes 2.5 and answers of r/ELI5) and `cc`; it is DCLM's
(mlfoundations/fasttext-oh-eli5, MIT). Its threshold, 0.018112, was the top tenth of DCLM's pages by that model: with a
model of your own, and for other pages, `tokenmill threshold RUN --score dclm_score --keep 10%-of-documents` finds it.

    tokenmill run dclm-baseline --set fasttext_score.model=my-model/ --set score_filter.min_score=0.3 ...
"""

from __future__ import annotations

from tokenmill.classifiers.decide import ScoreFilter
from tokenmill.classifiers.fasttext.stage import FastTextScore
from tokenmill.core.pipeline import Pipeline
from tokenmill.io.parquet import WriteParquet
from tokenmill.pipelines.dclm_refinedweb import dclm_stages

MODEL = "mlfoundations/fasttext-oh-eli5/openhermes_reddit_eli5_vs_rw_v2_bigram_200k_train.bin"
TOP_TENTH = 0.018112
"""DCLM's threshold for its model. Source: the configuration of the release."""


def dclm_baseline() -> Pipeline:
    """WARC to the English pages that DCLM's classifier finds best."""
    return Pipeline(
        "dclm-baseline",
        [
            *dclm_stages(),
            FastTextScore(model=MODEL, label="hq", column="dclm_score", text="dclm"),
            ScoreFilter(column="dclm_score", min_score=TOP_TENTH),
            WriteParquet(),
        ],
    )
