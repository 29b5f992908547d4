"""From ablation.yaml to arms: what is in each, what is held out, and that nothing depends on how it was made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.executors.support import digests
from tokenmill.ablate.held_out import limit, places
from tokenmill.ablate.prepare import Prepared, check, prepare
from tokenmill.ablate.prepared import PreparedArm
from tokenmill.ablate.spec import Ablation, parse_ablation
from tokenmill.core.errors import ConfigError
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.tokens.tokenset import TokenSet

WORDS = "the committee meets to discuss a budget of that library with all citizens and visitors".split()
RECIPE = """
recipe: mine
stages:
  - read_jsonl
  - {stage: gopher_quality, config: {min_words: 12, min_stop_words: 0}}
  - {stage: exact_dedup, config: {by: text}}
  - write_parquet
"""
SHARE = 0.2


def documents(count: int = 90) -> list[dict[str, Any]]:
    """Texts of 5 to 40 words, each fifth one a copy of the one before it under another id."""
    random = np.random.default_rng(5)
    texts = [" ".join(random.choice(WORDS, int(random.integers(5, 40)))) for _ in range(count)]
    return [{"id": f"doc-{n}", "text": texts[n - (n % 5 == 4)]} for n in range(count)]


def write_source(place: Path) -> Path:
    rows = documents()
    (place / "in").mkdir(parents=True)
    for number in range(3):
        lines = [json.dumps(row) for row in rows[number::3]]
        (place / f"in/{number}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (place / "mine.yaml").write_text(RECIPE)
    return place / "in"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


class Made(NamedTuple):
    """An ablation of four arms, which tests look at and leave as it is."""

    source: Path
    out: Path
    prepared: Prepared
    lines: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("made")
    source, lines = write_source(place), list[str]()
    return Made(source, place / "out", prepare(ablation(source), place / "out", workers=0, observe=lines.append), lines)


def ablation(source: Path, arms: Mapping[str, Any] | None = None, **settings: Any) -> Ablation:
    rules = {"held_out": SHARE, "held_out_bytes": 1500} | settings.pop("evaluate", {})
    arms = (
        arms
        if arms is not None
        else {
            "all": {"documents": "in"},
            "mine": {"recipe": "mine.yaml"},
            "kept": {"recipe": "mine.yaml", "without": ["exact_dedup"]},
            "long": {"recipe": "mine.yaml", "set": {"gopher_quality.min_words": 20}},
        }
    )
    base = {"name": "test", "input": "in", "tokenizer": {"train": {"vocab_size": 300}}}
    whole = {**base, "match": "pool", "arms": arms, "evaluate": rules, **settings}
    return parse_ablation(whole, folder=source.parent)


def texts_of(arm: PreparedArm, tokenizer: LoadedTokenizer, seed: int = 1) -> list[str]:
    """The texts of an arm in the order of a seed."""
    view, encoder = arm.view(seed), Encoder(tokenizer)
    starts = view.document_starts(0, view.documents)
    return [encoder.decode(view.read(a, b - 1)) for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]


def is_held(row: Mapping[str, Any]) -> bool:
    return bool(places([row["id"]])[0] < limit(SHARE))


def expected(least: int, *, dedup: bool) -> list[str]:
    """Texts that an arm is trained on, by the JSON alone."""
    found: list[dict[str, Any]] = []
    for row in sorted(documents(), key=lambda row: (int(row["id"][4:]) % 3, int(row["id"][4:]))):
        if len(row["text"].split()) >= least and not (dedup and row["text"] in [other["text"] for other in found]):
            found.append(row)
    return sorted(row["text"] for row in found if not is_held(row))


def state(folder: Path) -> dict[str, str]:
    """Digests of all that is promised to be the same: of the runs, and of the pool's tokens."""
    found = {}
    for run in [*(folder / "data/runs").glob("*"), *(folder / "data/pool").glob("*")]:
        found |= {f"{run.name}/{name}": digest for name, digest in digests(run).items() if name != "run.json"}
    return {name: digest for name, digest in found.items() if not name.endswith("README.md")}


def test_each_arm_has_its_documents_but_for_those_held_out(made: Made) -> None:
    found = made.prepared
    wanted = {
        "all": expected(0, dedup=False),
        "mine": expected(12, dedup=True),
        "kept": expected(12, dedup=False),
        "long": expected(20, dedup=True),
    }
    held = sorted(row["text"] for row in documents() if is_held(row))
    for name, arm in found.arms.items():
        assert sorted(texts_of(arm, found.tokenizer)) == wanted[name], name
        assert (arm.documents, arm.bytes) == (len(wanted[name]), sum(map(len, wanted[name])))
        assert arm.tokens == arm.view(0).tokens
        assert arm.mean_tokens == arm.tokens / arm.documents
        assert 1 < arm.bytes_per_token < 10
        assert 0 < sum(map(len, arm.held_out)) <= 1500
        assert all(any(text.startswith(part) for text in held) for part in arm.held_out)
    assert found.arms["all"].held_out_documents == len(held)
    assert TokenSet.open(made.out / "data/pool/00").manifest.documents == len(wanted["all"])
    assert found.notes == ()


def test_shared_phases_are_done_once(made: Made) -> None:
    """`kept` is `mine` up to its filter; `long` has another filter right behind the measurements."""
    assert [line for line in made.lines if "shared" in line] == [
        "arm mine: 0 of 10 phases are shared with other arms",
        "arm kept: 2 of 3 phases are shared with other arms",
        "arm long: 1 of 9 phases are shared with other arms",
    ]
    tries: dict[str, set[str]] = {}
    for path in (made.out / "data/runs").glob("*/phases/*/manifests/*.json"):
        tries.setdefault(path.parents[1].name, set()).add(json.loads(path.read_text())["attempt"])
    first = [name for name in tries if name.startswith("01")]
    assert len(first) == 1
    assert len(tries[first[0]]) == 3


def test_shared_documents_come_in_the_same_order(made: Made) -> None:
    found = made.prepared
    for seed in (1, 2):
        whole = texts_of(found.arms["kept"], found.tokenizer, seed)
        some = texts_of(found.arms["long"], found.tokenizer, seed)
        unique = [text for text in whole if whole.count(text) == 1 and text in some]
        assert [text for text in some if text in unique] == unique
    assert texts_of(found.arms["kept"], found.tokenizer, 1) != texts_of(found.arms["kept"], found.tokenizer, 2)


def test_arms_are_cut_to_the_smallest(made: Made) -> None:
    whole = made.prepared
    found = prepare(ablation(made.source, match="tokens"), made.out, workers=0)
    smallest = min(arm.tokens for arm in whole.arms.values())
    for name, arm in found.arms.items():
        counts = arm.set.shards[0].documents(["token_count"]).column(0).to_numpy() + 1
        assert arm.tokens == arm.view(3).tokens == counts[arm.numbers].sum() <= smallest
        left_out = np.setdiff1d(whole.arms[name].numbers, arm.numbers)
        assert np.isin(arm.numbers, whole.arms[name].numbers).all()
        left = smallest - arm.tokens
        assert left <= smallest * 0.001 or (counts[left_out] > left).all()  # nothing that is left out would have fit
    assert found.arms["long"].tokens == smallest
    shared = set(texts_of(found.arms["all"], found.tokenizer)) & set(texts_of(found.arms["kept"], found.tokenizer))
    assert len(shared) > found.arms["kept"].documents / 2  # by chance it would be a quarter


@pytest.mark.ci
def test_interrupted_anywhere_it_goes_on_and_the_bytes_are_the_same(source: Path, tmp_path: Path) -> None:
    whole: list[str] = []
    asked = ablation(
        source, {"all": {"documents": "in"}, "mine": {"recipe": "mine.yaml"}, "b": {"recipe": "mine.yaml"}}
    )
    straight = prepare(asked, tmp_path / "out", workers=0, observe=whole.append)
    wanted = prints(straight)
    (tmp_path / "out").rename(tmp_path / "whole")  # digests of tokens name the tokenizer, which lies in the folder
    assert straight.notes == ("arms mine and b ask for the same: any difference is noise",)

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    def count(line: str) -> None:
        nonlocal told
        told += 1
        if told > 1:
            stop(line)

    for _ in range(len(whole)):
        told = 0
        try:
            prepare(asked, tmp_path / "out", workers=0, observe=count)
        except KeyboardInterrupt:
            continue
        break
    found = prepare(asked, tmp_path / "out", workers=0, observe=stop)
    assert state(tmp_path / "out") == state(tmp_path / "whole")
    assert prints(found) == wanted


def prints(found: Prepared, *, seed: int = 1) -> dict[str, Any]:
    return {name: (arm.view(seed).fingerprint, arm.held_out, arm.tokens) for name, arm in found.arms.items()}


@pytest.mark.ci
def test_arms_may_be_added_and_those_that_are_there_stay(source: Path, tmp_path: Path) -> None:
    arms = {"all": {"documents": "in"}, "mine": {"recipe": "mine.yaml"}}
    before = prepare(ablation(source, arms), tmp_path / "out", workers=0)
    old = state(tmp_path / "out")
    more = {**arms, "long": {"recipe": "mine.yaml", "set": {"gopher_quality.min_words": 20}}}
    after = prepare(ablation(source, more), tmp_path / "out", workers=0)
    assert {name: prints(after)[name] for name in arms} == prints(before)
    assert state(tmp_path / "out").items() >= old.items()
    assert after.tokenizer.sha256 == before.tokenizer.sha256
    assert sorted(texts_of(after.arms["long"], after.tokenizer)) == expected(20, dedup=True)
    fewer = prepare(ablation(source, {"long": more["long"]}), tmp_path / "out", workers=0)
    assert prints(fewer)["long"] == prints(after)["long"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"arms": {"mine": {"recipe": "mine.yaml", "set": {"gopher_quality.min_words": 13}}}},
            "min_words is 12 there, 13",
        ),
        ({"arms": {"mine": {"documents": "in"}}}, "arm mine is another one"),
        ({"tokenizer": {"train": {"vocab_size": 310}}}, "vocab_size"),
        ({"evaluate": {"held_out": 0.3}}, "held_out is 0.2 there, 0.3 here"),
    ],
)
def test_what_has_changed_is_refused(made: Made, change: dict[str, Any], message: str) -> None:
    arms = {"mine": {"recipe": "mine.yaml"}}
    before = state(made.out)
    with pytest.raises(ConfigError, match=message):
        prepare(ablation(made.source, **{"arms": arms, **change}), made.out, workers=0)
    assert state(made.out) == before


def test_arms_with_the_same_documents_are_noted(source: Path, tmp_path: Path) -> None:
    """A filter that drops nothing more: other settings, the same data."""
    arms = {name: {"recipe": "mine.yaml", "without": ["exact_dedup"]} for name in ("one", "two")}
    arms["two"]["set"] = {"gopher_quality.max_words": 99}  # type: ignore[assignment]
    found = prepare(ablation(source, arms), tmp_path / "out", workers=0)
    assert found.notes == ("arms one and two have the same documents: any difference is noise",)
    assert found.arms["one"].view(1).fingerprint == found.arms["two"].view(1).fingerprint


def test_the_advice_of_a_failed_call_can_be_followed(source: Path, tmp_path: Path) -> None:
    """What was written before the failure binds nothing, and lists that were made are made again where they must."""
    (tmp_path / "pages").mkdir()
    rows = documents(40)
    table = {"uid": [row["id"] for row in rows], "body": [row["text"] for row in rows], "text": ["-"] * len(rows)}
    pq.write_table(pa.table(table), tmp_path / "pages/a.parquet")
    none = {"all": {"documents": "pages"}}
    with pytest.raises(ConfigError, match="a larger share"):
        prepare(ablation(source, none, evaluate={"held_out": 0.0001}), tmp_path / "out", workers=0)
    changed = {"all": {"documents": "pages", "text_column": "body", "id_column": "uid"}}
    found = prepare(ablation(source, changed), tmp_path / "out", workers=0)
    wanted = sorted(row["text"] for row in rows if not is_held(row))
    assert sorted(texts_of(found.arms["all"], found.tokenizer)) == wanted
    with pytest.raises(ConfigError, match=r"held_out is 0.2 there, 0.3 here[\s\S]*leave these settings"):
        prepare(ablation(source, changed, evaluate={"held_out": 0.3}), tmp_path / "out", workers=0)


def test_pages_without_ids_are_noted(source: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/a.jsonl").write_text("\n".join(json.dumps({"text": row["text"]}) for row in documents()))
    notes = check(ablation(source, {"all": {"documents": "in"}, "bare": {"documents": "bare"}})).notes
    assert len(notes) == 1
    assert notes[0].startswith("documents of arm bare have no column 'id'")


def test_changed_documents_are_refused(source: Path, tmp_path: Path) -> None:
    arms = {"all": {"documents": "in"}}
    prepare(ablation(source, arms), tmp_path / "out", workers=0)
    (source / "0.jsonl").write_text(json.dumps(documents()[0]))
    with pytest.raises(ConfigError, match=r"inputs is .* there"):
        prepare(ablation(source, arms), tmp_path / "out", workers=0)


def test_two_texts_of_one_page(source: Path, tmp_path: Path) -> None:
    """Columns of one file: null is no document, and a page has one place in all arms, whatever its text."""
    ids = [f"page-{n}" for n in range(60)]
    raw = [f"menu and footer of {name} with its text" for name in ids]
    main = [None if n % 6 == 0 else raw[n] if n % 6 == 1 else f"text of {name}" for n, name in enumerate(ids)]
    folder = tmp_path / "pages"
    folder.mkdir()
    pq.write_table(pa.table({"id": ids, "raw_text": raw, "main_text": main}), folder / "a.parquet")
    arms = {name: {"documents": str(folder), "text_column": f"{name}_text"} for name in ("raw", "main")}
    found = prepare(ablation(source, arms), tmp_path / "out", workers=0)
    kept = [name for name in ids if not is_held({"id": name})]
    both = {name: texts_of(arm, found.tokenizer) for name, arm in found.arms.items()}
    assert sorted(both["raw"]) == sorted(raw[ids.index(name)] for name in kept)
    assert sorted(both["main"]) == sorted(text for n in kept if (text := main[ids.index(n)]))
    order = [ids[raw.index(text)] for text in both["raw"]]
    assert [text for name in order if (text := main[ids.index(name)])] == both["main"]
    unique = len({(n, text) for n in kept for text in (raw[ids.index(n)], main[ids.index(n)]) if text})
    assert TokenSet.open(tmp_path / "out/data/pool/00").manifest.documents == unique


def test_a_document_that_comes_twice_is_in_the_pool_once_and_in_the_view_twice(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    rows = documents(40)
    write_jsonl(rows, "a.jsonl")
    source = write_jsonl(rows[:20], "b.jsonl")
    found = prepare(ablation(source, {"all": {"documents": "in"}}), tmp_path / "out", workers=0)
    wanted = [row["text"] for row in [*rows, *rows[:20]] if not is_held(row)]
    assert sorted(texts_of(found.arms["all"], found.tokenizer)) == sorted(wanted)
    kept = sum(not is_held(row) for row in rows)
    assert TokenSet.open(tmp_path / "out/data/pool/00").manifest.documents == kept


def test_arms_without_documents_are_refused(source: Path, tmp_path: Path) -> None:
    none = {"none": {"recipe": "mine.yaml", "set": {"gopher_quality.min_words": 400}}}
    with pytest.raises(ConfigError, match="arm none has no documents to train on"):
        prepare(ablation(source, none), tmp_path / "a", workers=0)
    tiny = ablation(source, {"all": {"documents": "in"}}, evaluate={"held_out": 0.0001})
    with pytest.raises(ConfigError, match=r"arm all has no held-out documents[\s\S]*evaluate.held_out"):
        prepare(tiny, tmp_path / "b", workers=0)
    nothing = ablation(source, {"all": {"documents": "in"}}, evaluate={"held_out": 0})
    found = prepare(nothing, tmp_path / "c", workers=0)
    assert (found.arms["all"].held_out, found.arms["all"].documents) == ([], 90)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_bytes_do_not_depend_on_workers(source: Path, tmp_path: Path, workers: int) -> None:
    wanted = prints(prepare(ablation(source), tmp_path / "out", workers=0))
    (tmp_path / "out").rename(tmp_path / "inline")
    assert prints(prepare(ablation(source), tmp_path / "out", workers=workers)) == wanted
    assert state(tmp_path / "inline") == state(tmp_path / "out")
