"""Where the sources of the site, what is generated, and what is built lie."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "reference"
"""Generated pages; not in git. No underscore, since the name is part of addresses."""
RUNS = DOCS / "_build" / "runs"
