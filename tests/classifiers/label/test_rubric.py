"""Rubrics: those of the package, and what is refused in a file of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tokenmill.classifiers.label.rubric import RUBRICS, builtin_rubrics, load_rubric
from tokenmill.core.errors import ConfigError

FINE = """
name: mine
version: 1
task: Judge.
questions:
  - {name: depth, kind: score, ask: "How deep?", levels: {0: flat, 1: deep}}
  - {name: sort, kind: choice, ask: "Which?", choices: {one: {means: first}, two: {means: second, not: first}}}
advice: [Be fair.]
"""


def test_those_of_the_package() -> None:
    assert builtin_rubrics() == ["educational", "format", "nsfw_toxicity", "quality", "topic"]
    kinds = {
        name: [(one.name, one.kind, len(one.options)) for one in load_rubric(name).questions]
        for name in builtin_rubrics()
    }
    assert kinds == {
        "educational": [("edu", "score", 6)],
        "quality": [("quality", "score", 6)],
        "nsfw_toxicity": [("nsfw", "score", 4), ("toxicity", "score", 4)],
        "topic": [("topic", "choice", 24)],
        "format": [("format", "choice", 24)],
    }
    assert all(option.excludes for option in load_rubric("format").questions[0].options)


def test_names_are_those_of_the_annotations(shared: Path) -> None:
    told = (shared / "edu-annotations" / "README.md").read_text(encoding="utf-8")
    for name, start in (("topic", "Topics: "), ("format", "Formats: ")):
        paragraph = told.partition(f"\n{start}")[2].partition(".")[0]
        listed = set(re.findall(r"[a-z]\w+", paragraph))
        assert {option.name for option in load_rubric(name).questions[0].options} == listed


def test_what_one_choice_excludes_is_another() -> None:
    """A definition that sends pages to a choice names one that there is."""
    for name in ("topic", "format"):
        question = load_rubric(name).questions[0]
        names = {option.name for option in question.options}
        for option in question.options:
            brackets = " ".join(re.findall(r"\(([\w, ]+)\)", option.excludes))
            assert set(re.findall(r"\w+", brackets)) - {"or"} <= names - {option.name}, option


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FINE)
    rubric = load_rubric(str(path))
    assert [option.name for option in rubric.questions[0].options] == ["0", "1"]
    assert rubric.questions[1].options[1].excludes == "first"
    path.write_text(FINE.replace("How deep?", "How   deep?") + "# a remark")
    assert load_rubric(str(path)).digest() == rubric.digest()
    path.write_text(FINE.replace("second", "another"))
    assert load_rubric(str(path)).digest() != rubric.digest()


def test_the_example_of_the_guide(tmp_path: Path) -> None:
    guide = Path(__file__).resolve().parents[3] / "docs" / "labels.md"
    example = guide.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "depth.yml").write_text(example)
    rubric = load_rubric(str(tmp_path / "depth.yml"))
    assert [(one.name, one.kind) for one in rubric.questions] == [("depth", "score"), ("audience", "choice")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine", "name: Mine!", "not made of a-z"),
        ("version: 1", "version: one", "no integer"),
        ("task: Judge.", "task: ''", "task is no text"),
        ("task: Judge.", "", r"lacks \['task'\]"),
        ("kind: score", "kind: rank", "neither score nor choice"),
        ("0: flat, 1: deep", "1: flat, 2: deep", "not 0, 1, 2"),
        ("0: flat, 1: deep", "0: flat", "at least two"),
        ("name: sort", "name: depth", "each once"),
        ("name: sort", "name: text", "none of"),
        ("means: first}", "meaning: first}", "lacks"),
        ("one: {means: first}", "yes: {means: first}", "not made of a-z"),
        ("advice: [Be fair.]", "advices: []", "unknown"),
        ("advice: [Be fair.]", "advice: words", "are lists"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in FINE
    path = tmp_path / "mine.yaml"
    path.write_text(FINE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_rubric(str(path))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'educational'"):
        load_rubric("educationel")
    with pytest.raises(ConfigError, match="cannot read the rubric"):
        load_rubric(str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="cannot read the rubric"):
        load_rubric(str(tmp_path / "bad.yaml"))
    assert RUBRICS.is_dir()
