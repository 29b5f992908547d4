"""Every check of an output: its column, type, meaning, source, and what a style may say about it under `checks:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

PREFIX = "check_"
"""All columns of checks begin so; a style leaves it away."""

RANGE, FLAG, SAME, VALUES = "range", "flag", "same", "values"
"""range: `[low, high]`, `{min: x, max: y}`. flag: `forbidden` rejects outputs for which the check is true. same:
`same` rejects outputs that differ from their source. values: one value or a list; outputs with another are rejected.
null switches any of them off."""


@dataclass(frozen=True)
class Check:
    """One column that is measured, and the reasons for which it can reject an output."""

    name: str
    """As in a style's `checks:`; the column is `check_<name>`."""
    dtype: pa.DataType
    form: str
    """What its setting looks like: RANGE, FLAG, SAME or VALUES; "" for columns that are notes of others."""
    unit: str
    meaning: str
    source: str
    high: str = ""
    """Reason for a value above the highest; for forms other than RANGE the only reason."""
    low: str = ""
    """Reason for a value below the lowest."""
    note: str = ""
    """Name of the check that holds what was found; it is recorded with the reason."""

    @property
    def column(self) -> str:
        return PREFIX + self.name


_PLAYBOOK = "arXiv:2604.13977"
_GOPHER = "arXiv:2112.11446 table A1"
_NEMOTRON = "arXiv:2412.02595"
_COPY = "arXiv:2107.06499"
_REPRO = "RePro (rewards for structure and length)"
_OWN = "tokenmill"
_TEXT, _SHARE, _COUNT, _BOOL = pa.string(), pa.float64(), pa.int32(), pa.bool_()

CHECKS: tuple[Check, ...] = (
    Check(
        "finish",
        _TEXT,
        VALUES,
        "",
        "Why the model stopped: stop, length, content_filter, ...; null where the server does not say.",
        "OpenAI API",
        high="not_finished",
    ),
    Check("empty", _BOOL, FLAG, "", "The output has no letter and no digit.", _OWN, high="empty_output"),
    Check(
        "refusal",
        _BOOL,
        FLAG,
        "",
        "The output declines, or speaks of itself as a language model, where its source does not.",
        _OWN,
        high="refusal",
        note="phrase",
    ),
    Check(
        "meta",
        _BOOL,
        FLAG,
        "",
        "The output speaks of the task: 'here is the rewritten text', 'the text above', 'let me know if'.",
        f"{_NEMOTRON}; Cosmopedia",
        high="meta_talk",
        note="phrase",
    ),
    Check("phrase", _TEXT, "", "", "The words by which refusal or meta were found.", _OWN),
    Check(
        "echo",
        _SHARE,
        RANGE,
        "share of 5-grams",
        "Runs of 5 words of the instruction that occur in the output and not in the source.",
        _OWN,
        high="prompt_echo",
    ),
    Check("words", _COUNT, RANGE, "words", "Words of the output.", _OWN, high="too_many_words", low="too_few_words"),
    Check(
        "length_ratio",
        _SHARE,
        RANGE,
        "words per word",
        "Words of the output per word of the source; in scripts without spaces every character is a word.",
        _REPRO,
        high="too_long",
        low="too_short",
    ),
    Check(
        "truncated_end",
        _BOOL,
        FLAG,
        "",
        "The output ends inside a sentence although its source does not.",
        _OWN,
        high="truncated_end",
    ),
    Check(
        "language",
        _TEXT,
        VALUES,
        "ISO 639-1",
        "Language of the output, where it is long enough to tell.",
        "lid.176",
        high="wrong_language",
    ),
    Check(
        "language_same",
        _BOOL,
        SAME,
        "",
        "Whether the output has the language of its source; null where one of them is uncertain.",
        "lid.176",
        high="other_language",
        note="language",
    ),
    Check(
        "script_share",
        _SHARE,
        RANGE,
        "share of letters",
        "Letters of the output that are of a script that its source has.",
        "Unicode Scripts",
        high="script_share_high",
        low="other_script",
    ),
    Check(
        "repetition_ngram",
        _SHARE,
        RANGE,
        "share of words",
        "Words of the output in runs of 6 words that occurred in it before.",
        _GOPHER,
        high="repeated_ngrams",
    ),
    Check(
        "repetition_line",
        _SHARE,
        RANGE,
        "share of characters",
        "Characters of the output in lines that occurred in it before.",
        _GOPHER,
        high="repeated_lines",
    ),
    Check(
        "compression",
        _SHARE,
        RANGE,
        "ratio",
        "Bytes under zlib per byte of the output, divided by those of its source; null below 200 bytes.",
        "zlib, level 1; arXiv:2403.00553",
        high="incompressible",
        low="compressible",
    ),
    Check(
        "copy_longest_run",
        _COUNT,
        RANGE,
        "words",
        "Longest run of words that output and source share.",
        _COPY,
        high="long_copied_run",
    ),
    Check(
        "copy_longest_share",
        _SHARE,
        RANGE,
        "share of words",
        "That run as a share of the output's words; 1 for a copy, and for a piece cut out.",
        _COPY,
        high="copied_run",
    ),
    Check(
        "copy_ngram",
        _SHARE,
        RANGE,
        "share of 8-grams",
        "Runs of 8 words of the output that occur in the source: about 1 for a copy, 0 for what nothing ties to it.",
        f"{_COPY}; {_PLAYBOOK}",
        high="copied",
        low="unmoored",
    ),
    Check(
        "numbers_kept",
        _SHARE,
        RANGE,
        "share of numbers",
        "Distinct numbers of the source that the output has too.",
        _OWN,
        high="numbers_kept_high",
        low="numbers_lost",
    ),
    Check(
        "numbers_invented",
        _SHARE,
        RANGE,
        "share of numbers",
        "Distinct numbers of the output that its source lacks; 0 for fewer than three of them.",
        _OWN,
        high="numbers_invented",
    ),
    Check(
        "dates_kept",
        _SHARE,
        RANGE,
        "share of dates",
        "Distinct dates of the source that the output has too.",
        _OWN,
        high="dates_kept_high",
        low="dates_lost",
    ),
    Check(
        "dates_invented",
        _SHARE,
        RANGE,
        "share of dates",
        "Distinct dates of the output that its source lacks.",
        _OWN,
        high="dates_invented",
    ),
    Check(
        "names_kept",
        _SHARE,
        RANGE,
        "share of names",
        "Distinct capitalised names of the source that the output has too; null in scripts without case.",
        _OWN,
        high="names_kept_high",
        low="names_lost",
    ),
    Check(
        "names_invented",
        _SHARE,
        RANGE,
        "share of names",
        "Distinct capitalised names of the output none of whose words its source has.",
        _OWN,
        high="names_invented",
    ),
    Check(
        "urls_new", _COUNT, RANGE, "URLs", "Hosts of URLs in the output that its source lacks.", _OWN, high="urls_new"
    ),
    Check(
        "pii_new",
        _COUNT,
        RANGE,
        "spans",
        "E-mail addresses, telephone, card and account numbers, keys ... in the output that its source lacks.",
        _OWN,
        high="personal_data_new",
        note="pii_kinds",
    ),
    Check("pii_kinds", _TEXT, "", "", "Kinds of these, sorted, with commas; never the data themselves.", _OWN),
    Check(
        "overlap",
        _SHARE,
        RANGE,
        "share of words",
        "Content words (beginnings of long words; pairs of ideographs) that output and source share, of those of the "
        "one with fewer; null for few of them, and across languages.",
        _OWN,
        high="overlap_high",
        low="unrelated",
    ),
    Check(
        "similarity",
        _SHARE,
        RANGE,
        "cosine",
        "Cosine between embeddings of output and source; null where no encoder is set.",
        "arXiv:1908.10084",
        high="too_similar",
        low="dissimilar",
    ),
)
"""In the order in which they are columns, and in which the first to reject an output is its reason."""

BY_NAME: Mapping[str, Check] = {check.name: check for check in CHECKS}
CHECK_COLUMNS: Mapping[str, pa.DataType] = {check.column: check.dtype for check in CHECKS}
"""Column -> type, in order. Every column may be null: not measured."""

ALIASES: Mapping[str, str] = {"language": "language_same", "script": "script_share"}
"""`language: same` is the check language_same, `script: same` asks for a script_share of nearly 1."""
