"""The English texts of the crawl, extracted once with tokenmill's own stages, for the benchmarks of texts.

    .venv/bin/python benchmarks/texts.py [--input ../shared/crawl] [--files 13] [--output .bench/crawl_english.parquet]

The table has the columns id, url and text, in the order of the files. It is made anew when `--again` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenmill import (
    DecodeHtml,
    ExtractText,
    LanguageFilter,
    LanguageGate,
    LanguageId,
    Pipeline,
    ReadWarc,
    WriteParquet,
)

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT / ".bench/crawl_english.parquet"
COLUMNS = ["id", "url", "text"]

english = Pipeline(
    "english",
    [
        ReadWarc(),
        DecodeHtml(),
        LanguageGate(languages=("en",)),
        ExtractText(),
        LanguageId(),
        LanguageFilter(languages=("en",), min_score=0.65),
        WriteParquet(),
    ],
)


def prepared(source: Path = ROOT.parent / "shared/crawl", files: int | None = None, output: Path = TEXTS) -> Path:
    """The table, made if it is not there."""
    if not output.exists():
        archives = sorted(source.glob("*.warc.gz"))[:files]
        if not archives:
            sys.exit(f"no *.warc.gz in {source}: the developers' shared data is not beside this checkout")
        with tempfile.TemporaryDirectory(prefix="tokenmill-texts-") as folder:
            warcs = Path(folder, "warcs")
            warcs.mkdir()
            for path in archives:
                (warcs / path.name).symlink_to(path)
            out = Path(folder, "out")
            command = [sys.executable, "-m", "tokenmill", "run", f"{__file__}:english"]
            subprocess.run(
                [*command, "--input", str(warcs), "--output", str(out), "--workers", "1"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            tables = [pq.read_table(path, columns=COLUMNS) for path in sorted((out / "data").glob("*.parquet"))]
            table = pa.concat_tables(tables).combine_chunks()
            output.parent.mkdir(parents=True, exist_ok=True)
            part = output.with_suffix(".part")
            pq.write_table(table, part)
            shutil.move(part, output)
    return output


def pinned(command: list[str], core: int) -> dict[str, Any]:
    """What a process on that core prints last, as JSON."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Make the table and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--input", type=Path, default=ROOT.parent / "shared/crawl")
    parser.add_argument("--files", type=int)
    parser.add_argument("--output", type=Path, default=TEXTS)
    parser.add_argument("--again", action="store_true")
    arguments = parser.parse_args()
    if arguments.again:
        arguments.output.unlink(missing_ok=True)
    table = pq.read_table(prepared(arguments.input, arguments.files, arguments.output))
    print(f"{table.num_rows:,} texts, {table['text'].nbytes / 1e6:.1f} MB in {arguments.output}")


if __name__ == "__main__":
    main()
