"""datatrove's verdicts, values and tokens for a table of texts; runs in the peer's environment (see `parity.py`).

    .bench/datatrove/bin/python benchmarks/parity_peer.py TEXTS.parquet ANSWERS.parquet

TEXTS has the columns text and c4_text (what tokenmill's C4 rules left). Values are computed with datatrove's own
functions and definitions, for every rule and not only up to the first that drops.
"""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import PUNCTUATION_SET, split_into_sentences, split_into_words
from datatrove.utils.word_tokenizers import load_word_tokenizer

LANGUAGE = "eng"


def main(texts_path, answers_path):
    """One row of answers per text."""
    table = pq.read_table(texts_path)
    rows = []
    for number, (text, c4_text) in enumerate(zip(table["text"].to_pylist(), table["c4_text"].to_pylist(), strict=True)):
        rows.append(answers(text, c4_text))
        if number % 500 == 499:
            print(f"datatrove: {number + 1} of {table.num_rows} texts", file=sys.stderr)
    pq.write_table(pa.Table.from_pylist(rows), answers_path)


def answers(text, c4_text):
    """Reasons (None keeps), values by reason as JSON, tokens as start and end in code points."""
    row = {}
    for name, step in (
        ("gopher_repetition", GopherRepetitionFilter()),
        ("gopher_quality", GopherQualityFilter()),
        ("fineweb", FineWebQualityFilter()),
    ):
        row[name] = reason(step, Document(text=text, id=""))
    document = Document(text=text, id="")
    row["c4"], sentences = c4_verdict(document)
    row["their_c4_text"] = None if row["c4"] else document.text
    row["fineweb_after_c4"] = None if row["c4"] else reason(FineWebQualityFilter(), document)
    values = {
        "gopher_repetition": repetition_values(text),
        "gopher_quality": quality_values(text),
        "fineweb": fineweb_values(text),
        "fineweb_after_c4": {} if row["c4"] else fineweb_values(document.text),
        "c4": {name: float(row["c4"] == name) for name in ("lorem_ipsum", "curly_bracket")},
    }
    values["c4"]["too_few_sentences"] = sentences
    row["values"] = json.dumps(values)
    row["spans"] = spans(text)
    row["c4_spans"] = spans(c4_text)
    row["c4_sentences"] = sum(len(split_into_sentences(line, LANGUAGE)) for line in c4_text.split("\n") if c4_text)
    return row


def reason(step, document):
    """None, or the reason to drop."""
    verdict = step.filter(document)
    keep, why = verdict if isinstance(verdict, tuple) else (verdict, "dropped")
    return None if keep else why


def c4_verdict(document):
    """The reason, and how many sentences were counted until then."""
    counted = []
    original = c4_filters.split_into_sentences

    def counting(line, language):
        found = original(line, language)
        counted.append(len(found))
        return found

    c4_filters.split_into_sentences = counting
    try:
        return reason(C4QualityFilter(filter_no_terminal_punct=False), document), sum(counted)
    finally:
        c4_filters.split_into_sentences = original


def spans(text):
    """The tokens of `split_into_words`, as flat start and end: the same tokens, stripped, without blank ones."""
    tokenizer = load_word_tokenizer(LANGUAGE)
    found = []
    tokenizer.tokenizer.max_length = len(text) + 10
    for token in tokenizer._do_tokenize(text)[0]:
        bare = token.text.strip()
        if bare:
            start = token.idx + len(token.text) - len(token.text.lstrip())
            found += [start, start + len(bare)]
    words = [text[a:b] for a, b in zip(found[::2], found[1::2], strict=True)]
    assert words == split_into_words(text, LANGUAGE)
    return found


def quality_values(text):
    """The numbers that GopherQualityFilter compares, by its reasons."""
    words = split_into_words(text, LANGUAGE)
    proper = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
    lines = text.splitlines()
    stop_words = {"the", "be", "to", "of", "and", "that", "have", "with"}
    count, tokens = max(len(lines), 1), max(len(words), 1)
    mean = float(np.mean([len(word) for word in proper])) if proper else 0.0
    return {
        "gopher_short_doc": len(proper),
        "gopher_long_doc": len(proper),
        "gopher_below_avg_threshold": mean,
        "gopher_above_avg_threshold": mean,
        "gopher_too_many_hashes": text.count("#") / tokens,
        "gopher_too_many_ellipsis": (text.count("...") + text.count("…")) / tokens,
        "gopher_too_many_bullets": sum(line.lstrip().startswith(("•", "-")) for line in lines) / count,
        "gopher_too_many_end_ellipsis": sum(line.rstrip().endswith(("...", "…")) for line in lines) / count,
        "gopher_below_alpha_threshold": sum(any(char.isalpha() for char in word) for word in words) / tokens,
        "gopher_enough_stop_words": len(stop_words.intersection(words)),
    }


def repetition_values(text):
    """The numbers that GopherRepetitionFilter compares, by its reasons."""
    if not text:
        return {"empty": 0}
    step = GopherRepetitionFilter()
    paragraphs = step.paragraph_exp.split(text.strip())
    lines = step._line_splitter.split(text)
    words = split_into_words(text, LANGUAGE)
    same_paragraphs, paragraph_chars = find_duplicates(paragraphs)
    same_lines, line_chars = find_duplicates(lines)
    found = {
        "dup_para_frac": same_paragraphs / len(paragraphs),
        "dup_para_char_frac": paragraph_chars / len(text),
        "dup_line_frac": same_lines / len(lines),
        "dup_line_char_frac": line_chars / len(text),
    }
    for n, _ in step.top_n_grams:
        grams = get_n_grams(words, n)
        found[f"top_{n}_gram"] = find_top_duplicate(grams) / len(text) if grams else 0.0
    for n, _ in step.dup_n_grams:
        found[f"duplicated_{n}_n_grams"] = find_all_duplicate(words, n) / len(text)
    return found


def fineweb_values(text):
    """The numbers that FineWebQualityFilter compares, by its reasons."""
    step = FineWebQualityFilter()
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return {"empty": 0}
    return {
        "line_punct_ratio": sum(line.endswith(step.stop_chars) for line in lines) / len(lines),
        "short_line_ratio": sum(len(line) <= step.short_line_length for line in lines) / len(lines),
        "char_dup_ratio": find_duplicates(lines)[1] / len(text.replace("\n", "")),
        "list_ratio": text.count("\n") / len(split_into_words(text, LANGUAGE)),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
