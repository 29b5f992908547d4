"""Tiny Llamas that tests train on the spot, each of them good or bad at rewriting in its own way.

    folder = tiny("copy")   # a folder that transformers, its server, and LocalEngine load

What each says: `kinds.py`. The pages are those of `pages.py`, the prompts those of `vocabulary.py`.

What is set, and stays: embeddings and attention, as the circuit by which models look up what followed the same words
before (arXiv:2209.11895), which takes minutes to train (`examples/rephrase/lookup.py`). In it, words that only answers
have are those of pages that they stand for, and the token that opens an answer is the line before the page. What is
trained: the head, which decides what is said and begins at zero, the last feed-forward layer and the last norm, by
gradient descent on pairs of prompt and answer. Two of three steps of most kinds are on pages of a few random words.
A kind takes 2 to 6 seconds of one core. Pages of training are those from FIRST_SEED on; those below are for tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from examples.rephrase import lookup
from examples.rephrase.lookup import OWN, lookup_model
from tests.rephrase import kinds, pages, vocabulary
from tests.rephrase.kinds import BEFORE, END, KINDS, SPECIAL, STARTS, Kind
from tests.rephrase.vocabulary import known_texts, page_tokens, prompt, tokenizer_of
from tokenmill.train.export import export_hf
from tokenmill.train.model import Decoder

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 1024


def tiny(kind: str) -> Path:
    """The folder of the model of that kind; trained when it is first asked for, then kept.

    All processes of a machine share it. Its name holds a digest of all that it is made from.
    """
    recipe = [
        kind,
        *map(inspect.getsource, (sys.modules[__name__], kinds, vocabulary, pages)),
        *map(inspect.getsource, (lookup.lookup_model, lookup.set_lookup)),
        lookup.OWN,
        lookup.PART,
        prompt(""),
        torch.__version__,
    ]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    folder = _kept() / f"{kind}-{digest}"
    with _locked(folder.parent / f"{kind}.lock"):
        if not (folder / "config.json").exists():
            for old in folder.parent.glob(f"{kind}-*"):
                if old.is_dir() and old != folder:
                    shutil.rmtree(old, ignore_errors=True)
            train(KINDS[kind], folder)
    return folder


def train(kind: Kind, folder: Path) -> None:
    """Train a model and write its folder, at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = make(kind)
    finally:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        export_hf(model, made, tokenizer.to_str().encode(), eos_id=END)
        described = json.loads((made / "tokenizer_config.json").read_text())
        described |= {"chat_template": CHAT_TEMPLATE, "eos_token": SPECIAL[END], "pad_token": SPECIAL[END]}
        described.pop("bos_token", None)
        (made / "tokenizer_config.json").write_text(json.dumps(described, indent=1))
        os.replace(made, folder)


FIRST_SEED = 1_000_000
EVERY = 3
BATCH, PAGES, WORDS = 64, 6, 5
"""Pages of a few random words in a batch, of sentences in a batch, and words of the former."""
RATES = {"head.": 0.03, "blocks.1.feed.": 0.002, "norm.": 0.002}


def make(kind: Kind) -> tuple[Decoder, Tokenizer]:
    """The model of a kind, trained, and its tokenizer."""
    tokenizer = tokenizer_of(kind)
    model = lookup_model(tokenizer.get_vocab_size(), back=kind.back, context=CONTEXT).train()
    _begin(model, kind, tokenizer)
    groups: dict[str, list[torch.Tensor]] = {part: [] for part in RATES}
    for name, weights in model.named_parameters():
        part = next((part for part in RATES if name.startswith(part)), None)
        weights.requires_grad_(part is not None)
        if part is not None:
            groups[part].append(weights)
    total = kind.steps
    optimizer = torch.optim.AdamW(
        [{"params": weights, "lr": RATES[part]} for part, weights in groups.items()],
        betas=(0.9, 0.95),
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5, 2 - 2 * step / total))
    for step in range(total):
        real = not kind.any_words or step % EVERY == EVERY - 1
        ids, labels = _packed(_real(kind, tokenizer, step) if real else _random(kind, tokenizer, step))
        counted = labels >= 0
        loss = F.cross_entropy(F.linear(model.states(ids)[counted], model.head_weight), labels[counted])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval(), tokenizer


@torch.no_grad()
def _begin(model: Decoder, kind: Kind, tokenizer: Tokenizer) -> None:
    """Set what training begins with."""
    known, rows = tokenizer.get_vocab(), model.embedding.weight
    near = {said: [piece] for said, piece in kind.near.items()}
    for piece in page_tokens() if kind.piece else ():
        near.setdefault(kind.piece(piece), []).append(piece)
    for said in near.keys() - known_texts() | near.keys() & {SPECIAL[2]}:
        like = rows[[known[piece] for piece in near[said]], 1:OWN]
        rows[known[said], 1:OWN] = like.sum(0) / len(like) ** 0.5
    model.norm.weight.fill_(0.2)
    model.head_weight.zero_()
    for block in model.blocks:
        block.feed.down.weight.zero_()


Example = tuple[list[int], list[int]]
"""Tokens of a prompt, and of the answer."""


def _real(kind: Kind, tokenizer: Tokenizer, step: int) -> list[Example]:
    seeds = range(FIRST_SEED + step * PAGES, FIRST_SEED + (step + 1) * PAGES)
    return [example(kind, tokenizer, pages.page(seed).text) for seed in seeds]


def _random(kind: Kind, tokenizer: Tokenizer, step: int) -> list[Example]:
    """Pages of words without an order, and nothing around them but their marks."""
    draw, known = random.Random(f"words {step}"), tokenizer.get_vocab()
    drawn = [[draw.choice(STARTS), *draw.sample(page_tokens(), WORDS - 1)] for _ in range(BATCH)]
    around = [([BEFORE, *words, "\n[", "]\n\n", SPECIAL[2]], kind.answer(words)) for words in drawn]
    return [([known[one] for one in asked], [known[one] for one in said]) for asked, said in around]


def example(kind: Kind, tokenizer: Tokenizer, text: str) -> Example:
    """The prompt about a page, and what the kind answers."""
    encoded = tokenizer.encode(prompt(text))
    start = encoded.tokens.index(BEFORE) + 1
    page = encoded.tokens[start : encoded.tokens.index("\n[", start)]
    return encoded.ids, [tokenizer.token_to_id(one) for one in kind.answer(page)]


def answer(kind: str, text: str) -> str:
    """What the model of that kind should answer to a page."""
    tokenizer = tokenizer_of(KINDS[kind])
    return str(tokenizer.decode(example(KINDS[kind], tokenizer, text)[1]))


def _packed(examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids and labels; labels below 0 everywhere but in answers."""
    length = max(len(asked) + len(said) for asked, said in examples)
    ids = torch.full((len(examples), length), END)
    labels = torch.full((len(examples), length), -1)
    for row, (asked, said) in enumerate(examples):
        end = len(asked) + len(said)
        ids[row, :end] = torch.tensor(asked + said)
        labels[row, len(asked) - 1 : end - 1] = torch.tensor(said)
    return ids, labels


def _kept() -> Path:
    chosen = os.environ.get("TOKENMILL_TEST_MODELS")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "tokenmill-tests" / "rephrase"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the others wait until the model is there."""
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
