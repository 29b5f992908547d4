"""The mixture of mixture.yaml in Python, where weights can be computed.

tokenmill mix examples/mixture.py:pretrain --plan
"""

from __future__ import annotations

from tokenmill.tokens.mix.spec import Mixture, MixtureSource, MixtureStage, Upweight

GENERAL = {"web": 0.8, "code": 0.15, "books": 0.05}


def pretrain() -> Mixture:
    return Mixture(
        name="pretrain-v1",
        seed=1,
        max_epochs=4,
        sources={
            "web": MixtureSource(tokens="sets/web"),
            "code": MixtureSource(
                tokens="sets/code", where={"topic": ["software"], "language": "en", "edu_score": ">=2.5"}
            ),
            "books": MixtureSource(run="runs/books"),
            "qa": MixtureSource(tokens="sets/qa", synthetic=True, max_epochs=2),
        },
        stages=[
            MixtureStage("general", tokens=10_000_000_000, weights=GENERAL, sequence_length=2048),
            MixtureStage(
                "anneal",
                tokens=1_000_000_000,
                weights={"qa": 0.5, "web": 0.5},
                upweight={"web": Upweight(by="topic", to={"software": 0.5})},
                sequence_length=8192,
            ),
        ],
    )
