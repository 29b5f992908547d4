"""Small finished runs over real pages, and what is looked for in them after documents were removed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.executors.support import run
from tests.faults.support import RECIPES, small_archives
from tokenmill.core.pipeline import Pipeline, load_file
from tokenmill.core.stage import Stage
from tokenmill.dedup.lines import LineDedup
from tokenmill.dedup.minhash import MinHashDedup
from tokenmill.io.parquet import WriteParquet
from tokenmill.io.runfolder import RunFolder
from tokenmill.io.warc import ReadWarc
from tokenmill.report.funnel import Funnel, fold


def pipeline(name: str, *stages: Stage) -> Pipeline:
    """Real pages as cheap texts, with short ones dropped and a poisonous one in quarantine, and then the stages."""
    recipe: Any = load_file(str(RECIPES))
    pages = [recipe.Markup(), recipe.Letters(), recipe.LongEnough(), recipe.Poison()]
    return Pipeline(name, [ReadWarc(), *pages, *stages, WriteParquet()])


def both() -> Pipeline:
    """Sentences and near-duplicates: three phases of documents, samples of removed text."""
    return pipeline("both", LineDedup(unit="sentences", sentences=2, min_characters=10), MinHashDedup())


def near() -> Pipeline:
    """Near-duplicates: two phases of documents."""
    return pipeline("near", MinHashDedup())


def finished_run(folder: Path, recipe: Pipeline | None = None, **options: Any) -> Path:
    """A finished run over three archives, each with a page of the one before and a poisonous page."""
    outcome = run(recipe or near(), small_archives(folder, 3, 10), folder / "out", **options)
    assert not outcome.failures
    return folder / "out"


def copied(out: Path, folder: Path) -> Path:
    """A copy of a run that a test may change."""
    shutil.copytree(out, folder / "copy")
    return folder / "copy"


def table(out: Path, kind: str) -> list[dict[str, Any]]:
    """Rows of all published files of a kind, with the shard's name under `shard`."""
    return [
        {**row, "shard": path.name.partition("~")[0].removesuffix(".parquet")}
        for path in sorted((out / kind).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def mentions(out: Path, *needles: str) -> list[str]:
    """Files that have one of the texts anywhere: in a cell of a table, or in their bytes."""
    assert all(needles)
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and _mentions(p, needles))


def _mentions(path: Path, needles: Sequence[str]) -> bool:
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        columns = pq.read_table(path)
        text = json.dumps(columns.to_pylist(), ensure_ascii=False, default=str)
    elif data[:6] == b"ARROW1":
        with pa.OSFile(str(path)) as stream:
            text = json.dumps(pa.ipc.open_file(stream).read_all().to_pylist(), ensure_ascii=False, default=str)
    else:
        text = data.decode("utf-8", "replace")
    return any(needle in text or json.dumps(needle, ensure_ascii=False)[1:-1] in text for needle in needles)


def check_digests(out: Path) -> Funnel:
    """Every file is what its manifest and the seal of its phase say, and all records are accounted for."""
    folder = RunFolder(str(out))
    for phase in folder.read_json("run.json")["phases"]:
        sealed = folder.read_json(f"phases/{phase['directory']}/_SUCCESS.json")
        for output in sealed["outputs"]:
            manifest = folder.manifest(phase["directory"], output["name"])
            assert manifest is not None
            named = {file["kind"]: {k: v for k, v in file.items() if k != "kind"} for file in manifest["files"]}
            assert named == output["files"]
            for kind, file in named.items():
                if kind.startswith("run_"):  # deleted at the end of every run with tokens
                    continue
                data = (out / file["path"]).read_bytes()
                assert hashlib.sha256(data).hexdigest() == file["sha256"], file["path"]
                assert len(data) == file["bytes"]
                if file["path"].endswith(".parquet"):
                    assert pq.read_metadata(out / file["path"]).num_rows == file["rows"], file["path"]
    funnel = fold(folder)
    assert funnel.complete
    assert funnel.balance == 0
    rows = {kind: len(table(out, kind)) for kind in ("data", "dropped", "quarantine")}
    counted = {
        "data": funnel.kept,
        "dropped": funnel.dropped.total() - funnel.dropped["read_warc.not_response"],
        "quarantine": funnel.quarantined.total(),
    }
    assert rows == counted
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("attempts"))
    return funnel
