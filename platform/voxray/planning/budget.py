"""What training may take: memory, and time on a device of a certain speed."""

from dataclasses import dataclass
from typing import Literal

from voxray.console.units import parse_bytes

GIB = 2**30
# What a GPU of 8, 12, 24 and 40 GB leaves for training. With M the rules give the patches of nnU-Net's default.
PRESETS = {"S": 13 * GIB // 2, "M": 21 * GIB // 2, "L": 21 * GIB, "XL": 36 * GIB}


@dataclass(frozen=True)
class Budget:
    """What training may take.

    Attributes
    ----------
    memory_bytes : int
        Peak memory of training.
    minutes : float
        Time of training.
    gpu : bool
        Whether the device is a GPU.
    flops_per_s : float
        Floating-point operations that the device does in a second of training.
    precision : {"auto", "bfloat16", "float32"}
        The faster one on the device.
    measured : bool
        Whether the speed was measured here; otherwise it is assumed.
    """

    memory_bytes: int
    minutes: float
    gpu: bool
    flops_per_s: float
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    measured: bool = False


def parse_memory(text: str) -> int:
    """Bytes of a preset such as ``M``, or of a size such as ``8GiB``; ConfigError where it is neither."""
    return PRESETS.get(text.upper()) or parse_bytes(text, "--memory")
