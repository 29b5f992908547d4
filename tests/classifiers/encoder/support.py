"""Tiny models made on the spot: a tokenizer of made-up words, and random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

WORDS = [f"{first}{second}{third}" for first in "bdfkl" for second in "aeiou" for third in ("m", "nt", "rs", "stu")]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_LETTERS = "abdefiklmnorstu"
PIECES = [
    *SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *"中文.,!c",
    *(first + second for first in "bdfkl" for second in "aeiou"), "##nt", "##rs", "##st", "##stu", *WORDS[::2],
]  # fmt: skip
"""Letters, parts of words, and every other word whole: texts have words of one, two and three pieces."""
VOCABULARY = len(PIECES)
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 70,
}


@cache
def tokenizer() -> Any:
    """A WordPiece tokenizer of BERT's form. Its vocabulary is written down: training breaks ties in any order, and
    models would differ from process to process."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {piece: number for number, piece in enumerate(PIECES)}
    made = Tokenizer(models.WordPiece(vocab=ids, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def texts(count: int, longest: int = 90, seed: int = 0) -> list[str]:
    """Texts of 0 to `longest` words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(size))) for size in random.integers(0, longest, count)]


def bare_folder(folder: Path, **config: Any) -> Path:
    """A folder that passes the checks without weights that mean anything: no PyTorch needed."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    entry = {"model_type": "bert", "architectures": ["BertModel"], **SHAPE, **config}
    (folder / "config.json").write_text(json.dumps(entry))
    save_file({"embeddings": np.arange(12, dtype=np.float32)}, str(folder / "model.safetensors"))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def model_folder(folder: Path, kind: str = "bert", *, classifier: bool = True, **changes: Any) -> Path:
    """A tiny random model of a family, larger weights than usual so that scores differ from text to text."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    shape: dict[str, Any] = {**SHAPE, "vocab_size": VOCABULARY, "pad_token_id": 0}
    if kind == "distilbert":
        shape |= {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
    if kind == "modernbert":
        shape |= {"local_attention": 16, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
        shape |= {"bos_token_id": 2, "eos_token_id": 3}
    config = AutoConfig.for_model(kind, **{**shape, **changes})
    torch.manual_seed(7)
    family: Any = AutoModelForSequenceClassification if classifier else AutoModel
    model = family.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # ModernBERT's last layers are larger from the start: more would give the same answer to every text
            if kind != "modernbert" or (parameter.ndim > 1 and "classifier" not in name):
                # what layers give back is next to nothing beside what goes past them, unless it is larger by far
                parameter.mul_(120 if kind == "modernbert" and name.endswith("Wo.weight") else 4)
    model.eval().save_pretrained(str(folder))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def ids_of(text: str, max_tokens: int) -> list[int]:
    """A text's ids, truncated as transformers does."""
    ids = tokenizer().encode(text, add_special_tokens=False).ids[: max_tokens - 2]
    return [2, *ids, 3]
