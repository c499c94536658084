"""Ingest against reading each whole scan once with SimpleITK and writing the same patches.

Both sides run in one thread without Ray, read files from the page cache and write the same Zarr arrays.
Usage: python benchmarks/ingest.py [--scans 24] [--repeats 3]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import SimpleITK
import zarr
from _helpers.chests import chest_experiment, fill_store, prepare, write_chests
from numcodecs import blosc

from voxray.store.layout import PARTS_FOLDER, PLAN_FILE


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


def whole_scans(root: Path, out: Path) -> float:
    """Seconds to read each whole scan with SimpleITK and write the same patches to the same arrays."""
    spec = chest_experiment(root, out)
    info = prepare(spec)
    rows = pq.read_table(spec.store_path / PARTS_FOLDER / PLAN_FILE).to_pylist()
    began = time.perf_counter()
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.open_array(str(spec.store_path / "train" / "image"), mode="r+")
    block = np.zeros((info.patches_per_shard, *info.patch_shape), info.dtype)
    path, voxels, image = "", np.empty(0), SimpleITK.Image()
    for number, row in enumerate(rows):
        if row["path"] != path:
            path = row["path"]
            image = SimpleITK.ReadImage(str(root / path))
            voxels = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
        x, y, z = image.TransformPhysicalPointToIndex((-row["x_mm"], -row["y_mm"], row["z_mm"]))
        low = [x - 32, y - 32, min(max(z - 5, 0), voxels.shape[2] - 10)]
        block[row["slot"] % info.patches_per_shard, 0] = voxels[
            low[0] : low[0] + 64, low[1] : low[1] + 64, low[2] : low[2] + 10
        ]
        if number + 1 == len(rows) or rows[number + 1]["shard"] != row["shard"]:
            first = row["shard"] * info.patches_per_shard
            array[first : first + info.patches_per_shard] = block
            block[:] = 0
    return time.perf_counter() - began


def main() -> None:
    """Run both sides in turn and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "scans", Path(folder) / "run"
        write_chests(root, options.scans)
        whole_scans(root, out)  # once for the page cache and for imports, on both sides
        ours(root, out)
        times: dict[str, list[float]] = {"ours": [], "whole_scans": []}
        for _ in range(options.repeats):
            times["whole_scans"].append(whole_scans(root, out))
            times["ours"].append(ours(root, out))
    patches_per_scan = {name: statistics.median(values) / options.scans for name, values in times.items()}
    for name, seconds in patches_per_scan.items():
        print(f"{name:12} {1000 * seconds:8.2f} ms a scan")
    ratio = patches_per_scan["whole_scans"] / patches_per_scan["ours"]
    print(json.dumps({"benchmark": "ingest", "scans": options.scans, **patches_per_scan, "ratio": round(ratio, 2)}))


if __name__ == "__main__":
    main()
