"""How much memory there is to train in, and whether a network fits it."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from voxray.console.units import bytes_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost

# What a container may use, in cgroups of version 2 and of version 1; "max" or a huge number where there is no limit.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(device: torch.device, limits: Sequence[Path] = CGROUP_LIMITS) -> int:
    """All memory of a GPU; of a CPU, that of the machine, or of the container where that is less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [path.read_text(encoding="ascii").strip() for path in limits if path.is_file()]
    return min(known + [int(text) for text in texts if text.isdigit()])


def check_memory(cost: Cost, batch_size: int, device: torch.device) -> None:
    """Raise ConfigError where training would need more memory than there is; better now than when it has run out."""
    there = memory_bytes(device)
    if cost.peak_bytes > there:
        place = "the GPU" if device.type == "cuda" else "the machine"
        problem = f"batches of {batch_size} need about {bytes_text(cost.peak_bytes)}, {place} has {bytes_text(there)}"
        remedy = "Lower it, spread it over more training.workers, or take a smaller network"
        raise ConfigError("training.batch_size", problem, remedy)
