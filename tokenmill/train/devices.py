"""What devices can do: dense bf16 peaks, for model FLOPs utilisation. A device that is not listed is unknown: no guess.

Sources: the makers' data sheets, for dense products of bfloat16 with float32 sums. Where a sheet tells the rate with
2:4 sparsity, it is half of that; of GeForce cards it is the white paper's rate with FP32 accumulate.
"""

from __future__ import annotations

import re

_PEAKS: tuple[tuple[str, float], ...] = (
    (r"NVIDIA GB200", 2500),
    (r"NVIDIA B200", 2250),
    (r"NVIDIA H200", 989),
    (r"NVIDIA H200 NVL", 835),
    (r"NVIDIA GH200 (480|120)GB", 989),
    (r"NVIDIA H100 80GB HBM3", 989),
    (r"NVIDIA H100 NVL", 835),
    (r"NVIDIA H100 PCIe", 756),
    (r"NVIDIA H20", 148),
    (r"NVIDIA A100[- ]SXM4-(40|80)GB", 312),
    (r"NVIDIA A100([- ]PCIE-40GB|-PCIE-80GB| 80GB PCIe)", 312),
    (r"NVIDIA A40", 149.7),
    (r"NVIDIA A10", 125),
    (r"NVIDIA L40S", 362),
    (r"NVIDIA L40", 181),
    (r"NVIDIA L4", 121),
    (r"NVIDIA RTX A6000", 154.8),
    (r"NVIDIA RTX 6000 Ada Generation", 364.2),
    (r"NVIDIA GeForce RTX 5090", 209.5),
    (r"NVIDIA GeForce RTX 4090", 165.2),
    (r"NVIDIA GeForce RTX 3090", 71),
)
"""Name as torch.cuda.get_device_name tells it (whole), TFLOP/s. A slice of a device (MIG) has another name."""


def peak_flops(name: str) -> float | None:
    """Dense bf16 FLOP/s of a device, by the name that torch tells; None where it is not known (also for CPUs)."""
    for pattern, peak in _PEAKS:
        if re.fullmatch(pattern, name):
            return peak * 1e12
    return None


def utilisation(flops: float, seconds: float, peak: float | None, devices: int = 1) -> float | None:
    """Model FLOPs utilisation, 0 to 1: FLOPs of the model by what the devices could have done; None: peak unknown."""
    if peak is None or seconds <= 0:
        return None
    return flops / seconds / (peak * devices)


def device_name(device: str) -> str:
    """Name of a device as torch tells it; "cpu" for the CPU. `device`: as torch writes it, such as "cuda:0"."""
    if device.startswith("cuda"):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(device)
    return "cpu"


def memory_bytes(device: str) -> int | None:
    """Memory of a CUDA device; None for the CPU, and where there is no such device here."""
    if device.startswith("cuda"):
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.get_device_properties(device).total_memory)
    return None
