"""`llms.txt` of the built site: one line for every page, with its address and first sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]

_HEAD = """# tokenmill

> Raw web archives in, training tokens out, and the proof that they are good tokens.

Version {version}. Every page of the documentation, in the order of its navigation.

"""
_LONGEST = 200


def write(app: Any) -> Path:
    """Write the file beside the pages of a finished build."""
    lines = [_HEAD.format(version=app.config.version)]
    for name in ordered(app.env):
        title = app.env.titles[name].astext()
        text = first_sentence(app.env.get_doctree(name))
        lines.append(f"- [{title}]({name}.html)" + (f": {text}" if text else "") + "\n")
    path = Path(app.outdir) / "llms.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def ordered(env: Any) -> list[str]:
    """Names of all pages as the navigation has them; those that it lacks come last."""
    seen: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in env.found_docs and name not in seen:
            seen[name] = None
            for below in env.toctree_includes.get(name, ()):
                visit(below)

    visit(env.config.root_doc)
    return [*seen, *sorted(env.found_docs - seen.keys())]


def first_sentence(tree: nodes.document) -> str:
    """The first sentence of a page, in one line."""
    for paragraph in tree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            text = " ".join(paragraph.astext().split())
            sentence = text.partition(". ")[0].rstrip(".:") + "."
            if len(sentence) > _LONGEST:
                sentence = sentence[:_LONGEST].rsplit(maxsplit=1)[0] + " ..."
            return sentence
    return ""
