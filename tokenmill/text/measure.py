"""`measure`: every signal of a column of texts; `TextSignals`: the stage that adds them as columns."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tokenmill.core.doc import Doc
from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.core.kernels import Kernel
from tokenmill.core.pipeline import source_digest
from tokenmill.core.signals import Signal, compute, known_signals, register_kernel
from tokenmill.core.stage import Annotate
from tokenmill.text.signals import COMPRESSION, FAMILIES, FAMILY, INTEGERS, NAMES

GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""English words of which running text has at least two (Gopher). The comparison is case-sensitive."""

_STOP_WORDS = Path(__file__).with_name("stop_words.yaml")
_EMPTY = np.zeros(0, np.int64)
_NO_BYTES = np.zeros(0, np.uint8)
_NO_BYTES.setflags(write=False)


class TextSignals(Annotate):
    """Adds measurements of the text as columns. The plan puts it before filters whose rules need it.

    All text statistics are measured in one compiled pass over the text column. `tokenmill stages text_signals`
    lists every signal with its meaning, unit and source.
    """

    on_demand: ClassVar[bool] = True

    signals: tuple[str, ...] = NAMES
    """Names of the signals; default all. A signal of your own (`tokenmill.core.signals.signal`) is named alike."""
    suffix: str = ""
    """Added to the names of the columns, when a text is measured again after it was changed."""

    publish: bool = True
    """Whether the columns are in published data. The plan's own stages publish them in annotate mode only."""

    @classmethod
    def for_signals(cls, signals: Sequence[str], suffix: str) -> TextSignals | None:
        return cls(signals=tuple(signals), suffix=suffix, publish=False)

    def measures(self) -> Mapping[str, str]:
        return {name: name + self.suffix for name in self.signals}

    def columns_hidden(self) -> Collection[str]:
        return () if self.publish else tuple(self.columns_added())

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        known = self._chosen.values()
        return tuple(dict.fromkeys(("text", *(column for signal in known for column in signal.reads))))

    def columns_added(self) -> Mapping[str, pa.DataType]:
        return {name + self.suffix: signal.dtype for name, signal in self._chosen.items()}

    def digests(self) -> Mapping[str, str]:
        found = {}
        if any(signal.compute is None for signal in self._chosen.values()):
            found["unicode"] = unicodedata.unidata_version
        for name, signal in self._chosen.items():
            source = source_digest(signal.compute.__module__) if signal.compute is not None else ""
            if source:
                found[name] = source
        if COMPRESSION in self.signals:
            found["zlib"] = zlib.ZLIB_RUNTIME_VERSION
        return found

    def kernels(self) -> Sequence[Kernel]:
        return (KERNEL,)

    def setup(self) -> None:
        measure(pa.array(["A first text."]), self._measured)

    def annotate(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        names = batch.schema.names
        languages = batch.column("language") if "language" in names else None
        columns = measure(batch.column("text"), self._measured, languages=languages)
        own = {name: signal for name, signal in self._chosen.items() if signal.compute is not None}
        if own:
            docs = [Doc(**row) for row in batch.to_pylist()]
            for name, signal in own.items():
                columns[name] = pa.array([compute(name, doc) for doc in docs], signal.dtype)
        return {name + self.suffix: columns[name] for name in self._chosen}

    @cached_property
    def _measured(self) -> tuple[str, ...]:
        return tuple(name for name, signal in self._chosen.items() if signal.compute is None)

    @cached_property
    def _chosen(self) -> dict[str, Signal]:
        known = known_signals()
        for name in self.signals:
            if name not in known:
                raise ConfigError(f"no signal named {name!r}", why=did_you_mean(name, known))
        return {name: known[name] for name in self.signals}


KERNEL = Kernel("tokenmill.text.measure:warm_up", 36)


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    measure(pa.array(["A first text."]))


def measure(
    texts: pa.Array,
    signals: Sequence[str] | None = None,
    *,
    languages: pa.Array | None = None,
    spans: Sequence[npt.NDArray[Any]] | None = None,
) -> dict[str, pa.Array]:
    """Signals of every text: one array per name, null where a signal is not measured.

    texts: strings; a null counts as "". signals: names of `tokenmill.text.signals` (default: all).
    languages: ISO 639-1 code per text, for signals that need one. spans: words from elsewhere, per text an
    integer array of shape (n, 2) with start and end of each word in code points.
    """
    wanted = NAMES if signals is None else tuple(signals)
    families = _families_of(wanted)
    data, offsets = utf8(texts)
    found: dict[str, pa.Array] = {}
    if any(name != COMPRESSION for name in wanted):
        from tokenmill.text.measure_kernel import measure_batch
        from tokenmill.text.tables import tables

        numbers = _language_numbers(languages, len(texts))
        if spans is not None:
            _check_spans(texts, spans)
        rows = measure_batch(data, offsets, families, tables(), _lists()[0], numbers, *_flat(spans))
        for name in wanted:
            if name != COMPRESSION:
                found[name] = _column(rows[:, NAMES.index(name)], name in INTEGERS)
    if COMPRESSION in wanted:
        found[COMPRESSION] = pa.array(_compression(data, offsets), pa.float64())
    return found


def utf8(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """UTF-8 of all texts, and where each begins in it (one more number than texts).

    The bytes are never writable, as they come from another process, also where Arrow's buffer is: kernels would be
    compiled once more for that type, for a minute, and the document that is there first would pay.
    """
    if texts.null_count:
        texts = texts.fill_null("")
    large = pa.types.is_large_string(texts.type)
    _, places, data = texts.buffers()
    if not len(texts):
        return _NO_BYTES, np.zeros(1, np.int64)
    offsets = np.frombuffer(places, np.int64 if large else np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    if data is None or not data.size:
        return _NO_BYTES, offsets
    found = np.frombuffer(data, np.uint8)
    found.setflags(write=False)
    return found, offsets


def _families_of(names: Sequence[str]) -> int:
    """Bits of the families (`signals.FAMILIES`) that the kernel must measure."""
    families = {FAMILY[name] for name in names if name != COMPRESSION}
    return sum(1 << number for number, family in enumerate(FAMILIES) if family in families)


def _check_spans(texts: pa.Array, spans: Sequence[npt.NDArray[Any]]) -> None:
    """ValueError unless all words lie in their texts, in order: the kernel believes them."""
    lengths = pc.utf8_length(texts.fill_null("")).to_pylist()
    for number, (length, found) in enumerate(zip(lengths, spans, strict=True)):
        places = np.asarray(found).reshape(-1)
        if len(places) and (places[0] < 0 or places[-1] > length or (np.diff(places) < 0).any()):
            raise ValueError(f"words of text {number} are not in order, or not inside its {length} characters")


def _flat(spans: Sequence[npt.NDArray[Any]] | None) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    if spans is None:
        return np.zeros((0, 2), np.int32), _EMPTY
    bounds = np.zeros(len(spans) + 1, np.int64)
    np.cumsum([len(one) for one in spans], out=bounds[1:])
    flat = [np.asarray(one, np.int32).reshape(-1, 2) for one in spans]
    return np.concatenate([np.zeros((0, 2), np.int32), *flat]), bounds


def _column(values: npt.NDArray[np.float64], integer: bool) -> pa.Array:
    missing = np.isnan(values)
    mask = missing if missing.any() else None
    if integer:
        return pa.array(np.where(missing, 0, values).astype(np.int64), pa.int64(), mask=mask)
    return pa.array(np.ascontiguousarray(values), pa.float64(), mask=mask)


def _compression(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> list[float]:
    ratios = []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        ratios.append(len(zlib.compress(data[start:stop], 1)) / (stop - start) if stop > start else 0.0)
    return ratios


def _language_numbers(languages: pa.Array | None, count: int) -> npt.NDArray[np.int64]:
    numbers = np.full(count, -1, np.int64)
    if languages is not None:
        known = _lists()[1]
        numbers[:] = [known.get(language, -1) for language in languages.to_pylist()]
    return numbers


@cache
def _lists() -> tuple[tuple[Any, Any, Any], dict[str, int]]:
    """All lists of stop words as the kernel wants them, and the number of each language's list; 0 is Gopher's."""
    import yaml

    lists = [list(GOPHER_STOP_WORDS)]
    numbers = {}
    content = yaml.safe_load(_STOP_WORDS.read_text(encoding="utf-8")) if _STOP_WORDS.is_file() else {}
    for language, words in content.items():
        numbers[str(language)] = len(lists)
        lists.append(list(dict.fromkeys(map(str, words))))
    words = [word for each in lists for word in each]
    text = np.array([ord(char) for word in words for char in word], np.int32)
    bounds = np.cumsum([0, *map(len, words)]).astype(np.int64)
    list_bounds = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return (text, bounds, list_bounds), numbers


def _measure_one(doc: Doc) -> dict[str, Any]:
    languages = pa.array([doc["language"]], pa.string()) if "language" in doc else None
    text = doc.text.encode("utf-8", "replace").decode()  # Arrow holds no lone surrogates
    return {name: column[0].as_py() for name, column in measure(pa.array([text]), languages=languages).items()}


register_kernel(_measure_one)
