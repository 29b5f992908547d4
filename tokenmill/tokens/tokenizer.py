"""Tokenizers from a disk or a hub, as one canonical `tokenizer.json` with its digest and its token for ends of texts.

A tokenizer is a file `tokenizer.json`, a folder with one, a folder with `vocab.json` and `merges.txt` (byte-level BPE
as of GPT-2), or a name on the Hugging Face hub. What such files say of truncation and padding is left out, and tokens
that they would put around each text are never added: documents are encoded whole, and EOS is the business of the
shards.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenmill.core.errors import ConfigError, did_you_mean
from tokenmill.io.hub import from_hub

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
VOCAB = "vocab.json"
MERGES = "merges.txt"
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")
ADDED = "added_tokens.json"
PATTERNS = (TOKENIZER, VOCAB, MERGES, *CONFIGS, ADDED)
"""Files of a tokenizer on the hub."""
ENDS_OF_TEXT = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "<|eos|>",
)
"""Tokens for the end of a text in published tokenizers, where no file says which one it is."""
SMALL_VOCABULARY = 1 << 16
"""Vocabularies up to this size have ids of 2 bytes."""
_CONFIGURED = ("eos_token", "bos_token", "unk_token", "pad_token")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer, checked and ready to encode."""

    name: str
    """As it was asked for."""
    canonical: bytes = field(repr=False)
    """`tokenizer.json` without truncation and padding, with sorted keys: the same tokenizer gives the same bytes."""
    vocab_size: int
    """Ids run from 0 to vocab_size - 1, added tokens included; some may be unused."""
    eos_id: int
    eos_token: str

    @cached_property
    def sha256(self) -> str:
        """Of `canonical`, hexadecimal."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def dtype(self) -> str:
        """The type of ids in shards: uint16 where all fit, else uint32."""
        return "uint16" if self.vocab_size <= SMALL_VOCABULARY else "uint32"

    def make(self) -> Tokenizer:
        """A new tokenizer of the library, as `canonical` says."""
        return tokenizer_from(self.canonical, self.name)


def load_tokenizer(name: str, *, eos: str | None = None, revision: str = "") -> LoadedTokenizer:
    """The tokenizer of that path or hub name.

    eos: the token that ends a document; None: what the files beside it say, else the only known one that it has
    (`ENDS_OF_TEXT`). revision: of the hub. ConfigError where there is none, it is damaged, or EOS cannot be told.
    """
    place, folder = _found(name, revision)
    files = [path for path in (place, *(folder / file for file in PATTERNS)) if path.is_file()]
    stamps = tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return _loaded(name, eos, place, folder, stamps)


@lru_cache(maxsize=4)
def _loaded(
    name: str, eos: str | None, place: Path, folder: Path, stamps: tuple[tuple[str, int, int], ...]
) -> LoadedTokenizer:
    """Read once a process: each stage of a plan asks for it. stamps: of the files, so that changed ones are read."""
    spec = _read_object(place) if place.name != MERGES else _from_merges(folder)
    canonical = _canonical(spec, place, name)
    tokenizer = tokenizer_from(canonical, str(place))
    found = _described(name, canonical, tokenizer, _end_of_text(tokenizer, name, eos, folder))
    del spec, tokenizer
    give_back_memory()
    return found


def loaded_from(spec: Mapping[str, Any], name: str, *, eos: str) -> LoadedTokenizer:
    """The tokenizer that the contents of a `tokenizer.json` describe. ConfigError where it has no token `eos`."""
    canonical = _canonical(spec, Path(name), name)
    tokenizer = tokenizer_from(canonical, name)
    return _described(name, canonical, tokenizer, _end_of_text(tokenizer, name, eos, Path(name)))


def _described(name: str, canonical: bytes, tokenizer: Tokenizer, eos: str) -> LoadedTokenizer:
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    return LoadedTokenizer(name, canonical, max(vocab.values()) + 1, int(vocab[eos]), eos)


def _canonical(spec: Mapping[str, Any], place: Path, name: str) -> bytes:
    if not isinstance(spec.get("model"), dict):
        raise ConfigError(
            f"{name} is no tokenizer", where=str(place), why="it has no model", fix=f"give the path of a {TOKENIZER}"
        )
    whole = {**spec, "truncation": None, "padding": None}
    try:
        return json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise _broken(place, "it holds a lone surrogate") from error


def tokenizer_from(spec: bytes, where: str) -> Tokenizer:
    """The library's tokenizer of a `tokenizer.json`. ConfigError where the package is missing or refuses the file."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(
            "tokenizing needs a package", why=str(error), fix="pip install 'tokenmill[tokenize]' or tokenizers"
        ) from error
    try:
        return Tokenizer.from_str(spec.decode())
    except Exception as error:  # the library raises Exception itself
        raise _broken(Path(where), str(error)) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """The library works on the thread that calls it: workers have one core each. Leaves the environment as it was."""
    name = "TOKENIZERS_PARALLELISM"  # read by the library at every call
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def give_back_memory() -> None:
    """Let the C library return what reading vocabularies has left behind: 50 MB of every worker, where it is glibc."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def library_version() -> str:
    """The version of the package `tokenizers`; another one may give other ids. ConfigError where it is missing."""
    try:
        return version("tokenizers")
    except PackageNotFoundError as error:
        raise ConfigError(
            "tokenizing needs a package", why=str(error), fix="pip install 'tokenmill[tokenize]' or tokenizers"
        ) from error


def _found(name: str, revision: str) -> tuple[Path, Path]:
    """(the file that says what the tokenizer is, the folder of the files beside it)."""
    path = Path(name).expanduser()
    if name and path.is_file():
        return path, path.parent
    if name and path.is_dir():
        return _in_folder(path, name), path
    if not _HUB_NAME.fullmatch(name) or name.startswith(".") or name.endswith((".json", ".txt")):
        near = (
            did_you_mean(path.name, _names(path.parent)) if name and path.parent.is_dir() else "nor is there a folder"
        )
        raise ConfigError(
            f"there is no tokenizer {name!r}",
            where=str(path.absolute()),
            why=f"it is no file or folder ({near}), and hub names look like owner/name",
            fix=f"give a {TOKENIZER}, a folder that has one, or a name on the hub",
        )
    folder = from_hub(
        name,
        "snapshot_download",
        name,
        revision=revision,
        complete=_is_complete,
        noun="tokenizer",
        instead=f"give a {TOKENIZER} or a folder that has one (is the path right?)",
        allow_patterns=list(PATTERNS),
    )
    return _in_folder(folder, name), folder


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] or ["(nothing)"]


def _in_folder(folder: Path, name: str) -> Path:
    if (folder / TOKENIZER).is_file():
        return folder / TOKENIZER
    if (folder / VOCAB).is_file() and (folder / MERGES).is_file():
        return folder / MERGES
    raise ConfigError(
        f"{name} holds no tokenizer",
        where=str(folder),
        why=f"there is neither {TOKENIZER} nor {VOCAB} with {MERGES}; it has {', '.join(sorted(_names(folder))[:8])}",
        fix=f"a SentencePiece model must be converted first: transformers' AutoTokenizer saves a {TOKENIZER}",
    )


def _is_complete(folder: Path) -> bool:
    """Whether a cached copy has a tokenizer: another program may have wanted other files of it."""
    return (folder / TOKENIZER).is_file() or ((folder / VOCAB).is_file() and (folder / MERGES).is_file())


def _broken(place: Path, why: str) -> ConfigError:
    return ConfigError("the tokenizer cannot be read", where=str(place), why=why[:500], fix="fetch the file again")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from error
    if not isinstance(found, dict):
        raise _broken(path, "it is no JSON object")
    return found


def _from_merges(folder: Path) -> dict[str, Any]:
    """`tokenizer.json` for byte-level BPE as GPT-2 has it."""
    vocab = _read_object(folder / VOCAB)
    if not all(isinstance(number, int) for number in vocab.values()):
        raise _broken(folder / VOCAB, "the ids are no whole numbers")
    if any(token.endswith("</w>") for token in vocab):
        raise ConfigError(
            f"the tokenizer in {folder} is no byte-level BPE",
            why="its words end in </w>, which two files do not describe in full",
            fix=f"give its {TOKENIZER}",
        )
    try:
        lines = (folder / MERGES).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise _broken(folder / MERGES, str(error)) from error
    merges = [line.rstrip("\r").split(" ") for line in lines if line.strip() and not line.startswith("#version")]
    wrong = next((pair for pair in merges if len(pair) != 2), None)
    if wrong is not None:
        raise _broken(folder / MERGES, f"{' '.join(wrong)!r} is no pair")
    bytes_as_characters = {"add_prefix_space": False, "trim_offsets": True, "type": "ByteLevel", "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": _added(folder, vocab),
        "normalizer": None,
        "pre_tokenizer": bytes_as_characters,
        "post_processor": None,
        "decoder": bytes_as_characters,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }


def _added(folder: Path, vocab: Mapping[str, int]) -> list[dict[str, Any]]:
    """Special tokens: those that files name, and what is known to end texts."""
    configured = [_configured(folder, key) for key in _CONFIGURED]
    found = {token: vocab[token] for token in (*configured, *ENDS_OF_TEXT) if token in vocab}
    if (folder / ADDED).is_file():
        found |= _read_object(folder / ADDED)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [
        {"id": number, "content": token, **flags} for token, number in sorted(found.items(), key=lambda item: item[1])
    ]


def _configured(folder: Path, key: str) -> str:
    """A token that the files beside a tokenizer name; "" where they do not."""
    for file in CONFIGS:
        if (folder / file).is_file():
            token = _read_object(folder / file).get(key)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and token:
                return token
    return ""


def _end_of_text(tokenizer: Tokenizer, name: str, eos: str | None, folder: Path) -> str:
    """The token that ends documents."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    wanted = eos if eos is not None else _configured(folder, "eos_token")
    if wanted:
        if wanted not in vocab:
            said = "it is asked for" if eos is not None else "its configuration names it"
            raise ConfigError(
                f"{name} has no token {wanted!r}",
                why=f"{said} as the end of texts; {_hint(wanted, added)}",
                fix="name one that it has with --eos",
            )
        return wanted
    candidates = [token for token in ENDS_OF_TEXT if token in added] or [t for t in ENDS_OF_TEXT if t in vocab]
    if len(candidates) != 1:
        found = (
            f"{', '.join(candidates)} might all be it" if candidates else f"it has none of {', '.join(ENDS_OF_TEXT)}"
        )
        raise ConfigError(
            f"which token of {name} ends a text is not known",
            where=str(folder),
            why=f"no {' or '.join(CONFIGS)} says it, and {found}",
            fix=f"name it with --eos; {_hint('eos', added)}",
        )
    return candidates[0]


def _hint(name: str, added: Iterable[str]) -> str:
    tokens = [token for token in added if not token.isspace()]
    return did_you_mean(name, tokens[:40]) if tokens else "it has no added tokens"
