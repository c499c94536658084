"""Ingest against SimpleITK, which reads each whole scan once or the region of each patch, and writes the same patches.

All sides run in one thread without Ray, read files from the page cache and write the same Zarr arrays.
Usage: python benchmarks/ingest.py [--scans 24] [--repeats 3]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import SimpleITK
import zarr
from _helpers.chests import SHAPE, chest_experiment, fill_store, prepare, write_chests
from numcodecs import blosc

from voxray.store.layout import PARTS_FOLDER, PLAN_FILE

# A header, and a function from a box (x, y, z) to its voxels (z, y, x).
Region = tuple[SimpleITK.Image, Callable[[tuple[slice, slice, slice]], Any]]


def one_thread() -> None:
    """Limit all libraries in use to one thread."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})


def ours(root: Path, out: Path) -> float:
    """Seconds to read, write and index all patches."""
    spec = chest_experiment(root, out)
    info = prepare(spec)
    began = time.perf_counter()
    fill_store(spec, info)
    return time.perf_counter() - began


def whole_scans(path: Path) -> Region:
    """Read a whole scan, and cut regions from it."""
    image = SimpleITK.ReadImage(str(path))
    voxels = SimpleITK.GetArrayFromImage(image)
    return image, lambda box: voxels[box[::-1]]


def regions(path: Path) -> Region:
    """Read the header of a scan, and regions by themselves."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    header = SimpleITK.Image(1, 1, 1, SimpleITK.sitkInt16)
    header.SetOrigin(reader.GetOrigin())
    header.SetSpacing(reader.GetSpacing())
    header.SetDirection(reader.GetDirection())

    def read(box: tuple[slice, slice, slice]) -> np.ndarray:
        reader.SetExtractIndex([side.start for side in box])
        reader.SetExtractSize([side.stop - side.start for side in box])
        return SimpleITK.GetArrayFromImage(reader.Execute())

    return header, read


def simple_itk(root: Path, out: Path, open_scan: Callable[[Path], Region]) -> float:
    """Seconds to read the scans with SimpleITK and write the same patches to the same arrays."""
    spec = chest_experiment(root, out)
    info = prepare(spec)
    rows = pq.read_table(spec.store_path / PARTS_FOLDER / PLAN_FILE).to_pylist()
    began = time.perf_counter()
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(str(spec.store_path / "train" / "image"), mode="r+")
    block = np.zeros((info.patches_per_shard, *info.patch_shape), info.dtype)
    path = ""
    for number, row in enumerate(rows):
        if row["path"] != path:
            path = row["path"]
            image, read = open_scan(root / path)
        x, y, z = image.TransformPhysicalPointToIndex((-row["x_mm"], -row["y_mm"], row["z_mm"]))
        z = min(max(z - 5, 0), SHAPE[0] - 10)
        patch = read((slice(x - 32, x + 32), slice(y - 32, y + 32), slice(z, z + 10)))
        block[row["slot"] % info.patches_per_shard, 0] = patch.transpose(2, 1, 0)
        if number + 1 == len(rows) or rows[number + 1]["shard"] != row["shard"]:
            first = row["shard"] * info.patches_per_shard
            array[first : first + info.patches_per_shard] = block
            block[:] = 0
    return time.perf_counter() - began


def main() -> None:
    """Run all sides in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "scans", Path(folder) / "run"
        write_chests(root, options.scans)
        sides: dict[str, Callable[[], float]] = {
            "ours": lambda: ours(root, out),
            "whole_scans": lambda: simple_itk(root, out, whole_scans),
            "regions": lambda: simple_itk(root, out, regions),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for repeat in range(options.repeats + 1):
            for name, side in sides.items():
                seconds = side()
                if repeat:  # the first time is for the page cache and for imports
                    times[name].append(seconds)
    per_scan = {name: statistics.median(values) / options.scans for name, values in times.items()}
    for name, seconds in per_scan.items():
        print(f"{name:12} {1000 * seconds:8.2f} ms a scan")
    ratios = {f"vs_{name}": round(per_scan[name] / per_scan["ours"], 2) for name in ("whole_scans", "regions")}
    print(json.dumps({"benchmark": "ingest", "scans": options.scans, **per_scan, **ratios}))


if __name__ == "__main__":
    main()
