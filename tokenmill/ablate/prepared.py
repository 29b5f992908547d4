"""What arms are trained on: documents of a token set, cut to equal amounts, and their views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenmill.ablate import held_out
from tokenmill.ablate.pool import PoolTable, check_split
from tokenmill.core.errors import ConfigError
from tokenmill.core.schema import DOC_ID
from tokenmill.tokens.document_view import DocumentView
from tokenmill.tokens.encoder import Encoder
from tokenmill.tokens.tokenizer import LoadedTokenizer
from tokenmill.tokens.tokenset import TokenSet
from tokenmill.tokens.views import TokenView

Numbers = npt.NDArray[np.int64]
_SLACK = 0.001
"""Arms of equal amounts may differ by this share of their tokens. Filling all of it would look for tiny documents."""
IDENTITY = ("id", DOC_ID)
"""Columns by which a page is known in any token set: its id, and its place where it has none."""
_MEASURED_BYTES = 1_000_000
"""Text of a token set that is decoded to learn how many bytes a token has."""


@dataclass(frozen=True)
class PreparedArm:
    """An arm, ready to be trained on."""

    name: str
    what: str
    """In one line: what it was made of."""
    documents: int
    tokens: int
    """EOS included; each document once, those held out or cut off not counted."""
    bytes: int
    """UTF-8 of the texts of these; of a token set an estimate from a sample."""
    held_out: list[str] = field(repr=False)
    """Texts to measure on, as many bytes as were asked for; in order of a hash, so any beginning is a sample."""
    held_out_documents: int
    """How many of its documents are held out in all."""
    set: TokenSet = field(repr=False)
    numbers: Numbers = field(repr=False)
    """Documents in the order of the set."""
    in_order: bool = False
    """A mixture: its order is part of what it is, the seed changes nothing."""

    @property
    def mean_tokens(self) -> float:
        """Tokens of a document, EOS included."""
        return self.tokens / max(1, self.documents)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes for each token, EOS not counted."""
        return self.bytes / max(1, self.tokens - self.documents)

    @cached_property
    def sorted(self) -> Numbers:
        """Its documents, by which arms of one set are compared."""
        return np.sort(self.numbers)

    def view(self, seed: int) -> TokenView:
        """Its documents in the order of that seed: documents that arms share come in the same order in all of them."""
        return DocumentView(self.set, self.numbers, seed=None if self.in_order else seed, by=IDENTITY)


@dataclass(frozen=True)
class Chosen:
    """The documents that an arm may be trained on, before it is cut."""

    set: TokenSet
    numbers: Numbers
    tokens: Numbers
    """EOS included."""
    places: Numbers
    """By the ids: in this order documents are taken where not all are."""
    bytes: Numbers
    """UTF-8 of each text; of a token set by the bytes for each token of a sample."""
    held_out: list[str]
    held_out_documents: int
    in_order: bool = False


def of_pool(tokens: TokenSet, table: PoolTable, arm: Path, texts: list[str], held: int) -> tuple[Chosen, int]:
    """(the documents of an arm in a pool, how many of them could not be encoded). arm: its list of numbers."""
    own = pq.read_table(arm)
    numbers, places = own.column("number").to_numpy(), own.column("place").to_numpy()
    known = table.document[numbers] >= 0
    numbers, places = numbers[known], places[known]
    columns = (table.document[numbers], table.tokens[numbers], places, table.bytes[numbers])
    return Chosen(tokens, *columns, held_out=texts, held_out_documents=held), int((~known).sum())


def of_set(
    name: str, tokens: TokenSet, tokenizer: LoadedTokenizer, *, share: float, size: int, in_order: bool
) -> Chosen:
    """The documents of a token set that are not held out. ConfigError where none is left, or none held out."""
    counts, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for shard in tokens.shards:
        table = shard.documents(["token_count", *IDENTITY])
        ids = pc.coalesce(*(table.column(name) for name in IDENTITY)).fill_null("").to_pylist()
        counts.append(table.column("token_count").to_numpy() + (tokens.eos_id is not None))
        places.append(held_out.places(ids))
    lengths, where = np.concatenate(counts), np.concatenate(places)
    trained = where >= held_out.limit(share)
    held = np.flatnonzero(~trained)
    check_split(name, len(held), int(trained.sum()), share)
    encoder, rest = Encoder(tokenizer), np.flatnonzero(trained)
    ratio = _sampled(tokens, rest, where, encoder, _MEASURED_BYTES).bytes_per_token
    lengths_of_text = lengths[trained] - (tokens.eos_id is not None)
    return Chosen(
        tokens,
        rest,
        lengths[trained],
        where[trained],
        np.rint(lengths_of_text * ratio).astype(np.int64),
        _sampled(tokens, held, where, encoder, size).texts,
        len(held),
        in_order,
    )


class _Sampled(NamedTuple):
    texts: list[str]
    bytes_per_token: float


def _sampled(tokens: TokenSet, numbers: Numbers, places: Numbers, encoder: Encoder, size: int) -> _Sampled:
    """Texts of documents with the smallest places, and how many bytes a token of them has; decodes no more of them."""
    sample = held_out.Sample(size)
    order = numbers[np.argsort(places[numbers], kind="stable")]
    view = DocumentView(tokens, order, seed=None)
    starts = view.document_starts(0, view.documents)
    ends = starts[1:] - (tokens.eos_id is not None)
    all_bytes = all_tokens = kept = 0
    for number, start, stop in zip(order.tolist(), starts[:-1].tolist(), ends.tolist(), strict=True):
        if kept >= size:
            break
        text = encoder.decode(view.read(start, stop))
        sample.add(int(places[number]), text)
        kept += min(len(text.encode()), max(1, size // held_out.LARGEST))
        all_bytes, all_tokens = all_bytes + len(text.encode()), all_tokens + stop - start
    return _Sampled(sample.texts(), all_bytes / max(1, all_tokens))


def matched(arms: Mapping[str, tuple[str, Chosen]], match: str) -> dict[str, PreparedArm]:
    """The arms, with `match` "tokens" cut to the tokens of the smallest. arms: name -> (what it is, its documents).

    Documents are taken in the order of a hash of their ids, so that cut arms share what they can, as long as they fit;
    of those behind the first that does not, the next that do, until an arm is within 0.1 % of the smallest. A mixture
    is cut at the first that does not fit. ConfigError where nothing of an arm is left.
    """
    sums = {name: int(chosen.tokens.sum()) for name, (_, chosen) in arms.items()}
    least = min(sums, key=lambda name: sums[name], default="")
    smallest = sums.get(least, 0)
    found = {}
    for name, (what, chosen) in arms.items():
        keep = _within(chosen, smallest) if match == "tokens" else np.arange(len(chosen.numbers))
        if not len(keep):
            raise _nothing_left(name, chosen, least, smallest)
        tokens, documents = int(chosen.tokens[keep].sum()), len(keep)
        found[name] = PreparedArm(
            name=name,
            what=what,
            documents=documents,
            tokens=tokens,
            bytes=int(chosen.bytes[keep].sum()),
            held_out=chosen.held_out,
            held_out_documents=chosen.held_out_documents,
            set=chosen.set,
            numbers=chosen.numbers[keep],
            in_order=chosen.in_order,
        )
    return found


def _nothing_left(name: str, chosen: Chosen, least: str, tokens: int) -> ConfigError:
    if not len(chosen.numbers):
        why = "none could be encoded"
        return ConfigError(f"arm {name} has no documents to train on", why=why, fix="look at its texts")
    which = "first" if chosen.in_order else "shortest"
    length = int(chosen.tokens[0] if chosen.in_order else chosen.tokens.min())
    return ConfigError(
        f"nothing of arm {name} is left when it is cut to the tokens of arm {least}",
        where="match: tokens",
        why=f"arm {least} has {tokens:,} tokens, and the {which} document of arm {name} has {length:,}",
        fix=f"give arm {least} more documents, leave one of the two out, or say match: pool",
    )


def _within(chosen: Chosen, tokens: int) -> Numbers:
    """Which of the documents are within so many tokens, in the order in which they stand."""
    order = np.arange(len(chosen.numbers))
    if not chosen.in_order:
        order = np.argsort(chosen.places, kind="stable")
    lengths = chosen.tokens[order]
    ends = np.cumsum(lengths)
    stop = int(np.searchsorted(ends, tokens, side="right"))
    taken = [order[:stop]]
    left = tokens - (int(ends[stop - 1]) if stop else 0)
    while not chosen.in_order and left > tokens * _SLACK:
        fits = np.flatnonzero(lengths[stop:] <= left)
        if not len(fits):
            break
        stop += int(fits[0])
        taken.append(order[stop : stop + 1])
        left -= int(lengths[stop])
        stop += 1
    return np.sort(np.concatenate(taken))
