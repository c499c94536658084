"""The memory of this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

# Limits of a container by cgroups, version 2 and 1; "max" or a huge number means no limit.
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory(limits: Sequence[Path] = CGROUP_LIMITS) -> int:
    """Bytes of memory of the machine or container, whichever is less."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    texts = [path.read_text(encoding="ascii").strip() for path in limits if path.is_file()]
    return min(sizes + [int(text) for text in texts if text.isdigit()])
