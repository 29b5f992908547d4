"""Peaks by the names that torch tells; what is not known stays unknown."""

from __future__ import annotations

import pytest

from tokenmill.train.devices import device_name, memory_bytes, peak_flops, utilisation


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA B200", 2250),
    ],
)
def test_known_devices(name: str, teraflops: float) -> None:
    assert peak_flops(name) == teraflops * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "cpu",
        "",
        "Tesla V100-SXM2-16GB",
        "NVIDIA H200 MIG 1g.18gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "NVIDIA L400",
        "AMD Instinct MI300X",
    ],
)
def test_others_are_not_guessed(name: str) -> None:
    assert peak_flops(name) is None


def test_utilisation_by_hand() -> None:
    # 0.774 GFLOP a token at 448,000 tokens/s of 989 TFLOP/s
    assert utilisation(0.774e9 * 448_000, 1.0, 989e12) == pytest.approx(0.3506, abs=1e-4)
    assert utilisation(1e15, 2.0, 1e15, devices=2) == 0.25
    assert utilisation(1e15, 1.0, None) is None


def test_a_cpu_has_no_peak_and_no_memory_of_its_own() -> None:
    assert device_name("cpu") == "cpu"
    assert memory_bytes("cpu") is None
