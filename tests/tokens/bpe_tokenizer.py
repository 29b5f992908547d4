"""A small byte-level BPE, trained on the spot."""

from __future__ import annotations

from pathlib import Path

EOS = "<|endoftext|>"
WORDS = (
    "the of and to in a is that for it was on are as with his they at be this from have or by one had not but".split()
)


def save_bpe(folder: Path, *, vocab_size: int = 400, special: tuple[str, ...] = (EOS,)) -> Path:
    """`tokenizer.json` in the folder; the same bytes each time."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS[n % 26 :] + WORDS[: n % 13]) for n in range(200)], trainer)
    path = folder / "tokenizer.json"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path
