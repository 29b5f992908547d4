"""Model folders: where a model is, whether it can be used, and what it computes. Nothing here loads PyTorch.

What is checked here is checked when a run is planned, before any work: every fault is one `ConfigError`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tokenmill.classifiers.encoder.files import AGAIN, check_safetensors, read_json, read_object, weight_files
from tokenmill.classifiers.encoder.heads import HEADS, WEIGHTS, EncoderName, Head, is_hub_id, native_head, read_heads
from tokenmill.classifiers.encoder.settings import LongDocuments, Pooling
from tokenmill.core.errors import ConfigError
from tokenmill.io.hub import from_hub

SUPPORTED = ("bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta")
"""`model_type`s whose attention can be packed, each tested against transformers."""
PATTERNS = ("*.safetensors", "*.json", "*.txt")
"""What is downloaded from a hub: no pickles, no code."""
_USABLE = ("Model", "ForSequenceClassification", "ForMaskedLM", "ForPreTraining")
"""Ends of the names of classes whose encoder is used; what else such a checkpoint holds is left out."""
_KEEP = "`tokenmill train-classifier --copy-encoder` keeps the encoder with its heads"
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
    max_tokens: int = 0
    """Tokens of a text that the heads were trained on; 0 where heads.json does not say."""
    long_documents: LongDocuments | Literal[""] = ""
    """What of longer texts; empty where heads.json does not say."""
    hub: str = ""
    """Hub id of the encoder, where it comes from a hub."""
    sha256: str = ""
    """The encoder's digest, where heads.json names it and it has been found to be that."""

    @property
    def default_tokens(self) -> int:
        """Tokens of a text that are read unless a setting says otherwise."""
        return self.max_tokens or min(512, self.longest)

    @property
    def default_long_documents(self) -> LongDocuments:
        """What of longer texts is read unless a setting says otherwise."""
        return self.long_documents or "prefix"

    @property
    def commit(self) -> str:
        """The commit that a hub's copy in the cache is of; empty for other folders."""
        cached = self.path.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", self.path.name)
        return self.path.name if cached else ""

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
        return weight_files(self.path)


def resolve(model: str, revision: str = "") -> EncoderFolder:
    """The model of a local folder, or else of a hub id. ConfigError for whatever would fail later."""
    path, hub = _locate(model, revision)
    wanted = read_heads(path / HEADS) if (path / HEADS).is_file() else None
    encoder = path
    if wanted and wanted.encoder:
        encoder, hub = _encoder_of(path / HEADS, wanted.encoder)
    config = _checked_config(encoder)
    for file in (*weight_files(encoder), *([path / WEIGHTS] if wanted else [])):
        check_safetensors(file)
    if not (encoder / "tokenizer.json").is_file():
        raise ConfigError(
            "the model has no tokenizer.json",
            where=str(encoder),
            why="only fast tokenizers are used",
            fix='write one: AutoTokenizer.from_pretrained("...").save_pretrained(folder)',
        )
    if wanted is None and _is_classifier(config):
        # the model's own head has its own pooling
        head = native_head(config, str(encoder / "config.json"))
        return EncoderFolder(encoder, config, (head,), None, _native_pooling(config), False, hub=hub)
    pooling, normalize = _pooling(encoder)
    if wanted is None:
        return checked_vector(EncoderFolder(encoder, config, (), None, pooling, normalize, hub=hub))
    found = EncoderFolder(
        path=encoder,
        config=config,
        heads=wanted.heads,
        heads_path=path,
        pooling=wanted.pooling or pooling,
        normalize=normalize if wanted.normalize is None else wanted.normalize,
        layers=wanted.layers,
        max_tokens=wanted.max_tokens,
        long_documents=wanted.long_documents,
        hub=hub,
        sha256=wanted.encoder.sha256 if wanted.encoder else "",
    )
    return _checked_heads(found)


def _encoder_of(file: Path, wanted: EncoderName) -> tuple[Path, str]:
    """The folder of the encoder that a heads.json names, and its hub id if it has one.

    A path is looked for where the file says and nowhere else: a folder of that name in the current folder, or on a
    hub, would be another model.
    """
    beside = file.parent / os.path.expanduser(wanted.model)  # an absolute path stays as it is
    if not wanted.hub and os.path.isdir(beside):
        return beside.resolve(), ""
    try:
        if wanted.maybe_hub:
            return _downloaded(wanted.model, wanted.revision), wanted.model
    except ConfigError as error:
        raise ConfigError(
            error.what, where=f"encoder.model in {file}; {error.where}", why=error.why, fix=f"{error.fix}; {_KEEP}"
        ) from error
    raise ConfigError(
        f"there is no model folder {wanted.model!r}, which the heads need",
        where=str(file),
        why=f"encoder.model names the folder {os.path.normpath(beside)}",
        fix=f"put the encoder there, or correct the path; {_KEEP}",
    )


def _checked_heads(folder: EncoderFolder) -> EncoderFolder:
    """The folder itself; ConfigError where its heads were trained on another encoder, or longer texts than it can."""
    where = str(folder.heads_path)
    found = _sha256_of_encoder(folder) if folder.sha256 else ""
    if found != folder.sha256:
        raise ConfigError(
            "the heads were trained on another encoder",
            where=where,
            why=f"encoder.sha256 is {folder.sha256}, that of {folder.path} is {found}",
            fix=f"put the encoder of the training there, or train the heads again; {_KEEP}",
        )
    if folder.max_tokens > folder.longest:
        raise ConfigError(
            f"max_tokens = {folder.max_tokens} is more than the encoder can",
            where=where,
            why=f"it has positions for {folder.longest} tokens",
            fix="train the heads again for this encoder",
        )
    return checked_vector(folder)


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


def encoder_digest(folder: EncoderFolder) -> str:
    """SHA-256, hexadecimal, over the encoder's configuration, weights and tokenizer: what heads are bound to.

    How vectors of tokens become one is not in it: heads.json says that.
    """
    return folder.sha256 or _sha256_of_encoder(folder)


def digest(folder: EncoderFolder) -> str:
    """SHA-256, hexadecimal, over everything that decides about scores, and not over where it lies.

    These are the encoder (`encoder_digest`), how vectors of tokens become one, the heads and their weights. What is
    read of a text is a stage's to say.
    """
    heads = [head.to_json() for head in folder.heads]
    computed = json.dumps([folder.pooling, folder.normalize, folder.layers, heads])
    weights = _lines([(WEIGHTS, folder.heads_path / WEIGHTS)]) if folder.heads_path else ""
    return hashlib.sha256(f"{encoder_digest(folder)}\n{computed}\n{weights}".encode()).hexdigest()


def _sha256_of_encoder(folder: EncoderFolder) -> str:
    files = [*(folder.path / name for name in ("config.json", "tokenizer.json")), *folder.weights]
    return hashlib.sha256(_lines((file.name, file) for file in files).encode()).hexdigest()


def _lines(files: Iterable[tuple[str, Path]]) -> str:
    """A line per file: its name, and the SHA-256 of its contents."""
    found = []
    for name, file in files:
        with open(file, "rb") as stream:
            found.append(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n")
    return "".join(found)


def _locate(model: str, revision: str) -> tuple[Path, str]:
    """The folder of a model that a user names, and its hub id if it is none of the user's folders."""
    path = os.path.expanduser(model)
    if os.path.isdir(path):
        return Path(path).resolve(), ""
    if not is_hub_id(model):
        raise ConfigError(
            f"there is no model folder {model!r}",
            where=os.getcwd(),
            why="it is no folder, and no id of a hub either (owner/name)",
            fix="give the path of a folder with config.json, model.safetensors and tokenizer.json",
        )
    return _downloaded(model, revision), model


def _downloaded(model: str, revision: str) -> Path:
    """The hub's copy of a model folder."""
    return from_hub(
        model, "snapshot_download", model, revision=revision, complete=_is_complete, allow_patterns=PATTERNS
    )


def _is_complete(path: Path) -> bool:
    """Whether a cached copy has what a model needs: another program may have wanted less of it."""
    if (path / HEADS).is_file():
        return (path / WEIGHTS).is_file()
    return bool(weight_files(path)) and (path / "config.json").is_file() and (path / "tokenizer.json").is_file()


def _checked_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise ConfigError(
            "the folder holds no model",
            where=str(path),
            why="config.json is missing",
            fix="a folder has config.json, model.safetensors and tokenizer.json",
        )
    config = read_object(file)
    if config.get("auto_map"):
        raise ConfigError(
            "the model wants code of its own to be run",
            where=str(file),
            why=f"auto_map: {config['auto_map']!r:.200}; foreign code is never run",
            fix="use a model that transformers implements itself",
        )
    kind, names = config.get("model_type"), config.get("architectures") or []
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if kind not in SUPPORTED or not named or (names and not any(name.endswith(_USABLE) for name in names)):
        raise ConfigError(
            f"the architecture {kind!r} ({', '.join(map(str, names)) if named else repr(names)}) is not supported",
            where=str(file),
            why="an encoder, or an encoder with a head for sequence classification, is wanted",
            fix=f"model_type one of {', '.join(SUPPORTED)}",
        )
    _check_sizes(file, config)
    return config


def _check_sizes(file: Path, config: Mapping[str, Any]) -> None:
    """ConfigError unless the numbers that the plan needs are numbers."""
    sizes = {
        "hidden_size": config.get("hidden_size") or config.get("dim"),
        "num_hidden_layers": config.get("num_hidden_layers") or config.get("n_layers"),
        "max_position_embeddings": config.get("max_position_embeddings", 512),
    }
    bad = {name: size for name, size in sizes.items() if type(size) is not int or size < 1}
    padding = config.get("pad_token_id", 1)
    if config["model_type"] in _SHIFTED and (type(padding) is not int or padding < 0):
        bad["pad_token_id"] = padding
    if bad:
        raise ConfigError(
            "config.json cannot be used",
            where=str(file),
            why="; ".join(f"{name} = {size!r:.80} must be a whole number" for name, size in bad.items()),
            fix=AGAIN,
        )


def _is_classifier(config: dict[str, Any]) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or [])


def _native_pooling(config: Mapping[str, Any]) -> Pooling:
    return "mean" if config["model_type"] == "modernbert" and config.get("classifier_pooling") == "mean" else "cls"


def _pooling(path: Path) -> tuple[Pooling, bool]:
    """How sentence-transformers would make a vector: its folder's pooling, and whether it divides by the length."""
    file = path / "1_Pooling" / "config.json"
    mean = file.is_file() and bool(read_object(file).get("pooling_mode_mean_tokens"))
    modules: Any = read_json(path / "modules.json") if (path / "modules.json").is_file() else []
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ConfigError(
            "modules.json cannot be read", where=str(path / "modules.json"), why="it is no list of objects", fix=AGAIN
        )
    return ("mean" if mean else "cls"), any("Normalize" in str(module.get("type")) for module in modules)
