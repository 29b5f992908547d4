"""Prompt files: those of the package, and what is wrong with others, by file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.routes import Routes
from tokenmill.rephrase.style_table import BEGIN, END, made_part
from tokenmill.rephrase.styles import load_style, style_names, styles

DOCS = Path(__file__).resolve().parents[2] / "docs/rephrase-styles.md"
FRONT = "version: 1\ntitle: A title\nkind: rewrite\ninput_tokens: 100\noutput_tokens: 100\n"
BODY = "Rewrite it, in the language of the page.\n\n{document}\n\nAnswer with the text only."
WANTED = (
    "wikipedia child scholarly question_answer diverse_qa distill extract_knowledge knowledge_list textbook_child "
    "textbook_school textbook_college textbook_expert blog story table faq math tutorial conversation persona improve "
    "prox_document prox_lines"
).split()


def write(folder: Path, front: str = FRONT, body: str = BODY, name: str = "mine.md") -> str:
    path = folder / name
    path.write_text(f"---\n{front}---\n{body}\n", encoding="utf-8")
    return str(path)


def test_the_package_has_them_all() -> None:
    found = styles()
    assert sorted(found) == sorted(WANTED) == style_names()
    for name, style in found.items():
        assert style.name == name
        assert style.rules, "every style has thresholds"
        assert style.min_tokens <= style.input_tokens // 2
        assert style.source
        assert (style.format["kind"] == "program") == (style.kind == "edit")
    assert len({style.digest for style in found.values()}) == len(found)
    assert len(found["persona"].variables["persona"]) >= 200


def test_budgets_are_those_of_the_recipes() -> None:
    found = styles()
    budgets = {name: (found[name].input_tokens, found[name].output_tokens) for name in WANTED}
    assert budgets["wikipedia"] == (512, 510)
    assert budgets["diverse_qa"] == budgets["knowledge_list"] == (1000, 600)
    assert budgets["distill"] == (2000, 1600)
    assert budgets["extract_knowledge"] == (1400, 1400)
    assert {budgets[name][1] for name in ("faq", "math", "table", "tutorial")} == {2048}
    assert found["wikipedia"].per == "document"


def test_the_documentation_is_true() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == made_part().strip()


def test_a_file_of_yours(tmp_path: Path) -> None:
    front = FRONT + "variables:\n  reader: [a pupil, an expert]\n  place: {file: places.txt}\nmissing: keep_source\n"
    (tmp_path / "places.txt").write_text("# comment\nKöln\n\nParis \n", encoding="utf-8")
    user = 'In {place}. JSON {"a": {1}} stays.\n\n{url}\n{document}\n\nOnly that.'
    body = f"# System\nYou edit for {{reader}}.\n\n# User\n{user}"
    style = load_style(write(tmp_path, front, body))
    assert style.name == "mine"
    assert style.system == "You edit for {reader}."
    assert style.prompt.startswith("In {place}. JSON")
    assert style.prompt.endswith("Only that.")
    assert style.variables == {"reader": ("a pupil", "an expert"), "place": ("Köln", "Paris")}
    assert (style.per, style.layout, style.format, style.missing) == (
        "passage",
        "document_last",
        {"kind": "plain"},
        "keep_source",
    )
    assert style.min_tokens == 30


def test_the_digest_is_that_of_the_file_and_its_data(tmp_path: Path) -> None:
    front = FRONT + "variables: {place: {file: places.txt}}\n"
    body = "In {place}:\n{document}"
    digests = set()
    for places, text in (("Rome", body), ("Oslo", body), ("Oslo", body + " ")):
        (tmp_path / "places.txt").write_text(places, encoding="utf-8")
        digests.add(load_style(write(tmp_path, front, text)).digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("front", "body", "what", "where"),
    [
        (FRONT + "titel: x\n", BODY, "no setting 'titel'", "line 7: titel"),
        (FRONT.replace("version: 1\n", ""), BODY, "'version' is missing", "mine.md"),
        (FRONT + "version: 2\n", BODY, "given twice", "line 7"),
        (FRONT + "format: {kind: qa, kind: list}\n", BODY, "given twice", "line 7"),
        (FRONT.replace("100", "'100'", 1), BODY, "input_tokens = '100'", "line 5: input_tokens"),
        (FRONT.replace("100", "8", 1), BODY, "from 16 on", "line 5"),
        (FRONT.replace("100", "true", 1), BODY, "input_tokens = True", "line 5"),
        (FRONT + "min_tokens: 51\n", BODY, "min_tokens = 51 is too much", "line 7: min_tokens"),
        (FRONT.replace("rewrite", "rewite"), BODY, "kind = 'rewite'", "line 4: kind"),
        (FRONT + "layout: first\n", BODY, "layout = 'first'", "line 7"),
        (FRONT + "per: row\n", BODY, "per = 'row'", "line 7"),
        (FRONT + "missing: drop\n", BODY, "missing = 'drop'", "line 7"),
        (FRONT + "format: plain\n", BODY, "no mapping", "line 7: format"),
        (FRONT + "format: {kind: plan}\n", BODY, "no format 'plan'", "format.kind"),
        (FRONT + "format:\n  kind: qa\n  leest: 2\n", BODY, "no setting 'leest'", "line 9: format.leest"),
        (FRONT + "format: {kind: qa, least: 3, most: 2}\n", BODY, "most is less than least", "format.most"),
        (FRONT + "format: {kind: prefix}\n", BODY, "needs the setting 'opening'", "format"),
        (FRONT + "format: {kind: program}\n", BODY, "belong together", "format.kind"),
        (FRONT + "sampling: {temperature: 3}\n", BODY, "temperature = 3", "sampling.temperature"),
        (FRONT + "sampling: {temprature: 1}\n", BODY, "no server knows 'temprature'", "sampling.temprature"),
        (FRONT + "sampling: {max_tokens: 9}\n", BODY, "cannot set 'max_tokens'", "sampling.max_tokens"),
        (FRONT + "sampling: {seed: 9}\n", BODY, "cannot set 'seed'", "sampling.seed"),
        (FRONT + "variables: {a: x}\n", BODY, "no list of texts", "variables.a"),
        (FRONT + "variables: {a: [x, x]}\n", BODY, "a value twice", "variables.a"),
        (FRONT + "variables: {a: {file: no.txt}}\n", BODY, "cannot read 'no.txt'", "variables.a"),
        (FRONT + "variables: {document: [x]}\n", BODY, "no name of a variable", "variables.document"),
        (FRONT + "variables: {a: [x]}\n", BODY, "'a' is not used", "line 7: variables.a"),
        (FRONT + "checks: {length: [0, 1]}\n", BODY, "no check named 'length'", "line 7: checks.length"),
        (FRONT + "checks: {length_ratio: much}\n", BODY, "length_ratio = 'much'", "checks.length_ratio"),
        (FRONT + "checks: 3\n", BODY, "no mapping", "checks"),
        (FRONT, "No place.", "{document} stands 0 times", "line 8"),
        (FRONT, "{document}\n{document}", "{document} stands 2 times", "line 8"),
        (FRONT, "About {document} now", "not on a line of its own", "line 8"),
        (FRONT, "{document}\n\nSee {url}", "{url} is not on a line", "line 10"),
        (FRONT, "Hello {reader}\n{document}", "{reader} has no value", "line 8"),
        (FRONT, "# System\nYou.\n{document}", "cannot be told", "line 8"),
        (FRONT, "# System\n{document}\n# User\nX", "in the system message", "line 9"),
        ("a: [\n", BODY, "no YAML", "line 2"),
        ("a: 1\nb: c: d\n", BODY, "no YAML", "line 3"),
        ("- a\n", BODY, "is a mapping", "line 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, front: str, body: str, what: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_style(write(tmp_path, front, body))
    assert what in caught.value.what
    assert where in caught.value.where
    assert "mine.md" in caught.value.where
    assert caught.value.fix


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'wikipedia'"):
        load_style("wikipedia_")
    with pytest.raises(ConfigError, match="there is no file"):
        load_style(str(tmp_path / "none.md"))
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        load_style(str(tmp_path / "folder.md"))
    (tmp_path / "empty.md").write_text(" \n", encoding="utf-8")
    with pytest.raises(ConfigError, match="the file is empty"):
        load_style(str(tmp_path / "empty.md"))
    with pytest.raises(ConfigError, match=r"did you mean .document."):
        load_style(write(tmp_path, FRONT, "Say it.\n\n{documnet}"))
    with pytest.raises(ConfigError, match="no name of a style"):
        load_style(write(tmp_path, name="My Style.md"))
    for text in ("Just a prompt {document}", "---\nversion: 1\n{document}"):
        (tmp_path / "bare.md").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="no front matter"):
            load_style(str(tmp_path / "bare.md"))
    (tmp_path / "latin.md").write_bytes(b"---\ntitle: caf\xe9\n---\n")
    with pytest.raises(ConfigError, match="cannot read"):
        load_style(str(tmp_path / "latin.md"))


@pytest.mark.parametrize(
    ("data", "value", "expected"),
    [
        (["wikipedia", "faq"], "anything", ("wikipedia", "faq")),
        ("wikipedia, faq", None, ("wikipedia", "faq")),
        ({"by": "q", "styles": {"low": ["a"], "high": ["b", "c"]}, "default": ["d"]}, "high", ("b", "c")),
        ({"by": "q", "styles": {"low": ["a"]}, "default": ["d"]}, "middle", ("d",)),
        ({"by": "q", "styles": {"low": ["a"]}, "default": ["d"]}, None, ("d",)),
        ({"by": "q", "styles": {"low": []}, "default": ["d"]}, "low", ()),
        ({"by": "q", "styles": {3: "a"}}, 3.0, ("a",)),
        ({"by": "q", "styles": {"true": "a"}}, True, ("a",)),
        ({"by": "q", "styles": {0: "a", 1: "b", 2: "c"}, "edges": [1, 2.5]}, 0.99, ("a",)),
        ({"by": "q", "styles": {0: "a", 1: "b", 2: "c"}, "edges": [1, 2.5]}, 1, ("b",)),
        ({"by": "q", "styles": {0: "a", 1: "b", 2: "c"}, "edges": [1, 2.5]}, 2.5, ("c",)),
        ({"by": "q", "styles": {0: "a"}, "edges": [1], "default": "d"}, float("nan"), ("d",)),
    ],
)
def test_routes(data: object, value: object, expected: tuple[str, ...]) -> None:
    routes = Routes.parse(data)
    assert routes.styles_of(value) == expected
    assert set(expected) <= set(routes.names())
    assert Routes.parse(routes.to_json()) == routes


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"bye": "x"}, "no key 'bye'"),
        (3, "routes are 3"),
        ({"styles": {"a": ["b"]}}, "without a column"),
        ({"by": "q", "styles": {3: "a", "3": "b"}}, "two routes"),
        ({"by": "q", "styles": {"a": [1]}}, "names no styles"),
        ({"by": "q", "styles": ["a"]}, "no mapping"),
        ({"by": "q", "edges": [2, 1]}, "do not rise"),
        ({"by": "q", "edges": ["a"]}, "edges are"),
        ({"by": "q", "edges": [1], "styles": {"2": "a"}}, "no bin '2'"),
        ({"edges": [1]}, "edges without a column"),
    ],
)
def test_routes_that_mean_nothing(data: object, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Routes.parse(data)


def test_bins_need_numbers() -> None:
    with pytest.raises(ConfigError, match="is no number"):
        Routes.parse({"by": "q", "edges": [1]}).styles_of("high")
