from __future__ import annotations

from pathlib import Path

from tokenmill.rephrase.checks.columns import CHECK_COLUMNS
from tokenmill.rephrase.checks.table import checks_table

DOCS = Path(__file__).parents[3] / "docs" / "rephrase-checks.md"


def test_the_documentation_has_the_checks_as_they_are() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text.split("<!-- table -->\n")[1].split("<!-- end -->")[0]
    assert table == checks_table(), "docs/rephrase-checks.md: put checks_table() between the marks"
    assert all(f"`{column}`" in table for column in CHECK_COLUMNS)
