"""fastText scoring against the library: the same models and texts, one core, one thread, in turns, in one run.

    .venv/bin/python benchmarks/classify_fasttext.py [--rounds 3] [--texts 0] [--models bigram,bigram-ftz,lid]

Models: one as DCLM's (bigrams, 100 dimensions, 2 million buckets), trained on the crawl's pages by `train_fasttext`
(pages that ../shared/edu-annotations calls educational against the others); the same, quantised by the library; and
lid.176. They are made once, in .bench/fasttext/. The texts are those of `texts.py`.

Programs: the library's `predict` of a text (the likeliest label, and all labels), its `predict` of a list (all
labels), both of lines that were prepared before the clock starts; its `predict` of the Arrow column's texts,
preparation included; and `FastTextScore.score_column` on that column (all labels), which prepares too. Each is a
process of its own, pinned to the core; the model is loaded and has seen 64 texts before the clock starts. Ratios are of
CPU seconds.

Then the probabilities of all labels of all texts are compared. The library adds up in float32, which shows in texts of
ten thousand words: for the three texts that differ most, both are also compared with the library's own weights, added
up in float64 (models without character n-grams that are not quantised). A difference above 1e-5 counts as wrong unless
ours is the exact one.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from texts import ROOT, TEXTS, pinned, prepared

MODELS = ROOT / ".bench/fasttext"
ANNOTATIONS = ROOT.parent / "shared/edu-annotations/annotations.jsonl.gz"
PREPARATIONS = {"bigram": "dclm", "bigram-ftz": "dclm", "lid": "spaces", "lid-samples": "spaces"}
PROGRAMS = {
    "predict": "library, predict(text), k=1",
    "predict-all": "library, predict(text), all labels",
    "predict-list": "library, predict(list), all labels",
    "predict-column": "library, Arrow column to lines to predict(text), k=1",
    "ours": "FastTextScore.score_column, all labels",
}
LANGUAGE_PROGRAMS = {
    "tops": "LangId.tops of the column, k=1",
    "likelihood": "LangId.likelihood(bytes) of English, one text at a time",
}
"""For lid only; their ratios, too, are to the library's `predict` of one text."""
SAMPLE = 200
"""Characters of the texts of `lid-samples`, which are those that the language gate judges: one from each text."""
WARM_UP = 64
LARGEST = 1e-5
"""Most that a probability may differ from the library's."""

_SPACES = re.compile("[ \\n\\r\\t\\v\\f\\0]+")
"""What parts words for the library."""

_QUANTISE = """
import sys, fasttext
model = fasttext.load_model(sys.argv[1])
model.quantize(retrain=False, qnorm=True, cutoff=100_000, dsub=2, verbose=0)
model.save_model(sys.argv[2])
"""


def main() -> None:
    """Measure in turns, print the tables and the differences; exit code 1 where one is too large."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=0, help="texts that are timed, spread over all; 0: all")
    parser.add_argument("--models", default=",".join(PREPARATIONS))
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--run", nargs=3, metavar=("PROGRAM", "MODEL", "COUNT"), help="in this process; prints JSON")
    arguments = parser.parse_args()
    if arguments.run:
        program, name, count = arguments.run
        found = difference(name) if program == "difference" else measured(program, name, int(count))
        print(json.dumps(found))
        return
    prepared()
    wrong = 0
    for name in arguments.models.split(","):
        path = model_file(name)
        own = [sys.executable, __file__, "--run"]
        results: dict[str, list[dict[str, Any]]] = {program: [] for program in PROGRAMS}
        if name.startswith("lid"):
            results |= {program: [] for program in LANGUAGE_PROGRAMS}
        for number in range(arguments.rounds):
            for program in results:
                results[program].append(pinned([*own, program, name, str(arguments.texts)], arguments.core))
            print(f"{name}: round {number + 1} of {arguments.rounds}", file=sys.stderr)
        report(name, path, results)
        found = pinned([*own, "difference", name, "0"], arguments.core)
        wrong += found["wrong"]
        print(
            f"\nlargest difference over {found['texts']:,} texts and {found['labels']} labels: {found['largest']:.2e} "
            f"({found['empty']} without words); above {LARGEST:g}: {found['above']} texts; "
            f"another likeliest label: {found['other_label']}; of labels that the library leaves out, which are those "
            f"below 1e-5, ours is {found['not_given']:.1e} at most"
        )
        for row in found["worst"]:
            print(
                f"  text {row['text']} of {row['words']:,} words: library {row['library']:+.1e} and ours "
                f"{row['ours']:+.1e} from the sum in float64"
            )
    sys.exit(1 if wrong else 0)


def model_file(name: str) -> Path:
    """The file of a model, made if it is not there."""
    if name.startswith("lid"):
        return ROOT / "tokenmill/text/data/lid/lid.176.ftz"
    folder = MODELS / "bigram"
    if not (folder / "fasttext.json").exists():
        from tokenmill.classifiers.fasttext.train import train_fasttext

        if not ANNOTATIONS.exists():
            sys.exit(f"no {ANNOTATIONS}: the developers' shared data is not beside this checkout")
        with gzip.open(ANNOTATIONS, "rt", encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream]
        educational = {row["url"] for row in rows if row["edu"] >= 3}
        table = pq.read_table(TEXTS, columns=["url", "text"])
        labels = ["hq" if url in educational else "cc" for url in table["url"].to_pylist()]
        train_fasttext(table["text"].to_pylist(), labels, folder)
    if name == "bigram":
        return folder / "model.bin"
    quantised = MODELS / "bigram.ftz"
    if not quantised.exists():
        part = quantised.with_suffix(".part")
        subprocess.run([sys.executable, "-c", _QUANTISE, str(folder / "model.bin"), str(part)], check=True)
        os.replace(part, quantised)
    return quantised


def column_of(count: int, name: str = "") -> pa.Array:
    """`count` texts, spread over all; all where it is 0. For `lid-samples`, a sample from the middle of each."""
    table = pq.read_table(TEXTS, columns=["text"])
    if 0 < count < table.num_rows:
        table = table.take(np.linspace(0, table.num_rows - 1, count).astype(int))
    if name == "lid-samples":
        texts = table["text"].to_pylist()
        return pa.array([text[len(text) // 2 :][:SAMPLE] for text in texts], table["text"].type)
    return table["text"].combine_chunks()


def lines_of(texts: pa.Array, preparation: str) -> list[str]:
    """The texts as single lines, which is what the library takes."""
    if preparation == "dclm":
        return [" ".join(text.strip().splitlines()) for text in texts.to_pylist()]
    return [text.replace("\n", " ") for text in texts.to_pylist()]


def measured(program: str, name: str, count: int) -> dict[str, Any]:
    """CPU seconds for all texts, once; and how much that was."""
    texts = column_of(count, name)
    path = str(model_file(name))
    facts = {"texts": len(texts), "bytes": sum(map(len, (text.encode() for text in texts.to_pylist())))}
    if program == "ours":
        stage = _stage(name, path)
        stage.setup()
        stage.score_column(texts.slice(0, WARM_UP))
        cpu = time.process_time()
        stage.score_column(texts)
        return {"cpu": time.process_time() - cpu, **facts}
    if program in LANGUAGE_PROGRAMS:
        return {"cpu": _language_seconds(program, path, texts), **facts}
    import fasttext

    model = fasttext.load_model(path)
    lines = lines_of(texts, PREPARATIONS[name])
    model.predict(lines[:WARM_UP], k=1)
    k = 1 if program in ("predict", "predict-column") else -1
    cpu = time.process_time()
    if program == "predict-column":
        lines = lines_of(texts, PREPARATIONS[name])
    if program == "predict-list":
        model.predict(lines, k=k)
    else:
        for line in lines:
            model.predict(line, k=k)
    return {"cpu": time.process_time() - cpu, **facts}


def _language_seconds(program: str, path: str, texts: pa.Array) -> float:
    from tokenmill.text.langid import LangId

    model = LangId(path)
    contents = [text.encode() for text in texts.to_pylist()]
    model.tops(texts.slice(0, WARM_UP))
    model.likelihood(contents[0], ("en",))
    cpu = time.process_time()
    if program == "tops":
        model.tops(texts)
    else:
        for content in contents:
            model.likelihood(content, ("en",))
    return time.process_time() - cpu


def _stage(name: str, path: str) -> Any:
    from tokenmill.classifiers.fasttext.stage import FastTextScore

    return FastTextScore(model=path, column="score", text=PREPARATIONS[name])


def difference(name: str) -> dict[str, Any]:
    """How far the columns of `FastTextScore` are from the library's probabilities, over all texts and labels."""
    import fasttext

    from tokenmill.classifiers.columns import label_columns
    from tokenmill.classifiers.fasttext.models import labels_of

    path, texts = str(model_file(name)), column_of(0, name)
    labels = labels_of(path)
    columns = _stage(name, path).score_column(texts)
    named = label_columns("score", labels)
    ours = np.stack([columns[each].to_numpy(zero_copy_only=False).astype(np.float64) for each in named], axis=1)
    place = {f"__label__{label}": number for number, label in enumerate(labels)}
    model = fasttext.load_model(path)
    lines = lines_of(texts, PREPARATIONS[name])
    theirs = np.full(ours.shape, np.nan)  # labels below 1e-5 are not among the answers of trees (loss hs)
    for row, line in zip(theirs, lines, strict=True):
        names, values = model.predict(line, k=-1)
        row[[place[each] for each in names]] = np.minimum(values, 1.0)
    empty = np.isnan(ours).all(axis=1)  # a text without words has no score here
    given = ~np.isnan(theirs) & ~empty[:, None]
    theirs[np.isnan(theirs)] = 0.0
    apart = np.where(given, np.abs(ours - theirs), 0.0).max(axis=1)
    above = np.flatnonzero(~(apart <= LARGEST))
    worst = _against_exact(model, lines, ours, theirs, labels, np.argsort(-apart)[: max(3, len(above))])
    settled = {row["text"] for row in worst if abs(row["ours"]) <= LARGEST}
    return {
        "largest": float(apart.max()),
        "texts": len(texts),
        "labels": len(labels),
        "empty": int(empty.sum()),
        "not_given": float(np.where(given | empty[:, None], 0.0, ours).max()),
        "above": len(above),
        "wrong": len(set(above.tolist()) - settled),
        "other_label": int((ours.argmax(axis=1) != theirs.argmax(axis=1))[~empty].sum()),
        "worst": worst,
    }


def _against_exact(
    model: Any, lines: list[str], ours: Any, theirs: Any, labels: tuple[str, ...], numbers: Any
) -> list[dict[str, Any]]:
    """Both probabilities of some texts, less the exact one; nothing where the model is not a plain one."""
    settings = model.f.getArgs()
    if model.f.isQuant() or settings.maxn > 0 or settings.wordNgrams != 2:
        return []
    weights, output = model.get_input_matrix(), model.get_output_matrix().astype(np.float64)
    order = [model.get_labels().index(f"__label__{label}") for label in labels]
    words = {word: number for number, word in enumerate(model.get_words())}
    found = []
    for number in map(int, numbers):
        tokens = [*filter(None, _SPACES.split(lines[number])), "</s>"]
        rows = _features(tokens, words, settings.bucket)
        logits = output @ weights[rows].astype(np.float64).mean(axis=0)
        exact = (np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())[order] + 1e-5
        apart = {"library": theirs[number] - exact, "ours": ours[number] - exact}
        most = {who: float(gaps[np.abs(gaps).argmax()]) for who, gaps in apart.items()}
        found.append({"text": number, "words": len(tokens) - 1, **most})
    return found


def _features(tokens: list[str], words: dict[str, int], bucket: int) -> list[int]:
    """Rows of the input matrix: words that the model knows, and runs of two (fastText's Dictionary::addWordNgrams)."""
    hashes = []
    for token in tokens:
        value = 2166136261  # FNV-1a of 32 bits, in which bytes from 128 on are negative
        for byte in token.encode():
            value = ((value ^ (byte if byte < 128 else byte + 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
        hashes.append(value - (1 << 32) if value >> 31 else value)
    rows = [words[token] for token in tokens if token in words]
    for first, second in itertools.pairwise(hashes):
        rows.append(len(words) + ((first * 116049371 + second) % (1 << 64)) % bucket)
    return rows


def report(name: str, path: Path, results: dict[str, list[dict[str, Any]]]) -> None:
    """Print Markdown: speeds, and how many times faster than each way of the library ours is."""
    facts = results["ours"][0]
    count, size = facts["texts"], facts["bytes"]
    print(f"\n{name} ({path.stat().st_size / 1e6:,.1f} MB): {count:,} texts, {size / 1e6:.1f} MB, one core, in turns\n")
    print("| program | texts/s (median) | MB/s | ours is, by round |")
    print("|---|---:|---:|---|")
    ours, library = ([one["cpu"] for one in results[program]] for program in ("ours", "predict"))
    for program, rounds in results.items():
        times = [one["cpu"] for one in rounds]
        middle = statistics.median(times)
        if program in LANGUAGE_PROGRAMS:
            ratios = [f"{theirs / own:.2f}x predict" for own, theirs in zip(times, library, strict=True)]
        else:
            ratios = [f"{theirs / own:.2f}x" for own, theirs in zip(ours, times, strict=True)]
        shown = "" if program == "ours" else ", ".join(ratios)
        title = (PROGRAMS | LANGUAGE_PROGRAMS)[program]
        print(f"| {title} | {count / middle:,.0f} | {size / 1e6 / middle:,.1f} | {shown} |")


if __name__ == "__main__":
    main()
