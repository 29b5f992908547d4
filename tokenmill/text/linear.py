"""fastText classifiers as what they are: linear models over words, runs of words and character n-grams.

A supervised model of fastText averages the rows of a text's features [dim] and multiplies by the output matrix
[labels, dim]. Both are linear, so each row can be multiplied beforehand: what is left is one weight for each feature
and label. Of two labels only the difference of their weights counts, so a model of 100 dimensions shrinks to a
hundredth, can be memory-mapped by many processes, and each score is the sum of what single words give
(`linear_features.explain`).

Probabilities are those of the library's `predict`, which adds 1e-5 to each (fastText 0.9.2, `std_log`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenmill.core.errors import ConfigError
from tokenmill.text.fasttext_file import FastTextFile, Matrix, read_fasttext
from tokenmill.text.measure import utf8

LINES = {"spaces": False, "dclm": True}
"""Preparations of a text: newlines become spaces; or DCLM's `" ".join(text.strip().splitlines())`."""
_ROWS_AT_ONCE = 1 << 16
_KINDS = {"softmax": 0, "hs": 1, "ova": 2, "ns": 2}

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Scores(NamedTuple):
    """What a model says of n texts."""

    probabilities: Doubles
    """[n, labels], as the library gives them; 0 for texts that are not judged."""
    judged: npt.NDArray[np.bool_]
    """[n]: whether there is a word, and anything that the model knows."""


@dataclass(frozen=True)
class LinearModel:
    """A model that is ready to score. `output` is None where the rows are the labels' weights."""

    table: Any
    """`fasttext_kernel.Table`."""
    labels: tuple[str, ...]
    loss: str
    label_counts: npt.NDArray[np.int64]
    output: npt.NDArray[np.float32] | None
    """[labels or nodes, columns]."""

    @property
    def outputs(self) -> int:
        """Logits of a text: one per label, for hs one per inner node of the tree."""
        return len(self.labels) - (self.loss == "hs")

    def score(self, texts: pa.Array, preparation: str = "spaces") -> Scores:
        """Probabilities of all labels. texts: string or large_string; a null counts as ""."""
        sums, rows, words = self._sums(texts, preparation)
        return Scores(self._finish(sums, rows, words)[1], (words > 0) & (rows > 0))

    def logits(self, texts: pa.Array, preparation: str = "spaces") -> Doubles:
        """What the last layer is given, [n, outputs]."""
        return self._finish(*self._sums(texts, preparation))[0]

    def _sums(self, texts: pa.Array, preparation: str) -> tuple[Doubles, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Per text the sum of its features' rows [n, columns], how many rows, how many words."""
        data, offsets = (fixed(array) for array in utf8(texts))
        return self._sums_of(data, offsets, preparation)

    def _sums_of(
        self, data: Bytes, offsets: Places, preparation: str = "spaces"
    ) -> tuple[Doubles, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        from tokenmill.text.fasttext_kernel import scratch, sum_batch

        count = len(offsets) - 1
        sums = np.zeros((count, self.table.word_rows.shape[1]), np.float64)
        rows, words = np.zeros(count, np.int64), np.zeros(count, np.int64)
        if self.words_are_kept and not LINES[preparation]:
            from tokenmill.text.ngram_kernel import sum_known

            memory = self._taken_memory()
            sum_known(data, offsets, self.table, memory[0], sums, rows, words)
            self._memories.append(memory)
        else:
            sum_batch(data, offsets, self.table, LINES[preparation], sums, rows, words, scratch())
        return sums, rows, words

    def label_scores(self, data: Bytes, offsets: Places, wanted: Places) -> Doubles:
        """The probabilities [n, k] of some labels, given by their places [k].

        Text i is data[offsets[i]:offsets[i + 1]], UTF-8; all arrays are read only (`fixed`). Of hierarchical softmax
        only what these labels need is computed.
        """
        if self.loss != "hs" or not self.words_are_kept:
            return self._finish(*self._sums_of(data, offsets))[1][:, wanted]
        found = np.empty((len(offsets) - 1, len(wanted)))
        memory = self._taken_memory()
        self._label_kernel(data, offsets, memory[1], wanted, found)
        self._memories.append(memory)
        return found

    def likeliest(self, data: Bytes, offsets: Places) -> tuple[npt.NDArray[np.int64], Doubles]:
        """The place [n] of each text's likeliest label, of the first one if equal in float32, and its probability."""
        count = len(offsets) - 1
        if self.loss != "hs" or not self.words_are_kept:
            found = self._finish(*self._sums_of(data, offsets))[1]
            best = found.astype(np.float32).argmax(axis=1)
            return best, found[np.arange(count), best]
        from tokenmill.text.tree_kernel import likeliest

        labels, scores = np.empty(count, np.int64), np.empty(count)
        memory = self._taken_memory()
        likeliest(data, offsets, memory[1], labels, scores)
        self._memories.append(memory)
        return labels, scores

    @cached_property
    def words_are_kept(self) -> bool:
        """Whether `ngram_kernel` can score: a model of character n-grams without runs of words."""
        return bool(self.table.maxn > 0 and self.table.bucket > 0 and self.table.word_ngrams == 1)

    def _taken_memory(self) -> tuple[Any, Any]:
        """An `ngram_kernel.Memory` for the caller alone, and `tree_kernel.bind` of it.

        The caller appends it to `_memories`, where the next one finds it; threads each take one of their own.
        """
        try:
            return self._memories.pop()
        except IndexError:
            from tokenmill.text.ngram_kernel import memory
            from tokenmill.text.tree_kernel import bind

            found = memory(self.table)
            return found, bind(self.table, found, self._rows_of_outputs, self.paths)

    @cached_property
    def _label_kernel(self) -> Any:
        """An import within a function costs as much as the kernel for a short text."""
        from tokenmill.text.tree_kernel import label_scores

        return label_scores

    @cached_property
    def _memories(self) -> list[tuple[Any, Any]]:
        return []

    def _finish(
        self, sums: Doubles, rows: npt.NDArray[np.int64], words: npt.NDArray[np.int64]
    ) -> tuple[Doubles, Doubles]:
        """Logits and probabilities."""
        from tokenmill.text.linear_kernel import finish

        logits, found = np.empty((len(sums), self.outputs)), np.empty((len(sums), len(self.labels)))
        finish(sums, rows, words, self._turned, _KINDS[self.loss], self.paths, logits, found)
        return logits, found

    @cached_property
    def _turned(self) -> Doubles:
        """The output matrix turned, [columns, outputs]; of no rows where the model has none."""
        return fixed(np.empty((0, 0)) if self.output is None else self.output.T.astype(np.float64))

    @cached_property
    def _rows_of_outputs(self) -> npt.NDArray[np.float32]:
        return fixed(np.empty((0, 0), np.float32) if self.output is None else self.output)

    @cached_property
    def paths(self) -> Any:
        """`linear_kernel.Paths` of the Huffman tree."""
        return _huffman_paths(self.label_counts if self.loss == "hs" else self.label_counts[:0])


def read_linear(path: str) -> LinearModel:
    """A model from fastText's file, or from a folder that `save_linear` wrote. ConfigError where it is neither."""
    from tokenmill.text.linear_folder import read_folder

    return read_folder(Path(path)) if Path(path).is_dir() else collapsed(read_fasttext(path), path)


def collapsed(file: FastTextFile, path: str = "") -> LinearModel:
    """The linear form; rows are multiplied where that makes them shorter."""
    from tokenmill.text.fasttext_kernel import MOST_NGRAMS, Table, hash_entries, sum_words

    if not 1 <= file.word_ngrams <= MOST_NGRAMS:
        raise ConfigError(f"the model has runs of {file.word_ngrams} words", where=path, fix=f"{MOST_NGRAMS} at most")
    factors, output = _factors(file)
    rows = _multiplied(file.input, factors)
    buckets, bits, before = _kept(file, rows[file.words :])
    letters = np.frombuffer(b"".join(file.entries), np.uint8)
    places = np.cumsum([0, *map(len, file.entries)], dtype=np.int64)
    slots = np.zeros(1 << max(4, (2 * len(file.entries)).bit_length()), np.uint64)
    hash_entries(letters, fixed(places), slots)
    table = Table(
        slots=fixed(slots),
        places=fixed(places),
        letters=letters,
        words=file.words,
        word_rows=fixed(rows[: file.words]),
        word_sizes=fixed(np.ones(file.words, np.int32)),
        bucket_rows=fixed(buckets),
        kept_bits=fixed(bits),
        kept_before=fixed(before),
        bucket=file.bucket if len(rows) > file.words or file.kept_buckets is not None else 0,
        word_ngrams=file.word_ngrams,
        minn=file.minn,
        maxn=file.maxn if file.bucket > 0 else 0,
    )
    if table.maxn > 0:
        sums, sizes = table.word_rows.astype(np.float64), table.word_sizes.copy()
        sum_words(table, sums, sizes)
        table = table._replace(word_rows=fixed(sums.astype(np.float32)), word_sizes=fixed(sizes))
    return LinearModel(table, tuple(file.labels), file.loss, file.label_counts, output)


def _factors(file: FastTextFile) -> tuple[Doubles | None, npt.NDArray[np.float32] | None]:
    """What rows are multiplied by beforehand ([columns, dim], or None), and what their sums are multiplied by then."""
    output = file.output.rows(0, file.output.shape[0])
    if file.loss == "hs":
        output = output[:-1]  # the row of the last label is no node
    if file.loss == "softmax" and len(output) == 2:
        # a softmax knows differences only: the first logit may be 0
        return (output[1].astype(np.float64) - output[0])[None], np.array([[0.0], [1.0]], np.float32)
    if len(output) < file.dim:
        return output.astype(np.float64), None
    return None, output


def _multiplied(matrix: Matrix, factors: Doubles | None) -> npt.NDArray[np.float32]:
    """The rows of the input matrix, times the factors; piece by piece, for models of many gigabytes."""
    from tokenmill.text.linear_kernel import multiply

    found = np.empty((matrix.shape[0], matrix.shape[1] if factors is None else len(factors)), np.float32)
    for start in range(0, matrix.shape[0], _ROWS_AT_ONCE):
        piece = matrix.rows(start, start + _ROWS_AT_ONCE)
        if factors is None:
            found[start : start + _ROWS_AT_ONCE] = piece
        else:
            multiply(fixed(piece), fixed(factors), found[start : start + _ROWS_AT_ONCE])
    return found


def _kept(
    file: FastTextFile, rows: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Rows of the buckets that are left, in the order of their numbers, and how to find them.

    A bit for each bucket and counts for each 64 fit into a processor's cache, an array of row numbers would not.
    """
    if file.kept_buckets is None:
        return rows, np.zeros(0, np.uint64), np.zeros(0, np.int32)
    numbers, places = file.kept_buckets[:, 0], file.kept_buckets[:, 1]
    flags = np.zeros(-file.bucket % 64 + file.bucket, np.uint8)
    flags[numbers] = 1
    bits = np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)
    before = np.concatenate([[0], np.cumsum(flags.reshape(-1, 64).sum(axis=1, dtype=np.int32))])
    return rows[places[np.argsort(numbers)]], bits, before.astype(np.int32)


def fixed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read only and contiguous, as arrays from files are: kernels are compiled once."""
    found = np.ascontiguousarray(array).view()
    found.setflags(write=False)
    return found


def _huffman_paths(counts: npt.NDArray[np.int64]) -> Any:
    """Ways to the leaves of the tree that fastText builds from label counts (`HierarchicalSoftmaxLoss::buildTree`)."""
    from tokenmill.text.linear_kernel import Paths

    size = len(counts)
    weights = [int(count) for count in counts] + [10**15] * (size - 1)
    parents, is_right = [-1] * (2 * size - 1), [False] * (2 * size - 1)
    leaf, node = size - 1, size
    for new in range(size, 2 * size - 1):
        picked = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                picked.append(leaf)
                leaf -= 1
            else:
                picked.append(node)
                node += 1
        weights[new] = weights[picked[0]] + weights[picked[1]]
        parents[picked[0]] = parents[picked[1]] = new
        is_right[picked[1]] = True
    children = np.zeros((max(size - 1, 0), 2), np.int32)
    starts, nodes, rights = [0], [], []
    for label in range(size):
        way, at = [], label
        while parents[at] >= 0:
            way.append((parents[at] - size, is_right[at]))
            at = parents[at]
        nodes += [node for node, _ in reversed(way)]
        rights += [right for _, right in reversed(way)]
        starts.append(len(nodes))
    for at, parent in enumerate(parents):
        if parent >= 0:
            children[parent - size, int(is_right[at])] = at
    ways = fixed(np.array(starts, np.int64)), fixed(np.array(nodes, np.int32)), fixed(np.array(rights, np.uint8))
    return Paths(*ways, fixed(children))


def texts_array(texts: Sequence[str]) -> pa.Array:
    """A column of texts; lone surrogates, which UTF-8 does not have, become "?"."""
    try:
        return pa.array(texts, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid):
        return pa.array([text.encode("utf-8", "replace").decode() for text in texts], pa.large_string())
