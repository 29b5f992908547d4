"""Commands that the pages show have the options that they are given; recipes have the settings; nothing is left out."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, blocks, commands, written
from tokenmill.core.settings import parse_assignment
from tokenmill.pipelines import RECIPES, recipe
from tools.docs import commands as command_line

KNOWN = command_line.commands()
COMMON = {"--help", "-h", "--version", "--install-completion", "--show-completion"}


def problems(words: list[str]) -> list[str]:
    """What is wrong with a command: a name or an option that does not exist, a setting that its recipe lacks."""
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in KNOWN), None)
    if name is None:
        return [f"no command {words[0]!r}"] if words[0] != "COMMAND" and not words[0].startswith("-") else []
    options = command_line.options(KNOWN[name]) | COMMON
    flags = [word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2]
    wrong = [f"{name} has no option {flag}" for flag in flags if flag not in options]
    if name == "run" and len(words) > 1 and words[1] in RECIPES:
        settings = [after for word, after in pairwise(words) if word == "--set"]
        recipe(words[1]).with_settings([parse_assignment(text) for text in settings if "=" in text])
    return wrong


@pytest.mark.parametrize("page", written(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_parse(page: Path) -> None:
    wrong = {" ".join(words): found for words in commands(page) if (found := problems(words))}
    assert not wrong


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("run fineweb --input a --output b", []),
        ("run fineweb --inptu a", ["run has no option --inptu"]),
        ("frobnicate x", ["no command 'frobnicate'"]),
    ],
)
def test_wrong_commands_are_found(line: str, wrong: list[str]) -> None:
    assert problems(line.split()) == wrong


def test_wrong_settings_are_found() -> None:
    from tokenmill.core.errors import ConfigError

    with pytest.raises(ConfigError, match="min_wrods"):
        problems("run fineweb --set gopher_quality.min_wrods=3".split())


def test_every_command_is_in_the_reference_and_on_a_page() -> None:
    reference = command_line.page()
    shown = {name for page in written() for words in commands(page) for name in (words[0], " ".join(words[:2]))}
    for name, command in KNOWN.items():
        assert f"\n## tokenmill {name}\n" in reference
        for option in command_line.options(command) - {"--help", "-h"}:
            assert f"`{option}`" in reference, (name, option)
        assert name in shown, name


def test_every_recipe_is_in_the_cookbook() -> None:
    text = (DOCS / "cookbook.md").read_text()
    for name in RECIPES:
        assert f"run {name} " in text or f"--recipe {name}" in text or f"`{name}`" in text, name


def test_files_of_the_cookbook_can_be_loaded(tmp_path: Path) -> None:
    from tokenmill.ablate.spec import load_ablation
    from tokenmill.pipelines.find import load_recipe

    named = {block.name: block.body for block in blocks(DOCS / "cookbook.md") if block.name}
    assert set(named) == {"dedup.py", "ablation.yaml"}
    for name, body in named.items():
        (tmp_path / name).write_text(body)
    (tmp_path / "warcs").mkdir()
    assert load_recipe(f"{tmp_path}/dedup.py:mine").pipeline.labels[1:3] == ("exact_dedup", "minhash_dedup")
    assert set(load_ablation(str(tmp_path / "ablation.yaml")).arms) == {"fineweb", "no_dedup"}


def test_messages_that_troubleshooting_is_keyed_by_are_messages_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    headings = re.findall(r"^### (.+)$", page.partition("## By message")[2].partition("## By symptom")[0], re.M)
    keys = {key.removesuffix("...") for heading in headings for key in re.findall(r"`([^`]+)`", heading)}
    assert len(keys) >= 10
    code = "\n".join(path.read_text() for path in (ROOT / "tokenmill").rglob("*.py"))
    assert [key for key in sorted(keys) if key not in code] == []
