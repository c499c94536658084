"""The memory of a device, and whether training a network fits it."""

import torch

from voxray.console.units import bytes_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost
from voxray.storage.machine import machine_memory


def memory_bytes(device: torch.device) -> int:
    """Memory of a GPU, or of the machine or container that a CPU belongs to, whichever is less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()


def check_memory(cost: Cost, batch_size: int, device: torch.device) -> None:
    """Raise ConfigError if training needs more memory than the device has, before it runs out."""
    available = memory_bytes(device)
    if cost.peak_bytes > available:
        owner = "the GPU" if device.type == "cuda" else "the machine"
        needed = bytes_text(cost.peak_bytes)
        problem = f"batches of {batch_size} need about {needed}, {owner} has {bytes_text(available)}"
        remedy = "Lower it, use more training.workers, or choose a smaller network"
        raise ConfigError("training.batch_size", problem, remedy)
