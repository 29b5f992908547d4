"""Models on devices, for callers that do not load torch themselves."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tokenmill.core.errors import ConfigError
from tokenmill.train.config import ModelConfig

if TYPE_CHECKING:
    from tokenmill.train.model import Decoder


def choose_device(wanted: str = "auto") -> str:
    """cpu or cuda; auto is CUDA where it is. ConfigError where CUDA is asked for and not there, or torch is not."""
    try:
        import torch
    except ImportError as error:
        raise ConfigError("torch is not installed", why=str(error), fix="pip install 'tokenmill[ablate]'") from error
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError(
            "there is no CUDA device", why="torch sees none", fix="--device cpu, or a build of torch with CUDA"
        )
    return "cuda" if there and wanted != "cpu" else "cpu"


def make_model(config: ModelConfig, device: str) -> Decoder:
    """A model on a device, with whatever weights: training initialises or loads them.

    Models that nobody holds any more are freed first. Compiled blocks refer to each other in circles, so without that
    the memory of two models would be needed until Python's collector comes by.
    """
    import torch

    from tokenmill.train.model import Decoder

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    with torch.device(device):
        return Decoder(config)
