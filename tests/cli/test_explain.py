"""`tokenmill explain`: every block of a page with its probability, kept and cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import tokenmill

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
    done = tokenmill("explain", page, "--json", "--url", "https://example.org/news/1?from=feed")
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
    done = tokenmill("explain", page)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("keep") for line in lines) >= 6
    assert any(line.startswith("cut") and "About us" in line for line in lines)
    assert any("[bold]Example[/bold]" in line for line in lines)  # text of a page is no markup
    assert "confidence" in done.stdout


def test_only_the_text(page: Path) -> None:
    done = tokenmill("explain", page, "--text")
    assert done.returncode == 0
    assert PROSE.strip() in done.stdout
    assert "About us" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("no-such.html",), "cannot be read"),
        (("{page}", "--focus", "other"), "no focus"),
        (("{page}", "--model", "no-such.npz"), "no model of blocks"),
    ],
)
def test_wrong_usage_is_told(page: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = tokenmill("explain", *(argument.format(page=page) for argument in arguments))
    assert done.returncode == 2
    assert problem in done.stderr


def test_what_is_no_page_is_told(tmp_path: Path) -> None:
    (tmp_path / "image.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    done = tokenmill("explain", tmp_path / "image.html")
    assert done.returncode == 2
    assert "holds no page" in done.stderr
