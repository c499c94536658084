"""Resizing a scan to a network's input, against ``scipy.ndimage.zoom`` with ``order=1``.

512×512×40 int16 → 128×128×64, once in the memory order of NIfTI (x runs fastest, x and y run backward) and once in C
order. One process, one thread, both sides in turn; times are processor times. `ratio` is the lower of both.
Usage: python benchmarks/resize.py [--repeats 15]
"""

import argparse
import json
import statistics
import time

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from voxray.scans.resample import resize
from voxray.volume import Volume

OLD, NEW = (512, 512, 40), (128, 128, 64)
FACTORS = [new / old for new, old in zip(NEW, OLD, strict=True)]


def with_zoom(voxels: NDArray[np.int16]) -> NDArray[np.int16]:
    """SciPy's side."""
    return np.asarray(zoom(voxels, FACTORS, order=1))


def with_resize(voxels: NDArray[np.int16]) -> NDArray[np.generic]:
    """Ours."""
    return resize(Volume(voxels[None], np.eye(4)), NEW, "benchmark").array[0]


def main() -> None:
    """Time both sides in both layouts and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    # The time does not depend on the voxels.
    stored = np.asfortranarray(np.random.default_rng(0).integers(-1000, 400, OLD, dtype=np.int16))
    ratios = {}
    for layout, voxels in (("nifti", stored[::-1, ::-1]), ("c_order", np.ascontiguousarray(stored))):
        # Both round to whole numbers, SciPy from double precision, so halves may round differently.
        difference = np.abs(with_zoom(voxels).astype(int) - with_resize(voxels)).max()
        if difference > 1:
            raise SystemExit(f"both sides differ by {difference}")
        times: dict[str, list[float]] = {"zoom": [], "ours": []}
        for _ in range(repeats):
            for name, side in (("zoom", with_zoom), ("ours", with_resize)):
                began = time.process_time()
                side(voxels)
                times[name].append(time.process_time() - began)
        theirs, ours = (statistics.median(values) for values in times.values())
        print(f"{layout:8} zoom {1000 * theirs:6.1f} ms, ours {1000 * ours:5.1f} ms: {theirs / ours:.1f} times as fast")
        ratios[layout] = round(theirs / ours, 1)
    print(json.dumps({"benchmark": "resize", "ratios": ratios, "ratio": min(ratios.values())}))


if __name__ == "__main__":
    main()
