"""Linear models on disk: arrays that many processes map into memory, and replaced as a whole.

`linear.json` names the folder of arrays, `linear-<digest>/`. Saving again writes new files and then replaces
`linear.json`, so a process that has mapped the old ones keeps them, and a killed one leaves the old model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError
from tokenmill.text.linear import LinearModel, fixed

SETTINGS = "linear.json"
FORMAT = 2
_TABLE = {
    "slots": np.uint64,
    "places": np.int64,
    "letters": np.uint8,
    "word_rows": np.float32,
    "word_sizes": np.int32,
    "bucket_rows": np.float32,
    "kept_bits": np.uint64,
    "kept_before": np.int32,
}
_NUMBERS = ("words", "bucket", "word_ngrams", "minn", "maxn")
_LOSSES = ("softmax", "hs", "ova", "ns")

Arrays = dict[str, npt.NDArray[Any]]


def save_linear(model: LinearModel, folder: Path) -> None:
    """Write the model into a folder, which may hold another one; its other files are left alone."""
    arrays: Arrays = {name: getattr(model.table, name) for name in _TABLE}
    arrays["label_counts"] = model.label_counts
    if model.output is not None:
        arrays["output"] = model.output
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".linear-", dir=folder))
    try:
        for name, array in arrays.items():
            with open(made / f"{name}.npy", "wb") as stream:
                np.save(stream, array)
                stream.flush()
                os.fsync(stream.fileno())
            (made / f"{name}.npy").chmod(0o644)  # other users of a shared folder read it
        made.chmod(0o755)
        digest = _digest_of_arrays(made)
        place = folder / f"linear-{digest[:16]}"
        if place.is_dir() and _digest_of_arrays(place) != digest:
            place.rename(made.with_name(f"{made.name}.damaged"))
        if not place.is_dir():
            made.rename(place)
    finally:
        for left in folder.glob(f"{made.name}*"):
            shutil.rmtree(left, ignore_errors=True)
    numbers = {name: int(getattr(model.table, name)) for name in _NUMBERS}
    settings = {"format": FORMAT, "arrays": place.name, "labels": list(model.labels), "loss": model.loss, **numbers}
    partial = folder / f".{SETTINGS}.{os.getpid()}"
    partial.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / SETTINGS)
    for other in folder.glob("linear-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def read_folder(folder: Path) -> LinearModel:
    """The model in a folder, its arrays mapped into memory; ConfigError where there is none, or parts do not fit."""
    from tokenmill.text.fasttext_kernel import Table

    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        if settings["format"] != FORMAT:
            raise ValueError(f"its format is {settings['format']}, known is {FORMAT}")
        place = folder / Path(settings["arrays"]).name
        mapped = {
            file.stem: fixed(np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)))
            for file in sorted(place.glob("*.npy"))
        }
        numbers = {name: int(settings[name]) for name in _NUMBERS}
        labels, loss = tuple(map(str, settings["labels"])), str(settings["loss"])
        _check(mapped, numbers, len(labels), loss)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ConfigError(
            "the folder holds no linear model",
            where=str(folder),
            why=f"{type(error).__name__}: {error}",
            fix="give the folder that `tokenmill` wrote for a fastText model, or the model's .bin or .ftz itself",
        ) from error
    table = Table(**{name: mapped[name] for name in _TABLE}, **numbers)
    return LinearModel(table, labels, loss, mapped["label_counts"], mapped.get("output"))


def linear_digest(path: str) -> str:
    """SHA-256, hexadecimal, of a model's file; of a folder, over its settings and arrays."""
    if not Path(path).is_dir():
        return _file_digest(Path(path))
    settings = Path(path) / SETTINGS
    try:
        arrays = Path(path) / Path(json.loads(settings.read_text(encoding="utf-8"))["arrays"]).name
    except (OSError, ValueError, KeyError, TypeError):
        arrays = Path(path)
    return hashlib.sha256(f"{_file_digest(settings)} {_digest_of_arrays(arrays)}".encode()).hexdigest()


def _digest_of_arrays(folder: Path) -> str:
    entries = [f"{file.name}\0{_file_digest(file)}\n" for file in sorted(folder.glob("*.npy"))]
    return hashlib.sha256("".join(entries).encode()).hexdigest()


def _file_digest(file: Path) -> str:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            "the model cannot be read",
            where=str(file),
            why=error.strerror or str(error),
            fix="give the path of a fastText model (.bin, .ftz), or of a folder that tokenmill wrote for one",
        ) from error


def _check(arrays: Arrays, numbers: dict[str, int], labels: int, loss: str) -> None:
    """ValueError unless all parts fit together: kernels believe them."""
    from tokenmill.text.fasttext_kernel import MOST_NGRAMS

    for name, dtype in {**_TABLE, "label_counts": np.int64}.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name} is of {arrays[name].dtype}, not {np.dtype(dtype)}")
    words, columns = arrays["word_rows"].shape
    entries = len(arrays["places"]) - 1
    outputs = labels - (loss == "hs")
    output = arrays.get("output")
    slots, places, letters = arrays["slots"], arrays["places"], arrays["letters"]
    held = slots[slots > 0] & np.uint64(0xFFFFFFFF)
    rows = len(arrays["bucket_rows"])
    checks = {
        "words": words == numbers["words"] == len(arrays["word_sizes"]) and entries == words + labels,
        "labels": labels == len(arrays["label_counts"]) and labels > 0 and loss in _LOSSES,
        "output": (columns == outputs) if output is None else output.shape == (outputs, columns),
        "slots": len(slots) & (len(slots) - 1) == 0 and len(held) == entries < len(slots)
        and (entries == 0 or (int(held.max()) <= entries and int(held.min()) > 0)),
        "places": places[0] == 0 and places[-1] == len(letters) and bool((np.diff(places) >= 0).all()),
        "bucket_rows": arrays["bucket_rows"].ndim == 2 and arrays["bucket_rows"].shape[1] == columns,
        "buckets": _buckets_fit(arrays["kept_bits"], arrays["kept_before"], numbers["bucket"], rows),
        "runs": 1 <= numbers["word_ngrams"] <= MOST_NGRAMS and 0 <= numbers["minn"] and 0 <= numbers["maxn"],
        "n-grams": numbers["maxn"] == 0 or numbers["bucket"] > 0,
    }  # fmt: skip
    wrong = [name for name, fits in checks.items() if not fits]
    if wrong:
        raise ValueError(f"its parts do not fit together: {', '.join(wrong)}")


def _buckets_fit(bits: npt.NDArray[Any], before: npt.NDArray[Any], bucket: int, rows: int) -> bool:
    """Whether every hash value leads to a row that is there, or to none."""
    if not len(bits):
        return rows == bucket or bucket == 0
    counts = np.bitwise_count(bits).astype(np.int64)
    fits = len(bits) == -(-bucket // 64) and len(before) == len(bits) + 1 and before[0] == 0
    return fits and bool((np.diff(before) == counts).all()) and int(before[-1]) == rows
