"""The readable twin of the kernels: every signal and C4's lines in plain Python, as slow as it is clear.

`tokenmill.core.segment` says what words are; everything else is said here once more, without sharing code with
the kernels.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any
from unicodedata import category

from tokenmill.core import segment
from tokenmill.text.characters import PUNCTUATION, SENTENCE_ENDS

POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
UNSPACED = re.compile(f"[{segment.IDEOGRAPHS}{segment.KATAKANA}{segment.DICTIONARY}]")
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def duplicates(items: Sequence[str]) -> tuple[int, int]:
    """How many items occurred before, and how many characters these have."""
    repeated = [item for i, item in enumerate(items) if item in items[:i]]
    return len(repeated), sum(map(len, repeated))


def sentences(tokens: Sequence[str]) -> int:
    count, ended = min(len(tokens), 1), False
    for token in tokens:
        if token in SENTENCE_ENDS:
            ended = True
        elif ended and not all(category(char).startswith("P") for char in token):
            count += 1
            ended = False
    return count


def tokens_of(line: str, unit: int) -> list[str]:
    tokens = segment.spaced_words(line)
    return segment.characters(tokens) if unit == segment.CHARACTERS else tokens


def top_ngram(words: Sequence[str], n: int, joiner: str) -> int:
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]  # the first of equals
    return len(joiner.join(gram)) * count


def duplicate_ngrams(words: Sequence[str], n: int) -> int:
    seen: set[str] = set()
    characters = at = 0
    while at <= len(words) - n:
        gram = "".join(words[at : at + n])
        if gram in seen:
            characters += len(gram)
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def characters(text: str) -> dict[str, Any]:
    n = len(text)
    letters = [char for char in text if char.isalpha()]

    def count(holds: Any) -> float:
        return share(sum(1 for char in text if holds(char)), n)

    return {
        "text_characters": n,
        "text_bytes": len(text.encode()),
        "text_letter_share": share(len(letters), n),
        "text_uppercase_share": share(sum(map(str.isupper, letters)), len(letters)),
        "text_digit_share": count(str.isdigit),
        "text_punctuation_share": count(lambda char: category(char)[0] == "P"),
        "text_symbol_share": count(lambda char: category(char)[0] == "S"),
        "text_whitespace_share": count(str.isspace),
        "text_non_ascii_share": count(lambda char: ord(char) > 127),
        "text_broken_share": count(
            lambda char: (
                char == "\ufffd" or category(char) in ("Co", "Cn") or (category(char) == "Cc" and not char.isspace())
            )
        ),
        "text_curly_bracket_share": count(lambda char: char in "{}"),
        "text_unspaced_share": share(sum(UNSPACED.match(char) is not None for char in letters), len(letters)),
        "repetition_characters": n,
    }


def lines(text: str) -> dict[str, Any]:
    n = len(text)
    broken = text.splitlines()
    full = [line for line in text.split("\n") if line.strip()]
    ended = sum(line[-1] in SENTENCE_ENDS for line in full)
    dup_lines = duplicates(segment.lines(text))
    dup_paragraphs = duplicates(segment.paragraphs(text))
    count = len(full)

    def of_lines(holds: Any) -> float:
        return share(sum(bool(holds(line)) for line in full), count)

    return {
        "gopher_bullet_line_share": share(sum(x.lstrip().startswith(("•", "-")) for x in broken), len(broken)),
        "gopher_ellipsis_line_share": share(sum(x.rstrip().endswith(("...", "…")) for x in broken), len(broken)),
        "fineweb_line_count": count,
        "fineweb_line_punct_share": share(ended, count),
        "fineweb_line_punct_share_or_one": share(ended, count) or 1.0,
        "fineweb_short_line_share": of_lines(lambda line: len(line) <= 30),
        "fineweb_dup_line_char_share": share(duplicates(full)[1], n - text.count("\n")),
        "repetition_dup_paragraph_share": dup_paragraphs[0] / len(segment.paragraphs(text)),
        "repetition_dup_paragraph_char_share": share(dup_paragraphs[1], n),
        "repetition_dup_line_share": dup_lines[0] / len(segment.lines(text)),
        "repetition_dup_line_char_share": share(dup_lines[1], n),
        "text_terminal_line_share": of_lines(lambda line: line.endswith((".", "?", "!", '"', "'"))),
        "text_uppercase_line_share": of_lines(lambda line: 2 * sum(map(str.isupper, line)) > len(line)),
        "text_numeric_line_share": of_lines(
            lambda line: any(map(str.isdigit, line)) and not any(map(str.isalpha, line))
        ),
        "text_one_word_line_share": of_lines(lambda line: len(line.split()) == 1),
        "text_javascript_line_share": of_lines(lambda line: "javascript" in line.lower()),
        "text_policy_line_share": of_lines(lambda line: any(phrase in line.lower() for phrase in POLICIES)),
        "text_lorem_ipsum_count": text.lower().count("lorem ipsum"),
        "text_mean_line_length": share(sum(map(len, full)), count),
        "text_paragraph_count": len(segment.paragraphs(text)),
        "text_max_line_length": max(map(len, full), default=0),
        "text_url_count": text.count("http://") + text.count("https://"),
    }


def words(text: str, tokens: list[str], unit: int) -> dict[str, Any]:
    gopher = [token for token in tokens if not set(token) <= PUNCTUATION]
    real = [token for token in tokens if any(map(str.isalnum, token))]
    counts = Counter(real)
    spaced = unit == segment.SPACED
    found = sum(sentences(tokens_of(line, unit)) for line in text.splitlines())
    capitals = 0
    for token in real:
        letters = [char for char in token if char.isalpha()]
        capitals += len(letters) > 1 and all(map(str.isupper, letters))
    stops = sum((word in text) if unit == segment.CHARACTERS else (word in tokens) for word in STOP_WORDS)
    return {
        "gopher_word_count": len(gopher),
        "gopher_mean_word_length": share(sum(map(len, gopher)), len(gopher)) if spaced else None,
        "gopher_hash_ratio": share(text.count("#"), len(tokens)),
        "gopher_ellipsis_ratio": share(text.count("...") + text.count("…"), len(tokens)),
        "gopher_alpha_word_share": share(sum(any(map(str.isalpha, token)) for token in tokens), len(tokens)),
        "gopher_stop_words": stops,
        "fineweb_newline_ratio": share(text.count("\n"), len(tokens)),
        "text_word_count": len(real),
        "text_unique_word_share": share(len(counts), len(real)),
        "text_unigram_entropy": -sum(n / len(real) * math.log(n / len(real)) for n in counts.values()),
        "text_mean_word_length": share(sum(map(len, real)), len(real)) if spaced else None,
        "text_max_word_length": max(map(len, text.split()), default=0) if spaced else None,
        "text_all_caps_word_share": share(capitals, len(real)),
        "text_sentence_count": found,
        "text_mean_sentence_length": share(len(real), found),
    }


def signals(text: str, tokens: list[str] | None = None) -> dict[str, Any]:
    """All signals of a text but those of its language; `tokens` as if segmentation had given them."""
    unit = segment.word_unit(text) if tokens is None else segment.SPACED
    found = {**characters(text), **lines(text)}
    ratio = share(len(zlib.compress(text.encode(), 1)), len(text.encode()))
    if unit == segment.UNKNOWN:
        names = [*words("", [], segment.SPACED), *ngrams("", [], "")]
        return {**found, **dict.fromkeys(names), "text_compression_ratio": ratio}
    tokens = segment.words(text) if tokens is None else tokens
    joiner = "" if unit == segment.CHARACTERS else " "
    return {**found, **words(text, tokens, unit), **ngrams(text, tokens, joiner), "text_compression_ratio": ratio}


def ngrams(text: str, tokens: list[str], joiner: str) -> dict[str, Any]:
    return {
        **{f"repetition_top_{n}gram_char_share": share(top_ngram(tokens, n, joiner), len(text)) for n in (2, 3, 4)},
        **{f"repetition_dup_{n}gram_char_share": share(duplicate_ngrams(tokens, n), len(text)) for n in range(5, 11)},
    }


def c4_lines(
    text: str,
    *,
    max_word_length: int | None,
    remove_citations: bool,
    terminal_punctuation: bool,
    min_words: int | None,
    remove_javascript: bool,
    remove_policies: bool,
) -> dict[str, Any]:
    """What `C4Lines` makes of a text."""
    unit = segment.word_unit(text)
    kept: list[str] = []
    found = lorem = curly = first = 0
    for raw in text.splitlines():
        line = raw.strip()
        pieces = line.split()
        if max_word_length is not None and any(len(piece) > max_word_length for piece in pieces):
            continue
        if remove_citations:
            line = CITATION.sub("", line)
        if terminal_punctuation and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if min_words is not None and len(pieces) < min_words:
            continue
        lower = line.lower()
        lorem += "lorem ipsum" in lower
        if remove_javascript and "javascript" in lower:
            continue
        if "{" in line:
            curly += 1
            first |= lorem == 0
        if remove_policies and any(policy in lower for policy in POLICIES):
            continue
        found += sentences(tokens_of(line, unit))
        kept.append(line)
    return {
        "text": "\n".join(kept).strip(),
        "c4_sentences": found,
        "c4_lorem_ipsum_lines": lorem,
        "c4_curly_bracket_lines": curly,
        "c4_curly_bracket_first": int(first),
    }
