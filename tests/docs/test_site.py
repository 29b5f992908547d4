"""The site builds without a warning, and nothing on it leads nowhere or to the network."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import DOCS, ROOT, written
from tools.docs import site

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HTML = DOCS / "_build" / "test-html"


class Page(HTMLParser):
    """Anchors, links, and what a page loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {str(found[name]) for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        loaded = found.get("src") or (found.get("href") if tag == "link" else None)
        if loaded and found.get("rel") not in ("canonical", "search", "index", "next", "prev"):
            self.loads.append(loaded)


@cache
def page(path: Path) -> Page:
    """The page of that file."""
    return Page(path)


@pytest.fixture(scope="module")
def built() -> Path:
    """The site, built as `make docs` does, but for the output of notebooks, which have a test of their own."""
    pytest.importorskip("sphinx", reason="make docs installs what builds the site (extra `docs`)")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", str(DOCS), str(HTML)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DOCS_NOTEBOOKS": "off"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return HTML


@pytest.mark.ci
@pytest.mark.always
def test_links_and_anchors_lead_somewhere(built: Path) -> None:
    wrong = []
    for path in sorted(built.rglob("*.html")):
        if "_static" in path.parts:
            continue
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{path.relative_to(built)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).ids:
                wrong.append(f"{path.relative_to(built)}: {link} (no such anchor)")
    assert not wrong


@pytest.mark.ci
@pytest.mark.always
def test_pages_load_nothing_from_the_network(built: Path) -> None:
    for path in sorted(built.rglob("*.html")):
        remote = [load for load in page(path).loads if urlsplit(load).scheme in ("http", "https") or load[:2] == "//"]
        assert not remote, path


@pytest.mark.ci
@pytest.mark.always
def test_every_page_has_its_line_for_machines(built: Path) -> None:
    lines = (built / "llms.txt").read_text(encoding="utf-8").splitlines()
    listed = {found[1] for line in lines if (found := re.match(r"- \[.*?\]\((\S+?)\.html\)", line))}
    pages = {str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.rglob("*") if p.suffix in (".md", ".ipynb")}
    assert listed == {name for name in pages if not name.startswith(("_build", "notebooks/.ipynb"))}


@pytest.mark.ci
@pytest.mark.always
def test_pages_of_stages_show_pages_of_the_archive(built: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (built / "reference/stages/gopher_quality.html").read_text(encoding="utf-8"))
    text = html.unescape(text)
    assert "gopher_alpha_word_share = 0." in text
    assert "https://flink.apache.org/" in text
    assert "Kept" in text


@pytest.mark.parametrize("path", written(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(path: Path) -> None:
    generated = {f"docs/reference/{name}" for name in ("signals.md", "commands.md")}
    for link in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.S)):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("path:"):
            continue
        found = (path.parent / target).resolve() if target else path
        inside = found.relative_to(ROOT).as_posix() if found.is_relative_to(ROOT) else ""
        if inside in generated or inside.startswith(("docs/reference/",)):
            continue
        assert found.exists(), link
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), link


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a file, as GitHub and the site make them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    found = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_generated_pages_are_not_in_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert f"docs/{site.GENERATED.name}/" in ignored
    assert "docs/_build/" in ignored
