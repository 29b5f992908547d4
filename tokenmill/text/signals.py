"""Every signal that is measured on a text: name, type, unit, meaning and source, in the order of the kernels.

A line is a piece between newlines that is not blank unless stated otherwise. Tokens include punctuation marks
(`tokenmill.core.segment`); words are tokens with a letter or a digit; Gopher's words are tokens with at least one
character that is no punctuation mark. What needs words is null for scripts in which only a dictionary knows where
a word ends (Thai, Lao, Khmer, Burmese...); in Chinese and Japanese a word is a character (UAX #29) and lengths of
words are null.
"""

from __future__ import annotations

from tokenmill.core.signals import Signal, register

_GOPHER = "arXiv:2112.11446 A1"
_TABLE = "arXiv:2112.11446 table A1"
_FINEWEB = "arXiv:2406.17557 3.6"
_RPV2 = "arXiv:2411.12372 table 8"
_REFINED = "arXiv:2306.01116 G.2"
_C4 = "arXiv:1910.10683 2.2"
_OWN = "tokenmill"

_CHARACTERS = (
    ("text_characters", int, "characters", "Characters (code points) of the text.", _OWN),
    ("text_bytes", int, "bytes", "Bytes of the text in UTF-8.", _OWN),
    ("text_letter_share", float, "share of characters", "Letters among all characters.", _RPV2),
    ("text_uppercase_share", float, "share of letters", "Upper-case letters among the letters.", _RPV2),
    ("text_digit_share", float, "share of characters", "Digits among all characters.", _RPV2),
    ("text_punctuation_share", float, "share of characters", "Punctuation (Unicode category P).", _RPV2),
    ("text_symbol_share", float, "share of characters", "Symbols (Unicode category S): + $ © and pictures.", _RPV2),
    ("text_whitespace_share", float, "share of characters", "White space, line breaks included.", _OWN),
    ("text_non_ascii_share", float, "share of characters", "Characters outside ASCII.", _OWN),
    (
        "text_broken_share",
        float,
        "share of characters",
        "Control, private and unassigned characters and U+FFFD: a wrong charset, or no text.",
        _OWN,
    ),
    ("text_curly_bracket_share", float, "share of characters", "Curly brackets: program code.", f"{_RPV2}; {_C4}"),
    (
        "text_unspaced_share",
        float,
        "share of letters",
        "Letters of scripts without spaces; from 0.2 on, words are counted otherwise or not at all.",
        "UAX #29",
    ),
    ("repetition_characters", int, "characters", "Characters of the text.", _TABLE),
)

_LINES = (
    (
        "gopher_bullet_line_share",
        float,
        "share of lines",
        "Lines (of any line break, blank ones too) that start with a bullet or a hyphen.",
        _GOPHER,
    ),
    (
        "gopher_ellipsis_line_share",
        float,
        "share of lines",
        "Lines (of any line break, blank ones too) that end with an ellipsis.",
        _GOPHER,
    ),
    ("fineweb_line_count", int, "lines", "Lines that are not blank.", _FINEWEB),
    (
        "fineweb_line_punct_share",
        float,
        "share of lines",
        "Lines that end with a sentence-ending mark (quotation marks do not count).",
        _FINEWEB,
    ),
    (
        "fineweb_line_punct_share_or_one",
        float,
        "share of lines",
        "As fineweb_line_punct_share, but 1 for a text in which no line ends so (poems, code).",
        _FINEWEB,
    ),
    ("fineweb_short_line_share", float, "share of lines", "Lines of at most 30 characters.", _FINEWEB),
    (
        "fineweb_dup_line_char_share",
        float,
        "share of characters",
        "Characters in lines that occurred before, among characters without newlines.",
        _FINEWEB,
    ),
    ("repetition_dup_paragraph_share", float, "share of paragraphs", "Paragraphs that occurred before.", _TABLE),
    (
        "repetition_dup_paragraph_char_share",
        float,
        "share of characters",
        "Characters in paragraphs that occurred before.",
        _TABLE,
    ),
    (
        "repetition_dup_line_share",
        float,
        "share of lines",
        "Lines (between runs of newlines) that occurred before.",
        _TABLE,
    ),
    (
        "repetition_dup_line_char_share",
        float,
        "share of characters",
        "Characters in lines (between runs of newlines) that occurred before.",
        _TABLE,
    ),
    (
        "text_terminal_line_share",
        float,
        "share of lines",
        "Lines that end in . ? ! or a straight quotation mark.",
        f"{_C4}; {_RPV2}",
    ),
    (
        "text_uppercase_line_share",
        float,
        "share of lines",
        "Lines of which more than half the characters are upper-case letters.",
        _REFINED,
    ),
    ("text_numeric_line_share", float, "share of lines", "Lines with digits and without letters.", _REFINED),
    ("text_one_word_line_share", float, "share of lines", "Lines without white space inside.", _REFINED),
    ("text_javascript_line_share", float, "share of lines", 'Lines with "javascript".', f"{_C4}; {_RPV2}"),
    (
        "text_policy_line_share",
        float,
        "share of lines",
        "Lines that mention cookies, terms of use or privacy policies, by C4's phrases.",
        _C4,
    ),
    ("text_lorem_ipsum_count", int, "occurrences", '"lorem ipsum": placeholder text.', f"{_C4}; {_RPV2}"),
    ("text_mean_line_length", float, "characters", "Mean length of the lines.", _RPV2),
    ("text_paragraph_count", int, "paragraphs", "Paragraphs: pieces between blank lines.", _OWN),
    ("text_max_line_length", int, "characters", "Length of the longest line.", _OWN),
    ("text_url_count", int, "occurrences", '"http://" and "https://" in the text.', _OWN),
)

_WORDS = (
    ("gopher_word_count", int, "words", "Tokens with at least one character that is not punctuation.", _GOPHER),
    ("gopher_mean_word_length", float, "characters", "Mean length of Gopher's words.", _GOPHER),
    ("gopher_hash_ratio", float, "hash signs per token", "Hash signs in the text per token.", _GOPHER),
    (
        "gopher_ellipsis_ratio",
        float,
        "ellipses per token",
        "Ellipses (three dots or U+2026) in the text per token.",
        _GOPHER,
    ),
    ("gopher_alpha_word_share", float, "share of tokens", "Tokens with at least one letter.", _GOPHER),
    (
        "gopher_stop_words",
        int,
        "distinct words",
        "How many of the, be, to, of, and, that, have, with occur (in lower case).",
        _GOPHER,
    ),
    ("fineweb_newline_ratio", float, "newlines per token", "Newlines per token: high for lists.", _FINEWEB),
    ("text_word_count", int, "words", "Tokens with a letter or a digit.", _RPV2),
    ("text_unique_word_share", float, "share of words", "Distinct words among all words (upper case counts).", _RPV2),
    ("text_unigram_entropy", float, "nats", "Entropy of the distribution of words.", _RPV2),
    ("text_mean_word_length", float, "characters", "Mean length of the words.", _RPV2),
    ("text_max_word_length", int, "characters", "Longest piece between white space.", f"{_C4}; {_OWN}"),
    ("text_all_caps_word_share", float, "share of words", "Words of two or more letters, all upper case.", _RPV2),
    ("text_sentence_count", int, "sentences", "Sentences of all lines.", f"{_C4}; {_RPV2}"),
    ("text_mean_sentence_length", float, "words", "Words per sentence.", _OWN),
)

_LANGUAGE = (
    (
        "language_stop_words",
        int,
        "distinct words",
        "How many stop words of the document's language occur; null without a list for it.",
        "stop_words.yaml",
    ),
    (
        "language_stop_word_share",
        float,
        "share of tokens",
        "Tokens that are stop words of the document's language; null without a list for it.",
        f"stop_words.yaml; {_RPV2}",
    ),
)

_NGRAMS = (
    *(
        (
            f"repetition_top_{n}gram_char_share",
            float,
            "share of characters",
            f"Characters in the commonest {n}-gram of words.",
            _TABLE,
        )
        for n in (2, 3, 4)
    ),
    *(
        (
            f"repetition_dup_{n}gram_char_share",
            float,
            "share of characters",
            f"Characters in {n}-grams of words that occurred before.",
            _TABLE,
        )
        for n in (5, 6, 7, 8, 9, 10)
    ),
)

COMPRESSION = "text_compression_ratio"
FAMILIES = ("characters", "lines", "breaks", "repeats", "phrases", "words", "tokens", "language", "ngrams")
"""Parts of the kernel that can be left out."""
_SPECIAL = {
    "fineweb_newline_ratio": "tokens",  # needs no more of the words than their number
    "gopher_bullet_line_share": "breaks",
    "gopher_ellipsis_line_share": "breaks",
    "repetition_dup_paragraph_share": "repeats",
    "repetition_dup_paragraph_char_share": "repeats",
    "repetition_dup_line_share": "repeats",
    "repetition_dup_line_char_share": "repeats",
    "text_paragraph_count": "repeats",
    "text_javascript_line_share": "phrases",
    "text_policy_line_share": "phrases",
    "text_lorem_ipsum_count": "phrases",
}
_COMPRESSION = (
    (
        COMPRESSION,
        float,
        "compressed bytes per byte",
        "Size after zlib at level 1 (window of 32 KB) over size: low for repetitive text, high for noise.",
        "Dolma 3, datamap-rs gzip filter; https://zlib.net",
    ),
)

CHARACTERS_AT = 0
LINES_AT = CHARACTERS_AT + len(_CHARACTERS)
WORDS_AT = LINES_AT + len(_LINES)
LANGUAGE_AT = WORDS_AT + len(_WORDS)
NGRAMS_AT = LANGUAGE_AT + len(_LANGUAGE)
WIDTH = NGRAMS_AT + len(_NGRAMS)
"""Numbers that the kernel fills per text; the compression ratio comes after them."""

_ALL = (*_CHARACTERS, *_LINES, *_WORDS, *_LANGUAGE, *_NGRAMS, *_COMPRESSION)
NAMES = tuple(entry[0] for entry in _ALL)
"""All signals of this module, in the order of the kernel's columns."""
FAMILY = {
    entry[0]: _SPECIAL.get(entry[0], family)
    for family, entries in (
        ("characters", _CHARACTERS),
        ("lines", _LINES),
        ("words", _WORDS),
        ("language", _LANGUAGE),
        ("ngrams", _NGRAMS),
    )
    for entry in entries
}
"""Signal of the kernel -> the family that measures it."""
NEWLINE_RATIO_AT = NAMES.index("fineweb_newline_ratio")
INTEGERS = frozenset(entry[0] for entry in _ALL if entry[1] is int)
LANGUAGE_SIGNALS = tuple(entry[0] for entry in _LANGUAGE)
"""Signals that depend on the column `language`, too."""

for _name, _type, _unit, _meaning, _source in _ALL:
    register(
        Signal(
            _name,
            meaning=_meaning,
            unit=_unit,
            source=_source,
            integer=_type is int,
            reads=("text", "language") if _name in LANGUAGE_SIGNALS else ("text",),
        )
    )
