"""Training in a fresh process: the same bytes each time, whatever the texts hold."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.fasttext_models import sentences
from tokenmill.classifiers.fasttext import train as module
from tokenmill.classifiers.fasttext.train import FastTextSettings, one_line, train_fasttext, write_lines
from tokenmill.core.errors import ConfigError, TokenmillError
from tokenmill.text.linear import read_linear, texts_array

SMALL = FastTextSettings(dim=48, bucket=2000, lr=0.5)


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    pairs = sentences(300)
    facts = [
        train_fasttext([text for _, text in pairs], [label for label, _ in pairs], tmp_path / name, SMALL)
        for name in ("one", "two")
    ]
    assert facts[0] == facts[1]
    for name in ("model.bin", "linear.json", "fasttext.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    content = (tmp_path / "one" / "model.bin").read_bytes()
    assert facts[0].model_md5 == hashlib.md5(content).hexdigest()
    assert facts[0].documents == {label: sum(one == label for one, _ in pairs) for label in ("code", "sea", "tea")}
    assert json.loads((tmp_path / "one" / "fasttext.json").read_text())["settings"]["wordNgrams"] == 2
    assert not list((tmp_path / "one").glob(".training-*"))

    model = read_linear(str(tmp_path / "one"))
    fresh = sentences(100, seed=9)
    found = model.score(texts_array([text for _, text in fresh])).probabilities.argmax(axis=1)
    assert sum(model.labels[place] == label for place, (label, _) in zip(found, fresh, strict=True)) > 90


def test_not_a_number_is_tried_again_with_half_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fasttext")
    real = subprocess.run
    rates: list[float] = []

    def unlucky(command: list[str], **options: Any) -> Any:
        """The first two processes meet NaN, as the library now and then does."""
        rates.append(json.loads(command[-1])["lr"])
        if len(rates) < 3:
            code = f"import sys; print('Encountered NaN.', file=sys.stderr); sys.exit({module.NAN})"
            return real([command[0], "-c", code], **options)
        return real(command, **options)

    monkeypatch.setattr(module.subprocess, "run", unlucky)
    pairs = sentences(60)
    facts = train_fasttext([text for _, text in pairs], [label for label, _ in pairs], tmp_path, SMALL)
    assert rates == [0.5, 0.25, 0.125]
    assert (facts.tries, facts.settings["lr"]) == (3, 0.125)


def test_weights_that_explode_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate of a million gives weights beyond reason, or NaN; the library saves the former."""
    pytest.importorskip("fasttext")
    pairs = sentences(60)
    with pytest.raises(TokenmillError, match="could not train"):
        train_fasttext(
            [text for _, text in pairs],
            [label for label, _ in pairs],
            tmp_path,
            FastTextSettings(dim=48, bucket=2000, lr=1e6),
        )
    with pytest.raises(ConfigError, match="dim = 16 is too small"):
        train_fasttext(["a", "b"], ["x", "y"], tmp_path, FastTextSettings(dim=16))


def test_training_again_replaces_all(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    many = [(f"label{number % 60}", f"word{number % 60} and word{number % 7}") for number in range(240)]
    train_fasttext([text for _, text in many], [label for label, _ in many], tmp_path, SMALL)
    held = read_linear(str(tmp_path))
    before = held.score(texts_array(["word3 and word2"])).probabilities
    pairs = [pair for pair in sentences(200) if pair[0] != "code"]
    train_fasttext([text for _, text in pairs], [label for label, _ in pairs], tmp_path, SMALL)
    texts = texts_array([text for _, text in pairs[:20]])
    again, whole = read_linear(str(tmp_path)), read_linear(str(tmp_path / "model.bin"))
    assert again.labels == whole.labels
    assert set(again.labels) == {"sea", "tea"}
    assert np.array_equal(again.score(texts).probabilities, whole.score(texts).probabilities)
    # who had mapped the old model still has it
    assert np.array_equal(held.score(texts_array(["word3 and word2"])).probabilities, before)
    assert len(list(tmp_path.glob("linear-*"))) == 1


def test_what_never_works_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def without(command: list[str], **options: Any) -> Any:
        code = f"import sys; print('No module named fasttext', file=sys.stderr); sys.exit({module.MISSING})"
        return real([command[0], "-c", code], **options)

    def hopeless(command: list[str], **options: Any) -> Any:
        return real([command[0], "-c", f"import sys; print('NaN', file=sys.stderr); sys.exit({module.NAN})"], **options)

    monkeypatch.setattr(module.subprocess, "run", without)
    with pytest.raises(ConfigError, match=r"tokenmill\[fasttext\]"):
        train_fasttext(["a b", "c d"], ["x", "y"], tmp_path)
    monkeypatch.setattr(module.subprocess, "run", hopeless)
    with pytest.raises(TokenmillError, match="could not train"):
        train_fasttext(["a b", "c d"], ["x", "y"], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x", "x"], "two labels"),
        (["a", "b"], ["x", "y z"], "white space"),
        (["a", " "], ["x", "y"], "two labels"),
        ([], [], "two labels"),
        (["a"], [""], "cannot be a label"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, texts: list[str], labels: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_fasttext(texts, labels, tmp_path)


@pytest.mark.parametrize(
    ("text", "preparation", "line"),
    [
        ("  a\nb\u2028c ", "dclm", "a b c"),
        ("a\nb", "spaces", "a b"),
        ("a\r\nb", "spaces", "a  b"),
        ("x __label__high y", "dclm", "x  y"),
        ("x </s> y", "dclm", "x  y"),
        ("x</s> y__label__z", "dclm", "x</s> y__label__z"),
    ],
)
def test_lines(text: str, preparation: str, line: str) -> None:
    assert one_line(text, preparation) == line


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.text(max_size=30)), max_size=8))
def test_every_text_is_one_line_with_one_label(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    counts = write_lines([text for _, text in pairs], [label for label, _ in pairs], path)
    lines = path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == counts.total() <= len(pairs)
    for line in lines:
        assert line.startswith((b"__label__x ", b"__label__y "))
        words = line.split()[1:]
        assert words
        assert not any(word.startswith(b"__label__") or word == b"</s>" for word in words)
