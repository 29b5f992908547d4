"""What the sources of a mixture hold, before anything is written: exact for token sets, estimated for runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.core.errors import ConfigError, ShardError
from tokenmill.io.filesystem import list_inputs, open_input
from tokenmill.tokens.mix.checks import as_tokenized, check_together, tokenized
from tokenmill.tokens.mix.overlap import KEY_COLUMNS, Overlap, Pair, overlaps, pairs_of, sampled_keys, sampled_share
from tokenmill.tokens.mix.select import Atom, Selector, atoms_of
from tokenmill.tokens.mix.source import SourceSet, open_sets
from tokenmill.tokens.mix.spec import Mixture
from tokenmill.tokens.order import document_keys
from tokenmill.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from tokenmill.tokens.tokenset import TOKENIZER_JSON, TokenSet, TokenShard

THREADS = 4
SAMPLED_FILES = 32
SAMPLED_DOCUMENTS = 64
"""Of each of these files: of 2000 documents the mean length is known to about 5 %."""
_BATCH_CHARS = 4000
"""Characters of a document that are encoded; longer ones are taken to go on as they began."""


@dataclass(frozen=True)
class Counted:
    """What a stream holds. `tokens` counts EOS."""

    documents: int
    tokens: int
    estimated: bool = False


@dataclass
class Measured:
    """What all streams of a mixture hold."""

    streams: dict[Atom, Counted]
    overlaps: list[Overlap] = field(default_factory=list)
    width: int = 0
    """Bytes of an id; 0 where no set says it."""
    of_shards: dict[Atom, list[int]] = field(default_factory=dict)
    """Tokens of a stream in each shard of its set, where it is one."""
    absent: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Source -> (tag, value) that its `where` asks for and no document of its set has."""
    sets: tuple[SourceSet, ...] = ()


@dataclass
class _Scan:
    """What was counted of a shard."""

    counts: dict[Atom, tuple[int, int]]
    pairs: dict[Pair, int]
    keys: dict[str, npt.NDArray[np.int64]]
    present: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


def measure(mixture: Mixture) -> Measured:
    """Count the streams of a mixture; sets are read as tables of documents only, a row group at a time.

    ConfigError as from `open_sets`, and where a run has no documents that can be read.
    """
    ready = {name: source for name, source in mixture.sources.items() if source.tokens}
    sets = open_sets(replace(mixture, sources=ready)) if ready else ()
    check_together(mixture, sets, {name: tokenizer_of(mixture, name) for name in mixture.sources if name not in ready})
    found: dict[Atom, Counted] = {}
    share = sampled_share(mixture, sets)
    rows: dict[Pair, int] = {}
    of_shards: dict[Atom, list[int]] = {}
    present: dict[str, set[tuple[str, str]]] = {source: set() for one in sets for source in one.sources}
    keys: dict[str, list[npt.NDArray[np.int64]]] = {source: [] for one in sets for source in one.sources}
    for one in sets:
        pairs = pairs_of(mixture, one.sources)
        totals: dict[Atom, tuple[int, int]] = dict.fromkeys(one.atoms, (0, 0))
        of_shards |= {atom: [] for atom in one.atoms}
        for scan in _scans(one, pairs, share):
            for atom, (documents, tokens) in scan.counts.items():
                totals[atom] = (totals[atom][0] + documents, totals[atom][1] + tokens)
                of_shards[atom].append(tokens)
            for source, has in scan.present.items():
                present[source] |= has
            for pair, number in scan.pairs.items():
                rows[pair] = rows.get(pair, 0) + number
            for source, more in scan.keys.items():
                keys[source].append(more)
        found |= {atom: Counted(documents, tokens) for atom, (documents, tokens) in totals.items()}
    for name, given in mixture.sources.items():
        if given.run:
            found |= _estimated(mixture, name, sets)
    joined = {source: np.concatenate(parts) if parts else np.empty(0, np.int64) for source, parts in keys.items()}
    ordered = {atom: found[atom] for name in mixture.sources for atom in atoms_of(mixture, name)}
    width = np.dtype(sets[0].tokens.manifest.dtype).itemsize if sets else 0
    absent = {
        source: [pair for pair in one.selector.listed(source) if pair not in present[source]]
        for one in sets
        for source in one.sources
    }
    return Measured(ordered, overlaps(mixture, sets, rows, joined, share), width, of_shards, absent, sets)


def _scans(one: SourceSet, pairs: Sequence[Pair], share: float) -> Sequence[_Scan]:
    """What each shard of a set holds; a set that is taken as a whole says it in its manifest."""
    if one.selector.trivial and not share:
        entries = one.tokens.manifest.shards
        return [
            _Scan(dict.fromkeys(one.atoms, (shard.documents, shard.tokens)), dict.fromkeys(pairs, shard.documents), {})
            for shard in entries
        ]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda shard: _scan(one, shard, pairs, share), one.tokens.shards))


def _scan(one: SourceSet, shard: TokenShard, pairs: Sequence[Pair], share: float) -> _Scan:
    scan = _Scan(dict.fromkeys(one.atoms, (0, 0)), dict.fromkeys(pairs, 0), {})
    parts: dict[str, list[npt.NDArray[np.int64]]] = {source: [] for source in one.sources}
    columns = list(dict.fromkeys([*one.selector.columns, *(KEY_COLUMNS if share else ())]))
    try:
        file = pq.ParquetFile(shard.documents_path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            for atom, (documents, tokens) in one.counts(table).items():
                scan.counts[atom] = (scan.counts[atom][0] + documents, scan.counts[atom][1] + tokens)
            for source in one.sources:
                scan.present.setdefault(source, set()).update(one.selector.present(table, source))
            if pairs or share:
                numbers = {source: one.selector.numbers(table, source, one.eos) for source in one.sources}
                for a, b in pairs:
                    scan.pairs[a, b] += int(np.count_nonzero((numbers[a] >= 0) & (numbers[b] >= 0)))
                if share:
                    for source, keys in sampled_keys(table, numbers, share).items():
                        parts[source].append(keys)
    except (OSError, pa.ArrowException) as error:
        raise ShardError(
            f"{shard.documents_path} cannot be read", why=str(error), fix="copy the set again, or tokenize again"
        ) from error
    scan.keys = {source: np.concatenate(found) for source, found in parts.items() if found}
    return scan


def tokenizer_of(mixture: Mixture, name: str) -> tuple[str, str]:
    """(tokenizer, its EOS or "") for a source that is a run: its own, or that of the first token set.

    ConfigError where neither is given.
    """
    source = mixture.sources[name]
    if source.tokenizer:
        return source.tokenizer, ""
    for other in mixture.sources.values():
        if other.tokens:
            found = TokenSet.open(other.tokens)
            return str(found.folder / TOKENIZER_JSON), found.manifest.tokenizer.eos_token or ""
    raise ConfigError(
        f"source {name} is a run, and no tokenizer is given",
        why="no other source is a token set whose tokenizer could be taken",
        fix=f"add tokenizer: PATH_OR_NAME to sources.{name}",
    )


def _estimated(mixture: Mixture, name: str, sets: Sequence[SourceSet]) -> dict[Atom, Counted]:
    """What a run would hold when it is tokenized, from a sample of its files and of their documents."""
    tokenizer, eos = tokenizer_of(mixture, name)
    loaded = load_tokenizer(tokenizer, eos=eos or None)
    ends = not sets or sets[0].eos
    inputs = list_inputs(mixture.sources[name].run, (".parquet",))
    keys = document_keys(mixture.seed, [shard.name for shard in inputs])
    chosen = [inputs[i] for i in np.argsort(np.array(keys), kind="stable")[:SAMPLED_FILES]]
    atoms = atoms_of(mixture, name)
    totals = {atom: np.zeros(2) for atom in atoms}
    for shard in chosen:
        with open_input(shard) as stream:
            file = pq.ParquetFile(stream)
            if not file.metadata.num_rows:
                continue
            if "text" not in file.schema_arrow.names:
                raise ConfigError(f"{shard.path} has no texts", fix="give the folder of a run, or of its data")
            schema = _with_counts(tokenized(file.schema_arrow))
            selector = Selector(mixture, [name], schema, f"{mixture.sources[name].run} (source {name})")
            table = _sampled_rows(file, [*selector.columns[1:], "text"], shard.name, mixture.seed)
            texts = table.column("text")
            counts = _counts(loaded, texts.to_pylist())
            rows = file.metadata.num_rows / max(1, table.num_rows)
            size = _text_bytes(file) / max(1, pc.sum(pc.binary_length(texts)).as_py() or 0)
            table = as_tokenized(table).drop_columns(["text"]).append_column("token_count", pa.array(counts))
        numbers = selector.numbers(table, name, eos=ends)
        for number, atom in enumerate(atoms):
            mine = numbers == number
            totals[atom] += [rows * mine.sum(), size * counts[mine].sum() + rows * ends * mine.sum()]
    bytes_all, bytes_read = (sum(shard.size for shard in some) for some in (inputs, chosen))
    scale = bytes_all / max(1, bytes_read)
    return {atom: Counted(round(total[0] * scale), round(total[1] * scale), True) for atom, total in totals.items()}


def _text_bytes(file: pq.ParquetFile) -> int:
    """Bytes of all texts of a file, as its footer says: tokens follow bytes far more closely than documents."""
    total = 0
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        columns = (about.column(number) for number in range(about.num_columns))
        total += sum(
            one.total_uncompressed_size - 4 * about.num_rows for one in columns if one.path_in_schema == "text"
        )
    return max(0, total)


def _with_counts(schema: pa.Schema) -> pa.Schema:
    place = schema.get_field_index("token_count")
    return (schema if place < 0 else schema.remove(place)).append(pa.field("token_count", pa.int64()))


def _sampled_rows(file: pq.ParquetFile, columns: Sequence[str], name: str, seed: int) -> pa.Table:
    """Documents of one row group of a file: one of each of so many equal pieces, by chance."""
    (key,) = document_keys(seed, [f"row group of {name}"])
    table = file.read_row_group(key % file.num_row_groups, columns=list(dict.fromkeys(columns)))
    pieces = min(table.num_rows, SAMPLED_DOCUMENTS)
    edges = [table.num_rows * number // pieces for number in range(pieces + 1)]
    keys = document_keys(seed, [f"row {number} of {name}" for number in range(pieces)])
    rows = [low + chance % (high - low) for low, high, chance in zip(edges, edges[1:], keys, strict=False)]
    return table.take(pa.array(rows, pa.int64()))


def _counts(loaded: LoadedTokenizer, texts: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Tokens of each text, about."""
    given = [text or "" for text in texts]
    encodings = loaded.make().encode_batch([text[:_BATCH_CHARS] for text in given], add_special_tokens=False)
    return np.array(
        [round(len(e.ids) * max(1.0, len(t) / _BATCH_CHARS)) for e, t in zip(encodings, given, strict=True)], np.int64
    )


def totals_by_source(streams: Mapping[Atom, Counted]) -> dict[str, Counted]:
    """The same by source."""
    found: dict[str, Counted] = {}
    for atom, one in streams.items():
        before = found.get(atom.source, Counted(0, 0))
        found[atom.source] = Counted(
            before.documents + one.documents, before.tokens + one.tokens, before.estimated or one.estimated
        )
    return found
