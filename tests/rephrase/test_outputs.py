"""What comes out of `WriteRephrased` where passages were cut, shared, thought about, not read, or not asked about."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("httptools")

from tests.rephrase.test_stage import Place, done, rows_of, served, sink
from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.checks.columns import CHECK_COLUMNS
from tokenmill.rephrase.columns import PROVENANCE, carried_names, is_true
from tokenmill.rephrase.generate import Asked

OPENING = "In other words:"
HEAD = """---
version: 1
title: A test
kind: {kind}
input_tokens: 400
output_tokens: 300
min_tokens: 5
per: {per}
format: {format}
checks: {checks}
---
"""
CHECKLESS = "{copy_longest_run: null, copy_ngram: null}"
_WORDS = ("river", "garden", "market", "baker", "window", "lantern", "meadow", "village", "bridge", "candle", "valley")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("server") / "log") as found:
        yield found


def sentences(count: int, seed: object = 0, words: int = 9) -> list[str]:
    draw = random.Random(f"{seed}")
    return [f"{' '.join(draw.choice(_WORDS) for _ in range(words)).capitalize()}." for _ in range(count)]


def pages(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def prefixed(tmp_path: Path, *, per: str = "passage", checks: str = "{}") -> str:
    """A style whose answers have an opening."""
    given = {"kind": "rewrite", "per": per, "format": f'{{kind: prefix, opening: "{OPENING}"}}', "checks": checks}
    path = tmp_path / "opened.md"
    path.write_text(f'{HEAD.format(**given)}\nTell the page again. Begin with the line "{OPENING}".\n\n{{document}}\n')
    return str(path)


def questions(tmp_path: Path) -> str:
    """A style of questions and answers, published behind the page."""
    given = {"kind": "create", "per": "passage", "format": "{kind: qa, append: true}", "checks": "{}"}
    path = tmp_path / "asked.md"
    path.write_text(f"{HEAD.format(**given)}\nWrite questions and answers about the page.\n\n{{document}}\n")
    return str(path)


# -- passages that were cut for the context


def test_pieces_are_read_one_by_one(tmp_path: Path, place: Place) -> None:
    text = " ".join([*sentences(14), "It overflows."])
    source = pages(tmp_path / "in", [{"id": "a", "text": text}])
    for per in ("passage", "document"):
        out = tmp_path / per
        done(sink(tmp_path, place, styles=(prefixed(tmp_path, per=per, checks=CHECKLESS),)), source, out)
        (row,) = [*rows_of(out, "data"), *rows_of(out, "rejected")]
        assert row.get("reason") is None, (row["reason"], row["detail"])
        assert OPENING not in row["text"]
        assert len(row["request_keys"]) == len(row["seeds"]) == len(row["prompt_digests"]) >= 2
        assert len(set(row["prompt_digests"])) == len(row["prompt_digests"])
        assert row["passages"] == 1
        assert [row["char_start"], row["char_end"]] == row["answered_spans"] == [0, len(text)]


def test_pieces_of_an_edit_have_line_numbers_of_their_own(tmp_path: Path, place: Place) -> None:
    lines = [f"{line} it overflows" for line in sentences(12)]
    lines[9] = "We use cookies to serve you."
    text = "\n".join(lines)
    # the same page with white space before it: one request, whose pieces the ledger has at other places
    source = pages(tmp_path / "in", [{"id": "a", "text": text}, {"id": "b", "text": f"\n \n\n{text}"}])
    done(sink(tmp_path, place, styles=("prox_lines",)), source, tmp_path / "out")
    for row in rows_of(tmp_path / "out", "data"):
        assert row["text"] == "\n".join(line for line in lines if "cookies" not in line)
        assert len(row["request_keys"]) >= 2
        assert row["shared"] == 2
    assert len(rows_of(tmp_path / "out", "data")) == 2


def test_pieces_behind_their_page(tmp_path: Path, place: Place) -> None:
    text = " ".join([*sentences(14), "It overflows."])
    source = pages(tmp_path / "in", [{"id": "a", "text": text}])
    done(sink(tmp_path, place, styles=(questions(tmp_path),)), source, tmp_path / "out")
    (row,) = [*rows_of(tmp_path / "out", "data"), *rows_of(tmp_path / "out", "rejected")]
    assert row.get("reason") is None, (row["reason"], row["detail"])
    answer = row["text"][row["answer_start"] :]
    assert row["text"] == f"{text}\n\n{answer}"
    assert answer.startswith("Question: ")
    assert answer.count("Answer: ") == 15
    stage = sink(tmp_path, place)
    assert row["kept_tokens"] == stage.counter.count(answer)
    counts = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert counts["kept_tokens"] == row["kept_tokens"]


def test_pieces_are_asked_with_the_address_of_their_page(tmp_path: Path, place: Place) -> None:
    style = tmp_path / "addressed.md"
    style.write_text(
        f"{HEAD.format(kind='rewrite', per='passage', format='{kind: plain}', checks='{}')}\n{{url}}\n\n{{document}}\n"
    )
    stage = sink(tmp_path, place, styles=(str(style),))
    asked = Asked(stage, stage.identity.to_json(), {"d": "http://a.org/page"})
    text = "\n".join(sentences(8))
    row = {"doc_id": "d", "number": 0, "start": 0, "end": len(text), "text": text, "tokens": 100}
    request = asked.request_of({**row, "style": "addressed"})
    pieces = asked.rechunk(request)
    assert len(pieces) == 2
    assert all("http://a.org/page" in json.dumps(one.messages) for one in (request, *pieces))


# -- documents


def test_documents_may_be_left_out(tmp_path: Path, place: Place) -> None:
    source = pages(tmp_path / "in", [{"id": f"{n}", "text": " ".join(sentences(8, n))} for n in range(3)])
    done(sink(tmp_path, place, keep_documents=False), source, tmp_path / "out")
    assert [row["parent_id"] for row in rows_of(tmp_path / "out", "data")] == ["0", "1", "2"]
    (path,) = (tmp_path / "out" / "data").glob("*.parquet")
    assert "text" not in pq.read_schema(path).names


def test_ids_need_not_be_unique(tmp_path: Path, place: Place) -> None:
    texts = [" ".join(sentences(8, n)) for n in range(3)]
    source = pages(tmp_path / "in", [{"id": "same", "text": text} for text in texts])
    done(sink(tmp_path, place, judge_share=1.0), source, tmp_path / "out")
    kept = sorted(rows_of(tmp_path / "out", "data"), key=lambda row: row["source_row"])
    assert [row["source_row"] for row in kept] == [0, 1, 2]
    assert [row["verdict"] for row in rows_of(tmp_path / "out", "judged")] == ["faithful"] * 3
    corpus = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert sorted(one["source"] for one in corpus["samples"]["accepted"]) == sorted(texts)
    judged = corpus["judged"]
    assert judged["tokens_in"] > 0
    assert corpus["tokens_in"] == corpus["styles"]["words"]["tokens_in"] + judged["tokens_in"]


def test_a_page_that_was_synthetic_stays_it(tmp_path: Path, place: Place) -> None:
    text = "\n".join(sentences(8))
    rows = [{"id": value, "text": text, "synthetic": value, "style": "blog"} for value in ("True", "False")]
    source, out = pages(tmp_path / "in", rows), tmp_path / "out"
    stage = sink(tmp_path, place, styles=("prox_lines",), carry=("style",))
    done(stage, source, out, tags=("synthetic", "style"))
    kept = {row["parent_id"]: row for row in rows_of(out, "data")}
    assert {name: row["synthetic"] for name, row in kept.items()} == {"True": True, "False": False}
    assert {row["source_synthetic"] for row in kept.values()} == {"True", "False"}
    assert {(row["style"], row["source_style"]) for row in kept.values()} == {("prox_lines", "blog")}


def test_names_of_columns_that_outputs_have() -> None:
    found = carried_names(["synthetic", "source_synthetic", "check_words", "url", "text", "topic"])
    assert found["synthetic"] == "source_synthetic"
    assert found["check_words"] == "source_check_words"
    assert found["topic"] == "topic"
    assert "url" not in found
    assert len(set(found.values())) == len(found)
    assert not {"text", *PROVENANCE, *CHECK_COLUMNS} & set(found.values())


@pytest.mark.parametrize(
    ("value", "said"), [(True, True), (1.0, True), ("True", True), ("false", False), (None, False), (0, False)]
)
def test_true(value: object, said: bool) -> None:
    assert is_true(value) is said


# -- answers


def test_nothing_is_measured_of_what_was_not_read(tmp_path: Path, place: Place) -> None:
    texts = {"cut": "Somebody cuts it.", "raw": "This is raw.", "good": ""}
    rows = [{"id": name, "text": " ".join([*sentences(8, name), said])} for name, said in texts.items()]
    done(sink(tmp_path, place), pages(tmp_path / "in", [*rows, {"id": "short", "text": "Hm."}]), tmp_path / "out")
    gone = {row["parent_id"]: row for row in rows_of(tmp_path / "out", "rejected")}
    assert {name: gone[name]["reason"] for name in ("cut", "short")} == {"cut": "length", "short": "too_short"}
    for name, row in gone.items():
        measured = [column for column in CHECK_COLUMNS if row[column] is not None]
        assert bool(measured) is (name == "raw"), (name, measured)
        assert row["kept_tokens"] is None


def test_a_refusal_that_was_only_thought_of_is_none(tmp_path: Path, place: Place) -> None:
    rows = [{"id": name, "text": f"{' '.join(sentences(8, name))} It {name}."} for name in ("thinks", "refuses")]
    done(sink(tmp_path, place), pages(tmp_path / "in", rows), tmp_path / "out")
    assert [row["parent_id"] for row in rows_of(tmp_path / "out", "data")] == ["thinks"]
    assert [row["reason"] for row in rows_of(tmp_path / "out", "rejected")] == ["refusal"]


def test_settings_are_those_of_the_answer_that_was_used(tmp_path: Path, place: Place) -> None:
    rows = [{"id": name, "text": f"{' '.join(sentences(8, name))} It {name}."} for name in ("wobbles", "stands")]
    stage = sink(tmp_path, place, styles=(prefixed(tmp_path, checks=CHECKLESS),), sampling={"temperature": 0.0})
    before = len(place.asked())
    done(stage, pages(tmp_path / "in", rows), tmp_path / "out")
    found = {row["parent_id"]: row for row in rows_of(tmp_path / "out", "data")}
    asked = {word: [one for one in place.asked()[before:] if word in one["page"]] for word in ("wobbles", "stands")}
    assert len(asked["wobbles"]) == 3
    for word, row in found.items():
        last = asked[word][-1]
        assert json.loads(row["sampling"])["temperature"] == last["temperature"]
        assert row["seeds"] == [last["seed"]]
    assert json.loads(found["wobbles"]["sampling"])["temperature"] > 0


def test_what_is_shared_is_paid_once(tmp_path: Path, place: Place) -> None:
    text = " ".join(sentences(8))
    rows = [{"id": f"{n}", "text": text} for n in range(3)] + [{"id": "x", "text": " ".join(sentences(8, "x"))}]
    before = len(place.asked())
    stage = sink(tmp_path, place, price_in=1.0, price_out=2.0)
    done(stage, pages(tmp_path / "in", rows), tmp_path / "out")
    asked = place.asked()[before:]
    assert len(asked) == 2
    kept = rows_of(tmp_path / "out", "data")
    assert [row["shared"] for row in kept] == [3, 3, 3, 1]
    paid = sum(len(one["prompt"].split()) for one in asked)
    assert sum(row["tokens_in"] for row in kept) == pytest.approx(paid)
    corpus = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert corpus["tokens_in"] == paid
    assert corpus["dollars"] == pytest.approx(sum(row["cost"] for row in kept))


def test_what_there_was_no_budget_for_was_not_asked(tmp_path: Path, place: Place) -> None:
    rows = [{"id": f"{n}", "text": " ".join(sentences(8, n))} for n in range(12)]
    stage = sink(tmp_path, place, max_tokens=600, concurrency=1, when_spent="publish")
    done(stage, pages(tmp_path / "in", rows), tmp_path / "out")
    kept, gone = rows_of(tmp_path / "out", "data"), rows_of(tmp_path / "out", "rejected")
    assert {row["reason"] for row in gone} == {"budget"}
    assert {len(row["request_keys"]) for row in gone} == {0}
    corpus = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    counts = corpus["styles"]["words"]
    assert (counts["accepted"], counts["rejected"], counts["skipped"]) == (len(kept), 0, len(gone))
    assert corpus["measured"]["rates"][0]["share"] == 1.0
    assert corpus["ledger"] == str(tmp_path / "out" / "ledger")


def test_a_document_that_the_budget_has_cut_short_was_not_rejected(tmp_path: Path, place: Place) -> None:
    style = Path(prefixed(tmp_path, per="document"))
    given = style.read_text().replace("input_tokens: 400", "input_tokens: 75")
    style.write_text(given.replace("output_tokens: 300", "output_tokens: 60"))
    text = "\n\n".join(" ".join(sentences(3, n)) for n in range(8))
    stage = sink(tmp_path, place, styles=(str(style),), max_tokens=260, concurrency=1, when_spent="publish")
    done(stage, pages(tmp_path / "in", [{"id": "a", "text": text}]), tmp_path / "out")
    (row,) = rows_of(tmp_path / "out", "rejected")
    assert row["reason"] == "budget"
    assert len(row["request_keys"]) in range(1, 5)
    assert row["passages_missing"] == 8 - len(row["request_keys"])
    corpus = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert (corpus["styles"]["opened"]["rejected"], corpus["styles"]["opened"]["skipped"]) == (0, 1)
    assert corpus["measured"]["rates"] == []


def test_a_judge_reads_the_answer_and_not_the_page_before_it(tmp_path: Path, place: Place) -> None:
    text = " ".join(sentences(8))
    before = len(place.asked())
    stage = sink(tmp_path, place, styles=(questions(tmp_path),), judge_share=1.0)
    done(stage, pages(tmp_path / "in", [{"id": "a", "text": text}]), tmp_path / "out")
    (judged,) = [one["prompt"] for one in place.asked()[before:] if "source begins]" in one["prompt"]]
    assert judged.count(text) == 1


# -- routes


def test_no_document_has_a_style(tmp_path: Path, place: Place) -> None:
    source = pages(tmp_path / "in", [{"id": f"{n}", "text": "Some text.", "level": n % 2} for n in range(3)])
    stage = sink(tmp_path, place, by="level", routes={"7": ["faq"]}, styles=())
    with pytest.raises(ConfigError, match="no document has a style") as found:
        done(stage, source, tmp_path / "out")
    assert "0 (2), 1 (1)" in str(found.value.why)


def test_documents_without_a_style_are_told_by_value(tmp_path: Path, place: Place) -> None:
    rows = [{"id": f"{n}", "text": " ".join(sentences(8, n)), "level": n % 3} for n in range(6)]
    stage = sink(tmp_path, place, by="level", routes={"0": [str(tmp_path / "words.md")]}, styles=())
    done(stage, pages(tmp_path / "in", rows), tmp_path / "out")
    corpus = json.loads((tmp_path / "out" / "rephrased" / "corpus.json").read_text())
    assert corpus["unrouted"] == {"1": 2, "2": 2}


def test_a_stitched_row_that_lacks_too_much_keeps_what_was_answered(tmp_path: Path, place: Place) -> None:
    style = Path(prefixed(tmp_path, per="document"))
    style.write_text(style.read_text().replace("input_tokens: 400", "input_tokens: 75"))
    paragraphs = [" ".join(sentences(3, "a")), *(f"{' '.join(sentences(3, n))} It refuses." for n in range(3))]
    source = pages(tmp_path / "in", [{"id": "a", "text": "\n\n".join(paragraphs)}])
    done(sink(tmp_path, place, styles=(str(style),)), source, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out", "rejected")
    assert row["reason"] == "missing_passages"
    assert row["passages_missing"] == 3
    assert row["text"].split()[-1] in paragraphs[0]
    start, end = row["answered_spans"]
    assert "\n\n".join(paragraphs)[start:end] == paragraphs[0]
