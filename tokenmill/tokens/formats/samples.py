"""Layouts that are folders of samples, written by the libraries that own them: MosaicML's MDS and litdata.

Both libraries bring torch along and want versions of their own, so neither is needed by anything else here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError

Ids = npt.NDArray[Any]


class SampleWriter(Protocol):
    """An open folder of samples."""

    def add(self, ids: Ids, shard: str, offset: int) -> None:
        """Append a sample of at least one token that begins at this offset of a shard of the set."""

    def close(self) -> None:
        """Finish all files."""


class MdsWriter:
    """MosaicML streaming: samples {tokens: array, shard: str, offset: int}, for `StreamingDataset` and llm-foundry."""

    def __init__(self, folder: Path, dtype: str, shard_bytes: int) -> None:
        streaming = library("streaming", "mosaicml-streaming")
        columns = {"tokens": f"ndarray:{dtype}", "shard": "str", "offset": "int"}
        self._writer = streaming.MDSWriter(out=str(folder), columns=columns, size_limit=shard_bytes)

    def add(self, ids: Ids, shard: str, offset: int) -> None:
        self._writer.write({"tokens": np.array(ids), "shard": shard, "offset": offset})

    def close(self) -> None:
        self._writer.finish()


class LitdataWriter:
    """litdata: arrays without headers, for `StreamingDataset(..., item_loader=TokensLoader(block_size=...))`."""

    def __init__(self, folder: Path, dtype: str, shard_bytes: int) -> None:
        library("litdata", "litdata")
        writer = importlib.import_module("litdata.streaming.writer")
        loader = importlib.import_module("litdata.streaming.item_loader")
        self._folder = folder
        self._samples = 0
        self._writer = writer.BinaryWriter(str(folder), chunk_bytes=shard_bytes, item_loader=loader.TokensLoader())

    def add(self, ids: Ids, shard: str, offset: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a document that is longer than a chunk, and writes it
            self._writer.add_item(self._samples, np.array(ids))
        self._samples += 1

    def close(self) -> None:
        if not self._samples:
            raise ConfigError("litdata has no data sets without samples", fix="export another set")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._writer.done()
        self._writer.merge(num_workers=1)
        path = self._folder / "index.json"
        index = json.loads(path.read_text(encoding="utf-8"))
        # it writes the time here, by which readers know versions apart; the content does that too
        index["updated_at"] = ""
        index["updated_at"] = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:16]
        path.write_text(json.dumps(index, sort_keys=True), encoding="utf-8")


SAMPLE_WRITERS: dict[str, Callable[[Path, str, int], SampleWriter]] = {"mds": MdsWriter, "litdata": LitdataWriter}
"""Layout -> (folder, type of ids, most bytes of a file) -> writer."""
CUTS_ITSELF = ("litdata",)
"""Layouts whose reader cuts sequences out of the samples."""


def library(module: str, package: str) -> Any:
    """The library of a layout. ConfigError where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"this layout is written by {package}, which cannot be imported",
            why=str(error),
            fix=f"pip install {package}, in an environment of its own if its versions do not agree with others",
        ) from error
