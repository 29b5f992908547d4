"""Training steps: on a CPU against transformers' model of the same size, on a GPU against what the presets promise.

    .venv/bin/python benchmarks/train.py [--rounds 7] [--threads 1 2] [--compile] [--skip cpu|gpu] [--steps 40]

CPU: forward, backward and AdamW on the same random ids, in turns, in one run. A ratio is the median over rounds of
(seconds of transformers / seconds of ours); above 1, ours is faster. transformers' LlamaForCausalLM runs with SDPA.

    ours, qk-norm   the default, which does more: norms of queries and keys, and z-loss
    ours, plain     without qk-norm: the same parameters as Llama's
    ours, compiled  with torch.compile of every block (--compile; seconds of compiling are printed)

GPU: tokens/s and model FLOPs utilisation of `tokenmill.train.loop.train` for each preset with AdamW and Muon, seconds
until the first step is done in a process that has compiled nothing (for the first row of a preset), and the
seconds of attention by SDPA's backends. Tokens are random ids.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tokenmill.core.errors import TokenmillError
from tokenmill.tokens.formats.base import ShardAbout
from tokenmill.tokens.formats.registry import token_format
from tokenmill.tokens.tokenset import SetManifest, ShardEntry, TokenizerInfo
from tokenmill.tokens.views import WholeView
from tokenmill.train.config import ModelConfig
from tokenmill.train.loop import train
from tokenmill.train.model import Decoder
from tokenmill.train.presets import PRESETS, derive

SHAPES: dict[str, tuple[dict[str, int], int]] = {
    "smoke": ({"vocab_size": 4096, "layers": 4, "width": 128, "heads": 4, "hidden": 320, "context": 256}, 16),
    "12M": ({"vocab_size": 8192, "layers": 8, "width": 320, "heads": 5, "hidden": 832, "context": 1024}, 1),
}
"""Name -> (shape, sequences of a step)."""
GPU_PRESETS = ("laptop", "h200", "confirm")
GOALS = {"laptop": "1.0M", "h200": "0.75M", "confirm": "0.40M, 36 %"}
"""Tokens/s (and utilisation) that an H100 or H200 should reach at least."""
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--skip", choices=["cpu", "gpu"])
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.skip != "cpu":
        print("| shape | precision | threads | model | ms/step (median) | tokens/s | ratio: min, median, max |")
        print("|---|---|---:|---|---:|---:|---|")
        for name in arguments.shapes:
            for precision in ("fp32", "bf16"):
                for threads in arguments.threads:
                    compare(name, precision, threads, arguments.rounds, arguments.compile)
    if arguments.skip != "gpu":
        if not torch.cuda.is_available():
            print("\nGPU: not measured (no CUDA device)")
            return
        print(f"\nGPU: {torch.cuda.get_device_name()}, torch {torch.__version__}")
        measure_presets(GPU_PRESETS, "cuda", arguments.steps)
        measure_attention()


def compare(name: str, precision: str, threads: int, rounds: int, compiled: bool) -> None:
    """Rows of the CPU table, for one shape, precision and number of threads."""
    shape, rows = SHAPES[name]
    torch.set_num_threads(threads)
    ids = torch.randint(
        0, shape["vocab_size"], (rows, shape["context"] + 1), generator=torch.Generator().manual_seed(0)
    )
    inputs, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    theirs = llama(shape)
    steps = {"transformers": stepper(theirs, lambda: theirs(input_ids=inputs, labels=inputs).loss, precision)}
    variants = {"ours, qk-norm": (True, False), "ours, plain": (False, False), "ours, compiled": (True, True)}
    for variant, (qk_norm, with_compiler) in variants.items():
        if compiled or not with_compiler:
            model = ours(shape, qk_norm=qk_norm, compiled=with_compiler)
            steps[variant] = stepper(model, lambda model=model: model(inputs, labels).total, precision)
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for variant, step in steps.items():
        first = timed(step)
        if variant == "ours, compiled":
            print(f"| {name} | {precision} | {threads} | {variant}: first step | {1000 * first:.0f} | | |")
        step()
    for _ in range(rounds):
        for variant, step in steps.items():
            seconds[variant].append(timed(step))
    for variant, found in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds["transformers"], found, strict=True))
        shown = f"{ratios[0]:.2f}x, {statistics.median(ratios):.2f}x, {ratios[-1]:.2f}x"
        middle = statistics.median(found)
        rate = rows * shape["context"] / middle
        print(
            f"| {name} | {precision} | {threads} | {variant} | {1000 * middle:.0f} | {rate:,.0f} | {shown} |",
            flush=True,
        )


def ours(shape: dict[str, int], *, qk_norm: bool, compiled: bool) -> Decoder:
    model = Decoder(ModelConfig(**shape, qk_norm=qk_norm))
    model.initialise(0)
    if compiled:
        for block in model.blocks:
            block.compile(dynamic=False)
    return model


def llama(shape: dict[str, int]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=shape["width"],
        intermediate_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        max_position_embeddings=shape["context"],
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).train()


def stepper(model: torch.nn.Module, loss: Callable[[], torch.Tensor], precision: str) -> Callable[[], None]:
    """A training step; the optimizer is the same for all."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            found = loss()
        found.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure_presets(names: tuple[str, ...], device: str, steps: int) -> None:
    """The GPU table: runs of the product's own loop."""
    print("\n| preset | optimizer | parameters | tokens/s | MFU | goal | first step, s | peak memory, GB |")
    print("|---|---|---:|---:|---:|---|---:|---:|")
    for name in names:
        preset = PRESETS[name]
        with tempfile.TemporaryDirectory(prefix="tokenmill-train-") as scratch:
            tokens = preset.batch_tokens * (steps + 2)
            make_tokens(Path(scratch), tokens, preset.vocab_size)
            model: Decoder | None = None
            for optimizer in ("adamw", "muon"):
                derived = derive(
                    name,
                    vocab_size=preset.vocab_size,
                    tokens=preset.batch_tokens * steps,
                    device=device,
                    overrides={"optimizer": optimizer, "log_every": 10},
                )
                if model is None:
                    model = Decoder(derived.model).to(device)
                print(row_of(name, optimizer, model, derived.settings, Path(scratch)), flush=True)


def row_of(name: str, optimizer: str, model: Decoder, settings: Any, scratch: Path) -> str:
    shown = f"| {name} | {optimizer} | {model.config.parameters / 1e6:.1f}M |"
    view = WholeView(scratch)
    begin = time.perf_counter()
    try:
        train(model, settings, view, scratch / f"{optimizer}-first", seed=0, stop_after=1)
        first = time.perf_counter() - begin
        result = train(model, settings, view, scratch / optimizer, seed=0)
    except (TokenmillError, RuntimeError) as error:
        return f"{shown} {type(error).__name__}: {str(error).splitlines()[0]} | | | | |"
    used = "unknown" if result.mfu is None else f"{100 * result.mfu:.1f} %"
    rate = "unknown" if result.tokens_per_second is None else f"{result.tokens_per_second / 1e6:.3f}M"
    return f"{shown} {rate} | {used} | {GOALS.get(name, '')} | {first:.1f} | {result.peak_bytes / 1e9:.1f} |"


def measure_attention() -> None:
    """Milliseconds of attention, forward and backward, in bf16, by SDPA's backends."""
    print("\n| attention (B, heads, T, D) | " + " | ".join(one.name.lower() for one in BACKENDS) + " |")
    print("|---|" + "---:|" * len(BACKENDS))
    for heads, width in ((7, 64), (9, 64), (12, 64), (6, 128)):
        shape = (64, heads, 1024, width)
        found = [attention_ms(shape, backend) for backend in BACKENDS]
        print(f"| {shape} | " + " | ".join(found) + " |", flush=True)


def attention_ms(shape: tuple[int, ...], backend: SDPBackend) -> str:
    query, key, value = (torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    upstream = torch.randn_like(query)
    try:
        with sdpa_kernel(backend):
            for repeat in range(13):
                if repeat == 3:
                    torch.cuda.synchronize()
                    start = time.perf_counter()
                out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
                out.backward(upstream)
            torch.cuda.synchronize()
    except RuntimeError:
        return "not available"
    return f"{100 * (time.perf_counter() - start):.2f} ms"


def make_tokens(folder: Path, tokens: int, vocab_size: int) -> None:
    """A token set of one shard: random ids, documents of 1 to 1,000."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 1000, tokens // 499)
    ids = generator.integers(1, vocab_size, int(lengths.sum()), dtype=np.uint16)
    ends = np.cumsum(lengths)
    ids[ends - 1] = 0
    (folder / "tokens").mkdir()
    layout = token_format("ds")
    paths = {kind: str(folder / f"tokens/00000{ending}") for kind, ending in layout.files.items()}
    writer = layout.open(paths, ShardAbout(np.dtype(np.uint16), 0, vocab_size))
    writer.add(ids, lengths)
    names = [f"a#{number}" for number in range(len(lengths))]
    table = pa.table({"token_start": ends - lengths, "token_count": lengths - 1, "doc_id": names})
    place = folder / "tokens/00000.documents.parquet"
    pq.write_table(table, place, row_group_size=10_000)
    writer.close(table)
    files = {kind: described(Path(path)) for kind, path in {**paths, "documents": str(place)}.items()}
    shard = ShardEntry("00000", len(lengths), len(ids), files)
    tokenizer = TokenizerInfo("random", "0" * 64, vocab_size, 0, "<eos>")
    manifest = SetManifest("ds", "uint16", 0, tokenizer, len(lengths), len(ids), [shard])
    (folder / "tokens/manifest.json").write_text(json.dumps(manifest.to_json()))


def described(path: Path) -> dict[str, Any]:
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


if __name__ == "__main__":
    main()
