"""Model folders: where a model is, whether it can be used, and what it computes. Nothing here loads PyTorch.

What is checked here is checked when a run is planned, before any work: every fault is one `ConfigError`.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tokenmill.classifiers.encoder.heads import HEADS, WEIGHTS, Head, native_head, read_heads
from tokenmill.classifiers.encoder.settings import Pooling
from tokenmill.core.errors import ConfigError

SUPPORTED = ("bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta")
"""`model_type`s whose attention can be packed, each tested against transformers."""
PATTERNS = ("*.safetensors", "*.json", "*.txt")
"""What is downloaded from a hub: no pickles, no code."""
_SHIFTED = ("camembert", "roberta", "xlm-roberta")
"""Families whose positions begin behind the id of the padding token."""


@dataclass(frozen=True)
class EncoderFolder:
    """A checked model: the encoder's folder and its heads."""

    path: Path
    """Folder of the encoder."""
    config: dict[str, Any]
    """Its config.json."""
    heads: tuple[Head, ...]
    """Empty for an encoder without heads."""
    heads_path: Path | None
    """Folder of heads.json, where there is one."""
    pooling: Pooling
    """How the vectors of tokens become one."""
    normalize: bool
    """Whether vectors are divided by their length."""
    layers: tuple[int, ...] = ()
    """Hidden states that are pooled, one behind the other, 0 for the embeddings; empty for the last only."""

    @property
    def hidden(self) -> int:
        """Numbers in the vector of a token."""
        return int(self.config.get("hidden_size") or self.config["dim"])

    @property
    def depth(self) -> int:
        """Layers of the encoder; its hidden states are one more."""
        return int(self.config.get("num_hidden_layers") or self.config["n_layers"])

    @property
    def width(self) -> int:
        """Numbers in the vector of a text."""
        return self.hidden * (2 if self.pooling == "mean_max" else 1) * max(1, len(self.layers))

    @property
    def first_position(self) -> int:
        """Position of the first token."""
        return int(self.config.get("pad_token_id", 1)) + 1 if self.config["model_type"] in _SHIFTED else 0

    @property
    def longest(self) -> int:
        """Tokens that a sequence can have, special ones included."""
        return int(self.config.get("max_position_embeddings", 512)) - self.first_position

    @property
    def native(self) -> bool:
        """Whether the model has a head of its own."""
        return any(head.native for head in self.heads)

    @property
    def weights(self) -> tuple[Path, ...]:
        """The encoder's files of weights."""
        return _weight_files(self.path)


def resolve(model: str, revision: str = "") -> EncoderFolder:
    """The model of a local folder, or else of a hub id. ConfigError for whatever would fail later."""
    path = _locate(model, revision)
    entry = _json(path / HEADS) if (path / HEADS).is_file() else {}
    encoder = path
    if entry.get("encoder"):
        named = str(entry["encoder"]["model"])
        beside = path / named
        encoder = beside.resolve() if beside.is_dir() else _locate(named, str(entry["encoder"].get("revision", "")))
    config = _checked_config(encoder)
    for file in (*_weight_files(encoder), *([path / WEIGHTS] if entry else [])):
        check_safetensors(file)
    if not (encoder / "tokenizer.json").is_file():
        raise ConfigError(
            "the model has no tokenizer.json",
            where=str(encoder),
            why="only fast tokenizers are used",
            fix='write one: AutoTokenizer.from_pretrained("...").save_pretrained(folder)',
        )
    if not entry and _is_classifier(config):
        # the model's own head has its own pooling
        return EncoderFolder(encoder, config, (native_head(config),), None, _native_pooling(config), False)
    pooling, normalize = _pooling(encoder)
    return checked_vector(
        EncoderFolder(
            path=encoder,
            config=config,
            heads=read_heads(path / HEADS) if entry else (),
            heads_path=path if entry else None,
            pooling=entry.get("pooling", pooling),
            normalize=bool(entry.get("normalize", normalize)),
            layers=tuple(entry.get("layers") or ()),
        )
    )


def checked_vector(folder: EncoderFolder) -> EncoderFolder:
    """The folder itself; ConfigError where its pooling is not known, or the encoder has no such layers."""
    if folder.pooling not in get_args(Pooling):
        raise ConfigError(
            f"pooling = {folder.pooling!r} is not known",
            where=str(folder.heads_path or folder.path),
            fix=f"one of {', '.join(get_args(Pooling))}",
        )
    if not all(type(layer) is int and 0 <= layer <= folder.depth for layer in folder.layers):
        raise ConfigError(
            f"layers = {list(folder.layers)} are not all there",
            where=str(folder.heads_path or folder.path),
            why=f"the encoder has the hidden states 0 (embeddings) to {folder.depth}",
            fix="name some of those, or none for the last",
        )
    return folder


def digest(folder: EncoderFolder) -> str:
    """SHA-256, hexadecimal, over the names and contents of everything that decides about scores."""
    total = hashlib.sha256()
    for name, file in _deciding(folder):
        with open(file, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{name}\0{content}\n".encode())
    return total.hexdigest()


def _deciding(folder: EncoderFolder) -> Iterator[tuple[str, Path]]:
    names = ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"]
    files = [*(folder.path / name for name in names), *folder.weights]
    for file in files:
        if file.is_file():
            yield file.relative_to(folder.path).as_posix(), file
    if folder.heads_path:
        for name in (HEADS, WEIGHTS):
            yield f"heads/{name}", folder.heads_path / name


def check_safetensors(file: Path) -> None:
    """ConfigError unless the file's header can be read and names as many bytes as there are.

    The form: a little-endian uint64, that many bytes of JSON, and the tensors (huggingface/safetensors, README).
    """
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size - 8:
                raise ValueError(f"the header has {length} bytes, the file {size}")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max(ends, default=0) != size:
            raise ValueError(f"its tensors end at byte {8 + length + max(ends, default=0)}, the file at {size}")
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            "the weights are broken", where=str(file), why=str(error), fix="download or copy the file again"
        ) from error


def _locate(model: str, revision: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    parts = model.split("/")
    if model.startswith((".", "/", "~")) or len(parts) > 2 or not all(parts) or "\\" in model:
        raise ConfigError(
            f"there is no model folder {model!r}",
            where=os.getcwd(),
            why="it is no folder, and no id of a hub either (owner/name)",
            fix="give the path of a folder with config.json, model.safetensors and tokenizer.json",
        )
    return _from_hub(model, revision)


def _from_hub(model: str, revision: str) -> Path:
    """The hub's copy of a model in the local cache, downloaded where it is not complete there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ConfigError(
            f"{model!r} is no folder, and hubs need a package", why=str(error), fix="pip install 'tokenmill[gpu]'"
        ) from error
    try:
        found = snapshot_download(model, revision=revision or None, allow_patterns=list(PATTERNS))
    except Exception as error:  # its own errors, httpx's and the operating system's
        raise ConfigError(
            f"the model {model!r} is no folder here, and cannot be had from the hub",
            where=f"revision {revision or 'main'}; HF_HUB_OFFLINE={os.environ.get('HF_HUB_OFFLINE', '')!r}",
            why=f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
            fix="where the hub can be reached: `hf download ID --local-dir FOLDER`, then give the path of FOLDER; "
            "a complete copy in the cache is used with HF_HUB_OFFLINE=1",
        ) from error
    return Path(found)


def _checked_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        raise ConfigError(
            "the folder holds no model",
            where=str(path),
            why="config.json is missing",
            fix="a folder has config.json, model.safetensors and tokenizer.json",
        )
    config: dict[str, Any] = _json(path / "config.json")
    if config.get("auto_map"):
        raise ConfigError(
            "the model wants code of its own to be run",
            where=str(path / "config.json"),
            why=f"auto_map: {sorted(config['auto_map'])}; foreign code is never run",
            fix="use a model that transformers implements itself",
        )
    kind, names = config.get("model_type"), config.get("architectures") or []
    fits = not names or any(name.endswith(("Model", "ForSequenceClassification", "ForMaskedLM")) for name in names)
    if kind not in SUPPORTED or not fits:
        raise ConfigError(
            f"the architecture {kind!r} ({', '.join(names) or 'not named'}) is not supported",
            where=str(path / "config.json"),
            why="an encoder, or an encoder with a head for sequence classification, is wanted",
            fix=f"model_type one of {', '.join(SUPPORTED)}",
        )
    _weight_files(path)
    return config


def _weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files of a model, whole or in shards; ConfigError where there are none or some are missing."""
    if (path / "model.safetensors").is_file():
        return (path / "model.safetensors",)
    index = path / "model.safetensors.index.json"
    names = sorted(set(_json(index).get("weight_map", {}).values())) if index.is_file() else []
    missing = [name for name in names if not (path / name).is_file()]
    if names and not missing:
        return tuple(path / name for name in names)
    pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern))
    raise ConfigError(
        f"the model lacks {', '.join(missing) or 'model.safetensors'}",
        where=str(path),
        why=f"{pickles[0]} is a pickle, which could run any code, and is not read" if pickles else "no weights",
        fix='write them as safetensors: AutoModel.from_pretrained("...").save_pretrained(folder)',
    )


def _is_classifier(config: dict[str, Any]) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def _native_pooling(config: Mapping[str, Any]) -> Pooling:
    return "mean" if config["model_type"] == "modernbert" and config.get("classifier_pooling") == "mean" else "cls"


def _pooling(path: Path) -> tuple[Pooling, bool]:
    """How sentence-transformers would make a vector: its folder's pooling, and whether it divides by the length."""
    file = path / "1_Pooling" / "config.json"
    mean = file.is_file() and bool(_json(file).get("pooling_mode_mean_tokens"))
    modules: Any = _json(path / "modules.json") if (path / "modules.json").is_file() else []
    return ("mean" if mean else "cls"), any("Normalize" in str(module.get("type")) for module in modules)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file.name} cannot be read", where=str(file), why=str(error), fix="download or copy it again"
        ) from error
