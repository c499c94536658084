"""The loader against decoding the same shards, against reading patches one by one with Zarr, and against MONAI.

Usage: python benchmarks/loader.py [--scans 24] [--repeats 5]
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import zarr
from _helpers.chests import chest_experiment, fill_store, prepare, write_chests
from zarr.core.buffer import default_buffer_prototype

from voxray.loader.loader import PatchLoader
from voxray.loader.normalize import scale_window
from voxray.scans.read import open_scan, read_region
from voxray.store.read import PatchStore, open_store
from voxray.volume import PatchBox

BATCH = 64
PER_SCAN = 160
SINGLE = 300
WORKERS = 1  # the loader reads with one background thread
WINDOW = (-1000.0, 400.0)
BUFFER_BYTES = 2**27


def decode(store: PatchStore) -> int:
    """Decode every shard, one after the other, into the same memory."""
    images, slots = store.open_images("train"), store.info.patches_per_shard
    memory = np.empty((slots, *store.info.patch_shape), store.info.dtype)
    for shard in range(store.info.shards["train"]):
        out = default_buffer_prototype().nd_buffer.from_numpy_array(memory)
        images.get_basic_selection(slice(shard * slots, (shard + 1) * slots), out=out)
    return store.index.num_rows


def read_epoch(loader: PatchLoader, epoch: int, *, scaled: bool) -> int:
    """One shuffled epoch."""
    count = 0
    for batch in loader.epoch(epoch):
        count += len(scale_window(batch.images, WINDOW) if scaled else batch.images)
    return count


def zarr_patches(store: PatchStore) -> int:
    """Some patches one by one in random order, as Zarr reads them."""
    images = zarr.open_array(str(store.path / "train" / "image"), mode="r")
    for slot in np.random.default_rng(0).permutation(store.rows("train")["slot"].to_numpy())[:SINGLE]:
        np.asarray(images[int(slot)])
    return min(SINGLE, store.index.num_rows)


def monai_loader(store: PatchStore, root: Path, cache: Path) -> Iterable[torch.Tensor]:
    """MONAI's PersistentDataset of the same patches with the same scaling, its cache filled."""
    from monai.data import DataLoader, PersistentDataset
    from monai.transforms import Compose, ScaleIntensityRange

    rows = store.rows("train").to_pylist()
    scale = ScaleIntensityRange(*WINDOW, 0.0, 1.0, clip=True)

    def cut(row: dict[str, object]) -> torch.Tensor:
        start = tuple(int(str(row[f"{axis}_start"])) for axis in "xyz")
        volume = open_scan(root / str(row["path"]))
        return torch.from_numpy(read_region(volume, PatchBox((start[0], start[1], start[2]), store.info.size), -1000))

    data = PersistentDataset(rows, Compose([cut, scale]), cache_dir=cache)
    for number in range(len(data)):
        data[number]
    loader: Iterable[torch.Tensor] = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=WORKERS)
    return loader


def rate(work: Callable[[], int]) -> float:
    """Patches per second."""
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


def check_same(store: PatchStore, theirs: Iterable[torch.Tensor]) -> None:
    """Raise unless both sides give the same patches."""
    ours = [scale_window(batch.images, WINDOW) for batch in PatchLoader(store, "train", BATCH).epoch(None)]
    sums = [torch.cat(list(part)).double().mean(dim=(1, 2, 3, 4)).sort().values for part in (ours, theirs)]
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-5, atol=1e-6)


def main() -> None:
    """Measure every side in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "scans", Path(folder) / "run"
        write_chests(root, options.scans, patches=PER_SCAN)
        spec = chest_experiment(root, out)
        fill_store(spec, prepare(spec))
        store = open_store(spec.store_path)
        loader = PatchLoader(store, "train", BATCH, seed=0, buffer_bytes=BUFFER_BYTES)
        sides: dict[str, Callable[[int], int]] = {
            "decode": lambda _: decode(store),
            "loader": lambda epoch: read_epoch(loader, epoch, scaled=False),
            "loader_scaled": lambda epoch: read_epoch(loader, epoch, scaled=True),
            "zarr_patches": lambda _: zarr_patches(store),
        }
        if importlib.util.find_spec("monai"):
            theirs = monai_loader(store, root, Path(folder) / "cache")
            check_same(store, theirs)
            sides["monai"] = lambda _: sum(len(batch) for batch in theirs)
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for epoch in range(options.repeats):
            for name, side in sides.items():
                rates[name].append(rate(lambda side=side, epoch=epoch: side(epoch)))  # type: ignore[misc]
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, patches in middle.items():
        print(f"{name:14} {patches:10,.0f} patches/s  {patches * store.info.patch_bytes / 2**20:8,.0f} MiB/s")
    result = {"benchmark": "loader", "patches": store.index.num_rows}
    result |= {"vs_zarr_patches": round(middle["loader"] / middle["zarr_patches"], 2)}
    if "monai" in middle:
        result["vs_monai"] = round(middle["loader_scaled"] / middle["monai"], 2)
    print(json.dumps({**result, "ratio": round(middle["loader"] / middle["decode"], 3)}))


if __name__ == "__main__":
    main()
