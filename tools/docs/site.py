"""Make all generated pages below `docs/reference`. Called by `docs/conf.py`; by itself:

.venv/bin/python -m tools.docs.site
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.docs import api, commands, reference, stages
from tools.docs.places import GENERATED
from tools.docs.runs import make_runs


def pages() -> Iterator[tuple[str, str]]:
    """Path below `docs/reference`, and what stands there."""
    yield "signals.md", reference.signals()
    yield "commands.md", commands.page()
    for folder, found in (("recipes", reference.recipes()), ("api", api.pages()), ("stages", stages.pages())):
        for name, text in found:
            yield f"{folder}/{name}", text


def write(folder: Path = GENERATED) -> list[Path]:
    """Write them; a file that has the right text already keeps its time, so that Sphinx does not read it again."""
    make_runs()
    wanted = {folder / name: text for name, text in pages()}
    if folder.is_dir():
        for old in folder.rglob("*.md"):
            if old not in wanted:
                old.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return sorted(wanted)


if __name__ == "__main__":
    print(f"{len(write())} pages in {GENERATED}")
