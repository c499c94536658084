"""Decoding and patching of ``.nii.gz`` against nibabel's ``get_fdata`` with the same patches written.

A scan of 240×240×155 and its mask, four patches of 96×96×96 of both. Both sides single-threaded, no Ray on either, the
files in the page cache for both, the same Zarr arrays written; ours checks image against mask and writes checksums and
the index besides. Seconds are those of the processor, so that neighbors on the machine do not count; the clock's are
printed too.
Usage: python benchmarks/ingest_nifti.py [--kind stripped|head] [--scans 6] [--repeats 7]
"""

import argparse
import gzip
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from _helpers.chests import fill_store
from ingest import one_thread
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.patches.plan import plan_patches
from voxray.phantom.decathlon import AFFINE, LABELS, draw_case
from voxray.scans.read import open_scan
from voxray.store.layout import PARTS_FOLDER, PLAN_FILE, StoreInfo
from voxray.store.prepare import prepare_store

SHAPE = (240, 240, 155)
SIZE = (96, 96, 96)
PATCHES = 4
# Of the voxels in the order of RAS+, after both flips.
RAS_AFFINE = np.array([[1.0, 0, 0, -239], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])


def write_brains(root: Path, kind: str, scans: int, seed: int = 0) -> Manifest:
    """Write one MR sequence of brains, with their masks, and list places for patches in them.

    As "stripped" of all but the brain, 80 % of the voxels are 0 and inflate in no time; as a whole "head", no
    background is exactly 0, which is how scanners write and most tasks of the Decathlon are.
    """
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    listed, samples = [], []
    half = np.array(SIZE) // 2
    for number in range(scans):
        name = f"brain_{number:03d}"
        brain = draw_case(seed, number, shape=SHAPE, channels=1)
        voxels = brain.voxels[..., 0]
        if kind == "head":
            voxels = voxels + np.abs(rng.normal(0, 15, SHAPE)).astype(np.int16)
        write(root / f"{name}.nii.gz", voxels)
        paths = {"path": f"{name}.nii.gz", "label_path": f"{name}_mask.nii.gz"}
        listed.append({"scan_id": name, "patient_id": name, **paths})
        write(root / f"{name}_mask.nii.gz", brain.label)
        for center in rng.integers(half, np.array(SHAPE) - half, (PATCHES, 3)):
            place = RAS_AFFINE[:3, :3] @ center + RAS_AFFINE[:3, 3]
            columns = dict(zip(("x_mm", "y_mm", "z_mm"), place.tolist(), strict=True))
            samples.append({"scan_id": name, "row": len(samples), "label": 0, **columns})
    tables = pa.Table.from_pylist(listed, schema=SCANS), pa.Table.from_pylist(samples, schema=SAMPLES)
    return Manifest(root, LABELS, *tables, quarantine_rows([]))


def write(path: Path, voxels: NDArray[np.generic]) -> None:
    """Write a file as the Decathlon's public ones are: their sizes are those of zlib's level 6."""
    path.write_bytes(gzip.compress(nibabel.Nifti1Image(voxels, AFFINE).to_bytes(), compresslevel=6, mtime=0))


def brain_experiment(root: Path, out: Path) -> Experiment:
    """All patches of these scans in one split."""
    return Experiment.model_validate(
        {
            "name": "benchmark",
            "out": str(out),
            "data": {"layout": "table", "root": str(root)},
            "split": {"val": 0, "test": 0},
            "patches": {"size": SIZE, "negatives_per_positive": "all", "oversample_rotations": [], "pad_value": 0},
            "model": {"architecture": "none.json"},
        }
    )


def with_get_fdata(spec: Experiment, info: StoreInfo) -> None:
    """Read each scan and its mask with ``get_fdata`` and write the same patches to the same arrays."""
    rows = pq.read_table(spec.store_path / PARTS_FOLDER / PLAN_FILE).to_pylist()
    root, folder = Path(spec.data.root), spec.store_path / "train"
    # Looking for empty chunks would read every voxel once more.
    with zarr.config.set({"array.write_empty_chunks": True}):
        arrays = [zarr.open_array(str(folder / name), mode="r+") for name in ("image", "label")]
    blocks = [np.zeros((info.patches_per_shard, *array.shape[1:]), array.dtype) for array in arrays]
    to_voxel = np.linalg.inv(RAS_AFFINE)
    path, volumes = "", []
    for number, row in enumerate(rows):
        if row["path"] != path:
            path = row["path"]
            # The files run to the left and to the back: a view that runs the other way costs nothing.
            volumes = [nibabel.load(root / file).get_fdata()[::-1, ::-1] for file in (path, row["label_path"])]
        center = to_voxel[:3, :3] @ [row["x_mm"], row["y_mm"], row["z_mm"]] + to_voxel[:3, 3]
        x, y, z = np.rint(center).astype(int) - np.array(SIZE) // 2
        for block, volume in zip(blocks, volumes, strict=True):
            patch = volume[x : x + SIZE[0], y : y + SIZE[1], z : z + SIZE[2]]
            block[row["slot"] % info.patches_per_shard] = patch
        if number + 1 == len(rows) or rows[number + 1]["shard"] != row["shard"]:
            first = row["shard"] * info.patches_per_shard
            for array, block in zip(arrays, blocks, strict=True):
                array[first : row["slot"] + 1] = block[: row["slot"] + 1 - first]


def prepare(spec: Experiment, manifest: Manifest) -> StoreInfo:
    """A new store with its plan and arrays, but no patch yet."""
    shutil.rmtree(spec.out, ignore_errors=True)
    return prepare_store(spec.store_path, plan_patches(manifest, spec), manifest)


def seconds(side: Callable[[Experiment, StoreInfo], None], spec: Experiment, manifest: Manifest) -> tuple[float, float]:
    """How long one side takes to fill a new store: the processor's seconds and the clock's."""
    info = prepare(spec, manifest)
    began, began_clock = time.process_time(), time.perf_counter()
    side(spec, info)
    return time.process_time() - began, time.perf_counter() - began_clock


def decode_seconds(path: Path) -> dict[str, float]:
    """The processor's seconds that each side needs to decode one scan, without patches."""
    times: dict[str, list[float]] = {"get_fdata": [], "ours": []}
    for _ in range(7):
        for name, read in (("get_fdata", lambda file: nibabel.load(file).get_fdata()), ("ours", open_scan)):
            began = time.process_time()
            read(path)
            times[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def written(spec: Experiment) -> list[NDArray[np.generic]]:
    """All voxels of the store, and of its masks."""
    folder = spec.store_path / "train"
    return [np.asarray(zarr.open_array(str(folder / name), mode="r")[:]) for name in ("image", "label")]


def main() -> None:
    """Run both sides in turn and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=("stripped", "head"), default="stripped")
    parser.add_argument("--scans", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    one_thread()
    sides = {"get_fdata": with_get_fdata, "ours": fill_store}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "scans"
        spec = brain_experiment(root, Path(folder) / "run")
        manifest = write_brains(root, options.kind, options.scans)
        # Once for the page cache and for imports, and to see that both write the same.
        seconds(with_get_fdata, spec, manifest)
        expected = written(spec)
        seconds(fill_store, spec, manifest)
        if not all(map(np.array_equal, written(spec), expected)):
            raise SystemExit("the two sides wrote different patches")
        for _ in range(options.repeats):
            for name, side in sides.items():
                times[name].append(seconds(side, spec, manifest))
        decoding = decode_seconds(root / manifest.scans["path"][0].as_py())
    medians = {name: np.median(values, axis=0) / options.scans for name, values in times.items()}
    for name, (processor, clock) in medians.items():
        took = f"{1000 * processor:6.1f} ms of the processor a scan, {1000 * clock:6.1f} by the clock"
        print(f"{name:10} {took}; {1000 * decoding[name]:5.1f} to decode an image of {np.prod(SHAPE) * 2 / 1e6:.0f} MB")
    patches_per_scan = {name: round(float(processor), 4) for name, (processor, _) in medians.items()}
    ratio, by_clock = medians["get_fdata"] / medians["ours"]
    figures = {"ratio": round(ratio, 2), "ratio_by_clock": round(by_clock, 2)}
    print(json.dumps({"benchmark": "ingest_nifti", "kind": options.kind, **patches_per_scan, **figures}))


if __name__ == "__main__":
    main()
