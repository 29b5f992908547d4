"""Small tokenizers of all kinds, trained on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenmill.tokens.tokenizer import one_thread

WORDS = (
    "the mill turns water into flour and 12 millers, 1984 sacks; l'été déjà vu Straße 漢字 かな мука <b>x</b>".split()
)
CORPUS = [" ".join(WORDS[i % len(WORDS)] + "s" * (i % 3) for i in range(n, n + 40)) + "\n" for n in range(60)]
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KINDS = ("gpt2", "digits", "unigram", "llama", "bert")


@cache
def trained(kind: str) -> str:
    """`tokenizer.json` of a small tokenizer.

    gpt2: byte-level BPE, with a run of spaces and `<|im_start|>` that is not marked as special among its added tokens;
    digits: the same with digits in threes and a template that adds tokens; unigram: as SentencePiece has it, with
    Metaspace; llama: BPE with bytes for what is not in its vocabulary, over whole texts; bert: WordPiece.
    """
    with one_thread():
        return {"gpt2": _gpt2, "digits": _digits, "unigram": _unigram, "llama": _llama, "bert": _bert}[kind]().to_str()


def save(kind: str, folder: Path, changes: Mapping[str, Any] | None = None) -> str:
    """The path of that tokenizer in a folder, with some of its parts replaced."""
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(json.loads(trained(kind)) | dict(changes or {})), encoding="utf-8")
    return str(path)


def _byte_level(pre_tokenizer: Any, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _gpt2() -> Tokenizer:
    tokenizer = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>", "<|padding|>"])
    tokenizer.add_tokens([AddedToken("    ", normalized=True), "|||EMAIL|||", "<|im_start|>", "<table>"])
    return tokenizer


def _digits() -> Tokenizer:
    from tokenizers import Regex

    split = pre_tokenizers.Split(Regex(CL100K), behavior="isolated")
    pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = _byte_level(pre_tokenizer, ["<s>", "<|end_of_text|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <|end_of_text|>", special_tokens=[("<s>", 0), ("<|end_of_text|>", 1)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding()
    return tokenizer


def _unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _llama() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special[:3], show_progress=False, max_token_length=8)
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = dict.fromkeys([*special, *model["vocab"]])
    numbers = {token: number for number, token in enumerate(vocab)}
    tokenizer.model = models.BPE(
        numbers, [tuple(pair) for pair in model["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer.add_special_tokens(special[:3])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer
