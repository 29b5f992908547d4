"""The runs from which the examples on the pages come: built-in recipes on the bundled archive, once per version of the
code. They lie below `docs/_build/runs` and are made again when the package or the archive changes; with
`DOCS_KEEP_RUNS=1` in the environment those that are there stay, for work on the pages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.docs.places import ROOT, RUNS

RECIPES = {
    "fineweb": (),
    "dclm-refinedweb": (),
    "fineweb2": ("--set", "extract_text.extractor=resiliparse"),
    "raw": (),
}
"""Recipe without models -> further arguments of `tokenmill run`. A second extraction by trafilatura would cost most."""
DEDUP = "tools/docs/dedup_example.py:dedup"
"""Deduplication by text of what `raw` has made."""


def commands() -> dict[str, str]:
    """Name of a run -> the command that makes it, as a reader would type it."""
    shown = {}
    for name, extra in RECIPES.items():
        options = " ".join(("--mode annotate", *extra))
        shown[name] = f"tokenmill run {name} --input examples/data {options} --output out/"
    return shown


def make_runs() -> None:
    """Make what is missing or old."""
    stamp = RUNS / "stamp"
    wanted = _digest()
    if stamp.is_file() and (os.environ.get("DOCS_KEEP_RUNS") or stamp.read_text() == wanted):
        return
    shutil.rmtree(RUNS, ignore_errors=True)
    RUNS.mkdir(parents=True)
    lists = () if _has_lists() else ("--set", "url_filter.lists=none")
    for name, extra in RECIPES.items():
        _run(name, "examples/data", name, "--mode", "annotate", *extra, *(lists if name != "raw" else ()))
    _run(DEDUP, str(RUNS / "raw/data"), "dedup", "--mode", "annotate")
    stamp.write_text(wanted)


def _run(recipe: str, source: str, name: str, *extra: str) -> None:
    command = [sys.executable, "-m", "tokenmill", "run", recipe, "--input", source, "--output", str(RUNS / name)]
    done = subprocess.run(
        [*command, "--workers", "0", *extra],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the run {name} for the examples failed:\n{done.stdout}\n{done.stderr}")


def _has_lists() -> bool:
    """Whether the URL lists of the recipes are installed (the extra `datatrove`)."""
    from importlib.util import find_spec

    return find_spec("datatrove") is not None


def _digest() -> str:
    """Of everything that the runs depend on."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    files = [*(ROOT / "tokenmill").rglob("*.py"), *(ROOT / "tokenmill").rglob("*.yaml")]
    files += [ROOT / "examples/data/example.warc.gz", here / "runs.py", here / "dedup_example.py"]
    for path in sorted(files):
        if "/cli/" not in str(path) and "/report/" not in str(path):
            digest.update(path.read_bytes())
    return digest.hexdigest()
