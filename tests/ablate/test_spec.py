"""ablation.yaml: everything that it can say, and messages that name what is wrong and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tokenmill.ablate.spec import Ablation, load_ablation, parse_ablation
from tokenmill.core.errors import ConfigError

GOOD: dict[str, Any] = {
    "name": "first",
    "input": "crawl",
    "tokenizer": {"train": {"vocab_size": "4096", "sample_bytes": "20M"}},
    "preset": "smoke",
    "tokens": "2M",
    "train": {"width": 64},
    "seeds": 2,
    "match": "pool",
    "baseline": "raw",
    "lr_check": True,
    "margin": 0.001,
    "noise": {"text/a": 0.0003},
    "arms": {
        "raw": {"recipe": "raw"},
        "loose": {"recipe": "fineweb", "set": {"gopher_quality.min_words": 20}, "without": ["minhash_dedup"]},
        "mine": {"recipe": "recipes/my.py:mine", "input": "/elsewhere"},
        "pages": {"recipe": "fineweb", "documents": "pool", "text_column": "main_text"},
        "old": {"run": "runs/old"},
        "texts": {"documents": "pool/*.parquet", "text_column": "raw_text", "id_column": "key"},
    },
    "evaluate": {
        "kit": "kit",
        "tasks": ["sciq"],
        "max_items": 500,
        "texts": {"wiki": "wiki.txt.gz"},
        "held_out": 0.05,
        "held_out_bytes": "100k",
        "evals": 5,
    },
    "ladder": {"sizes": ["1M", "4M"]},
}


def changed(*steps: Any, data: dict[str, Any] | None = None) -> dict[str, Any]:
    """GOOD with the value at a path of keys replaced by the last of `steps`, or taken away where that is `...`."""
    whole: Any = yaml.safe_load(yaml.safe_dump(data or GOOD))
    *path, last, value = steps
    found = whole
    for key in path:
        found = found.setdefault(key, {})
    if value is ...:
        del found[last]
    else:
        found[last] = value
    return dict(whole)


def test_everything_that_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    found = load_ablation(tmp_path / "a.yaml")
    assert (found.name, found.preset, found.tokens, found.seeds, found.match) == (
        "first",
        "smoke",
        2_000_000,
        2,
        "pool",
    )
    assert found.input == str(tmp_path / "crawl")
    assert found.train_tokenizer == {"vocab_size": 4096, "sample_bytes": 20_000_000}
    assert (found.tokenizer, found.lr_check, found.margin, found.train) == ("", True, 0.001, {"width": 64})
    assert found.sections == {"noise": {"text/a": 0.0003}, "ladder": {"sizes": ["1M", "4M"]}}
    arms = found.arms
    assert [arm.kind for arm in arms.values()] == ["recipe", "recipe", "recipe", "recipe", "run", "documents"]
    assert arms["loose"].set == {"gopher_quality.min_words": 20}
    assert arms["loose"].without == ("minhash_dedup",)
    assert arms["mine"].recipe == f"{tmp_path}/recipes/my.py:mine"
    assert (arms["mine"].input, arms["raw"].recipe) == ("/elsewhere", "raw")
    assert (arms["pages"].documents, arms["pages"].text_column) == (str(tmp_path / "pool"), "main_text")
    assert (arms["texts"].documents, arms["texts"].id_column) == (str(tmp_path / "pool/*.parquet"), "key")
    assert arms["old"].run == str(tmp_path / "runs/old")
    rules = found.evaluate
    assert (rules.kit, rules.tasks, rules.max_items) == (str(tmp_path / "kit"), ("sciq",), 500)
    assert (rules.held_out, rules.held_out_bytes, rules.evals) == (0.05, 100_000, 5)
    assert rules.texts == {"wiki": str(tmp_path / "wiki.txt.gz")}


def test_what_is_left_out_has_defaults() -> None:
    found = parse_ablation({"name": "a", "input": "in", "tokenizer": "gpt2", "arms": {"a": {"recipe": "raw"}}})
    assert (found.preset, found.tokens, found.seeds, found.match, found.baseline) == ("smoke", None, 3, "tokens", "a")
    assert (found.tokenizer, found.lr_check, found.evaluate.held_out) == ("gpt2", False, 0.02)
    assert parse_ablation(changed("preset", "laptop")).lr_check is True
    assert parse_ablation({**changed("lr_check", ...), "preset": "laptop"}).lr_check is True
    assert parse_ablation({**changed("lr_check", ...), "preset": 12_000_000}).preset == "12000000"


def test_the_record_is_json_and_the_digest_covers_all_of_it() -> None:
    whole = parse_ablation(GOOD, folder=Path("/x"))
    assert json.loads(json.dumps(whole.to_json())) == whole.to_json()
    assert whole.digest == parse_ablation(GOOD, folder=Path("/x")).digest
    others = [("seeds", 3), ("arms", "loose", "set", {"gopher_quality.min_words": 21}), ("evaluate", "evals", 6)]
    digests = {parse_ablation(changed(*steps), folder=Path("/x")).digest for steps in others}
    assert len(digests | {whole.digest}) == 4


def test_equal_arms_are_found() -> None:
    arms = {"a": {"recipe": "raw"}, "b": {"recipe": "raw"}, "c": {"recipe": "raw", "without": ["language_filter"]}}
    assert parse_ablation(changed("arms", arms, data=changed("baseline", ...))).equal_arms() == [("a", "b")]
    assert parse_ablation(GOOD).equal_arms() == []


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (("seed", 3), r"no setting 'seed'[\s\S]*where: ablation[\s\S]*'seeds'"),
        (("name", ...), "'name' is missing"),
        (("arms", {}), r"no arms[\s\S]*ablation: arms"),
        (("arms", "raw", {"recipes": "x"}), r"'recipes' here[\s\S]*ablation: arms.raw[\s\S]*did you mean 'recipe'"),
        (("arms", "raw", {"recipe": "raw", "run": "x"}), r"an arm is one of[\s\S]*it has recipe, run"),
        (("arms", "raw", {}), r"an arm is one of[\s\S]*none of them"),
        (("arms", "raw", {"run": "x", "set": {"a.b": 1}}), r"'set' does not belong to an arm with `run`"),
        (("arms", "raw", {"recipe": "raw", "text_column": "x"}), "columns are those of documents"),
        (("arms", "pages", "input", "x"), "documents are the input"),
        (("arms", "loose", "set", {"min_words": 1}), r"'min_words' is no setting of a stage[\s\S]*arms.loose.set"),
        (("arms", "loose", "without", "minhash_dedup"), "no list of stages"),
        (("arms", "RAW", {"recipe": "raw"}), "but for its case"),
        (("arms", "a/b", {"recipe": "raw"}), "'a/b' is no name"),
        (("input", ...), r"the recipe has no input[\s\S]*arms.loose"),
        (("baseline", "rwa"), r"no arm 'rwa'[\s\S]*did you mean 'raw'"),
        (("tokenizer", ...), r"no tokenizer[\s\S]*ablation: tokenizer"),
        (("tokenizer", {"train": {"vocab": 3}}), r"'vocab' here[\s\S]*tokenizer.train[\s\S]*vocab_size"),
        (("tokenizer", {"train": {}}), "'vocab_size' is missing"),
        (("match", "token"), "did you mean 'tokens'"),
        (("tokens", "2.5"), r"'2.5' is not a number of tokens[\s\S]*ablation: tokens"),
        (("seeds", 0), r"0 is not a number of seeds"),
        (("lr_check", "yes please"), "neither true nor false"),
        (("margin", -1), "not a share"),
        (("preset", []), "no preset"),
        (("evaluate", "held_out", 0.6), r"0.6 is not a share from 0 to 0.5[\s\S]*evaluate.held_out"),
        (("evaluate", "texts", {"a": "a.pdf"}), r"a.pdf is no file of text[\s\S]*evaluate.texts.a"),
        (("evaluate", "kit", ...), "tasks need a `kit`"),
        (("evaluate", "evls", 3), "did you mean 'evals'"),
        (("arms", "set1", {"tokens": "x"}), r"no tokenizer can be trained here[\s\S]*set1"),
    ],
)
def test_errors_say_where_and_what(steps: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_ablation(changed(*steps))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [[key] for key in GOOD] + [["arms", arm, key] for arm, keys in GOOD["arms"].items() for key in keys]
PATHS += [["evaluate", key] for key in GOOD["evaluate"]]


@examples(30, 100)
@given(path=st.sampled_from(PATHS), value=VALUES)
def test_any_value_anywhere_gives_an_ablation_or_a_config_error(path: list[str], value: Any) -> None:
    try:
        found: Ablation | str = parse_ablation(changed(*path, value))
    except ConfigError as error:
        found = error.where
    assert found.startswith("ablation") if isinstance(found, str) else found.baseline in found.arms
