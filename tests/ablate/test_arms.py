"""Arms of every kind, and recipes of archives: shared work is done once, also after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ablate.test_prepare import ablation, documents, is_held, texts_of, write_source
from tests.executors.support import digests, run
from tokenmill.ablate.arms import arm_pipeline, plan_recipes, plan_shared, run_recipes
from tokenmill.ablate.blend import blend
from tokenmill.ablate.prepare import check, prepare, tokenizer_facts
from tokenmill.ablate.spec import parse_ablation
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.plan import Annotation, make_plan
from tokenmill.executors.local import InlineExecutor
from tokenmill.executors.run import execute
from tokenmill.executors.runspec import Options, RunSpec
from tokenmill.filters.gopher import GopherQuality
from tokenmill.io.filesystem import list_inputs
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines import recipe
from tokenmill.tokens.bpe import BpeSettings, train_bpe
from tokenmill.tokens.tokenizer import load_tokenizer
from tokenmill.tokens.write import WriteTokens

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/data"
KEEP = Pipeline("keep", [ReadJsonl(), GopherQuality(min_words=20, min_stop_words=0), WriteParquet()])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path)


def tokenizer_at(place: Path, vocab_size: int = 300) -> Path:
    place.mkdir(parents=True)
    texts = [row["text"] for row in documents()]
    trained = train_bpe(texts, BpeSettings(vocab_size=vocab_size, sample_bytes=1))
    (place / "tokenizer.json").write_bytes(trained.canonical)
    return place / "tokenizer.json"


def tokenized(source: Path, place: Path, tokenizer: Path, **settings: Any) -> Path:
    pipeline = Pipeline("t", [ReadJsonl(), WriteTokens(tokenizer=str(tokenizer), **settings)])
    assert run(pipeline, source, place, seconds=8).failures == {}
    return place


@pytest.mark.ci
def test_finished_runs_are_arms(source: Path, tmp_path: Path) -> None:
    assert run(KEEP, source, tmp_path / "run", seconds=8).failures == {}
    found = prepare(ablation(source, {"old": {"run": "run"}, "all": {"documents": "in"}}), tmp_path / "o", workers=0)
    wanted = [row["text"] for row in documents() if len(row["text"].split()) >= 20 and not is_held(row)]
    assert sorted(texts_of(found.arms["old"], found.tokenizer)) == sorted(wanted)
    everything = texts_of(found.arms["all"], found.tokenizer)
    ordered = [text for text in everything if wanted.count(text) == 1 and everything.count(text) == 1]
    assert [text for text in texts_of(found.arms["old"], found.tokenizer) if text in ordered] == ordered


def test_runs_that_are_no_data_are_refused(source: Path, tmp_path: Path) -> None:
    plan = make_plan(KEEP, list_inputs(str(source), (".jsonl",)), Annotation())
    execute(RunSpec.of(plan, Options(), str(source)), RunFolder(str(tmp_path / "noted")), InlineExecutor())
    assert run(KEEP, source, tmp_path / "half", seconds=8).failures == {}
    next((tmp_path / "half/phases").glob("*/_SUCCESS.json")).unlink()
    for name, message in (("noted", "annotated run"), ("half", "is not finished"), ("in", "holds no run")):
        with pytest.raises(ConfigError, match=message):
            prepare(ablation(source, {"a": {"run": name}}), tmp_path / "o", workers=0)
        assert not (tmp_path / "o/data").exists()


@pytest.mark.ci
def test_token_sets_and_mixtures_are_arms(source: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_at(tmp_path / "tokenizer")
    for number, name in enumerate(("set", "other")):
        tokenized(source / f"{number}.jsonl", tmp_path / name, tokenizer)
    sources = {"a": {"tokens": "set"}, "b": {"tokens": "other"}}
    mixture = {"name": "m", "sources": sources, "stages": [{"name": "s"}]}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(mixture))
    arms = {"set": {"tokens": "set"}, "mix": {"mixture": "m.yaml"}, "all": {"documents": "in"}}
    settings = {"tokenizer": None, "evaluate": {"held_out_bytes": 800}}
    found = prepare(ablation(source, arms, **settings), tmp_path / "o", workers=0)
    rows = documents()
    for name, mine in (("set", rows[0::3]), ("mix", [*rows[0::3], *rows[1::3]]), ("all", rows)):
        arm = found.arms[name]
        assert sorted(texts_of(arm, found.tokenizer)) == sorted(row["text"] for row in mine if not is_held(row))
        held = [row["text"] for row in mine if is_held(row)]
        assert arm.held_out_documents == len(held)
        assert all(any(text.startswith(part) for text in held) for part in arm.held_out)
        size = sum(len(row["text"]) for row in mine if not is_held(row))
        assert arm.bytes == pytest.approx(size, rel=0.01)
    assert texts_of(found.arms["mix"], found.tokenizer, 1) == texts_of(found.arms["mix"], found.tokenizer, 2)
    assert texts_of(found.arms["set"], found.tokenizer, 1) != texts_of(found.arms["set"], found.tokenizer, 2)
    again = prepare(ablation(source, arms, **settings), tmp_path / "o", workers=0)
    assert [a.view(1).fingerprint for a in again.arms.values()] == [a.view(1).fingerprint for a in found.arms.values()]


def test_sets_of_another_tokenizer_are_refused(source: Path, tmp_path: Path) -> None:
    one, two = tokenizer_at(tmp_path / "one"), tokenizer_at(tmp_path / "two", 310)
    tokenized(source, tmp_path / "set", one)
    for number, tokenizer in enumerate((two, one)):
        whole = ablation(source, {"set": {"tokens": "set"}, "all": {"documents": "in"}}, tokenizer=str(tokenizer))
        if tokenizer == one:
            prepare(whole, tmp_path / f"o{number}", workers=0)
        else:
            with pytest.raises(ConfigError, match=r"arm set has been made with another tokenizer"):
                prepare(whole, tmp_path / f"o{number}", workers=0)
    tokenized(source, tmp_path / "bare", one, add_eos=False)
    whole = ablation(source, {"bare": {"tokens": "bare"}}, tokenizer=str(one))
    with pytest.raises(ConfigError, match="EOS None"):
        prepare(whole, tmp_path / "bare-out", workers=0)


def test_what_does_not_fit_is_told_before_recipes_run_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    """A set of another tokenizer, a mixture of a run or of a missing set, an id column that is not there."""
    one, two = tokenizer_at(tmp_path / "one"), tokenizer_at(tmp_path / "two", 310)
    tokenized(source / "0.jsonl", tmp_path / "set", one)
    for name, wanted in (("of_run", {"run": "run"}), ("of_none", {"tokens": "nowhere"}), ("of_set", {"tokens": "set"})):
        mixture = {"name": "m", "sources": {"a": wanted}, "stages": [{"name": "s"}]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(mixture))
    for arm, message in (
        ({"tokens": "set"}, "arm late has been made with another tokenizer"),
        ({"mixture": "of_set.yaml"}, "arm late has been made with another tokenizer"),
        ({"mixture": "of_run.yaml"}, "source a of the mixture is a run"),
        ({"mixture": "of_none.yaml"}, "nowhere"),
        ({"documents": "in", "id_column": "uuid"}, "has no column 'uuid'"),
    ):
        arms = {"first": {"recipe": "mine.yaml"}, "late": arm}
        asked = ablation(source, arms, tokenizer=str(two))
        with pytest.raises(ConfigError, match=message):
            check(asked)
        with pytest.raises(ConfigError, match=message):
            prepare(asked, tmp_path / "o", workers=0)
        assert not (tmp_path / "o/data").exists()


def test_the_tokenizer_is_known_before_any_work(source: Path, tmp_path: Path) -> None:
    one = tokenizer_at(tmp_path / "one", 310)
    tokenized(source / "0.jsonl", tmp_path / "set", one)
    for name, wanted in (("runs", {"run": "run"}), ("sets", {"tokens": "set"})):
        mixture = {"name": "m", "sources": {"a": wanted}, "stages": [{"name": "s"}]}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(mixture))
    known = (310, load_tokenizer(str(one)).sha256)
    documents = {"a": {"documents": "in"}}
    assert tokenizer_facts(ablation(source, documents)) == (300, "")
    assert tokenizer_facts(ablation(source, documents, tokenizer=str(one))) == known
    for arm in ({"tokens": "set"}, {"mixture": "sets.yaml"}):
        assert tokenizer_facts(ablation(source, {**documents, "b": arm}, tokenizer=None)) == known
    with pytest.raises(ConfigError, match="source a of the mixture is a run"):
        tokenizer_facts(ablation(source, {"b": {"mixture": "runs.yaml"}}, tokenizer=None))
    with pytest.raises(ConfigError, match="vocabulary of 9 tokens is too small"):
        tokenizer_facts(ablation(source, documents, tokenizer={"train": {"vocab_size": 9}}))


@pytest.mark.ci
def test_pages_of_token_sets_come_in_the_order_of_the_other_arms(source: Path, tmp_path: Path) -> None:
    """Their tables say in which file a page was, which differs from set to set; its id is the same in all arms."""
    one = tokenizer_at(tmp_path / "one")
    lines = [line for number in range(3) for line in (source / f"{number}.jsonl").read_text().splitlines()]
    (tmp_path / "moved.jsonl").write_text("\n".join(reversed(lines)))
    tokenized(source, tmp_path / "set", one)
    tokenized(tmp_path / "moved.jsonl", tmp_path / "moved", one)
    arms = {"set": {"tokens": "set"}, "moved": {"tokens": "moved"}, "all": {"documents": "in"}}
    found = prepare(ablation(source, arms, tokenizer=str(one)), tmp_path / "o", workers=0)
    orders = [texts_of(arm, found.tokenizer) for arm in found.arms.values()]
    assert orders[0] == orders[1] == orders[2]
    blends = [blend({name: found.arms[name]}, {name: 1.0}, found.arms[name].tokens, 1) for name in arms]
    assert len({view.read(0, view.tokens).tobytes() for view in blends}) == 1


@pytest.mark.parametrize(("address", "first"), [("http://a.org/", "url_filter"), ("", "language_id")])
def test_a_recipe_on_documents(tmp_path: Path, address: str, first: str) -> None:
    """What needs pages is left out; without addresses what filters by them is too, or nothing would be left."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "some text", "url": address}))
    data = {"name": "t", "tokenizer": "gpt2", "arms": {"a": {"recipe": "fineweb", "documents": "a.jsonl"}}}
    pipeline = arm_pipeline(parse_ablation(data, folder=tmp_path).arms["a"])
    labels = list(recipe("fineweb").labels)
    kept = labels[labels.index("language_id") :]
    assert list(pipeline.labels) == ["read_jsonl", *([first] if address else []), *kept]
    make_plan(pipeline, [])


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"recipe": "finweb"}, "did you mean 'fineweb'"),
        ({"recipe": "fineweb", "without": ["minhash"]}, r"'minhash' to leave out[\s\S]*arm a[\s\S]*minhash_dedup"),
        ({"recipe": "fineweb", "set": {"gopher.min_words": 3}}, r"no stage 'gopher'[\s\S]*arm a"),
        ({"recipe": "fineweb", "set": {"gopher_quality.min_word": 3}}, r"no setting 'min_word'[\s\S]*min_words"),
        ({"documents": "nowhere"}, "nowhere does not exist"),
        ({"documents": "in", "text_column": "body"}, "no documents|no column|has no"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(source: Path, tmp_path: Path, arm: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(ablation(source, {"a": arm}), tmp_path / "o", workers=0)


VARIANTS = {
    "fineweb": {"recipe": "fineweb"},
    "no_dedup": {"recipe": "fineweb", "without": ["minhash_dedup"]},
    "loose": {"recipe": "fineweb", "set": {"gopher_quality.min_words": 9}},
}
WHOLE = {"name": "t", "input": str(EXAMPLE), "tokenizer": "gpt2", "arms": VARIANTS}
KILLED = """
import json, os, signal, sys
from pathlib import Path
from tokenmill.ablate.arms import plan_recipes, run_recipes
from tokenmill.ablate.spec import parse_ablation

def observe(line):
    print(line, flush=True)

if __name__ == "__main__":
    plain = plan_recipes(parse_ablation(json.loads(sys.argv[1])))
    run_recipes(plain, Path(sys.argv[2]), workers=int(sys.argv[3]), observe=observe)
"""


def extraction(folder: Path) -> set[str]:
    """The tries that have extracted the archive, over all arms."""
    found = folder.glob("*/phases/01-read_warc@*/manifests/*.json")
    return {json.loads(path.read_text())["attempt"] for path in found}


def data_of(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(folder).items() if name.startswith("data/")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each variant gives in a run by itself."""
    found = {}
    for name, spec in plan_recipes(parse_ablation(WHOLE)).items():
        out = tmp_path_factory.mktemp(name)
        execute(spec, RunFolder(str(out)), InlineExecutor())
        found[name] = data_of(out)
    return found


@pytest.mark.parametrize("workers", [pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2)])
def test_variants_extract_once_and_give_what_they_give_alone(
    tmp_path: Path, alone: dict[str, dict[str, str]], workers: int
) -> None:
    plain = plan_recipes(parse_ablation(WHOLE))
    run_recipes(plain, tmp_path, workers=workers)
    assert {name: data_of(tmp_path / name) for name in VARIANTS} == alone
    assert len(extraction(tmp_path)) == 1
    assert len({next((tmp_path / name / "phases").glob("01*")).name for name in VARIANTS}) == 1


@pytest.mark.parametrize(
    ("line", "workers"), [pytest.param(0, 1, marks=pytest.mark.slow), pytest.param(2, 2, marks=pytest.mark.ci)]
)
def test_killed_in_the_middle_it_goes_on(
    tmp_path: Path, alone: dict[str, dict[str, str]], line: int, workers: int
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), json.dumps(WHOLE), str(tmp_path / "runs"), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    for _ in range(line + 1):
        assert "shared" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(list((tmp_path / "runs").glob("*/report.html"))) == line
    run_recipes(plan_recipes(parse_ablation(WHOLE)), tmp_path / "runs", workers=workers)
    assert {name: data_of(tmp_path / "runs" / name) for name in VARIANTS} == alone
    assert len(extraction(tmp_path / "runs")) == 1


def test_the_plan_of_the_variants() -> None:
    shared = plan_shared(plan_recipes(parse_ablation(WHOLE)))
    first = {spec.plan.phases[0].directory for spec in shared.values()}
    assert len(first) == 1
    assert "extract_text" in shared["loose"].plan.phases[0].labels
    for name, spec in plan_recipes(parse_ablation(WHOLE)).items():
        assert shared[name].plan.schema == spec.plan.schema
        assert set(shared[name].plan.inserted) == set(spec.plan.inserted)
