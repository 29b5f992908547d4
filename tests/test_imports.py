"""Imports stay light, and go in the right direction."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "module",
    [
        "tokenmill.cli.main",
        "tokenmill.tokens.write",
        *(
            pytest.param(f"tokenmill{module}", marks=pytest.mark.ci)
            for module in (
                *("", ".filters.gopher", ".extract.text", ".dedup.minhash", ".dedup.lines", ".dedup.substring"),
                *(".tokens.decontaminate.stage", ".tokens.loader"),
            )
        ),
    ],
)
def test_a_leaf_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = {"torch", "ray", "pandas", "numba", "trafilatura", "lxml", "datatrove", "resiliparse"}
    assert loaded & heavy == set()


def test_every_public_name_is_there() -> None:
    import tokenmill

    for name in tokenmill.__all__:
        assert getattr(tokenmill, name) is not None
    assert sorted([*tokenmill._EXPORTS, "__version__"]) == sorted(tokenmill.__all__)


@pytest.mark.ci  # and in `make lint`
def test_imports_go_in_the_right_direction() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_layers.py")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "imports: all in the right direction\n"


def test_the_check_sees_a_wrong_import_in_a_function(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import check_layers
    finally:
        sys.path.pop(0)
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from tokenmill.filters import gopher\n    import torch\n")
    assert list(check_layers.imported(bad)) == [(2, "tokenmill.filters"), (3, "torch")]
