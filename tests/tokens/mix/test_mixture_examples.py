"""The mixtures in examples/ are what the documentation says."""

from __future__ import annotations

from pathlib import Path

from tokenmill.tokens.mix.spec import load_mixture

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def test_both_examples_are_the_same_mixture() -> None:
    written = load_mixture(str(EXAMPLES / "mixture.yaml"))
    assert written == load_mixture(f"{EXAMPLES}/mixture.py:pretrain")
    assert written.sources["web"].tokens == str(EXAMPLES / "sets/web")
    assert [stage.tokens for stage in written.stages] == [10**10, 10**9]
