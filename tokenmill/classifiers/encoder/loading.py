"""A checked model folder as a PyTorch module, and the parts of it that come behind the pooled vector."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tokenmill.classifiers.encoder.folder import EncoderFolder
from tokenmill.core.errors import ConfigError

# what a checkpoint may lack: nothing here is used
_UNUSED = ("pooler.", "position_ids")


@dataclass(frozen=True)
class Loaded:
    """An encoder in evaluation mode, and the whole model where it has a head of its own."""

    encoder: torch.nn.Module
    classifier: torch.nn.Module | None


def load(folder: EncoderFolder, attention: str, dtype: torch.dtype, device: torch.device) -> Loaded:
    """Read the safetensors of the folder; ConfigError where they do not hold the model that config.json names."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if folder.native else AutoModel
    with _quiet():
        try:
            model, found = kind.from_pretrained(
                str(folder.path),
                dtype=dtype,
                attn_implementation=attention,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:  # shapes that disagree, settings that are out of range: many classes
            raise ConfigError(
                "the model cannot be loaded",
                where=str(folder.path),
                why=f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
                fix="config.json and the weights must be of the same model; download it again",
            ) from error
    missing = sorted(key for key in found["missing_keys"] if folder.native or not any(part in key for part in _UNUSED))
    if missing:
        raise ConfigError(
            f"the weights lack {len(missing)} of the model's tensors",
            where=str(folder.path),
            why=f"{', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}; random numbers would be used instead",
            fix="config.json and the weights must be of the same model; download it again",
        )
    model = model.eval().requires_grad_(False).to(device)
    if not folder.native:
        return Loaded(model, None)
    return Loaded(getattr(model, model.base_model_prefix), model)


def native_logits(model: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Logits [n, outputs] of the model's own head for pooled vectors [n, hidden] of its dtype.

    What each class of transformers does behind the last layer, in evaluation mode.
    """
    kind = model.config.model_type
    if kind == "modernbert":
        return _tensor(model.classifier(model.head(vectors)))
    if kind == "distilbert":
        return _tensor(model.classifier(model.pre_classifier(vectors).relu()))
    first = vectors[:, None]  # these take the first token of a sequence themselves
    return _tensor(model.classifier(model.bert.pooler(first) if kind == "bert" else first))


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' report on tensors that are not used, and its progress bar."""
    from transformers.utils import logging as library_logging

    logging: Any = library_logging  # some of its functions are not typed

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
