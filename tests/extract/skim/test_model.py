from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extract.skim import twin
from tokenmill.core.errors import ConfigError
from tokenmill.extract.skim import model_kernel as m
from tokenmill.extract.skim.choose import choose
from tokenmill.extract.skim.features_kernel import FEATURES
from tokenmill.extract.skim.model import MOST_BLOCKS, SHIPPED, Model, both_stages, probabilities
from tokenmill.extract.skim.scan import scan

ARTICLE = (
    "<nav><a href=/>Home</a> <a href=/about>About</a></nav><article><h1>Rain in the valley</h1>"
    "<p>The rain began on Monday, and by Tuesday evening the river had left its bed in three places.</p>"
    "<p>Nobody was hurt, the mayor said, but the bridge at the mill will stay closed until the spring.</p>"
    "</article><footer>© 2024 The Valley. <a href=/privacy>Privacy</a></footer>"
)


def test_the_shipped_model_is_small_and_its_bytes_are_those_of_its_arrays() -> None:
    assert SHIPPED.stat().st_size < 500_000
    model = Model.load()
    assert model is Model.load()
    assert model.to_bytes() == SHIPPED.read_bytes()
    assert len(model.digest) == 64


def test_text_is_told_from_navigation() -> None:
    scanned = scan(ARTICLE.encode())
    found = {scanned.block_text(b): p for b, p in enumerate(probabilities(scanned, Model.load()))}
    paragraphs = [p for text, p in found.items() if text.endswith(("places.", "spring."))]
    others = [p for text, p in found.items() if "Home" in text or "©" in text]
    assert len(paragraphs) == 2
    assert others
    assert min(paragraphs) > 0.6 > max(others)


def test_probabilities_are_those_of_the_definition() -> None:
    scanned, model = scan(ARTICLE.encode()), Model.load()
    found, likely = both_stages(scanned, model)
    slow, slow_likely = twin.probabilities(scanned, model)
    assert likely.tolist() == slow_likely
    np.testing.assert_array_equal(found, np.float32(slow))


def test_a_page_without_blocks_has_no_probabilities() -> None:
    assert probabilities(scan(b""), Model.load()).shape == (0,)
    assert probabilities(scan(b"<div><img></div>"), Model.load()).shape == (0,)


@pytest.mark.parametrize("piece", ["<p>word word", "<td>x", "<div><p>a<br><br>b</div>", "<li><a href=x>link</a>"])
def test_hundred_thousand_blocks(piece: str) -> None:
    scanned = scan((piece * 100_000).encode())
    found = probabilities(scanned, Model.load())
    assert len(found) == len(scanned.bl_el) >= 100_000
    judged, unjudged = found[:MOST_BLOCKS], found[MOST_BLOCKS:]
    assert np.all((judged > 0) & (judged < 1))
    assert not unjudged.any()
    assert choose(scanned, found, Model.load()).unjudged == len(unjudged) == len(scanned.bl_el) - MOST_BLOCKS


def test_deep_pages() -> None:
    found = probabilities(scan(("<div class=a>" * 5000 + "text" + "</div>" * 5000).encode()), Model.load())
    assert len(found) == 1


def _random_trees(generator: Any, trees: int) -> m.Trees:
    arrays = (
        generator.integers(0, FEATURES, trees * m.NODES).astype(np.uint8),
        generator.integers(0, 256, trees * m.NODES).astype(np.uint8),
        (generator.integers(0, 1 << 16, trees * m.NODES) | 0x8000).astype(np.uint16),
        generator.integers(-9000, 9000, trees * m.LEAVES).astype(np.int16),
    )
    for array in arrays:
        array.setflags(write=False)
    return m.Trees(*arrays)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65])
def test_trees_are_those_of_the_definition(rows: int) -> None:
    generator = np.random.default_rng(rows)
    trees = _random_trees(generator, 5)
    features = generator.integers(0, 256, (rows, FEATURES)).astype(np.uint8)
    table = (np.arange(m.STEPS) // 8).astype(np.uint8)
    table.setflags(write=False)
    found = m.likely_of(features, trees, 77, table)
    sums = [77 + twin.tree_sum(row, trees) for row in features.tolist()]
    assert found.tolist() == [table[min(max((s >> m.STEP_SHIFT) + m.STEPS // 2, 0), m.STEPS - 1)] for s in sums]
    backwards = m.likely_of(features[::-1].copy(), trees, 77, table)
    assert backwards.tolist() == found.tolist()[::-1]


def test_saving_gives_the_same_bytes(tmp_path: Path) -> None:
    model = Model.load()
    model.save(tmp_path / "a/model.npz")
    assert (tmp_path / "a/model.npz").read_bytes() == SHIPPED.read_bytes()
    assert Model.load(tmp_path / "a/model.npz").digest == model.digest


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("own", lambda a: a[:-1], "own"),
        ("first_feature", lambda a: np.full_like(a, 255), "a feature beyond"),
        ("second_mask", lambda a: np.zeros_like(a), "without the last leaf"),
        ("first_leaf", lambda a: a[:16], "different lengths"),
        ("table", lambda a: a.astype(np.float64), "float64"),
        ("calibration", lambda a: a[:3], "calibration"),
    ],
)
def test_arrays_that_kernels_would_read_beyond_are_refused(name: str, change: Any, why: str) -> None:
    arrays = Model.load().arrays
    with pytest.raises(ConfigError, match="no model of blocks") as error:
        Model({**arrays, name: change(arrays[name])}, {})
    assert why in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no model") as error:
        Model.load(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model"):
        Model.load(tmp_path / "none.npz")
