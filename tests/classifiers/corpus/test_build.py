"""Whole training sets: given positives, pages that are linked to, any sources; and a model that learns from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.classifiers.corpus.support import jsonl, warc
from tests.classifiers.published_runs import published
from tests.text.fasttext_models import sentences
from tokenmill.classifiers.corpus.build import SetSettings, build_training_set, training_set
from tokenmill.classifiers.fasttext.train import FastTextSettings, train_fasttext
from tokenmill.core.errors import ConfigError
from tokenmill.text.linear import read_linear, texts_array


def pool(folder: Path, count: int = 60) -> str:
    """A finished run of pages of ten hosts."""
    rows = [{"url": f"http://www.h{n % 10}.org/p{n}?utm_source=x", "text": f"page {n} of a site"} for n in range(count)]
    return str(published(rows, folder, files=2))


def test_given_positives(tmp_path: Path) -> None:
    run = pool(tmp_path / "run")
    talks = [{"q": f"What is {n}?", "a": f"A number {n}."} for n in range(15)]
    talks.append({"q": "page 3", "a": "of a site"})  # also a document of the run
    settings = SetSettings(
        positives=(jsonl(tmp_path / "talks.jsonl", talks[:8]), jsonl(tmp_path / "more.jsonl.gz", talks[8:])),
        negative=run,
        text_columns=("q", "a"),
    )
    out = tmp_path / "sets" / "dclm.parquet"
    facts = build_training_set(str(out), settings)
    table = pq.read_table(out)
    assert table.column_names == ["text", "label", "doc_id", "url", "source"]
    rows = table.to_pylist()
    assert facts["labels"] == {"hq": 16, "cc": 16}
    assert {row["text"] for row in rows if row["label"] == "hq"} == {f"{talk['q']}\n{talk['a']}" for talk in talks}
    negatives = [row for row in rows if row["label"] == "cc"]
    assert all(row["source"] == run and row["url"].startswith("http://www.h") for row in negatives)
    assert "page 3 of a site" not in {row["text"] for row in negatives}
    assert json.loads(out.with_suffix(".json").read_text()) == facts
    assert [source["left_out"] for source in facts["sources"]] == [{}, {}, {"in_other_class": 1, "not_drawn": 43}]
    assert facts["sources"][2]["run"]
    assert facts["sources"][0]["run"] is None
    before = out.read_bytes()
    assert build_training_set(str(out), settings) == facts
    assert out.read_bytes() == before
    assert sorted(path.name for path in out.parent.iterdir()) == ["dclm.json", "dclm.parquet"]


def test_pages_that_are_linked_to(tmp_path: Path) -> None:
    run = pool(tmp_path / "run")
    links = "".join(f'<a href="https://H{n % 10}.ORG/p{n}#top">x</a>' for n in (*range(5), 21, 999))
    page = f'{links}<a href="/p6">own</a><a href="p7">own</a>'.encode()
    reference = warc(tmp_path / "wiki.warc.gz", [("http://www.h6.org/index", page, {})])
    settings = SetSettings(linked_from=reference, negative=run, balanced=False)
    facts = build_training_set(str(tmp_path / "set.parquet"), settings)
    rows = pq.read_table(tmp_path / "set.parquet").to_pylist()
    good = {row["text"].split()[1] for row in rows if row["label"] == "hq"}
    assert good == {"0", "1", "2", "3", "4", "21"}
    assert facts["labels"] == {"hq": 6, "cc": 54}
    assert [source["left_out"] for source in facts["sources"]] == [{"not_linked": 54}, {"linked": 6}]
    told = facts["linked_from"]
    assert (told["pages"], told["links"], told["counted"], told["distinct"]) == (1, 9, 7, 7)
    assert told["left_out"] == {"same_site": 2}
    hosts, _ = training_set(SetSettings(linked_from=reference, negative=run, level="host"))
    assert hosts.counts() == {"hq": 24, "cc": 24}  # hosts 0 to 4 and 9, but of the other four there are 24 pages
    assert {one.url[11:13] for one in hosts.examples if one.label == "hq"} <= {"h0", "h1", "h2", "h3", "h4", "h9"}


def test_no_page_is_linked_to(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("http://elsewhere.net/a\n")
    settings = SetSettings(linked_from=str(tmp_path / "urls.txt"), negative=pool(tmp_path / "run", 5))
    with pytest.raises(ConfigError, match="links to no document") as caught:
        build_training_set(str(tmp_path / "set.parquet"), settings)
    assert "1 addresses at level url, such as //elsewhere.net/a; 5 documents, such as http://www.h" in caught.value.why
    assert not (tmp_path / "set.parquet").exists()


@pytest.mark.ci
def test_a_model_learns_from_a_set(tmp_path: Path) -> None:
    pytest.importorskip("fasttext")
    pairs = sentences(500)
    paths = {
        label: jsonl(tmp_path / f"{label}.jsonl", [{"text": text} for one, text in pairs if one == label])
        for label in ("tea", "sea", "code")
    }
    (tmp_path / "sea.txt").write_text("\n".join(text for one, text in sentences(60, seed=5) if one == "sea"))
    settings = SetSettings(
        sources=(*(f"{label}={path}" for label, path in paths.items()), f"sea={tmp_path / 'sea.txt'}"), lines=True
    )
    facts = build_training_set(str(tmp_path / "set.parquet"), settings)
    assert set(facts["labels"]) == {"tea", "sea", "code"}
    table = pq.read_table(tmp_path / "set.parquet")
    train_fasttext(
        table["text"].to_pylist(),
        table["label"].to_pylist(),
        tmp_path / "model",
        FastTextSettings(dim=48, bucket=2000, lr=0.5, epoch=10),
    )
    model = read_linear(str(tmp_path / "model"))
    fresh = sentences(150, seed=9)
    found = model.score(texts_array([text for _, text in fresh])).probabilities.argmax(axis=1)
    right = np.array([model.labels[place] == label for place, (label, _) in zip(found, fresh, strict=True)])
    assert right.mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing says what the classes are"),
        ({"positives": ("a",), "linked_from": "b", "negative": "c"}, "not clear"),
        ({"positives": ("a",)}, "nothing to draw negatives from"),
        ({"sources": ("a=b", "c=d"), "negative": "c"}, "does not go with"),
        ({"sources": ("a=b", "c")}, "'c' is no source"),
        ({"positives": ("a",), "negative": "b", "positive_label": "cc"}, "both classes"),
        ({"linked_from": "a", "negative": "b", "level": "page"}, "one of url, host, domain"),
        ({"positives": ("a",), "negative": "b", "text_columns": ()}, "no column"),
        ({"positives": ("/nowhere/a",), "negative": "b"}, "does not exist"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_training_set(str(tmp_path / "set.parquet"), SetSettings(**settings))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").mkdir()
    for out in ("s3://bucket/a.parquet", str(tmp_path / "a.csv"), str(tmp_path / "a.parquet")):
        with pytest.raises(ConfigError, match="cannot be written"):
            build_training_set(out, SetSettings(positives=("a",), negative="b"))
