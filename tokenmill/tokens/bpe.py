"""Byte-level BPE trained on a corpus, and how well it compresses documents that it has not seen.

The sample is drawn by the hash of each document's id: those with the smallest hashes, as many as its bytes allow. So a
larger sample holds every smaller one, whatever the order of the documents; only a text that is larger than a whole
sample is left out of that one, and counted. One document in twenty, by another hash, is
held out and never trained on.

Training is that of the package `tokenizers`, which counts words in no order and breaks ties by the numbers of tokens:
the same sample gives the same file, with any number of threads.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import zstandard

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.tokens.encoder import LONGEST_RUN, Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer, loaded_from, one_thread

HELD_OUT = 20
"""One document in so many is held out."""
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SIGN = r"[^\r\n\p{L}\p{N}]?"
PRETOKENIZERS: Mapping[str, str] = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": rf"{_ENDING}|{_SIGN}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_LINES}",
    "gpt4o": rf"{_SIGN}{_UPPER}*{_LOWER}+{_ENDING}?|{_SIGN}{_UPPER}+{_LOWER}*{_ENDING}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_LINES}",
}
"""Name -> what a word is. gpt2: letters, digits or signs with the space before them. gpt4: digits in threes, any one
sign before letters, line ends by themselves. gpt4o: accents with their letters, and a new word at capitals: for many
scripts. The encoder knows all of them (`tokens/memo.py`)."""
REFERENCES = ("openai-community/gpt2", "gpt2")
_BYTES = 256


@dataclass(frozen=True)
class BpeSettings:
    """What is trained, and on how much."""

    vocab_size: int = 32_000
    """Special tokens included; fewer where the sample does not give as many."""
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    """They have the first ids; the first of them ends documents."""
    pretokenizer: str = "gpt4"
    """One of `PRETOKENIZERS`."""
    sample_bytes: int = 1_000_000_000
    """Bytes of text to train on. In memory it is about a third of that, 250 bytes for each document, and the words that
    are counted. A text larger than all this is left out, and told."""
    held_out_bytes: int = 50_000_000
    """Bytes of text to measure on. A text larger than all this is left out, and told."""
    min_frequency: int = 2
    """A pair that occurs less often is not merged."""
    seed: int = 0
    """Another one draws other documents."""

    def __post_init__(self) -> None:
        least = _BYTES + len(self.special_tokens)
        if self.vocab_size < least:
            raise ConfigError(
                f"a vocabulary of {self.vocab_size} tokens is too small",
                why=f"{_BYTES} bytes and {len(self.special_tokens)} special tokens are in every one",
                fix=f"at least {least}; 32000 is usual",
            )
        if not self.special_tokens or len(set(self.special_tokens)) < len(self.special_tokens):
            raise ConfigError("special tokens must be different, and at least one", fix="<|endoftext|>")
        if self.pretokenizer not in PRETOKENIZERS:
            known = did_you_mean(self.pretokenizer, PRETOKENIZERS)
            raise ConfigError(f"there is no pre-tokenizer {self.pretokenizer!r}", why=known)
        for name in ("sample_bytes", "held_out_bytes", "min_frequency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} is too small", fix="at least 1")


@dataclass(frozen=True)
class TrainedBpe:
    """A tokenizer and what is known of it."""

    tokenizer: LoadedTokenizer
    """Its `canonical` bytes are the `tokenizer.json`."""
    report: Mapping[str, Any]
    """Plain values: settings, sample, and `held_out` with bytes per token, also by language and of a reference."""


def train_bpe(
    texts: Iterable[str], settings: BpeSettings, *, name: str = "bpe", parallel: bool = False
) -> LoadedTokenizer:
    """Byte-level BPE of these texts, each of which is left as it is but for the text of special tokens and long runs.

    parallel: let the library use all cores; the result is the same. ConfigError where the package is missing.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZERS[settings.pretokenizer]), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with nullcontext() if parallel else one_thread():
        tokenizer.train_from_iterator(_cleaned(texts, settings.special_tokens), trainer)
    return loaded_from(json.loads(tokenizer.to_str()), name, eos=settings.special_tokens[0])


def train_on_documents(
    batches: Iterable[pa.RecordBatch],
    settings: BpeSettings,
    *,
    name: str = "bpe",
    reference: LoadedTokenizer | None = None,
    parallel: bool = False,
) -> TrainedBpe:
    """A tokenizer of a sample of documents, and its report.

    batches: with `text`, `doc_id` or `id`, and perhaps `language`; every document once. reference: measured on the same
    held-out documents (`cached_reference`). ConfigError where there is no text to train on.
    """
    sample = _Sample(settings.sample_bytes)
    held_out = _Sample(settings.held_out_bytes)
    documents = 0
    for text, identifier, language in _documents(batches):
        documents += 1
        place = _hash(identifier, b"held-out", settings.seed)
        (held_out if place % HELD_OUT == 0 else sample).add(_hash(identifier, b"order", settings.seed), text, language)
    if not sample.documents:
        raise ConfigError(
            "there is no text to train on",
            why=f"{documents} documents were read, {held_out.documents} of them held out to measure on, and"
            f" {sample.too_large} larger than the sample of {settings.sample_bytes:,} bytes",
            fix="train with sample_bytes that hold them" if sample.too_large else "give a run that kept documents",
        )
    trained = train_bpe(sample.texts(), settings, name=name, parallel=parallel)
    report = {
        "settings": {**vars(settings), "special_tokens": list(settings.special_tokens)},
        "vocab_size": trained.vocab_size,
        "sha256": trained.sha256,
        "documents": documents,
        "trained_on": {"documents": sample.documents, "bytes": sample.bytes},
        "too_large": {"sample": sample.too_large, "held_out": held_out.too_large},
        "held_out": compression(held_out, trained, reference),
        "reference": reference.name if reference is not None else None,
    }
    return TrainedBpe(trained, report)


def compression(
    documents: Iterable[tuple[str, str | None]], trained: LoadedTokenizer, reference: LoadedTokenizer | None
) -> dict[str, Any]:
    """Bytes per token on (text, language) pairs: of all, and by language where there are tags; largest first.

    {"documents", "bytes", "tokens", "bytes_per_token", "reference_tokens", "reference_bytes_per_token", "languages"};
    those of a reference only where there is one.
    """
    encoders = {"": Encoder(trained)}
    if reference is not None:
        encoders["reference_"] = Encoder(reference)
    total, languages = _Measured(), defaultdict[str, _Measured](_Measured)
    for some in _grouped(documents):
        texts = [text for text, _ in some]
        lengths = {key: encoder.encode(texts)[1].tolist() for key, encoder in encoders.items()}
        for number, (text, language) in enumerate(some):
            for one in (total, *([languages[language]] if language else [])):
                one.add(text, {key: counts[number] for key, counts in lengths.items()})
    ordered = sorted(languages.items(), key=lambda item: (-item[1].bytes, item[0]))
    return total.facts() | {"languages": {language: one.facts() for language, one in ordered}}


def cached_reference() -> LoadedTokenizer | None:
    """gpt2, where a program of this machine has fetched it from the hub before. Nothing is downloaded."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for repository in REFERENCES:
        path = try_to_load_from_cache(repository, "tokenizer.json")
        if isinstance(path, str):
            return load_tokenizer(path, eos="<|endoftext|>")
    return None


@dataclass
class _Measured:
    """Bytes and tokens of some documents."""

    documents: int = 0
    bytes: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, text: str, counts: Mapping[str, int]) -> None:
        self.documents += 1
        self.bytes += len(text.encode())
        for key, count in counts.items():
            self.tokens[key] += count

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"documents": self.documents, "bytes": self.bytes}
        for key, count in self.tokens.items():
            facts |= {f"{key}tokens": count, f"{key}bytes_per_token": round(self.bytes / count, 4) if count else None}
        return facts


class _Sample:
    """The documents with the smallest hashes that fit into so many bytes, compressed in memory.

    A text that is larger than all these bytes takes no part: it would push out every other.
    """

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self.too_large = 0
        """Texts that were larger than the limit."""
        self._limit = limit
        self._heap: list[tuple[int, bytes, int, str | None]] = []
        """(hash, negative: the largest is first, compressed text, its bytes, language)."""
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._bound = 1 << 64

    @property
    def documents(self) -> int:
        return len(self._heap)

    def add(self, order: int, text: str, language: str | None) -> None:
        if order >= self._bound and len(text) <= self._limit // 4:  # it fits, so that it need not be counted
            return
        data = text.encode()
        if len(data) > self._limit:
            self.too_large += 1
            return
        if order >= self._bound:
            return
        heapq.heappush(self._heap, (-order, self._compress(data), len(data), language))
        self.bytes += len(data)
        while self.bytes > self._limit:
            largest, _, size, _ = heapq.heappop(self._heap)
            self.bytes -= size
            self._bound = -largest

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        """(text, language) in the order of the hashes."""
        decompress = zstandard.ZstdDecompressor().decompress
        for _, data, _, language in sorted(self._heap, key=lambda one: (-one[0], one[1])):
            yield decompress(data).decode(), language

    def texts(self) -> Iterator[str]:
        for text, _ in self:
            yield text


def _hash(identifier: str, purpose: bytes, seed: int) -> int:
    data = f"{seed} {identifier}".encode()
    return int.from_bytes(blake2b(data, digest_size=8, person=purpose).digest(), "big")


def _documents(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, str, str | None]]:
    """(text, id, language) of documents that have a text."""
    for batch in batches:
        names = batch.schema.names
        key = next((name for name in ("doc_id", "id") if name in names), None)
        if key is None or "text" not in names:
            raise ConfigError("documents without text or id", why=f"their columns are {', '.join(names)}")
        languages = batch.column("language").to_pylist() if "language" in names else [None] * batch.num_rows
        for text, name, language in zip(
            batch.column("text").to_pylist(), batch.column(key).to_pylist(), languages, strict=True
        ):
            if text:
                yield text, name or "", language


def _grouped(
    documents: Iterable[tuple[str, str | None]], size: int = 1 << 20
) -> Iterator[list[tuple[str, str | None]]]:
    """Documents of about a megabyte of text at a time."""
    some: list[tuple[str, str | None]] = []
    characters = 0
    for document in documents:
        some.append(document)
        characters += len(document[0])
        if characters >= size:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _cleaned(texts: Iterable[str], special_tokens: Iterable[str]) -> Iterator[str]:
    """Texts without what no token should be made of."""
    special = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))))
    for text in texts:
        words = special.sub(" ", text)
        if len(words) > LONGEST_RUN:
            words = re.sub(r"\S+", lambda run: "" if len(run.group()) > LONGEST_RUN else run.group(), words)
        yield words
