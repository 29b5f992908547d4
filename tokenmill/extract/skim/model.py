"""The block model: its file, and the probability of every block of a page to be main content."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError
from tokenmill.extract.skim.features import arrays_of

if TYPE_CHECKING:
    from tokenmill.extract.skim.scan import Scan

FORMAT = 1
SHIPPED = Path(__file__).with_name("data") / "model.npz"
MOST_BLOCKS = 65_536
"""Blocks of a page that are judged; a page of more has next to no text in each, and those behind get 0."""
STAGE = ("feature", "threshold", "mask", "leaf")
_TYPES = {
    "own": np.int8, "path": np.int8, "tags": np.uint8, "bases": np.int64, "bytes_table": np.uint8, "table": np.float32,
    "calibration": np.float64,
    **{f"{stage}_{name}": kind for stage in ("first", "second")
       for name, kind in zip(STAGE, (np.uint8, np.uint8, np.uint16, np.int16), strict=True)},
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Model:
    """A model as the kernels take it. Arrays are as `features_kernel.Weights` and `model_kernel.Trees` say."""

    arrays: dict[str, npt.NDArray[Any]]
    """By name: own, path, tags; first_ and second_ feature, threshold, mask, leaf; bases [2]; the tables from sums to
    probabilities (bytes_table in 255ths, table); calibration: coefficients of `choose`."""
    card: dict[str, Any]
    """What the training command says of itself: settings, digest of the data, figures."""

    @staticmethod
    def load(path: Path | None = None) -> Model:
        """The shipped model, or one from a file; ConfigError where the file is none. Loaded once per process."""
        return _loaded(path or SHIPPED)

    def __post_init__(self) -> None:
        try:
            _check(self.arrays)
        except (KeyError, ValueError) as error:
            raise ConfigError("the arrays are no model of blocks", why=f"{type(error).__name__}: {error}") from error

    def save(self, path: Path) -> None:
        """Write to a file; the same model gives the same bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file's content: an uncompressed .npz."""
        card = json.dumps({"format": FORMAT, **self.card}, sort_keys=True, ensure_ascii=False).encode()
        stream = io.BytesIO()
        arrays = {name: np.ascontiguousarray(self.arrays[name], kind) for name, kind in _TYPES.items()}
        np.savez(stream, allow_pickle=False, card=np.frombuffer(card, np.uint8), **arrays)
        return stream.getvalue()

    def calibrated(self, calibration: npt.NDArray[np.float64]) -> Model:
        """The same model with other coefficients of confidence and route."""
        return Model({**self.arrays, "calibration": calibration}, self.card)

    @property
    def route_above(self) -> float:
        """Pages are routed to another extractor above this `Choice.route`: some 4 % of a crawl."""
        return float(self.arrays["calibration"][-1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model's file, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @cached_property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """What `model_kernel.judge` takes behind the page."""
        from tokenmill.extract.skim.context_kernel import Weights
        from tokenmill.extract.skim.model_kernel import Trees

        a = self.arrays
        stages = (Trees(*(a[f"{stage}_{name}"] for name in STAGE)) for stage in ("first", "second"))
        return (Weights(a["own"], a["path"], a["tags"]), *stages, a["bases"], a["bytes_table"], a["table"])


def probabilities(scan: Scan, model: Model) -> npt.NDArray[np.float32]:
    """Probability of each block to be main content, [B]; 0 behind the first MOST_BLOCKS."""
    return both_stages(scan, model)[0]


def both_stages(scan: Scan, model: Model) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """The same, and the first stage's probabilities in 255ths."""
    from tokenmill.extract.skim import model_kernel

    found: tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]
    blocks = len(scan.bl_el)
    found = model_kernel.judge(arrays_of(scan, MOST_BLOCKS), *model.kernel_arguments)
    if blocks <= MOST_BLOCKS:
        return found
    behind = (0, blocks - MOST_BLOCKS)
    return np.pad(found[0], behind), np.pad(found[1], behind)


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    from tokenmill.extract.skim.scan import Scan

    probabilities(Scan.blank(), Model.load())


@cache
def _loaded(path: Path) -> Model:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _TYPES}
            card = json.loads(file["card"].tobytes())
        if card.get("format") != FORMAT:
            raise ValueError(f"its format is {card.get('format')}, known is {FORMAT}")
        _check(arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(
            "the file holds no model of blocks",
            where=str(path),
            why=f"{type(error).__name__}: {error}",
            fix="give a file that `python -m tools.skim.train` wrote, or none for the shipped model",
        ) from error
    return Model(arrays, card)


def _check(arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Kernels read without a check of bounds, so whatever they use as a place must be one."""
    from tokenmill.extract.skim.choose_kernel import CALIBRATION
    from tokenmill.extract.skim.context_kernel import HASHES
    from tokenmill.extract.skim.features_kernel import FEATURES
    from tokenmill.extract.skim.model_kernel import LEAVES, NODES, SECOND, STEPS

    sizes = {"own": HASHES, "path": HASHES, "tags": 256, "bases": 2, "bytes_table": STEPS, "table": STEPS}
    sizes["calibration"] = CALIBRATION
    for name, kind in _TYPES.items():
        array = arrays[name]
        if array.dtype != kind or array.ndim != 1 or len(array) != sizes.get(name, len(array)):
            raise ValueError(f"{name}: {array.dtype} {array.shape}")
        array.setflags(write=False)
    for stage, features in (("first", FEATURES), ("second", SECOND)):
        nodes = [arrays[f"{stage}_{name}"] for name in STAGE]
        trees = len(nodes[3]) // LEAVES
        if any(len(array) != trees * NODES for array in nodes[:3]) or len(nodes[3]) != trees * LEAVES:
            raise ValueError(f"{stage}: arrays of different lengths")
        if trees and int(nodes[0].max()) >= features:
            raise ValueError(f"{stage}: a feature beyond {features}")
        if not np.all(nodes[2] & 0x8000):
            raise ValueError(f"{stage}: a mask without the last leaf")
