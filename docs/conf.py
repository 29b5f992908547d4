"""The documentation site: Sphinx with MyST. `make docs` builds it, without network, into `docs/_build/html`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tokenmill import __version__  # noqa: E402

project = "tokenmill"
author = "The tokenmill developers"
copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "**.ipynb_checkpoints", "README.md"]
suppress_warnings = ["myst.strikethrough"]
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = os.environ.get("DOCS_NOTEBOOKS", "cache")  # off: not executed, for work on the pages
nb_execution_cache_path = str(ROOT / "docs/_build/.notebooks")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

html_theme = "furo"
html_title = f"tokenmill {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"font-stack": "system-ui, sans-serif", "font-stack--monospace": "ui-monospace, monospace"},
    "navigation_with_keys": True,
}

autodoc_mock_imports = ["torch", "transformers", "safetensors", "tokenizers"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
default_role = "code"
add_module_names = False
nitpick_ignore_regex = [("py:.*", r".*")]
"""Types of signatures link where they are documented; that some are not is no fault of a page."""
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.highlight-text) > div.highlight pre"


def plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with code between backticks: what else reStructuredText would read is escaped."""
    out: list[str] = []
    for number, line in enumerate(lines):
        indented = line.startswith("    ") and line.strip()
        begins = indented and (number == 0 or not lines[number - 1].strip())
        if begins and out and not out[-1].strip():
            out += ["::", ""]
        if indented:
            out.append(line)
            continue
        pieces = re.split(r"(`+[^`]*`+)", line)
        out.append("".join(p if p.startswith("`") else re.sub(r"([\\*|]|_\b)", r"\\\1", p) for p in pieces))
    lines[:] = out


def link_files(app: Any, docname: str, source: list[str]) -> None:
    """Links to Markdown outside of `docs/` are files to download, as links to other files are."""
    source[0] = re.sub(r"\]\((\.\./[^)#:]+\.md)\)", r"](path:\1)", source[0]) if "/" not in docname else source[0]


def generate(app: Any, config: Any) -> None:
    """Write the pages that are made from the code before Sphinx looks for pages."""
    from tools.docs import site

    site.write()


def write_index_for_machines(app: Any, error: Exception | None) -> None:
    """`llms.txt`: one line for every page."""
    if error is None and app.builder.format == "html":
        from tools.docs import llms

        llms.write(app)


def setup(app: Any) -> None:
    """Connect what happens besides Sphinx's own work."""
    app.connect("config-inited", generate)
    app.connect("source-read", link_files)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("build-finished", write_index_for_machines)
