"""The memory of a device, and whether training a network fits it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from voxray.console.units import bytes_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost

# Limits of a container by cgroups, version 2 and 1; "max" or a huge number means no limit.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(device: torch.device, limits: Sequence[Path] = CGROUP_LIMITS) -> int:
    """Memory of a GPU, or of the machine or container that a CPU belongs to, whichever is less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [path.read_text(encoding="ascii").strip() for path in limits if path.is_file()]
    return min(sizes + [int(text) for text in texts if text.isdigit()])


def check_memory(cost: Cost, batch_size: int, device: torch.device) -> None:
    """Raise ConfigError if training needs more memory than the device has, before it runs out."""
    available = memory_bytes(device)
    if cost.peak_bytes > available:
        owner = "the GPU" if device.type == "cuda" else "the machine"
        needed = bytes_text(cost.peak_bytes)
        problem = f"batches of {batch_size} need about {needed}, {owner} has {bytes_text(available)}"
        remedy = "Lower it, use more training.workers, or choose a smaller network"
        raise ConfigError("training.batch_size", problem, remedy)
