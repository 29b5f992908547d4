from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.mix.spec import Mixture, MixtureSource, MixtureStage, Upweight, load_mixture, parse_mixture

GOOD: dict[str, Any] = {
    "name": "pretrain-v1",
    "seed": 1,
    "format": "ds",
    "shard_tokens": "250M",
    "max_epochs": 4,
    "sources": {
        "web": {"tokens": "sets/web"},
        "code": {"tokens": "sets/code", "where": {"topic": ["software"], "language": "en", "edu_score": ">=2.5"}},
        "books": {"run": "runs/books", "tokenizer": "gpt2"},
        "qa": {"tokens": "/sets/qa", "synthetic": True, "max_epochs": 2},
    },
    "stages": [
        {"name": "general", "tokens": "10B", "weights": {"web": 0.8, "code": 0.15, "books": 0.05}},
        {
            "name": "anneal",
            "tokens": 1_000_000_000,
            "weights": {"qa": 0.5, "web": 0.5},
            "upweight": {"web": {"by": "topic", "to": {"software": 0.5}}},
            "sequence_length": 8192,
        },
    ],
}


def changed(*steps: Any) -> dict[str, Any]:
    """GOOD with the value at a path of keys replaced by the last of `steps`, or taken away where that is `...`."""
    data: Any = yaml.safe_load(yaml.safe_dump(GOOD))
    found = data
    for key in steps[:-2]:
        found = found[key]
    if steps[-1] is ...:
        del found[steps[-2]]
    else:
        found[steps[-2]] = steps[-1]
    result: dict[str, Any] = data
    return result


def test_what_a_file_says(tmp_path: Path) -> None:
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    mixture = load_mixture(str(path))
    assert mixture.shard_tokens == 250_000_000
    assert [stage.tokens for stage in mixture.stages] == [10**10, 10**9]
    assert mixture.sources["web"].tokens == str(tmp_path / "sets/web")  # paths are relative to the file
    assert mixture.sources["qa"] == MixtureSource(tokens="/sets/qa", synthetic=True, max_epochs=2)
    assert mixture.sources["books"].tokenizer == "gpt2"
    assert mixture.sources["code"].where == {"topic": ["software"], "language": "en", "edu_score": ">=2.5"}
    assert mixture.stages[1].upweight == {"web": Upweight("topic", to={"software": 0.5})}
    assert parse_mixture(mixture.to_json()) == mixture


def test_the_same_in_python(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        """
from tokenmill.tokens.mix.spec import Mixture, MixtureSource, MixtureStage

def small() -> Mixture:
    return Mixture(
        name="small",
        sources={"web": MixtureSource(tokens="sets/web")},
        stages=[MixtureStage("one", tokens=1000, weights={"web": 1})],
    )

large = Mixture(name="large", sources={"web": MixtureSource(tokens="w")}, stages=[MixtureStage("all")])
"""
    )
    small = load_mixture(f"{tmp_path}/mine.py:small")
    assert small.sources["web"].tokens == str(tmp_path / "sets/web")
    assert load_mixture(f"{tmp_path}/mine.py:large").stages == (MixtureStage("all"),)
    with pytest.raises(ConfigError, match="has several things in it") as error:
        load_mixture(f"{tmp_path}/mine.py")
    assert "large, small" in str(error.value)
    with pytest.raises(ConfigError, match="no mixture named 'medium'"):
        load_mixture(f"{tmp_path}/mine.py:medium")


def test_a_mixture_of_python_objects_is_checked_as_a_file_is() -> None:
    mixture = Mixture(
        name="m", sources={"web": MixtureSource(tokens="w")}, stages=[MixtureStage("one", 10, {"wep": 1.0})]
    )
    with pytest.raises(ConfigError, match="no source 'wep' here"):
        parse_mixture(mixture.to_json())


@pytest.mark.parametrize(
    ("data", "what", "where", "why"),
    [
        (changed("seeds", 3), "no setting 'seeds'", "f.yaml", "'seed'"),
        (changed("name", ...), "'name' is missing", "f.yaml", "seed"),
        (changed("name", "a b"), "'a b' is no name", "f.yaml: name", "letters"),
        (changed("seed", "x"), "'x' is no whole number", "f.yaml: seed", ""),
        (changed("format", 3), "3 is no text", "f.yaml: format", ""),
        (changed("shard_tokens", "many"), "'many' is not a number of tokens", "f.yaml: shard_tokens", ""),
        (changed("max_epochs", 0), "0 is not a number above 0", "f.yaml: max_epochs", ""),
        (changed("max_epochs", True), "True is not a number above 0", "f.yaml: max_epochs", ""),
        (changed("sources", {}), "no sources", "f.yaml: sources", ""),
        (changed("sources", ["web"]), "is no mapping", "f.yaml: sources", ""),
        (changed("sources", "web", "token", "x"), "no setting 'token'", "f.yaml: sources.web", "'tokens'"),
        (changed("sources", "web", "run", "x"), "either `tokens` or `run`", "f.yaml: sources.web", "both"),
        (changed("sources", "web", "tokens", ...), "either `tokens` or `run`", "f.yaml: sources.web", "neither"),
        (changed("sources", "web", "order", "asis"), "no order 'asis'", "f.yaml: sources.web.order", "as_is"),
        (changed("sources", "web", "tokenizer", "x"), "has its tokenizer", "f.yaml: sources.web.tokenizer", ""),
        (changed("sources", "web", "synthetic", "yes"), "neither true nor", "f.yaml: sources.web.synthetic", ""),
        (changed("sources", "code", "where", "topic"), "no mapping", "f.yaml: sources.code.where", ""),
        (changed("sources", "code", "where", "topic", []), "is no value", "f.yaml: sources.code.where.topic", ""),
        (changed("sources", "code", "where", "topic", {}), "is no value", "f.yaml: sources.code.where.topic", ""),
        (changed("stages", []), "no stages", "f.yaml: stages", ""),
        (changed("stages", "one"), "no stages", "f.yaml: stages", "no list"),
        (changed("stages", 1, "name", "General"), "two stages are named", "f.yaml: stages[1]", ""),
        (changed("stages", 0, "token", 3), "no setting 'token'", "f.yaml: stages[0]", "'tokens'"),
        (changed("stages", 0, "tokens", ...), "needs `tokens`", "f.yaml: stages[0]", ""),
        (changed("stages", 0, "tokens", 0), "0 is not a number of tokens", "f.yaml: stages[0].tokens", ""),
        (changed("stages", 1, "weights", "wep", 1), "no source 'wep'", "f.yaml: stages[1].weights", "'web'"),
        (changed("stages", 1, "weights", "web", -1), "-1 is not a weight", "f.yaml: stages[1].weights.web", ""),
        (changed("stages", 1, "weights", "web", float("nan")), "nan is not", "f.yaml: stages[1].weights.web", ""),
        (changed("stages", 1, "weights", {"web": 0}), "all weights are 0", "f.yaml: stages[1].weights", ""),
        (changed("stages", 1, "sequence_length", 0.5), "0.5 is not", "f.yaml: stages[1].sequence_length", ""),
        (changed("stages", 1, "upweight", {"code": {}}), "no source 'code'", "f.yaml: stages[1].upweight", "qa"),
        (changed("stages", 1, "upweight", "web", "by", ...), "'by' is missing", "stages[1].upweight.web", ""),
        (changed("stages", 1, "upweight", "web", "to", ...), "either `to`", "stages[1].upweight.web", ""),
        (changed("stages", 1, "upweight", "web", "times", {"a": 2}), "either `to`", "stages[1].upweight.web", ""),
        (changed("stages", 1, "upweight", "web", "to", {"a": 2}), "2 is not a share", "upweight.web.to.a", ""),
        (changed("stages", 1, "upweight", "web", "to", {"a": 0.6, "b": 0.5}), "more than 1", "upweight.web.to", "0.6"),
        ([], "is no mapping", "f.yaml", ""),
    ],
)
def test_what_is_wrong_and_where(data: Any, what: str, where: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_mixture(data, "f.yaml")
    assert what in error.value.what
    assert error.value.where.endswith(where)
    assert why in error.value.why
    assert error.value.fix or error.value.why


def test_a_key_that_is_given_twice(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: m\nsources:\n  web: {tokens: a}\n  web: {tokens: b}\n")
    with pytest.raises(ConfigError, match="'web' is given twice") as error:
        load_mixture(str(tmp_path / "m.yaml"))
    assert error.value.where.endswith("m.yaml line 4")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mixture(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "m.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mixture(str(tmp_path / "m.yaml"))
    with pytest.raises(ConfigError, match="no Python file"):
        load_mixture(f"{tmp_path}/none.py:mine")


def test_merges_of_yaml(tmp_path: Path) -> None:
    text = """
name: mine
sources:
  web: &set {tokens: web, where: {topic: news}, synthetic: true}
  code: {<<: *set, tokens: code}
  more: {<<: [*set, {max_epochs: 2}], synthetic: false}
stages: [{name: all}]
"""
    (tmp_path / "m.yaml").write_text(text)
    sources = load_mixture(str(tmp_path / "m.yaml")).sources
    assert sources["code"].tokens.endswith("code")
    assert sources["code"].where == {"topic": "news"}
    assert sources["code"].synthetic
    assert (sources["more"].max_epochs, sources["more"].synthetic) == (2, False)
    (tmp_path / "m.yaml").write_text(text.replace("{<<: *set, tokens: code}", "{<<: *set, tokens: code, tokens: web}"))
    with pytest.raises(ConfigError, match="'tokens' is given twice"):
        load_mixture(str(tmp_path / "m.yaml"))
