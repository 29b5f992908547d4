"""Trains the small model of the demo, which puts passages into plain words.

    python examples/rephrase/make_model.py PAGES STYLE.md --output FOLDER --shown PAGES.jsonl

PAGES is the folder `data` of a run. The model learns from pairs of a prompt, as tokenmill renders it with the style,
and the answer of `teacher.py`. That it copies the page, from its beginning to its end, is there from the start
(`lookup.py`), for it takes long to be learnt; so its attention stays as it is. Which words become others, which are
left out, and to find its place again behind them is learnt by the embedding and the head. Two fifths of the pages are
held back, and the demo shows only those. What comes out is a Llama with a chat template, in the files that
`transformers serve`, vLLM and others load. It knows nothing else, and makes mistakes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import teacher
import torch
import torch.nn.functional as F
from lookup import begin_like, lookup_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenmill.rephrase.chunks import passages_of
from tokenmill.rephrase.counting import Counter
from tokenmill.rephrase.render import render
from tokenmill.rephrase.request import Passage
from tokenmill.rephrase.style import Style
from tokenmill.rephrase.styles import load_style
from tokenmill.train.export import export_hf
from tokenmill.train.model import Decoder

END, USER, ASSISTANT = "<|end|>", "<|user|>", "<|assistant|>"
LEFT_OUT = "<|left out|>"
"""Said for a word that is left out: servers do not hand on special tokens."""
BEFORE_PAGE, BEHIND_PAGE = "]\n", "\n[PAGE"
"""What stands around the page in a prompt, each a token of its own."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 6000
BATCH = 12
HEAD_RATE, EMBEDDING_RATE = 0.1, 0.004
"""Of AdamW. With 0.01 for the embedding, copying was lost again after forty steps."""
EPS = 3e-5
"""Words of which a batch says nothing hardly move: their gradients are far below."""

Lesson = tuple[list[int], list[int]]
"""Tokens of a prompt and of its answer."""


def is_shown(doc_id: str) -> bool:
    """Whether a page is shown in the demo, some two fifths of them by hash: the model does not learn from it."""
    return hashlib.sha256(doc_id.encode()).digest()[0] % 5 < 2


def make_tokenizer(texts: Sequence[str], prompt: str) -> Tokenizer:
    """Byte-level BPE of these texts and the words of the teacher, each of which is one token."""
    words = teacher.plain_words()
    forms = {form for word in {*words, *words.values()} for form in (f" {word}", f" {word.capitalize()}")}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        show_progress=False,
        special_tokens=[END, USER, ASSISTANT, LEFT_OUT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([*texts, *[prompt] * 20, *sorted(forms) * 20], trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (BEFORE_PAGE, BEHIND_PAGE)])
    return tokenizer


def prompt_of(style: Style, text: str) -> str:
    """The prompt about a passage, as the chat template puts it."""
    messages = render(style, Passage("", 0, 0, len(text), text, 0), seed=0).messages
    return "".join(f"<|{one['role']}|>{one['content']}" for one in messages) + ASSISTANT


def passages(style: Style, texts: Sequence[str]) -> list[str]:
    """The passages of these pages, as tokenmill cuts them."""
    return [one.text for text in texts for one in passages_of("", text, style, Counter())[0]]


def lesson(tokenizer: Tokenizer, text: str, prompt: str) -> Lesson:
    """A prompt about a text, and what the teacher answers."""
    answer = teacher.plain(text, left_out=LEFT_OUT)
    return tokenizer.encode(prompt).ids, [*tokenizer.encode(answer).ids, tokenizer.token_to_id(END)]


def batches(tokenizer: Tokenizer, style: Style, pages: Sequence[str], seed: int) -> Iterator[list[Lesson]]:
    """Batches without end: of passages and of drills in turn.

    A drill is a list of words of the teacher among others, without the instruction: it says ten times as much about
    words as a passage does, at half the cost.
    """
    drawn = random.Random(seed)
    known = sorted(teacher.plain_words())
    others = sorted({word for text in pages for word in text.split() if word.isalpha()})
    while True:
        drills = []
        for _ in range(BATCH):
            words = [drawn.choice(known) if drawn.random() < 0.6 else drawn.choice(others) for _ in range(36)]
            text = " ".join(["The", *words]) + "."
            drills.append(lesson(tokenizer, text, f"{BEFORE_PAGE}{text}{BEHIND_PAGE}{ASSISTANT}"))
        yield drills
        yield [lesson(tokenizer, text, prompt_of(style, text)) for text in drawn.sample(pages, BATCH)]


def collated(pairs: Sequence[Lesson]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, labels), (pairs, length) each; labels are -1 but where the answer is to be said."""
    length = max(len(asked) + len(told) for asked, told in pairs) - 1
    ids, labels = torch.zeros(len(pairs), length, dtype=torch.long), torch.full((len(pairs), length), -1)
    for row, (asked, told) in enumerate(pairs):
        whole = torch.tensor(asked + told)
        ids[row, : len(whole) - 1] = whole[:-1]
        labels[row, len(asked) - 1 : len(whole) - 1] = whole[len(asked) :]
    return ids, labels


def beginning(tokenizer: Tokenizer) -> Decoder:
    """The model before it learns: it says the page as it is."""
    known = tokenizer.get_vocab()
    model = lookup_model(len(known), back=3)
    begin_like(model, known[ASSISTANT], known[BEFORE_PAGE])
    with torch.no_grad():
        model.head_weight[known[END]] = model.head_weight[known[BEHIND_PAGE]]
        model.head_weight[known[BEHIND_PAGE]] = 0.0
        model.norm.weight.fill_(0.2)  # less certain, so that it can be taught
    for weights in model.blocks.parameters():
        weights.requires_grad_(False)
    return model


def loss_of(model: Decoder, ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Nats per token of the answers, and the share of these tokens that the model finds the likeliest."""
    told = labels >= 0
    logits = F.linear(model.states(ids)[told], model.head_weight[: model.config.vocab_size])
    right = (logits.argmax(dim=1) == labels[told]).float().mean().item()
    return F.cross_entropy(logits, labels[told]), right


def train(model: Decoder, taught: Iterator[list[Lesson]], unseen: Sequence[Lesson], steps: int) -> None:
    """AdamW with rates that fall to 0. Prints how it goes about passages that it does not learn from."""
    groups = [
        {"params": [model.head_weight], "lr": HEAD_RATE, "highest": HEAD_RATE},
        {"params": [model.embedding.weight], "lr": EMBEDDING_RATE, "highest": EMBEDDING_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=EPS, weight_decay=0.0)
    tested, began = collated(unseen), time.monotonic()
    for step in range(steps + 1):
        if step % max(1, steps // 8) == 0 or step == steps:
            with torch.no_grad():
                loss, right = loss_of(model, *tested)
            spent = time.monotonic() - began
            print(f"  step {step:3d}  {spent:3.0f} s  loss {loss:.3f}  right tokens {right:.1%}", flush=True)
        if step == steps:
            return
        loss, _ = loss_of(model, *collated(next(taught)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * min(1 - step / steps, (step + 1) / 5)
        optimizer.step()


def write(model: Decoder, tokenizer: Tokenizer, folder: Path) -> None:
    """The folder that a server loads."""
    end = tokenizer.token_to_id(END)
    export_hf(model, folder, tokenizer.to_str().encode(), eos_id=end)
    path = folder / "tokenizer_config.json"
    described = json.loads(path.read_text())
    described |= {"chat_template": CHAT_TEMPLATE, "eos_token": END, "pad_token": END}
    described.pop("bos_token", None)
    path.write_text(json.dumps(described, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pages", help="folder of Parquet files with id and text")
    parser.add_argument("style", help="prompt file of the rewriting that is learnt")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    parser.add_argument("--shown", type=Path, required=True, help="JSON Lines of the pages held back")
    parser.add_argument("--steps", type=int, default=100, help="of training, each on 12 pairs")
    parser.add_argument("--pages-shown", type=int, default=20, help="most pages that are held back for the demo")
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    rows = pq.read_table(given.pages, columns=["id", "url", "text"]).to_pylist()
    shown = [row for row in rows if is_shown(row["id"])]
    learnt = [row["text"] for row in rows if not is_shown(row["id"])]
    style = load_style(given.style)
    tokenizer = make_tokenizer([row["text"] for row in rows], prompt_of(style, ""))
    model = beginning(tokenizer)
    size = sum(weights.numel() for weights in model.parameters())
    print(f"{size / 1e6:.1f} million weights, {len(learnt)} pages to learn from, {len(shown)} held back", flush=True)
    unseen = [lesson(tokenizer, text, prompt_of(style, text)) for text in passages(style, [r["text"] for r in shown])]
    train(model, batches(tokenizer, style, passages(style, learnt), seed=1), unseen[::8], given.steps)
    write(model, tokenizer, given.output)
    lines = [{**row, "text": beginning_of(row["text"])} for row in shown[: given.pages_shown]]
    given.shown.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    print(f"the model is in {given.output}, pages for it in {given.shown}")


def beginning_of(text: str, chars: int = 1500) -> str:
    """Whole lines of a page up to so many characters, the first in any case."""
    lines = text.split("\n")
    kept = lines[:1]
    for line in lines[1:]:
        if sum(map(len, kept)) + len(line) > chars:
            break
        kept.append(line)
    return "\n".join(kept)


if __name__ == "__main__":
    main()
