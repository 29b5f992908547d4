"""datatrove's steps as stages: the same verdicts as when they are called, in whole runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datatrove")

from tests.executors.support import rows, run
from tokenmill import Doc, ExtractText, LanguageFilter, Pipeline, ReadJsonl, ReadWarc, WriteParquet
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import load_file
from tokenmill.core.plan import make_plan
from tokenmill.core.rule import Drop
from tokenmill.core.stage import Stage
from tokenmill.interop import DatatroveFilter, DatatroveRewrite, from_datatrove
from tokenmill.io.runfolder import RunFolder
from tokenmill.report.funnel import fold

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "data"
MINE = Path(__file__).with_name("steps_of_mine.py")
FILTERS = "datatrove.pipeline.filters"
with_spacy = pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="spaCy is not installed")


def mine(name: str, kind: type[Stage] = DatatroveFilter, **settings: Any) -> Any:
    return kind(step=f"{MINE}:{name}", **settings)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts of the bundled archive, as a run without filters publishes them."""
    out = tmp_path_factory.mktemp("texts") / "out"
    languages = LanguageFilter(languages=("en", "de", "fr"), min_score=None)
    run(Pipeline("texts", [ReadWarc(), ExtractText(extractor="resiliparse"), languages, WriteParquet()]), EXAMPLE, out)
    return out / "data"


def as_jsonl(texts: Path, write_jsonl: Callable[..., Path]) -> tuple[Path, list[dict[str, Any]]]:
    kept = [{"id": row["id"], "url": row["url"], "text": row["text"]} for row in rows(texts.parent, "data")]
    return write_jsonl(kept), kept


def called(steps: list[Any], documents: list[dict[str, Any]]) -> tuple[Counter[str], dict[str, str]]:
    """Reasons by `step.reason`, and the texts that are left, when datatrove's steps are called one after the other."""
    from datatrove.data import Document

    reasons: Counter[str] = Counter()
    left = {}
    for row in documents:
        doc = Document(text=row["text"], id=row["id"], metadata={"url": row["url"]})
        for number, step in enumerate(steps):
            verdict = step.filter(doc)
            keep, reason = verdict if isinstance(verdict, tuple) else (verdict, "dropped")
            if not keep:
                reasons[f"{number}.{reason}"] += 1
                break
        else:
            left[doc.id] = doc.text
    return reasons, left


def check_recipe(
    steps: list[str],
    module: str,
    texts: Path,
    tmp_path: Path,
    write_jsonl: Callable[..., Path],
    options: dict[str, Any] | None = None,
) -> None:
    """One run of the steps as stages in a child process against datatrove's own verdicts."""
    source, documents = as_jsonl(texts, write_jsonl)
    found = load_file(module) if module.endswith(".py") else importlib.import_module(module)
    made = [getattr(found, name)(**(options or {}) if "C4" in name else {}) for name in steps]
    stages = [
        DatatroveRewrite(step=f"{module}:{name}", options=options or {})
        if "C4" in name
        else DatatroveFilter(step=f"{module}:{name}")
        for name in steps
    ]
    pipeline = Pipeline("theirs", [ReadJsonl(), *stages, WriteParquet()])
    labels = pipeline.labels[1:-1]
    outcome = run(pipeline, source, tmp_path / "out", workers=1, seconds=20)
    assert outcome.failures == {}
    funnel = fold(RunFolder(str(tmp_path / "out")))
    assert not funnel.quarantined
    assert funnel.balance == 0
    reasons, left = called(made, documents)
    assert len(reasons) >= 5
    assert left
    theirs = Counter({f"{labels[int(k.partition('.')[0])]}.{k.partition('.')[2]}": n for k, n in reasons.items()})
    assert funnel.dropped == theirs
    assert {row["id"]: row["text"] for row in rows(tmp_path / "out", "data")} == left


@pytest.mark.slow
def test_the_four_families_with_a_tokenizer_of_the_user(
    texts: Path, tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    options = {"filter_no_terminal_punct": False}
    steps = ["Repetition", "Quality", "C4", "FineWeb", "Secure"]
    check_recipe(steps, str(MINE), texts, tmp_path, write_jsonl, options)


@with_spacy
def test_the_four_families_as_they_are(texts: Path, tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    options = {"filter_no_terminal_punct": False}
    steps = ["GopherRepetitionFilter", "GopherQualityFilter", "C4QualityFilter", "FineWebQualityFilter"]
    check_recipe(steps, FILTERS, texts, tmp_path, write_jsonl, options)


def test_a_missing_tokenizer_stops_the_run_before_a_document_is_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)  # import spacy raises ImportError
    stage = DatatroveFilter(step=f"{FILTERS}:GopherQualityFilter", options={"language": "nld"})  # not loaded so far
    with pytest.raises(ConfigError, match="needs a library") as caught:
        stage.setup()
    assert "pip install" in caught.value.fix
    with pytest.raises(ConfigError, match="sudachi") as caught:
        mine("Needy").setup()
    assert caught.value.fix == "pip install sudachi"


def test_without_datatrove_the_plan_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nothing)
    pipeline = Pipeline("p", [ReadJsonl(), mine("Batched"), WriteParquet()])
    with pytest.raises(ConfigError) as caught:
        make_plan(pipeline, [])
    assert caught.value.fix == "pip install 'tokenmill[datatrove]'"


def test_the_package_is_imported_without_datatrove() -> None:
    code = "import sys, tokenmill.interop; print('datatrove' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_digest_names_versions_and_the_code_of_the_user() -> None:
    assert DatatroveFilter(step=f"{FILTERS}:RegexFilter", options={"regex_exp": "a"}).digests()["datatrove"]
    assert len(mine("Quality").digests()["source"]) == 64


def test_metadata_are_our_columns_and_can_be_published(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    addresses = ["https://a.org/", "http://b.org/", "https://c.org/1"]
    source = write_jsonl([{"id": f"d{i}", "url": url, "text": "a b"} for i, url in enumerate(addresses)])
    stage = mine("Secure", DatatroveRewrite, publish={"url_length": "int64", "columns": "string", "none": "bool"})
    run(Pipeline("p", [ReadJsonl(), stage, WriteParquet()]), source, tmp_path / "out")
    kept = rows(tmp_path / "out", "data")
    assert [(row["id"], row["url_length"], row["none"]) for row in kept] == [("d0", 14, None), ("d2", 15, None)]
    assert {"url", "doc_id", "file_path"} <= set(kept[0]["columns"].split())
    assert not {"text", "payload", "html", "id"} & set(kept[0]["columns"].split())
    assert [row["reason"] for row in rows(tmp_path / "out", "dropped")] == ["dropped"]


def test_a_step_without_the_metadata_that_it_wants_costs_the_document(
    tmp_path: Path, write_jsonl: Callable[..., Path]
) -> None:
    run(Pipeline("p", [ReadJsonl(), mine("Careful"), WriteParquet()]), write_jsonl(["a"]), tmp_path / "out")
    (row,) = rows(tmp_path / "out", "quarantine")
    assert row["cause"] == "KeyError"


def test_batched_filters_formatters_and_odd_reasons() -> None:
    assert mine("Batched").judge(Doc("abc")) == "odd length"
    assert mine("Batched").judge(Doc("abcd")) is None
    assert mine("Shout", DatatroveRewrite).rewrite(Doc("abc")) == {"text": "ABC"}
    assert mine("Batched", DatatroveRewrite).rewrite(Doc("abc")) == Drop("odd length")
    lines = DatatroveRewrite(step="datatrove.pipeline.formatters:SymbolLinesFormatter")
    assert lines.rewrite(Doc("a\n***\nb")) == {"text": "a\nb"}
    assert lines.rewrite(Doc("a\nb")) == {}


def test_a_library_that_a_users_file_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "lacking.py").write_text("import no_such_library\n")
    with pytest.raises(ConfigError, match="no_such_library"):
        DatatroveFilter(step=f"{tmp_path}/lacking.py:Step").digests()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (DatatroveFilter(step=f"{FILTERS}:C4QualityFilter"), "changes the text"),
        (mine("C4"), "changes the text"),
        (mine("Shout"), "no filter"),
        (DatatroveRewrite(step="datatrove.pipeline.writers:JsonlWriter"), "writes files"),
        (DatatroveRewrite(step="datatrove.pipeline.readers:JsonlReader"), "reads documents"),
        (DatatroveRewrite(step="datatrove.pipeline.dedup.bloom_filter:SingleBloomFilter"), "with each other"),
        (DatatroveRewrite(step="datatrove.pipeline.formatters:PIIFormatter"), "RedactPii"),
        (DatatroveFilter(step=f"{FILTERS}:SamplerFilter"), "random"),
        (DatatroveFilter(step=f"{FILTERS}:RegexFilter", options={"exclusion_writer": "x"}), "dropped/"),
        (DatatroveFilter(step=f"{FILTERS}:RegexFilter"), "regex_exp"),
        (DatatroveFilter(step=f"{FILTERS}:RegexFilters"), "did you mean 'RegexFilter'"),
        (DatatroveFilter(step="datatrove.nothing:Filter"), "cannot be imported"),
        (DatatroveFilter(step="gone.py:Filter"), "no Python file"),
        (DatatroveFilter(step="pathlib:Path"), "no step of datatrove"),
    ],
)
def test_what_cannot_be_a_stage_is_refused_by_the_plan(stage: Stage, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(Pipeline("p", [ReadJsonl(), stage, WriteParquet()]), [])
    assert message in str(caught.value)


def test_what_shows_only_when_the_step_runs_is_refused_as_well() -> None:
    with pytest.raises(ConfigError, match="has changed the text"):
        mine("Sly").judge(Doc("a"))
    with pytest.raises(ConfigError, match="2 documents of one"):
        mine("Twice", DatatroveRewrite).rewrite(Doc("a"))
    with pytest.raises(ConfigError, match="dropped"):
        mine("Writing").setup()
    with pytest.raises(ConfigError, match="keep_fraction"):
        DatatroveFilter(step=f"{FILTERS}:C4BadWordsFilter", options={"keep_fraction": 0.1}).setup()
    with pytest.raises(ConfigError, match="names no class"):
        DatatroveFilter(step="GopherQualityFilter")
    with pytest.raises(ConfigError, match="no column"):
        DatatroveRewrite(step="a:B", publish={"text": "string"})


def test_a_stage_from_a_live_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from datatrove.pipeline import filters

    stage = from_datatrove(filters.GopherQualityFilter(min_doc_words=40))
    module = f"{FILTERS}.gopher_quality_filter"
    assert stage == DatatroveFilter(step=f"{module}:GopherQualityFilter", options={"min_doc_words": 40})
    pipeline = Pipeline("p", [ReadJsonl(), stage, WriteParquet()])
    assert Pipeline.from_json(json.loads(json.dumps(pipeline.to_json()))).stages == pipeline.stages
    assert isinstance(from_datatrove(filters.C4QualityFilter()), DatatroveRewrite)
    repetition = from_datatrove(filters.GopherRepetitionFilter(dup_n_grams=((5, 0.3),)))
    assert repetition.config()["options"] == {"dup_n_grams": [[5, 0.3]]}
    marks = from_datatrove(filters.FineWebQualityFilter(stop_chars=(".", "!")))
    assert marks.config()["options"] == {"stop_chars": [".", "!"]}
    own = load_file(str(MINE))
    monkeypatch.chdir(MINE.parent)
    wanted = DatatroveFilter(step="steps_of_mine.py:Quality", options={"min_doc_words": 5})
    assert from_datatrove(own.Quality(min_doc_words=5)) == wanted
    monkeypatch.chdir("/")
    assert from_datatrove(own.Shout()).config()["step"] == f"{str(MINE)[1:]}:Shout"


def test_a_live_step_that_hides_its_arguments_is_refused() -> None:
    from datatrove.pipeline import filters

    for step in (
        filters.FineWebQualityFilter(short_line_thr=0.5),
        filters.RegexFilter("a"),
        filters.LambdaFilter(len),
    ):
        with pytest.raises(ConfigError, match="does not tell all arguments"):
            from_datatrove(step)


@pytest.mark.ci
def test_a_recipe_from_the_command_line(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    code = (
        "from datatrove.pipeline.filters.base_filter import BaseFilter\n"
        "from tokenmill import Pipeline, ReadJsonl, WriteParquet\n"
        "from tokenmill.interop import DatatroveFilter, from_datatrove\n\n\n"
        "class Short(BaseFilter):\n"
        "    def __init__(self, most=3):\n        super().__init__()\n        self.most = most\n\n"
        "    def filter(self, doc):\n        return len(doc.text) <= self.most, 'long'\n\n\n"
        "theirs = Pipeline('theirs', [ReadJsonl(), DatatroveFilter(step='my.py:Short'), from_datatrove(Short(most=2)),"
        " WriteParquet()])\n"
    )
    (tmp_path / "my.py").write_text(code)
    source = write_jsonl(["ab", "abc", "abcd", "abcde"])
    arguments = ["run", "my.py:theirs", "--input", str(source), "--output", "out", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tokenmill", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert fold(RunFolder(str(tmp_path / "out"))).dropped == {"datatrove_filter.long": 2, "datatrove_filter_2.long": 1}
