"""Large corpora of realistic documents in which it is known who is a copy of whom, written fast.

    .venv/bin/python benchmarks/corpora.py --output /tmp/corpus --count 200000 [--seed 1] [--shards 8]

Documents are made of the sentences of the crawl's English pages. The corpus depends on these, the count and the seed.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from mutations import SHINGLE, SITES
from texts import prepared

LONGEST = 2000
"""Words of a document of a corpus."""
SHARES = {"unique": 0.681, "short": 0.016, "empty": 0.003, "exact": 0.15, "near": 0.15}
"""Kind of document -> share of a corpus."""
NAMES = tuple(SHARES)
UNIQUE, SHORT, EMPTY, EXACT, NEAR = range(len(SHARES))
DUMPS = (("CC-MAIN-2023-14", "2023-03"), ("CC-MAIN-2023-50", "2023-12"), ("CC-MAIN-2024-33", "2024-08"))
FORMS = ("https://{}", "http://www.{}/", "https://{}?utm_source=mail", "https://{}#top")

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pool:
    """The sentences of all texts, each once, as numbers of words. Words have the white space behind them."""

    vocabulary: pa.Array
    words: Numbers
    bounds: Numbers
    lengths: Numbers
    """Words per text, for drawing lengths."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Pool:
        pieces = {piece for text in texts for piece in re.findall(r".+?(?:[.!?](?=\s)\s*|\n+|\Z)", text)}
        sentences = [re.findall(r"\S+\s*", piece) for piece in sorted(pieces)]
        sentences = [words for words in sentences if 4 <= len(words) <= 80]
        encoded = pa.array([word for words in sentences for word in words]).dictionary_encode()
        lengths = np.array([min(len(text.split()), LONGEST) for text in texts])
        bounds = np.cumsum([0, *map(len, sentences)])
        return cls(encoded.dictionary, encoded.indices.to_numpy(), bounds, lengths)

    def document(self, seed: int, number: int) -> Numbers:
        """Sentences of different pages with every seventh word another one, so that no two have much in common."""
        chance = _chance(seed, number)
        length = int(self.lengths[chance.integers(len(self.lengths))])
        picks = chance.integers(len(self.bounds) - 1, size=2 + length // 8)
        parts = [self.words[self.bounds[pick] : self.bounds[pick + 1]] for pick in picks]
        words = np.concatenate(parts)[:length]
        return self.edited(words, 1 / 7, chance)

    def edited(self, words: Numbers, share: float, chance: np.random.Generator) -> Numbers:
        places = np.flatnonzero(chance.random(len(words)) < share)
        changed = words.copy()
        changed[places] = self.words[chance.integers(len(self.words), size=len(places))]
        return changed

    def near(self, words: Numbers, level: float, chance: np.random.Generator) -> Numbers:
        """A near-duplicate, at about that Jaccard similarity in the mean."""
        count = len(words)
        kind = chance.integers(5)
        if kind < 2:  # a 5-gram survives if its five words do, and is missing in both sets if not
            return self.edited(words, 1 - (2 * level / (1 + level)) ** (1 / SHINGLE), chance)
        missing = round(count * (1 - level))
        start = int(chance.integers(count - missing + 1))
        if kind == 2:
            return np.delete(words, slice(start, start + missing))
        if kind == 3:
            return words[: count - missing]
        added = round(count * (1 / level - 1))
        site = int(chance.integers(SITES)) * len(self.words) // SITES
        return np.concatenate(
            [self.words[site : site + added // 4], words, self.words[site + 5000 :][: added * 3 // 4]]
        )

    def texts(self, documents: Sequence[Numbers]) -> pa.Array:
        offsets = pa.array(np.cumsum([0, *map(len, documents)]), pa.int32())
        words = self.vocabulary.take(pa.array(np.concatenate(documents)))
        return pc.binary_join(pa.ListArray.from_arrays(offsets, words), "")


def _chance(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


@dataclass(frozen=True)
class Cast:
    """What each document of a corpus is: its kind, the document that it is made of (its own number if of none)."""

    kinds: Numbers
    bases: Numbers
    levels: Numbers
    draws: Numbers
    """Chance for the other columns."""

    @classmethod
    def of(cls, count: int, seed: int) -> Cast:
        """70 % of their own (some of them without five words or empty), 15 % exact copies, 15 % near-duplicates.

        Clusters have sizes with a long tail; two, or one in 100,000 documents, are giants of 1,000 documents or more.
        """
        chance = np.random.default_rng(seed)
        kinds = chance.choice(len(SHARES), size=count, p=list(SHARES.values()))
        bases = np.arange(count)
        levels = chance.uniform(0.5, 0.98, size=count)
        draws = chance.integers(2**30, size=count)
        own = np.flatnonzero(kinds == UNIQUE)
        made = chance.permutation(np.flatnonzero(kinds >= EXACT))
        if len(own) == 0:
            return cls(np.full(count, UNIQUE), bases, levels, draws)
        # the square draws the first bases more often: sizes with a long tail
        copied = own[: max(len(own) // 4, 1)]
        bases[made] = copied[(chance.random(len(made)) ** 2 * len(copied)).astype(np.int64)]
        size = min(max(1000, count // 200), len(made) // 4)
        for giant in range(max(2, count // 100_000)):
            members = made[giant * size : (giant + 1) * size]
            bases[members] = own[-1 - giant % len(own)]
            levels[members] = chance.uniform(0.85, 0.98, size=len(members))
        return cls(kinds, bases, levels, draws)


def corpus(count: int, seed: int, texts: Sequence[str], rows: int = 4096) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Documents (id, url, text, dump, date) and what is known of them (id, kind, base: an id), in tables of `rows`."""
    pool, cast = Pool.of(texts), Cast.of(count, seed)
    for start in range(0, count, rows):
        numbers = range(start, min(start + rows, count))
        documents = pool.texts([_words(pool, cast, seed, number) for number in numbers])
        columns = _columns(cast, numbers)
        ids = pa.array([_id(seed, number) for number in numbers])
        table = pa.table({"id": ids, "url": columns["url"], "text": documents, **columns})
        kinds = pa.array([NAMES[cast.kinds[number]] for number in numbers])
        bases = pa.array([_id(seed, int(cast.bases[number])) for number in numbers])
        yield table.select(["id", "url", "text", "dump", "date"]), pa.table({"id": ids, "kind": kinds, "base": bases})


def _words(pool: Pool, cast: Cast, seed: int, number: int) -> Numbers:
    kind, base = cast.kinds[number], int(cast.bases[number])
    words = pool.document(seed, base)
    chance = _chance(seed + 1, number)
    if kind == NEAR:
        return pool.near(words, float(cast.levels[number]), chance)
    return words[: int(chance.integers(1, SHINGLE))] if kind == SHORT else words[:0] if kind == EMPTY else words


def _columns(cast: Cast, numbers: range) -> dict[str, list[str]]:
    """url, dump, date. Half of the exact copies have the URL of what they copy, in one of its forms."""
    urls, dumps, dates = [], [], []
    for number in numbers:
        form, dump, day = (int(cast.draws[number]) // step % 64 for step in (1, 64, 4096))
        same = cast.kinds[number] == EXACT and form < 32
        page = int(cast.bases[number]) if same else number
        urls.append(FORMS[form % 4 if same else 0].format(f"site{page * 7919 % 5003}.example/page/{page}"))
        name, month = DUMPS[dump % len(DUMPS)]
        dumps.append(name)
        dates.append(f"{month}-{1 + day % 28:02}T12:00:00Z")
    return {"url": urls, "dump": dumps, "date": dates}


def _id(seed: int, number: int) -> str:
    return f"<urn:uuid:{seed & 0xFFFFFFFF:08x}-0000-4000-8000-{number:012x}>"


def write_corpus(folder: Path, count: int, seed: int, shards: int) -> Path:
    """`corpus` as Parquet shards in `folder`, and what is known beside it, in `<folder>.truth.parquet`."""
    texts = pq.read_table(prepared(), columns=["text"])["text"].to_pylist()
    folder.mkdir(parents=True, exist_ok=True)
    per_shard = -(-count // shards)
    rows = -(-per_shard // -(-per_shard // 4096))
    known = []
    parts = corpus(count, seed, texts, rows)
    for shard in range(shards):
        writer = None
        for documents, truth in itertools.islice(parts, -(-per_shard // rows)):
            writer = writer or pq.ParquetWriter(folder / f"{shard:05}.parquet", documents.schema, compression="zstd")
            writer.write_table(documents)
            known.append(truth)
        if writer is not None:
            writer.close()
    pq.write_table(pa.concat_tables(known), folder.with_name(f"{folder.name}.truth.parquet"))
    return folder


def main() -> None:
    """Write a corpus."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=8)
    arguments = parser.parse_args()
    started = time.perf_counter()
    write_corpus(arguments.output, arguments.count, arguments.seed, arguments.shards)
    seconds = time.perf_counter() - started
    print(f"{arguments.count:,} documents in {seconds:.1f} s ({arguments.count / seconds:,.0f}/s): {arguments.output}")


if __name__ == "__main__":
    main()
