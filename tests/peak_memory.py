"""Prints the peak memory of segmentations above what the process held before; run in a process of its own."""

import json
from pathlib import Path

import numpy as np
import psutil
import torch
from untrained import untrained_unet

from voxray.inference import ensemble, segmenter
from voxray.inference.ensemble import prepare_scan, segment_scan
from voxray.volume import Volume

SUMS_BYTES = 2**22
CASES = {"short": (64, (48, 48, 48)), "long": (64, (192, 48, 48)), "many classes": (240, (48, 48, 48))}


def peak_above(classes: int, shape: tuple[int, int, int]) -> int:
    """Bytes."""
    run = segmenter.Segmenter(untrained_unet([16, 16, 16], classes, overlap=0.1))
    scan = Volume(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32), np.eye(4))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = psutil.Process().memory_info().rss
    segment_scan([run], prepare_scan([run], scan), sums_bytes=SUMS_BYTES)
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    ensemble.PLANES_BYTES = 2**20
    peak_above(2, (32, 32, 32))  # libraries allocate what they keep
    peaks = {name: peak_above(*case) for name, case in CASES.items()}
    cases = {name: (classes, int(np.prod(shape))) for name, (classes, shape) in CASES.items()}
    print(json.dumps({"extra_bytes": peaks, "cases": cases, "sums_bytes": SUMS_BYTES}))  # noqa: T201
