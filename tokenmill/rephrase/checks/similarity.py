"""Cosine between embeddings of output and source, by an encoder that lies in a folder (sentence-transformers' form).

Mean pooling over the last hidden states (arXiv:1908.10084). What lies behind `max_tokens` of a text is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError
from tokenmill.rephrase.checks.words import Texts

_BATCH = 32
"""Texts at a time; of similar length, so that little is padding."""


class Similarity:
    """An encoder and what it needs. Loaded at the first use; not for several threads at once."""

    def __init__(self, folder: str, *, device: str = "cpu", max_tokens: int = 256) -> None:
        """folder: config.json, weights and tokenizer. device: of torch. ConfigError where there is no such model."""
        if not (Path(folder) / "config.json").is_file():
            raise ConfigError(
                f"no encoder in {folder!r}",
                why="there is no config.json",
                fix="give the folder of an encoder such as all-MiniLM-L6-v2, or none",
            )
        self._folder, self._device, self._max_tokens = folder, device, max_tokens

    def cosines(self, outputs: Sequence[str], sources: Texts) -> npt.NDArray[np.float32]:
        """(n,): from -1 to 1, output i and its source."""
        own, known = self.embed(outputs), self.embed(sources.distinct)
        cosines: npt.NDArray[np.float32] = (own * known[sources.place]).sum(axis=1)
        return cosines

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(n, width), each of length 1; zeros for a text without tokens."""
        import torch

        model, tokenizer = self._loaded
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = np.zeros((len(texts), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), _BATCH):
                places = order[start : start + _BATCH]
                chosen = [texts[place] or " " for place in places]
                tokens = tokenizer(
                    chosen, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
                ).to(self._device)
                states = model(**tokens).last_hidden_state.float()
                mask = tokens["attention_mask"].unsqueeze(-1)
                means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
                found[places] = torch.nn.functional.normalize(means, dim=1).cpu().numpy()
        return found

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ConfigError(
                "similarity wants the packages torch and transformers",
                why=str(error),
                fix="pip install 'tokenmill[gpu]', or set no encoder",
            ) from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            model = AutoModel.from_pretrained(self._folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the encoder in {self._folder!r} cannot be loaded",
                why=str(error).splitlines()[0],
                fix="give a folder that transformers' AutoModel and AutoTokenizer load",
            ) from error
        return model.eval().to(self._device), tokenizer
