"""A model in the process (`--local`): tokens/s and model FLOPs utilisation of continuous batching, random weights.

    .venv/bin/python benchmarks/generate.py [--model tiny|135M|360M|1.7B] [--requests 64] [--prompt 256] [--answer 128]

A Llama of the shape of a published small model (SmolLM2's) with random weights and a tokenizer of 4,096 random words is
written to a temporary folder and loaded by `LocalEngine`; all requests are under way at once, and every answer has
exactly `--answer` tokens, for random weights never end by themselves. Beside it, in one run, `generate` of transformers
on the same prompts in batches of 8: what a plain loop would give. Utilisation counts prompt and answer tokens forward,
over the dense bf16 peak of the device; of a CPU it is unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tokenmill.rephrase.engines.local import LocalEngine, flops_per_token
from tokenmill.train.devices import peak_flops, utilisation

SHAPES = {
    "tiny": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "heads": (4, 2)},
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "heads": (9, 3)},
    "360M": {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "heads": (15, 5)},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "heads": (32, 32)},
}
"""Hidden width, inner width, layers, (heads, heads of keys) of SmolLM2's models; `tiny` for a CPU."""
WORDS = 4096
BATCH = 8


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SHAPES, default="135M" if torch.cuda.is_available() else "tiny")
    parser.add_argument("--requests", type=int, default=512 if torch.cuda.is_available() else 16)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt, about")
    parser.add_argument("--answer", type=int, default=128, help="tokens of an answer")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_model(folder, given.model, given.prompt + given.answer + 64)
        prompts = [words(number, given.prompt) for number in range(given.requests)]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        print(f"{given.model} on {device}: {given.requests} requests, {given.prompt} tokens in, {given.answer} out")
        ours = asyncio.run(engine(folder, prompts, given.answer))
        report("LocalEngine", ours, folder, device)
        plain = batches(folder, prompts, given.answer)
        report(f"generate, batches of {BATCH}", plain, folder, device)
        print(f"ratio of answer tokens/s: {ours[1] / ours[2] / (plain[1] / plain[2]):.2f}x")


def words(seed: int, count: int) -> str:
    """A prompt of `count` words, each a token."""
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(count))


def write_model(folder: Path, name: str, context: int) -> None:
    """A Llama with random weights, and a tokenizer of words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    shape: dict[str, Any] = dict(SHAPES[name])
    heads, keys = shape.pop("heads")
    config = LlamaConfig(
        vocab_size=WORDS + 2,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        max_position_embeddings=context,
        eos_token_id=WORDS,
        pad_token_id=WORDS + 1,
        bos_token_id=None,
        tie_word_embeddings=True,
        **shape,
    )
    torch.manual_seed(0)
    half = torch.cuda.is_available()
    model = LlamaForCausalLM(config).to(torch.bfloat16 if half else torch.float32)
    model.generation_config.eos_token_id = WORDS + 1  # is hardly ever the likeliest of random weights
    model.save_pretrained(folder)
    vocabulary = {f"w{number}": number for number in range(WORDS)} | {"<end>": WORDS, "<pad>": WORDS + 1}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    fast.save_pretrained(folder)


async def engine(folder: Path, prompts: list[str], answer: int) -> tuple[int, int, float]:
    """(tokens in, tokens out, seconds) of the engine, the model being loaded."""
    async with LocalEngine(folder) as local:

        async def ask(prompt: str) -> tuple[int, int]:
            reply = await local.ask([{"role": "user", "content": prompt}], {"max_tokens": answer, "temperature": 0.0})
            return reply.usage["prompt_tokens"], reply.usage["completion_tokens"]

        await asyncio.gather(*(ask(prompt) for prompt in prompts[:BATCH]))  # graphs and kernels are made here
        start = time.perf_counter()
        counts = await asyncio.gather(*(ask(prompt) for prompt in prompts))
        seconds = time.perf_counter() - start
    return sum(one for one, _ in counts), sum(two for _, two in counts), seconds


def batches(folder: Path, prompts: list[str], answer: int) -> tuple[int, int, float]:
    """The same of `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()

    def generate(some: list[str]) -> tuple[int, int]:
        inputs = tokenizer(some, return_tensors="pt", padding=True).to(device)
        with torch.inference_mode():
            out = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=answer,
                min_new_tokens=answer,
                do_sample=False,
            )
        return int(inputs["attention_mask"].sum()), int(out.shape[0] * (out.shape[1] - inputs["input_ids"].shape[1]))

    generate(prompts[:BATCH])
    start = time.perf_counter()
    counts = [generate(prompts[place : place + BATCH]) for place in range(0, len(prompts), BATCH)]
    return sum(one for one, _ in counts), sum(two for _, two in counts), time.perf_counter() - start


def report(name: str, figures: tuple[int, int, float], folder: Path, device: str) -> None:
    """A line of a table."""
    tokens_in, tokens_out, seconds = figures
    config = json.loads((folder / "config.json").read_text())
    flops = flops_per_token(config) * (tokens_in + tokens_out)
    used = utilisation(flops, seconds, peak_flops(device))
    share = "unknown" if used is None else f"{used:.1%}"
    print(
        f"{name:24} {tokens_out / seconds:10,.0f} answer tokens/s {(tokens_in + tokens_out) / seconds:10,.0f} tokens/s"
        f"   MFU {share}   {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
