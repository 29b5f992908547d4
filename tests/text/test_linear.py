"""fastText models in their linear form: what the library answers, within 1e-5."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.text.fasttext_models import COMMON, KINDS, WORDS, predicted, sentences
from tokenmill.core.errors import ConfigError
from tokenmill.text.fasttext_file import read_fasttext
from tokenmill.text.linear import LinearModel, read_linear, texts_array
from tokenmill.text.linear_features import END, explain, features
from tokenmill.text.linear_folder import linear_digest, save_linear

WITHIN = 1e-5
Files = Callable[[str], Path]

ODD = [
    "", " ", "\n", "\t\r\n", "\0", "\u00a0", "a", "__label__tea", "__label__nothing", "the __label__sea of", "</s>",
    "the </s> sea", "wave\nboat\nsalt", "x" * 3000, "éteé 作者作者 Straße", "\u2028 \u0085 \u3000", "\x1c\x1d a",
    "tea " * 500, "wave\0boat", "\ud800 lone", "  leading and trailing  ", "_label_ __label_ __label__",
]  # fmt: skip


def library(path: Path) -> Any:
    fasttext = pytest.importorskip("fasttext")
    fasttext.FastText.eprint = lambda *words: None
    return fasttext.load_model(str(path))


def pieces() -> st.SearchStrategy[str]:
    known = [word for words in WORDS.values() for word in words] + COMMON
    odd = ["__label__tea", "</s>", "\n", " ", "\t", "\0", "\u00a0", "\u2028", "<", ">"]
    word = st.one_of(st.sampled_from(known), st.sampled_from(odd), st.text(max_size=6))
    return st.lists(word, max_size=12).map(" ".join)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_the_library_s(fasttext_file: Files, kind: str) -> None:
    path = fasttext_file(kind)
    oracle, model = library(path), read_linear(str(path))
    texts = [text for _, text in sentences(150, seed=1)] + [text for text in ODD if "\ud800" not in text]
    found = model.score(texts_array(texts))
    assert sorted(model.labels) == sorted(WORDS)
    judged = 0
    for row, text in enumerate(texts):
        wanted = predicted(oracle, text)
        if not found.judged[row]:
            assert not found.probabilities[row].any()
            continue
        judged += 1
        for column, label in enumerate(model.labels):
            # a label that the library leaves out has a probability next to nothing
            assert found.probabilities[row, column] == pytest.approx(wanted.get(label, 0.0), abs=WITHIN), text
    assert judged > 150


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=pieces())
@pytest.mark.parametrize("kind", ["softmax", "quantised"])
def test_any_text(fasttext_file: Files, kind: str, text: str) -> None:
    path = fasttext_file(kind)
    oracle, model = _pair(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    found = model.score(texts_array([text]))
    if found.judged[0]:
        wanted = predicted(oracle, text)
        for column, label in enumerate(model.labels):
            assert found.probabilities[0, column] == pytest.approx(wanted.get(label, 0.0), abs=WITHIN)


_PAIRS: dict[Path, tuple[Any, LinearModel]] = {}


def _pair(path: Path) -> tuple[Any, LinearModel]:
    if path not in _PAIRS:
        _PAIRS[path] = (library(path), read_linear(str(path)))
    return _PAIRS[path]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=pieces(), preparation=st.sampled_from(["spaces", "dclm"]))
@pytest.mark.parametrize("kind", KINDS)
def test_features_add_up_to_the_logits(fasttext_file: Files, kind: str, text: str, preparation: str) -> None:
    """The features are found by plain Python, the logits by kernels."""
    _, model = _pair(fasttext_file(kind))
    logits = model.logits(texts_array([text]), preparation)
    found = features(model, text, preparation)
    total = np.sum([feature.logits for feature in found], axis=0) if found else np.zeros(logits.shape[1])
    np.testing.assert_allclose(logits[0], total, rtol=0, atol=1e-9)


def test_odd_texts_have_the_features_that_python_finds(fasttext_file: Files) -> None:
    for kind in KINDS:
        _, model = _pair(fasttext_file(kind))
        for preparation in ("spaces", "dclm"):
            logits = model.logits(texts_array(ODD), preparation)
            for row, text in enumerate(ODD):
                found = features(model, text, preparation)
                total = np.sum([feature.logits for feature in found], axis=0)
                np.testing.assert_allclose(logits[row], total, rtol=0, atol=1e-9, err_msg=repr(text))


def test_contributions_make_the_probability(fasttext_file: Files) -> None:
    _, model = _pair(fasttext_file("ova"))
    text = "the kettle and the cup of green tea"
    found = explain(model, text, "tea")
    logit = model.logits(texts_array([text]))[0, model.labels.index("tea")]
    assert sum(one.weight for one in found) == pytest.approx(logit, abs=1e-9)
    assert [one.count for one in found if one.text == "the"] == [2]
    assert found[0].weight > 0
    assert {"green", "kettle", "cup"} & {one.text for one in found[:6]}
    assert END in {one.text for one in found}
    with pytest.raises(ValueError, match="hierarchical"):
        explain(_pair(fasttext_file("hs"))[1], text, "tea")


def test_two_labels_are_one_logit_over_the_other(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    from tokenmill.classifiers.fasttext.train import FastTextSettings, train_fasttext

    pairs = [(label, text) for label, text in sentences(400) if label != "code"]
    train_fasttext([text for _, text in pairs], [label for label, _ in pairs], tmp_path, FastTextSettings(bucket=5000))
    model = read_linear(str(tmp_path))
    for _, text in pairs[:20]:
        weight = sum(one.weight for one in explain(model, text, "tea", "dclm"))
        probability = model.score(texts_array([text]), "dclm").probabilities[0, model.labels.index("tea")]
        assert 1 / (1 + np.exp(-weight)) + 1e-5 == pytest.approx(probability, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_one_score_whatever_stands_beside_it(fasttext_file: Files, kind: str) -> None:
    _, model = _pair(fasttext_file(kind))
    texts = [text for _, text in sentences(40, seed=2)] + ODD
    together = model.score(texts_array(texts)).probabilities
    alone = np.concatenate([model.score(texts_array([text])).probabilities for text in texts])
    assert np.array_equal(together, alone)
    chunked = pa.array([*texts_array(texts).to_pylist(), None])[3:]
    assert np.array_equal(model.score(chunked).probabilities[:-1], together[3:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_is_the_same(fasttext_file: Files, kind: str, tmp_path: Path) -> None:
    path = fasttext_file(kind)
    _, model = _pair(path)
    save_linear(model, tmp_path / "saved")
    again = read_linear(str(tmp_path / "saved"))
    texts = texts_array([text for _, text in sentences(30, seed=3)])
    assert again.labels == model.labels
    assert np.array_equal(again.score(texts).probabilities, model.score(texts).probabilities)
    first = linear_digest(str(tmp_path / "saved"))
    shutil.copytree(tmp_path / "saved", tmp_path / "copy")
    assert linear_digest(str(tmp_path / "copy")) == first != linear_digest(str(path))
    (changed,) = (tmp_path / "copy").glob("linear-*/word_rows.npy")
    rows = np.load(changed)
    rows[0, 0] += 1
    np.save(changed, rows)
    assert linear_digest(str(tmp_path / "copy")) != first


def test_the_linear_form_is_small(fasttext_file: Files, tmp_path: Path) -> None:
    path = fasttext_file("softmax")
    save_linear(read_linear(str(path)), tmp_path)
    rows = sum(file.stat().st_size for file in tmp_path.glob("linear-*/*_rows.npy"))
    assert rows < path.stat().st_size * 3 / read_fasttext(str(path)).dim + 300  # three labels instead of dimensions


def test_dclm_s_preparation_joins_lines(fasttext_file: Files) -> None:
    _, model = _pair(fasttext_file("softmax"))
    text = "\u00a0 wave\u2028boat\x0bsalt\x1cwind\n\n tide\u3000"
    plain = " ".join(text.strip().splitlines())
    assert np.array_equal(
        model.score(texts_array([text]), "dclm").probabilities, model.score(texts_array([plain])).probabilities
    )
    assert not np.array_equal(
        model.score(texts_array([text]), "dclm").probabilities, model.score(texts_array([text])).probabilities
    )


@given(
    text=st.text(
        alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("\n\r\x0b\x1c\x1e\x1f\u2028\u3000 a")),
        max_size=40,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dclm_s_preparation_is_python_s(fasttext_file: Files, text: str) -> None:
    _, model = _pair(fasttext_file("softmax"))
    plain = " ".join(text.strip().splitlines())
    ours, theirs = model.score(texts_array([text]), "dclm"), model.score(texts_array([plain]))
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.judged, theirs.judged)


@pytest.mark.parametrize("kind", ["softmax", "quantised"])
def test_a_cut_or_changed_file_is_refused(fasttext_file: Files, tmp_path: Path, kind: str) -> None:
    content = fasttext_file(kind).read_bytes()
    broken = tmp_path / "broken.bin"
    for size in [0, 3, 8, 40, 60, 64, 90, 200, len(content) // 3, len(content) // 2, len(content) - 1]:
        broken.write_bytes(content[:size])
        with pytest.raises(ConfigError, match="no fastText classifier"):
            read_linear(str(broken))
    for place, value in ((0, b"\0\0\0\0"), (4, b"\x63\0\0\0")):
        broken.write_bytes(content[:place] + value + content[place + len(value) :])
        with pytest.raises(ConfigError, match=r"does not begin|version"):
            read_linear(str(broken))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_damaged_head_never_crashes(fasttext_file: Files, data: st.DataObject) -> None:
    path = fasttext_file("quantised")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(8, 400))
    content[place] ^= data.draw(st.integers(1, 255))
    broken = path.with_name("damaged.ftz")
    broken.write_bytes(content)
    try:
        read_fasttext(str(broken))
    except ConfigError:
        pass


def test_word_vectors_are_no_classifier(tmp_path: Path, fasttext_file: Files) -> None:
    content = bytearray(fasttext_file("softmax").read_bytes())
    content[8 + 7 * 4 : 8 + 8 * 4] = (1).to_bytes(4, "little")  # the kind of model, 1: cbow
    path = tmp_path / "vectors.bin"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="word vectors"):
        read_linear(str(path))


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no linear model"):
        read_linear(str(tmp_path))
    with pytest.raises(ConfigError, match="no fastText classifier"):
        read_linear(str(tmp_path / "nothing.bin"))
    with pytest.raises(ConfigError, match="cannot be read"):
        linear_digest(str(tmp_path / "nothing.bin"))


@pytest.mark.parametrize("kind", ["softmax", "quantised"])
def test_parts_that_do_not_fit_are_refused(fasttext_file: Files, tmp_path: Path, kind: str) -> None:
    """Kernels believe what is in a folder, so every part is checked when it is read."""

    def fresh(name: str) -> Path:
        save_linear(_pair(fasttext_file(kind))[1], tmp_path / name)
        return tmp_path / name

    def spoil_numbers(folder: Path, **numbers: object) -> None:
        settings = json.loads((folder / "linear.json").read_text())
        (folder / "linear.json").write_text(json.dumps({**settings, **numbers}))

    for place, numbers in enumerate(
        ({"bucket": 2_000_000_000}, {"bucket": 100}, {"words": 3}, {"word_ngrams": 99}, {"labels": ["a"]},
         {"loss": "x"}, {"format": 1}, {"arrays": "linear-none"})
    ):  # fmt: skip
        folder = fresh(f"numbers{place}")
        spoil_numbers(folder, **numbers)
        with pytest.raises(ConfigError, match="no linear model"):
            read_linear(str(folder))
    for name in ("slots", "places", "letters", "word_rows", "word_sizes", "bucket_rows", "label_counts"):
        folder = fresh(f"cut_{name}")
        (file,) = folder.glob(f"linear-*/{name}.npy")
        np.save(file, np.load(file)[:-1])
        with pytest.raises(ConfigError, match="no linear model"):
            read_linear(str(folder))
        file.write_bytes(file.read_bytes()[:70])
        with pytest.raises(ConfigError, match="no linear model"):
            read_linear(str(folder))


def test_a_file_whose_buckets_do_not_fit_is_refused(fasttext_file: Files, tmp_path: Path) -> None:
    content = bytearray(fasttext_file("softmax").read_bytes())
    for bucket in (2_000_000_000, 10, -1):
        content[8 + 8 * 4 : 8 + 9 * 4] = bucket.to_bytes(4, "little", signed=True)
        path = tmp_path / "broken.bin"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="cut or damaged"):
            read_linear(str(path))
