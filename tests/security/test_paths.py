"""Hostile names, wherever a name may come from: nothing is written outside the output folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executors.support import rows, run
from tests.io.archives import record
from tests.properties import examples
from tokenmill.core import stage
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.plan import make_plan
from tokenmill.core.stage import InputShard
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.executors.runspec import Options, RunSpec, freeze
from tokenmill.io.jsonl import ReadJsonl
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.slugs import shard_slug, slugs
from tokenmill.io.warc import ReadWarc
from tokenmill.report.write import write_report

NAMES = [
    "../escape",
    "../../../../../../tmp/escape",
    "/tmp/escape",
    "//server/share/escape",
    "..\\..\\escape",
    "C:\\escape",
    "a/../../escape",
    "./../escape",
    "....//escape",
    "%2e%2e%2fescape",
    "..%00/escape",
    "nul\0byte",
    "CON",
    "aux.parquet",
    "LPT1.jsonl",
    "x" * 300,
    "ü" * 200,
    "new\nline",
    "tab\tand\rreturn",
    "\u202egnp.exe",
    "zero\u200bwidth",
    ".hidden",
    "..",
    ".",
    "~",
    "~root",
    "$(touch escape)",
    "`touch escape`",
    "; touch escape;",
    "trailing dots...",
    "trailing spaces   ",
    "-rf",
    'a:b*c?d"e<f>g|h',
    "linked/escape",
]
assert len(NAMES) >= 30
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Path]:
    """A folder `root` inside others that must stay as they are, one of them behind a link; then they are compared."""
    outside = tmp_path / "outside"
    for folder in ("outside/above/root", "outside/elsewhere", "outside/above/in"):
        (tmp_path / folder).mkdir(parents=True)
    (outside / "above/in/linked").symlink_to(outside / "elsewhere")
    for name in ("escape", "elsewhere/keep", "above/keep"):
        (outside / name).write_text("as it was")
    root = outside / "above/root"
    before = _tree(outside, root)
    here = sorted(os.listdir("."))
    yield root
    assert _tree(outside, root) == before
    assert sorted(os.listdir(".")) == here
    assert not os.path.exists("/tmp/escape")
    assert not os.path.exists(os.path.expanduser("~/escape"))


def _tree(top: Path, root: Path) -> dict[str, bytes]:
    """What is below `top`, but not in `root` nor among the inputs."""
    found = {}
    for folder, _, names in os.walk(top):
        if not Path(folder).is_relative_to(root) and not Path(folder).is_relative_to(root.parent / "in"):
            found |= {os.path.join(folder, name): (Path(folder) / name).read_bytes() for name in names}
    return found


def _input(root: Path) -> Path:
    return root.parent / "in"


def _possible(name: str) -> bool:
    return "/" not in name and "\0" not in name and name not in (".", "..") and len(name.encode()) < 240


def _inside(root: Path) -> list[Path]:
    """Every file of the run, none of them behind a link, with names that any system and shell takes."""
    found = [path for path in root.rglob("*") if path.is_file()]
    assert not [path for path in root.rglob("*") if path.is_symlink()]
    for path in found:
        assert path.resolve().is_relative_to(root.resolve())
    for path in [*root.glob("data/*"), *root.glob("dropped/*"), *root.glob("quarantine/*"), *root.glob("phases/*")]:
        if path.name != ".lock":
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@~-]{0,140}", path.name), path.name
    return found


def test_names_of_input_files(sandbox: Path) -> None:
    names = [name for name in NAMES if _possible(name)]
    for name in names:
        (_input(sandbox) / f"{name}.jsonl").write_text(json.dumps({"text": f"the text of {name!r}"}) + "\n")
    run(Pipeline("plain", [ReadJsonl(), WriteParquet()]), _input(sandbox), sandbox / "out")
    write_report(RunFolder(str(sandbox / "out")))
    _inside(sandbox / "out")
    assert len(rows(sandbox / "out", "data")) == len(names)


def test_names_of_records_and_columns(sandbox: Path) -> None:
    """WARC-Filename, addresses and types of an archive; dumps, languages, ids and file paths of documents."""
    info = [
        record(number, f"filename: {name}\r\n".encode(), kind="warcinfo", extra=f"WARC-Filename: {_line(name)}\r\n")
        for number, name in enumerate(NAMES)
    ]
    pages = [
        record(100 + number, b"<p>x</p>", extra=f"WARC-Filename: {_line(name)}\r\n").replace(
            b"http://site.example/", b"http://site.example/" + _line(name).encode(), 1
        )
        for number, name in enumerate(NAMES)
    ]
    (_input(sandbox) / "a.warc").write_bytes(b"".join([*info, *pages]))
    run(Pipeline("archive", [ReadWarc(), WriteParquet()]), _input(sandbox), sandbox / "out")
    write_report(RunFolder(str(sandbox / "out")))
    _inside(sandbox / "out")
    assert len(rows(sandbox / "out", "data")) == len(NAMES)


@pytest.mark.ci
def test_values_of_documents(sandbox: Path) -> None:
    keys = ("dump", "language", "id", "url", "file_path", "date", "license", "robots", "content_type")
    lines = [{"text": f"some words about number {n} and more", **dict.fromkeys(keys, x)} for n, x in enumerate(NAMES)]
    (_input(sandbox) / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = Pipeline("grouped", [ReadJsonl(), MinHashDedup(scope=("dump", "language")), WriteParquet()])
    run(recipe, _input(sandbox), sandbox / "out")
    write_report(RunFolder(str(sandbox / "out")))
    _inside(sandbox / "out")
    kept = rows(sandbox / "out", "data")
    assert {row["dump"] for row in kept} == {name.replace("\0", "") for name in NAMES}


@pytest.mark.ci
def test_names_of_recipes(sandbox: Path) -> None:
    (_input(sandbox) / "a.jsonl").write_text(json.dumps({"text": "some text"}) + "\n")
    for number, name in enumerate(NAMES[::8]):
        run(Pipeline(name, [ReadJsonl(), WriteParquet()]), _input(sandbox), sandbox / f"out-{number}")
        write_report(RunFolder(str(sandbox / f"out-{number}")))
        _inside(sandbox / f"out-{number}")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CON"])
def test_labels_of_stages(name: str) -> None:
    """Phases, evidence of deduplication and tables are named after stages."""
    known = set(stage._REGISTRY)
    try:
        with pytest.raises(ConfigError, match="is named"):
            type("Hostile", (ReadJsonl,), {"name": name, "__module__": "hostile"})
    finally:
        for label in set(stage._REGISTRY) - known:
            del stage._REGISTRY[label]


def test_names_of_recipe_files(sandbox: Path) -> None:
    """Copies of a user's recipes are kept under their own names, in the folder of the run."""
    shard = InputShard(str(sandbox / "a.jsonl"), "a.jsonl", 0, "")
    for number, name in enumerate(name for name in NAMES if _possible(name)):
        path = _input(sandbox) / f"{name}.py"
        path.write_text(
            "from tokenmill import Filter, Pipeline\n"
            "from tokenmill.io.jsonl import ReadJsonl\n"
            "from tokenmill.io.parquet import WriteParquet\n\n\n"
            f"class Keep{number}(Filter):\n    reads = ('text',)\n\n"
            "    def judge(self, doc):\n        return None\n\n\n"
            f"mine = Pipeline('mine', [ReadJsonl(), Keep{number}(), WriteParquet()])\n"
        )
        plan = make_plan(load_file(str(path)).mine, [shard])
        out = sandbox / f"out-{number}"
        assert freeze(RunFolder(str(out)), RunSpec.of(plan, Options(), "in")) is False
        (copy,) = (out / "recipe").iterdir()
        assert copy.name == path.name
        assert copy.read_text() == path.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_slugs(name: str) -> None:
    slug = shard_slug(name)
    assert SAFE.fullmatch(slug)
    assert slug.partition(".")[0].lower() not in DEVICES
    assert shard_slug(name) == slug


def test_slugs_tell_names_apart() -> None:
    names = [*NAMES, *(f"{name}.warc.gz" for name in NAMES), "a/b", "a_b", "a\\b", "A_B"]
    assert len(set(slugs(names))) == len(names)


@examples(50, 2000)
@given(names=st.lists(st.text(min_size=1, max_size=30), unique=True, max_size=5))
def test_slugs_of_any_names(names: list[str]) -> None:
    found = slugs(names)
    assert len(set(found)) == len(names)
    assert all(SAFE.fullmatch(slug) for slug in found)


def test_names_of_token_sets_in_mixtures(tmp_path: Path) -> None:
    from tokenmill.tokens.mix.spec import load_mixture

    for number, name in enumerate(NAMES):
        path = tmp_path / f"{number}.yaml"
        spec = {"name": "m", "tokens": "1M", "sources": {name: {"tokens": "set", "weight": 1}}}
        path.write_text(json.dumps(spec))
        if name in ("CON", "x" * 300):
            continue  # letters only: harmless as the key of a table
        with pytest.raises(ConfigError):
            load_mixture(str(path))


def _line(name: str) -> str:
    return re.sub(r"[\r\n\0]", "?", name)
