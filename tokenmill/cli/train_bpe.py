"""`tokenmill tokenize --train-bpe`: a tokenizer of the corpus itself, before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tokenmill.cli.console import error_console, make_table, output_console, safe
from tokenmill.core.errors import ConfigError
from tokenmill.core.stage import InputShard, Source
from tokenmill.executors.runspec import input_entry
from tokenmill.io.runfolder import RunFolder
from tokenmill.tokens.bpe import HELD_OUT, BpeSettings, cached_reference, train_on_documents
from tokenmill.tokens.tokenizer import load_tokenizer

FOLDER = "tokenizer"
"""Below the output: `tokenizer.json` and `report.json`."""
TRAINED = f"{FOLDER}/report.json"


@dataclass(frozen=True)
class TrainRequest:
    """What to train, and what to compare it with."""

    settings: BpeSettings
    reference: str = ""
    """A tokenizer that is measured on the same documents; empty: gpt2 where a hub's cache has it."""


def train_tokenizer(request: TrainRequest, inputs: Sequence[InputShard], source: Source, output: str) -> str:
    """Train on the documents, tell how well it compresses; the path of the `tokenizer.json`.

    One that was trained there before on the same inputs is taken. ConfigError where the output is no local folder.
    """
    folder = RunFolder(output)
    if not folder.is_local:
        raise ConfigError(
            "--train-bpe wants a local output",
            why="workers read the tokenizer as a file",
            fix="train into a local folder first, then give its tokenizer/ with --tokenizer",
        )
    reference = load_tokenizer(request.reference) if request.reference else cached_reference()
    wanted = {
        "settings": {**vars(request.settings), "special_tokens": list(request.settings.special_tokens)},
        "inputs": [input_entry(shard) for shard in inputs],
        "reference": reference.sha256 if reference is not None else None,
    }
    report = folder.read_json(f"{FOLDER}/report.json")
    place = f"{FOLDER}/tokenizer.json"
    if report is None or report["made_from"] != wanted or not folder.exists(place):
        error_console().print("training a byte-level BPE on a sample of the documents", highlight=False)
        # on one thread: with two, 30 MB took 14 s instead of 11, for what is shared by threads costs more than it gives
        trained = train_on_documents(_batches(inputs, source), request.settings, name="bpe", reference=reference)
        folder.write_text(place, trained.tokenizer.canonical.decode())
        report = {**trained.report, "made_from": wanted}
        folder.write_json(f"{FOLDER}/report.json", report)
    _tell(report)
    return folder.path(place)


def _batches(inputs: Sequence[InputShard], source: Source) -> Iterator[pa.RecordBatch]:
    for shard in inputs:
        yield from source.read(shard, _Unheard())


class _Unheard:
    """What is left out is told when the documents are encoded."""

    def __call__(self, reason: str, **about: Any) -> None:
        pass

    def covered(self, first: int, end: int) -> None:
        pass


def _tell(report: dict[str, Any]) -> None:
    """Bytes per token on documents that were not trained on."""
    held = report["held_out"]
    too_large = report.get("too_large", {})
    trained = report["trained_on"]
    console = output_console()
    console.print(
        f"tokenizer {report['vocab_size']:,} tokens from {trained['documents']:,} documents"
        f" ({trained['bytes'] / 1e6:,.1f} MB)",
        highlight=False,
    )
    for kind, wanted in (("sample", "train"), ("held_out", "measure")):
        if too_large.get(kind):
            console.print(
                f"{too_large[kind]:,} documents are larger than all that was wanted to {wanted} on, and were left out.",
                highlight=False,
            )
    if not held["documents"]:
        console.print(
            f"Nothing was held out of {report['documents']:,} documents, so there are no bytes per token:"
            f" one in {HELD_OUT} is, by a hash of its id.",
            highlight=False,
        )
        return
    table = make_table(title=f"bytes per token on {held['documents']:,} documents that were held out")
    names = ["trained", *([safe(str(report["reference"]))] if report["reference"] else [])]
    for name in ("language", "bytes", *names):
        table.add_column(name, justify="left" if name == "language" else "right")
    for language, one in [("all", held), *list(held["languages"].items())[:10]]:
        figures = [one["bytes_per_token"], *([one["reference_bytes_per_token"]] if report["reference"] else [])]
        cells = ["" if figure is None else f"{figure:.3f}" for figure in figures]
        table.add_row(safe(language), f"{one['bytes']:,}", *cells)
    console.print(table)
    if not report["reference"]:
        console.print("No reference was measured: --reference PATH_OR_NAME, such as gpt2.", highlight=False)
