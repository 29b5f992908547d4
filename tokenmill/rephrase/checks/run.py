"""All checks of pairs of source and output, as columns; and the first rule that rejects an output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from tokenmill.core.decide import first_holding, value_of
from tokenmill.core.rule import Drop, Rule
from tokenmill.rephrase.checks.columns import CHECK_COLUMNS, CHECKS
from tokenmill.rephrase.checks.facts import fact_checks
from tokenmill.rephrase.checks.language import language_checks
from tokenmill.rephrase.checks.lines import line_checks
from tokenmill.rephrase.checks.overlap import LEAST_SCRIPT, overlap_checks
from tokenmill.rephrase.checks.phrases import phrase_checks, phrases_digest
from tokenmill.rephrase.checks.private import private_checks
from tokenmill.rephrase.checks.similarity import Similarity
from tokenmill.rephrase.checks.words import Texts, word_checks
from tokenmill.rephrase.formats import without_labels
from tokenmill.rephrase.style import Style

CHECKS_VERSION = 2
"""Raised when the same pair can get another value of a check."""

_STOPPED = frozenset(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed", "complete"))
_CUT = frozenset(("length", "max_tokens", "max_length", "max_output_tokens"))


@dataclass(frozen=True)
class Pair:
    """An output and what it was made from."""

    source: str
    """The passage, or the document where the output was stitched from all of its passages."""
    output: str
    """As it would be published: read by the style's format, stitched."""
    style: Style
    instruction: str
    """The prompt without the page."""
    finish_reason: str
    """As the server said it; of stitched outputs the worst. "" where it said nothing."""
    tokens_in: int
    tokens_out: int
    """0 where the server did not count."""
    source_language: str | None = None
    """As a column of the documents says it ("en", "eng_Latn"); None where none does."""


@dataclass(frozen=True)
class CheckSettings:
    """How the checks are made."""

    encoder: str = ""
    """Folder of an encoder for check_similarity; "" leaves that null."""
    device: str = "cpu"
    """Where the encoder runs, as torch names it."""
    max_tokens: int = 256
    """Of a text that the encoder sees."""


def checks_digest() -> dict[str, str]:
    """What the values of checks depend on, beside the code of this version: for fingerprints."""
    from tokenmill.text.langid import model_digest

    return {"checks": str(CHECKS_VERSION), "phrases": phrases_digest(), "langid": model_digest()}


def check_pairs(pairs: Sequence[Pair], settings: CheckSettings | None = None) -> pa.Table:
    """One row per pair, the columns of CHECK_COLUMNS in their order; null where a check was not measured.

    What a pair gets does not depend on the pairs beside it, but for the last bits of check_similarity. Sources and
    instructions that occur more than once are looked at once. Lone surrogates, which UTF-8 has not, are "?".
    """
    settings = settings or CheckSettings()
    outputs = [_clean(pair.output) for pair in pairs]
    sources = Texts([_clean(pair.source) for pair in pairs])
    instructions = Texts([_clean(pair.instruction) for pair in pairs])
    found: dict[str, pa.Array] = {"finish": pa.array([finish_of(pair) for pair in pairs], pa.string())}
    bare = [without_labels(text, pair.style) for text, pair in zip(outputs, pairs, strict=True)]
    found |= word_checks(bare, sources, instructions)
    found["empty"] = pa.array([words == 0 for words in found["words"].to_pylist()], pa.bool_())
    found |= phrase_checks(outputs, sources, [_voiced(pair.style) for pair in pairs])
    found |= line_checks(outputs, sources, [pair.style.kind != "rewrite" for pair in pairs])
    found |= language_checks(bare, sources, [pair.source_language for pair in pairs])
    shares = zip(found["language_same"].to_pylist(), found["script_share"].to_pylist(), strict=True)
    alike = [same is not False and (script is None or script >= LEAST_SCRIPT) for same, script in shares]
    found["overlap"] = overlap_checks(bare, sources, alike)
    found |= fact_checks(outputs, sources, found["language"].to_pylist())
    found |= private_checks(outputs, sources)
    found["similarity"] = _similarity(outputs, sources, settings)
    return pa.table(
        {check.column: found[check.name] for check in CHECKS}, schema=pa.schema(list(CHECK_COLUMNS.items()))
    )


def verdicts(table: pa.Table, pairs: Sequence[Pair]) -> list[Drop | None]:
    """Per pair the first rule of its style that rejects it; None where none does.

    table: of `check_pairs`, row by row. A rule may name any of its columns.
    """
    places: dict[tuple[Rule, ...], list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.style.rules, []).append(place)
    found: list[Drop | None] = [None] * len(pairs)
    for rules, rows in places.items():
        column = _columns_of(table.take(rows))
        for row, index in enumerate(first_holding(rules, column, len(rows))):
            if index >= 0:
                rule = rules[index]
                note = column(rule.note)[row].as_py() if rule.note else None
                found[rows[row]] = Drop.by(rule, *value_of(rule, column, row), note)
    return found


def _voiced(style: Style) -> bool:
    """Whether persons may speak in its answers who are not their author: new texts, conversations."""
    return style.kind == "create" or style.format.get("kind") == "conversation"


def finish_of(pair: Pair) -> str | None:
    """Why the model stopped, in OpenAI's words; None where the server does not say."""
    reason = pair.finish_reason.strip().lower()
    if not reason:
        return None
    return "stop" if reason in _STOPPED else "length" if reason in _CUT else reason


def _columns_of(table: pa.Table) -> Callable[[str], pa.Array]:
    return cache(lambda name: table.column(name).combine_chunks())


@cache
def _encoder(settings: CheckSettings) -> Similarity:
    return Similarity(settings.encoder, device=settings.device, max_tokens=settings.max_tokens)


def _similarity(outputs: Sequence[str], sources: Texts, settings: CheckSettings) -> pa.Array:
    if not settings.encoder or not outputs:
        return pa.nulls(len(outputs), pa.float64())
    return pa.array(_encoder(settings).cosines(outputs, sources).astype(np.float64))


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
