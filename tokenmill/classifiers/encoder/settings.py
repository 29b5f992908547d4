"""Names of the choices that settings of encoders have."""

from __future__ import annotations

from typing import Literal

LongDocuments = Literal["prefix", "windows_mean", "windows_max", "start_middle_end"]
"""What is scored of a text that is longer than the limit; docs/encoders.md."""
LongDocumentsOrTheirs = Literal["", LongDocuments]
"""The same, or empty: what the heads were trained on."""
Pooling = Literal["cls", "mean", "max", "mean_max"]
"""How the vectors of a sequence's tokens become one: that of the first token, their mean, their largest values, or
the mean and the largest values one behind the other. Special tokens count."""
Attention = Literal["auto", "packed", "padded"]
"""Sequences one behind the other without fillers, or padded to a few widths; "auto": packed where the device can."""
Dtype = Literal["auto", "float32", "bfloat16"]
"""Numbers of weights and activations; "auto": float32 on a CPU, bfloat16 on CUDA."""
