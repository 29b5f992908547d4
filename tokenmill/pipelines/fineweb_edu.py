"""FineWeb-Edu: pages of FineWeb of educational value (arXiv:2406.17557, section 4).

The model gives a number from 0 to 5; it is FineWeb-Edu's (HuggingFaceFW/fineweb-edu-classifier: a head on the frozen
Snowflake/snowflake-arctic-embed-m, first 512 tokens). "Threshold 3" is `int(round(score)) >= 3` after
clipping, so 2.6 is in and 2.5 is not: `edu_score_int` has that integer.

    tokenmill run fineweb-edu --set encoder_score.model=my-model/ ...

A model that `tokenmill train-classifier` wrote serves as well. On GPUs: recipe `fineweb-edu-gpu`.
"""

from __future__ import annotations

from tokenmill.classifiers.decide import RoundScore, ScoreFilter
from tokenmill.classifiers.encoder.stage import EncoderScore, EncoderScoreGpu
from tokenmill.core.pipeline import Pipeline
from tokenmill.pipelines.fineweb import fineweb

MODEL = "HuggingFaceFW/fineweb-edu-classifier"


def fineweb_edu() -> Pipeline:
    """WARC to the English pages of FineWeb whose educational value rounds to 3 or more; scored on CPUs."""
    return _with(EncoderScore(model=MODEL, column="edu_score"), "fineweb-edu")


def fineweb_edu_gpu() -> Pipeline:
    """The same, scored on GPUs: with `--executor ray` or the local one, while the filters go on."""
    return _with(EncoderScoreGpu(model=MODEL, column="edu_score"), "fineweb-edu-gpu")


def _with(scorer: EncoderScore, name: str) -> Pipeline:
    *stages, sink = fineweb().stages
    decision = [RoundScore(column="edu_score"), ScoreFilter(column="edu_score_int", min_score=3)]
    return Pipeline(name, [*stages, scorer, *decision, sink])
