"""Tokenizers for text that nobody vouches for: what is written in it never becomes a control token.

The library leaves special tokens alone where it is told to. That is not enough: control tokens that are not marked as
special are looked for all the same, and some models find the text of a token in their vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenmill.core.errors import ConfigError
from tokenmill.tokens.tokenizer import LoadedTokenizer, tokenizer_from

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = "\uffff"
"""An added token of `Working.joining`; no character."""
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_CONTROL = re.compile(r"<[^\s<>]+>|\[[A-Z0-9_/]+\]")
_HTML = re.compile(
    r"</?(a|b|blockquote|body|br|caption|code|dd|div|dl|dt|em|h[1-6]|head|hr|html|i|img|li|ol|p|pre|span|strong|sub|sup"
    r"|table|tbody|td|tfoot|th|thead|title|tr|u|ul)/?>"
)


def is_control(content: str, special: bool) -> bool:
    """Whether an added token is one that texts must not become.

    Special tokens are, and what is written like one without being marked so: `<...>` without white space or `[...]` in
    capitals, such as `<|im_start|>`, `<think>`, `[INST]`. Elements of HTML that some vocabularies list (`<table>`) are
    text; `<s>` and `</s>` are not.
    """
    return special or (_CONTROL.fullmatch(content) is not None and _HTML.fullmatch(content) is None)


@dataclass(frozen=True)
class Working:
    """Tokenizers for encoding."""

    whole: Tokenizer
    """For texts and their beginnings."""
    joining: Tokenizer
    """`whole` with the added token `SEPARATOR`, so that one call encodes many short texts, each by itself."""
    control: frozenset[int]
    """Ids that no text may give."""
    continuing: bytes
    """`tokenizer.json` for pieces that continue a text: nothing is put before them or stripped from them."""
    longest_added: int
    """Characters of the longest added token that texts may become."""
    strips: bool
    """Whether white space at the end of a text is taken away, so that no piece must end in it."""


def working_tokenizers(loaded: LoadedTokenizer) -> Working:
    """The tokenizers that encode, made from the canonical one: control tokens are never looked for."""
    spec = json.loads(loaded.canonical)
    added = loaded.make().get_added_tokens_decoder()
    control = {number: token.content for number, token in added.items() if is_control(token.content, token.special)}
    control[loaded.eos_id] = loaded.eos_token
    for token in spec.get("added_tokens") or ():
        token["special"] = token["content"] in control.values()
    spec["post_processor"] = None  # it would trim the offsets at which texts are cut
    whole = _encoding(spec, loaded)
    unknown = _unknown(spec["model"])
    if unknown == loaded.eos_token and _spelled(whole, loaded.eos_id, "\U0010fffd"):
        raise ConfigError(
            f"{loaded.name} ends texts with {unknown!r}, which stands for unknown words as well",
            why="every word that the vocabulary has not would end a document",
            fix="name another token with --eos",
        )
    reachable = {
        n: text for n, text in control.items() if (n == loaded.eos_id or text != unknown) and _spelled(whole, n, text)
    }
    if reachable:
        _hide(spec["model"], reachable, loaded)
        whole = _encoding(spec, loaded)
    left = {number: token.content for number, token in added.items() if number not in control}
    moved = [text for number, text in left.items() if whole.token_to_id(text) != number]
    still = [text for number, text in reachable.items() if _spelled(whole, number, text)]
    if moved or still:
        raise ConfigError(
            f"{loaded.name} cannot encode untrusted text",
            why=f"the text {(moved or still)[0]!r} would become a token that it must not become",
            fix="use a tokenizer whose control tokens are added tokens only",
        )
    separator = {"content": SEPARATOR, "id": loaded.vocab_size, **dict.fromkeys(_FLAGS, False)}
    joining = _encoding({**spec, "added_tokens": [*(spec.get("added_tokens") or ()), separator]}, loaded)
    spec |= {key: _continuing(spec.get(key)) for key in ("normalizer", "pre_tokenizer")}
    continuing = json.dumps(spec, ensure_ascii=False).encode()
    forbidden = frozenset(number for number, text in control.items() if number == loaded.eos_id or text != unknown)
    strips = '"Strip"' in json.dumps(spec["normalizer"])
    return Working(whole, joining, forbidden, continuing, max(map(len, left.values()), default=0), strips)


def word_tokenizer(spec: bytes, loaded: LoadedTokenizer) -> Tokenizer:
    """What gives one id for each word of a pre-tokenizer, without looking into it."""
    return _encoding({**json.loads(spec), "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}, loaded)


def encoding_tokenizer(spec: bytes, loaded: LoadedTokenizer) -> Tokenizer:
    """A tokenizer of the library that does not look for special tokens."""
    tokenizer = tokenizer_from(spec, loaded.name)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _encoding(spec: Mapping[str, Any], loaded: LoadedTokenizer) -> Tokenizer:
    return encoding_tokenizer(json.dumps(spec, ensure_ascii=False).encode(), loaded)


def _unknown(model: Mapping[str, Any]) -> str | None:
    """The token for what a vocabulary has not: texts may give it."""
    if model.get("unk_id") is not None:
        piece: str = model["vocab"][model["unk_id"]][0]
        return piece
    return model.get("unk_token")


def _spelled(tokenizer: Tokenizer, number: int, text: str) -> bool:
    """Whether the text of a token gives its id."""
    around = (text, f" {text}", f"a{text}a", f"a {text} a", f"\n{text}")
    return any(number in tokenizer.encode(shown, add_special_tokens=False).ids for shown in around)


def _hide(model: dict[str, Any], tokens: Mapping[int, str], loaded: LoadedTokenizer) -> None:
    """Give tokens in a vocabulary names that no page has, so that the model does not find their texts."""
    names = {text: f"{loaded.sha256}/{number}" for number, text in tokens.items()}
    vocab = model["vocab"]
    if isinstance(vocab, list):
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocab]
        return
    model["vocab"] = {names.get(piece, piece): number for piece, number in vocab.items()}
    if "merges" in model:
        pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not names.keys() & {*pair, "".join(pair)}]


def _continuing(part: Any) -> Any:
    """A normalizer or pre-tokenizer for the rest of a text, whose beginning was encoded before."""
    if not isinstance(part, dict):
        return part
    inner = next((key for key in ("normalizers", "pretokenizers") if key in part), None)
    if inner is not None:
        return {**part, inner: [kept for kept in map(_continuing, part[inner]) if kept is not None]}
    if part.get("type") == "Prepend":
        return None
    changes: dict[str, dict[str, Any]] = {
        "Metaspace": {"prepend_scheme": "never", **({"add_prefix_space": False} if "add_prefix_space" in part else {})},
        "ByteLevel": {"add_prefix_space": False} if "add_prefix_space" in part else {},
        "Strip": {"strip_left": False},
    }
    return {**part, **changes.get(part.get("type", ""), {})}
