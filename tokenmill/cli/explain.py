"""`tokenmill explain`: every stage's decision on one page."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenmill.cli.console import output_console, print_json
from tokenmill.cli.explain_view import explanation_json, print_explanation
from tokenmill.cli.page_file import read_page
from tokenmill.core.errors import ConfigError
from tokenmill.core.pipeline import Pipeline
from tokenmill.core.settings import parse_assignment
from tokenmill.executors.explain import explain_document, explain_page
from tokenmill.executors.explain_plan import check_code, plan_of_run
from tokenmill.executors.explanation import Explanation
from tokenmill.executors.runspec import load_run, load_run_here
from tokenmill.io.runfolder import RunFolder
from tokenmill.pipelines.find import load_recipe

DEFAULT_RECIPE = "fineweb"
_ARCHIVES = (".warc", ".arc", ".wet", ".wat")
_PACKED = (".gz", ".lz4", ".zst", ".bz2")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class ExplainRequest:
    """What the command line asks for."""

    page: str
    run: str | None = None
    recipe: str | None = None
    settings: tuple[str, ...] = ()
    url: str | None = None
    archives: tuple[str, ...] = ()
    full: bool = False
    trust_code: bool = False
    as_json: bool = False


def explain(request: ExplainRequest) -> None:
    """Print the explanation of a page. ConfigError where there is no such page, or it cannot be explained."""
    found = explanation(request)
    if request.as_json:
        print_json(explanation_json(found, full=request.full))
        return
    print_explanation(output_console(), found, full=request.full)


def explanation(request: ExplainRequest) -> Explanation:
    """The explanation that is asked for."""
    if request.page == "-" or Path(request.page).is_file():
        payload, name = _payload(request.page)
        found = explain_page(payload, _pipeline(request), name=name, url=request.url or "")
        found.query = request.page
        return found
    if request.run is None:
        raise ConfigError(
            f"there is no file {request.page}",
            why="a page by its address or id is looked up in a run",
            fix="give the path of an HTML file, - for standard input, or --run RUN",
        )
    if request.url is not None:
        raise ConfigError("--url is for a page's file", why="a page of a run has its address", fix="leave it out")
    return explain_document(
        request.run,
        request.page,
        pipeline=load_recipe(request.recipe).pipeline if request.recipe else None,
        settings=[parse_assignment(text) for text in request.settings],
        archives=request.archives,
        trust_code=request.trust_code,
    )


def _pipeline(request: ExplainRequest) -> Pipeline:
    """The recipe for a page's file: the one that is named, else the run's, else the default."""
    if request.recipe is None and request.run is not None:
        folder = RunFolder(request.run)
        if not request.trust_code:
            check_code(folder, load_run(folder))
        data = load_run_here(folder)
        settings = [parse_assignment(text) for text in request.settings]
        return plan_of_run(data, settings)[0].pipeline
    return load_recipe(request.recipe or DEFAULT_RECIPE, request.settings).pipeline


def _payload(page: str) -> tuple[bytes, str]:
    """(bytes, name) of a page's file. ConfigError where it cannot be read, or is an archive."""
    payload, name = read_page(page)
    if _is_archive(name, payload):
        raise ConfigError(
            f"{page} is an archive of many pages",
            fix="give one page: its HTML, or its address or id with --run RUN (tokenmill run makes one of the archive)",
        )
    return payload, name


def _is_archive(name: str, payload: bytes) -> bool:
    bare = name.lower()
    for ending in _PACKED:
        bare = bare.removesuffix(ending)
    head = payload[:8]
    if head.startswith(_GZIP):
        try:
            head = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(payload[:4096], 64)
        except (zlib.error, gzip.BadGzipFile):
            head = b""
    return bare.endswith(_ARCHIVES) or head.startswith((b"WARC/", b"filedesc://"))


__all__: Sequence[str] = ("ExplainRequest", "explain", "explanation")
