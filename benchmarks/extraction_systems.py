"""The systems that the extraction benchmark compares: libraries as they are, tokenmill's extractors, the peer."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extraction_pages import ROOT, Page

from tools.skim.data import FOLDS

PEER_SCRIPT = Path(__file__).with_name("extraction_peer.py")
FAST = "trafilatura fast"
RESILIPARSE = "resiliparse main content"
SKIM, CASCADE = "skim", "cascade"
STAGE_FAST, STAGE_RESILIPARSE = "ExtractText, extractor=trafilatura", "ExtractText, extractor=resiliparse"
DEFAULT = "ExtractText (default)"
OUT_OF_FOLD = ", out of fold"
WARM = (
    "<html><body><article><h1>Warm</h1><p>loads <b>what</b> is <a href='x'>loaded</a> on first use</p><pre>a\n b</pre>"
    "<table><tr><td>1<td>2</table><p>\\(a_b\\) <math><mi>x</mi><annotation encoding='application/x-tex'>x</annotation>"
    "</math><script type='math/tex'>y</script></p></article></body></html>"
)


@dataclass
class System:
    """A way from a page to its text."""

    name: str
    extract: Callable[[Page], str]
    trafilatura: bool = False
    """One of the settings of trafilatura."""
    routed: list[bool] | None = None
    """Of a cascade: whether each page so far went to the fallback."""

    def warm_up(self) -> None:
        """Load and compile, with the model of every fold; forget what was counted."""
        for page in _one_of_each_fold():
            self.extract(page)
        if self.routed is not None:
            self.routed.clear()

    def routed_share(self) -> float | None:
        """Share of pages that a cascade sent to the fallback."""
        return None if self.routed is None else sum(self.routed) / max(1, len(self.routed))


def _one_of_each_fold() -> list[Page]:
    found: dict[int, Page] = {}
    number = 0
    while len(found) < FOLDS:
        page = Page(f"http://{number}.example/", WARM)
        found.setdefault(page.fold, page)
        number += 1
    return list(found.values())


def libraries() -> list[System]:
    """trafilatura in every setting, and resiliparse, called as their documentation says."""
    from resiliparse.extract.html2text import extract_plain_text
    from trafilatura import extract

    def trafilatura(name: str, **settings: Any) -> System:
        def run(page: Page) -> str:
            return extract(page.html, include_comments=False, **settings) or ""

        return System(name, run, trafilatura=True)

    def resiliparse(page: Page) -> str:
        settings = {"alt_texts": False, "comments": False, "post_meta": False, "list_bullets": False}
        return str(extract_plain_text(page.html, main_content=True, **settings))

    return [
        trafilatura(FAST, fast=True),
        trafilatura("trafilatura fast + precision", fast=True, favor_precision=True),
        trafilatura("trafilatura fast + recall", fast=True, favor_recall=True),
        trafilatura("trafilatura default"),
        trafilatura("trafilatura precision", favor_precision=True),
        trafilatura("trafilatura recall", favor_recall=True),
        System(RESILIPARSE, resiliparse),
    ]


def own(folds: Sequence[Path] | None) -> list[System]:
    """skim and the cascade with the shipped model; with `folds` (the file of a model for each fold, which has not seen
    its pages) also out of fold."""
    found = [_skim(SKIM, [None]), _cascade(CASCADE, [None])]
    if folds is not None:
        found += [_skim(SKIM + OUT_OF_FOLD, folds), _cascade(CASCADE + OUT_OF_FOLD, folds)]
    return found


def _skim(name: str, models: Sequence[Path | None]) -> System:
    from tokenmill.extract.text import ExtractText

    by_fold = [ExtractText(extractor="skim", block_model=model and str(model)).extract for model in models]
    if len(by_fold) == 1:
        whole = by_fold[0]
        return System(name, lambda page: whole(page.html))
    return System(name, lambda page: by_fold[page.fold](page.html))


def _cascade(name: str, models: Sequence[Path | None]) -> System:
    from tokenmill.core.doc import Doc
    from tokenmill.extract.text import ExtractText

    by_fold = [ExtractText(extractor="cascade", block_model=model and str(model)).rewrite for model in models]
    routed: list[bool] = []

    def run(page: Page) -> str:
        stage = by_fold[0] if len(by_fold) == 1 else by_fold[page.fold]
        found = stage(Doc(html=page.html, url=page.url))
        given = found if isinstance(found, dict) else {}
        routed.append(given.get("extracted_by") == "trafilatura")
        return str(given.get("text", ""))

    return System(name, run, routed=routed)


def default() -> System:
    """tokenmill's stage as it comes."""
    from tokenmill.extract.text import ExtractText

    extract = ExtractText().extract
    return System(DEFAULT, lambda page: extract(page.html))


def stages() -> list[System]:
    """tokenmill's stage with the libraries behind it: less overhead, and limits of shape."""
    from tokenmill.extract.text import ExtractText

    fast, plain = ExtractText(extractor="trafilatura").extract, ExtractText(extractor="resiliparse").extract
    return [
        System(STAGE_FAST, lambda page: fast(page.html)),
        System(STAGE_RESILIPARSE, lambda page: plain(page.html)),
    ]


def fold_models() -> list[Path]:
    """Files of the models of the folds; ends the program where there are none."""
    paths = [ROOT / f".bench/skim/models/fold{fold}.npz" for fold in range(FOLDS)]
    if not all(path.exists() for path in paths):
        sys.exit(
            f"no models of folds in {paths[0].parent}: run `python -m tools.skim.train --folds`, or --shipped-only"
        )
    return paths


def peer(python: str, pages: Sequence[str]) -> tuple[str, list[str], float]:
    """Version, texts and seconds of the peer's trafilatura, run in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        pages_path, texts_path = Path(folder, "pages.jsonl"), Path(folder, "texts.jsonl")
        pages_path.write_text("".join(json.dumps(page) + "\n" for page in pages))
        done = subprocess.run(
            [python, str(PEER_SCRIPT), str(pages_path), str(texts_path)], capture_output=True, text=True, check=True
        )
        answer = json.loads(done.stdout)
        texts = [json.loads(line) for line in texts_path.read_text().splitlines()]
    return answer["version"], texts, answer["seconds"]
