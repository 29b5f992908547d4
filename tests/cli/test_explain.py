"""`tokenmill explain`: every stage's decision on a page; with --blocks every block, kept and cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.support import tokenmill
from tests.executors.explore import example_run, published

PROSE = (
    "The committee met on Tuesday to discuss the budget for the coming year, and after a long debate it agreed to "
    "spend more on the library than on the road that leads to it. "
)
PAGE = f"""<html lang="en"><head><title>The budget &amp; the library</title>
<meta property="article:published_time" content="2024-03-05T10:00:00Z"><link rel="canonical" href="/news/1"></head>
<body><nav class="menu"><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>
<li><a href="/about">About us</a></li></ul></nav>
<div class="article-body"><h1>The budget</h1>{f"<p>{PROSE}</p>" * 6}</div>
<footer class="footer">Copyright [bold]Example[/bold]. <a href="/terms">Terms</a></footer>
</body></html>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    return path


def test_rows_say_what_is_kept_and_where_it_stands(page: Path) -> None:
    done = tokenmill("explain", page, "--blocks", "--json", "--url", "https://example.org/news/1?from=feed")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    by_text = {row["text"].strip(): row for row in shown["blocks"]}
    prose = by_text[PROSE.strip()]
    assert prose["kept"]
    assert prose["probability"] > 0.6
    assert prose["where"].endswith("div.article-body > p")
    for menu in ("Home", "News", "About us"):
        assert not by_text[menu]["kept"]
    start, end = prose["bytes"]
    assert PAGE.encode()[start:end].decode() == PROSE.strip()
    assert shown["text"].count(PROSE.strip()) == 6
    assert "Home" not in shown["text"]
    assert shown["facts"]["title"] == "The budget & the library"
    assert shown["facts"]["canonical"] == "https://example.org/news/1"
    assert shown["facts"]["published"].startswith("2024-03-05")
    assert shown["kept"] == sum(row["kept"] for row in shown["blocks"])


def test_the_table_shows_kept_and_cut(page: Path) -> None:
    done = tokenmill("explain", page, "--blocks")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("keep") for line in lines) >= 6
    assert any(line.startswith("cut") and "About us" in line for line in lines)
    assert any("[bold]Example[/bold]" in line for line in lines)  # text of a page is no markup
    assert "confidence" in done.stdout


def test_only_the_text(page: Path) -> None:
    done = tokenmill("explain", page, "--blocks", "--text")
    assert done.returncode == 0
    assert PROSE.strip() in done.stdout
    assert "About us" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no-such.html", "--blocks"), "cannot be read"),
        (("{page}", "--blocks", "--focus", "other"), "no focus"),
        (("{page}", "--blocks", "--model", "no-such.npz"), "no model of blocks"),
        (("{page}", "--blocks", "--run", "out"), "--run does not go with --blocks"),
        (("{page}", "--text"), "--text is for the blocks"),
        (("no-such.html",), "there is no file"),
        (("{page}", "--set", "gopher_quality.min_word=3"), "no setting"),
        (("https://example.org/", "--run", "no-such-run"), "holds no run"),
        (("{page}.warc.gz",), "an archive of many pages"),
        (("{page}.gz",), "an archive of many pages"),
    ],
)
def test_wrong_usage_is_told(page: Path, arguments: tuple[str, ...], problem: str) -> None:
    archive = b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 0\r\n\r\n\r\n\r\n"
    for ending in (".warc.gz", ".gz"):
        Path(f"{page}{ending}").write_bytes(gzip.compress(archive))
    done = tokenmill("explain", *(argument.format(page=page) for argument in arguments))
    assert done.returncode == 2
    assert problem in done.stderr


def test_what_is_no_page_is_told(tmp_path: Path) -> None:
    (tmp_path / "image.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    done = tokenmill("explain", tmp_path / "image.html", "--blocks")
    assert done.returncode == 2
    assert "holds no page" in done.stderr


RECIPE = """
recipe: short
stages:
  - read_warc
  - stage: extract_text
    config: {extractor: skim}
  - stage: gopher_quality
    config: {min_words: 1000}
  - stage: redact_pii
  - stage: write_parquet
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.ci  # sample: tests/cli/test_explain_view.py
def test_a_file_is_explained_stage_by_stage(page: Path, recipe: Path) -> None:
    page.write_text(PAGE.replace("Tuesday", "\x1b[31mTuesday\u202e [link=x]someone@mailhost.net[/link]"))
    done = tokenmill("explain", page, "--recipe", recipe, "--url", "https://example.org/news/1")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout  # neither colours in a pipe nor those of the page
    assert "\u202e" not in done.stdout
    lines = done.stdout.splitlines()
    assert "dropped by gopher_quality: too_few_words" in lines
    assert any("gopher_word_count < 1,000" in line and line.lstrip().startswith("*") for line in lines)
    assert any(line.startswith("redact_pii") and "would pass" in line for line in lines)
    assert any(line.strip().startswith("- ") for line in lines)
    assert any("[link=x]" in line for line in lines)  # text of a page is no markup
    assert "--blocks" in done.stdout
    assert max(len(line) for line in lines if str(page) not in line) <= 140  # a path is never folded


@pytest.mark.ci  # sample: tests/cli/test_explain_view.py
def test_json_of_a_file(page: Path, recipe: Path) -> None:
    done = tokenmill("explain", page, "--recipe", recipe, "--set", "gopher_quality.min_words=5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["source"], found["recorded"], found["agrees"]) == (1, "replay", None, None)
    assert found["replayed"]["outcome"] == "kept"
    steps = {step["stage"]: step for step in found["steps"]}
    (rule,) = [rule for rule in steps["gopher_quality"]["rules"] if rule["reason"] == "too_few_words"]
    assert rule["margin"] == rule["value"] - 5
    assert rule["margin_share"] == rule["margin"] / 5
    assert rule["unit"] == "words"
    assert steps["extract_text"]["after_chars"] == found["text_chars"]
    assert "text" not in found


@pytest.mark.ci  # sample: tests/executors/test_explain.py
def test_a_page_of_a_run_and_a_diff() -> None:
    row = next(row for row in published(example_run(), "dropped") if row["stage"] == "minhash_dedup")
    done = tokenmill("explain", row["url"], "--run", example_run())
    assert done.returncode == 0, done.stderr
    assert "dropped by minhash_dedup: duplicate" in done.stdout
    assert "the replay says the same" in done.stdout
    assert "tokenmill clusters" in done.stdout
    done = tokenmill("diff", example_run(), example_run("changed"))
    assert done.returncode == 0, done.stderr
    assert "gopher_quality.min_words" in done.stdout
    assert "too_few_words" in done.stdout
    done = tokenmill("diff", example_run(), example_run("changed"), "--json", "--samples", "1")
    found = json.loads(done.stdout)
    assert found["format"] == 1
    assert found["documents"] == 241
    assert sum(one["documents"] for one in found["changed"]) + found["unchanged"] == 241
    assert not tokenmill("diff", example_run(), "no-such-run").returncode == 0
