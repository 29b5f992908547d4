"""Reader of fastText's supervised models (`.bin`, and `.ftz` of quantised ones), without the library.

The format is that of fastText 0.9.2 (github.com/facebookresearch/fastText, versions 11 and 12 of the file): arguments,
dictionary, input matrix [words + buckets, dim], output matrix [labels, dim].
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError

MAGIC = 793712314
VERSIONS = (11, 12)
LOSSES = {1: "hs", 2: "ns", 3: "softmax", 4: "ova"}
SUPERVISED = 3
_CENTROIDS = 256
_LARGEST = 1 << 40
_MOST_BUCKETS = 1 << 30

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quantised:
    """A matrix as a product quantiser keeps it: `codes` [rows, parts] choose one of 256 centroids for each part."""

    codes: npt.NDArray[np.uint8]
    centroids: list[Floats]
    """For each part [256, columns of the part]."""
    norms: Floats | None
    """[rows], or None where rows are not normalised."""

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.codes), sum(part.shape[1] for part in self.centroids)

    def rows(self, start: int, stop: int) -> Floats:
        parts = [centroids[self.codes[start:stop, i]] for i, centroids in enumerate(self.centroids)]
        found: Floats = np.concatenate(parts, axis=1)
        return found if self.norms is None else found * self.norms[start:stop, None]


@dataclass(frozen=True)
class Dense:
    """A matrix as it stands in the file; read when it is asked for."""

    values: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[1]

    def rows(self, start: int, stop: int) -> Floats:
        return self.values[start:stop]


Matrix = Dense | Quantised


@dataclass(frozen=True)
class FastTextFile:
    """What a supervised model's file holds."""

    dim: int
    loss: str
    """softmax, hs (hierarchical softmax), ova or ns (one logistic function for each label)."""
    word_ngrams: int
    """Longest run of words that is a feature."""
    bucket: int
    """Number of hash values of runs of words and of character n-grams."""
    minn: int
    maxn: int
    """Shortest and longest character n-grams of words; none where maxn is 0."""
    entries: list[bytes]
    """Words, then labels, in the order of the file."""
    words: int
    """How many of the entries are words."""
    label_counts: npt.NDArray[np.int64]
    """[labels]: how often each label was seen in training; the tree of hs is made of them."""
    kept_buckets: npt.NDArray[np.int32] | None
    """[kept, 2] for pruned models: (hash value, row behind the words) of the buckets that are left; else None."""
    input: Matrix
    output: Matrix

    @property
    def labels(self) -> list[str]:
        """Labels without `__label__`."""
        return [label.decode("utf-8", "replace").removeprefix("__label__") for label in self.entries[self.words :]]


class _Bytes:
    """A file that is read from front to back; struct.error and ValueError where it ends too early."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as stream:
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 0

    def take(self, form: str) -> tuple[int, ...]:
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def one(self, form: str) -> int:
        return self.take(form)[0]

    def array(self, dtype: str, count: int) -> npt.NDArray[np.generic]:
        size = np.dtype(dtype).itemsize * count
        if not 0 <= count < _LARGEST or self.at + size > len(self.data):
            raise ValueError(f"an array of {count} values is asked for at byte {self.at} of {len(self.data)}")
        found = np.frombuffer(self.data, dtype, count, self.at)
        self.at += size
        return found

    def entry(self) -> bytes:
        stop = self.data.find(b"\0", self.at)
        if stop < 0:
            raise ValueError(f"a word without an end at byte {self.at}")
        found = self.data[self.at : stop]
        self.at = stop + 1
        return found


def read_fasttext(path: str) -> FastTextFile:
    """The model in a file; its matrices stay on disk. ConfigError where it is none, is cut, or no classifier."""
    try:
        file = _Bytes(path)
        magic, version = file.take("ii")
    except (OSError, ValueError, struct.error) as error:
        raise _refused(path, str(error)) from error
    if magic != MAGIC:
        raise _refused(path, "it does not begin as a fastText model does")
    if version not in VERSIONS:
        raise _refused(path, f"its format has version {version}; known are {VERSIONS}")
    try:
        return _read(file, path, version)
    except (ValueError, struct.error, KeyError) as error:
        raise _refused(path, f"it is cut or damaged: {error}") from error


def _read(file: _Bytes, path: str, version: int) -> FastTextFile:
    dim, _, _, _, _, word_ngrams, loss, kind, bucket, minn, maxn, _ = file.take("12i")
    file.take("d")
    if kind != SUPERVISED:
        raise _refused(path, "it holds word vectors and no classifier")
    if version == 11:
        maxn = 0  # such classifiers had no character n-grams, whatever the file says
    size, words, labels = file.take("3i")
    _, pruned = file.take("2q")
    entries, counts = [], []
    for number in range(size):
        entries.append(file.entry())
        count, is_label = file.take("qb")
        counts.append(count)
        if bool(is_label) != (number >= words):
            raise ValueError("words and labels are mixed")
    kept = None
    if pruned >= 0:
        kept = np.asarray(file.array("<i4", 2 * pruned), np.int32).reshape(-1, 2)
    quantised = bool(file.one("?"))
    inputs = _matrix(file, quantised)
    outputs = _matrix(file, bool(file.one("?")) and quantised)
    if kept is not None:
        _check_kept(kept, bucket)
    rows = words + (bucket if kept is None else len(kept))
    if inputs.shape != (rows, dim) or not 0 <= bucket < _MOST_BUCKETS:
        raise ValueError(f"an input matrix of {inputs.shape} for {rows} features of {dim}")
    if outputs.shape != (labels, dim) or labels < 1 or len(entries) != words + labels:
        raise ValueError(f"an output matrix of {outputs.shape} for {labels} labels of {dim}")
    return FastTextFile(
        dim=dim,
        loss=LOSSES[loss],
        word_ngrams=word_ngrams,
        bucket=bucket,
        minn=minn,
        maxn=maxn,
        entries=entries,
        words=words,
        label_counts=np.array(counts[words:], np.int64),
        kept_buckets=kept,
        input=inputs,
        output=outputs,
    )


def _check_kept(kept: npt.NDArray[np.int32], bucket: int) -> None:
    """ValueError unless each bucket that is left has a row of its own."""
    numbers, places = kept[:, 0], kept[:, 1]
    fits = len(np.unique(numbers)) == len(kept) and not np.any((numbers < 0) | (numbers >= bucket))
    if not fits or not np.array_equal(np.sort(places), np.arange(len(kept))):
        raise ValueError(f"{len(kept)} pruned buckets do not fit {bucket} hash values")


def _matrix(file: _Bytes, quantised: bool) -> Matrix:
    if not quantised:
        rows, columns = file.take("2q")
        return Dense(np.asarray(file.array("<f4", rows * columns), np.float32).reshape(rows, columns))
    normalised = bool(file.one("?"))
    rows, columns = file.take("2q")
    codes = np.asarray(file.array("u1", file.one("i")), np.uint8).reshape(rows, -1)
    centroids = _centroids(file)
    norms = None
    if normalised:
        numbers = np.asarray(file.array("u1", rows), np.uint8)
        norms = _centroids(file)[0][numbers, 0]
    found = Quantised(codes, centroids, norms)
    if found.shape != (rows, columns) or codes.shape[1] != len(centroids):
        raise ValueError(f"a quantised matrix of {found.shape} instead of {(rows, columns)}")
    return found


def _centroids(file: _Bytes) -> list[Floats]:
    columns, parts, width, last = file.take("4i")
    values = np.asarray(file.array("<f4", columns * _CENTROIDS), np.float32)
    sizes = [width] * (parts - 1) + [last]
    if sum(sizes) != columns:
        raise ValueError(f"{parts} parts of {width} columns for {columns}")
    places = np.cumsum([0, *sizes]) * _CENTROIDS
    return [values[places[i] : places[i + 1]].reshape(_CENTROIDS, size) for i, size in enumerate(sizes)]


def _refused(path: str, why: str) -> ConfigError:
    return ConfigError(
        "the file is no fastText classifier that can be read",
        where=path,
        why=why,
        fix="give a supervised model of fastText (.bin or .ftz), or download it again",
    )
