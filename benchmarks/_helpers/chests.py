"""Scans for benchmarks: phantom chests in LUNA16 layout, uncompressed and as large as real ones."""

import shutil
from pathlib import Path

import numpy as np

from voxray.config.experiment import Experiment
from voxray.patches.planned import plan_experiment
from voxray.phantom.luna16 import UPRIGHT, draw_scan
from voxray.scans.write import write_metaimage
from voxray.store.finish import finish_store
from voxray.store.layout import StoreInfo
from voxray.store.parts import shard_keys
from voxray.store.prepare import prepare_store
from voxray.store.write import write_shard

SHAPE = (130, 512, 512)  # z, y, x
SPACING_MM = (0.7, 0.7, 1.25)
CHESTS = 3  # different ones
PATCHES = 9


def write_chests(root: Path, scans: int, patches: int = PATCHES, seed: int = 0) -> None:
    """Write scans of 130 slices of 512×512 with some candidates each, the first of them a nodule."""
    rng = np.random.default_rng(seed)
    z, y, x = SHAPE
    chests = [draw_scan(seed, number, matrix=x, nodules_per_scan=(4, 12)).voxels for number in range(CHESTS)]
    lines = ["seriesuid,coordX,coordY,coordZ,class"]
    for number in range(scans):
        name = f"1.2.840.{number:04d}"
        folder = root / f"subset{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        # The same few chests, each time shifted, and cut or repeated to the number of slices.
        chest = np.roll(chests[number % CHESTS], number, axis=(0, 2))
        voxels = np.resize(chest, (z, y, x))
        write_metaimage(folder / f"{name}.mhd", voxels, spacing_mm=SPACING_MM, origin_mm=(0, 0, 0), direction=UPRIGHT)
        for order in range(patches):
            point = rng.uniform((60, 60, 10), (450, 450, 120)) * SPACING_MM
            lines.append(",".join([name, *(f"{value:.3f}" for value in point), str(int(order == 0))]))
    (root / "candidates.csv").write_text("\n".join(lines) + "\n")


def chest_experiment(root: Path, out: Path, **sections: object) -> Experiment:
    """All patches of these scans in one split."""
    return Experiment.model_validate(
        {
            "name": "benchmark",
            "out": str(out),
            "data": {"layout": "luna16", "root": str(root)},
            "split": {"val": 0, "test": 0},
            "patches": {"size": [64, 64, 10], "negatives_per_positive": "all", "oversample_rotations": []},
            "model": {"architecture": "none.json"},
            **sections,
        }
    )


def prepare(spec: Experiment) -> StoreInfo:
    """A store with its plan and arrays, but no patches yet."""
    shutil.rmtree(spec.out, ignore_errors=True)
    manifest, plan = plan_experiment(spec)
    return prepare_store(spec.store_path, plan, manifest)


def fill_store(spec: Experiment, info: StoreInfo) -> None:
    """Write all patches and the index, in this process."""
    for split, shard in shard_keys(info):
        write_shard(spec.store_path, Path(spec.data.root), split, shard)
    finish_store(spec.store_path, info, (), 0.0)
