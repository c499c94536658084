"""The loader against decoding the same shards, and against reading patches one by one with Zarr.

Zarr reads an array of its own, with a chunk for each patch, without shards and with the codec of the store.
`peers.py` compares the loader with other libraries' loaders.

Usage: python benchmarks/loader.py [--scans 24] [--repeats 5]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from _helpers.chests import chest_experiment, fill_store, prepare, write_chests
from zarr.codecs import BloscCodec
from zarr.core.buffer import default_buffer_prototype

from voxray.loader.loader import PatchLoader
from voxray.store.read import PatchStore, open_store

BATCH = 64
PER_SCAN = 160
SINGLE = 300
BUFFER_BYTES = 2**27


def decode(store: PatchStore) -> int:
    """Decode every shard, one after the other, into the same memory."""
    images, slots = store.open_images("train"), store.info.patches_per_shard
    memory = np.empty((slots, *store.info.patch_shape), store.info.dtype)
    for shard in range(store.info.shards["train"]):
        out = default_buffer_prototype().nd_buffer.from_numpy_array(memory)
        images.get_basic_selection(slice(shard * slots, (shard + 1) * slots), out=out)
    return store.index.num_rows


def read_epoch(loader: PatchLoader, epoch: int) -> int:
    """One shuffled epoch."""
    return sum(len(batch.images) for batch in loader.epoch(epoch))


def write_patches(store: PatchStore, path: Path) -> None:
    """The same patches with a chunk for each."""
    patches = store.open_images("train")[:]
    codec = BloscCodec(cname="lz4", shuffle="bitshuffle")
    zarr.create_array(path, data=patches, chunks=(1, *patches.shape[1:]), compressors=codec)


def zarr_patches(path: Path, slots: np.ndarray) -> int:
    """Some patches one by one in random order."""
    images = zarr.open_array(path, mode="r")
    for slot in np.random.default_rng(0).permutation(slots)[:SINGLE]:
        np.asarray(images[int(slot)])
    return min(SINGLE, len(slots))


def rate(work: Callable[[], int]) -> float:
    """Patches per second."""
    began = time.perf_counter()
    return work() / (time.perf_counter() - began)


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
        single, slots = Path(folder) / "patches", store.rows("train")["slot"].to_numpy()
        write_patches(store, single)
        loader = PatchLoader(store, "train", BATCH, seed=0, buffer_bytes=BUFFER_BYTES)
        sides: dict[str, Callable[[int], int]] = {
            "decode": lambda _: decode(store),
            "loader": lambda epoch: read_epoch(loader, epoch),
            "zarr_patches": lambda _: zarr_patches(single, slots),
        }
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for epoch in range(options.repeats):
            for name, side in sides.items():
                rates[name].append(rate(lambda side=side, epoch=epoch: side(epoch)))  # type: ignore[misc]
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, patches in middle.items():
        print(f"{name:14} {patches:10,.0f} patches/s  {patches * store.info.patch_bytes / 2**20:8,.0f} MiB/s")
    result = {"benchmark": "loader", "patches": store.index.num_rows}
    result |= {"vs_zarr_patches": round(middle["loader"] / middle["zarr_patches"], 2)}
    print(json.dumps({**result, "ratio": round(middle["loader"] / middle["decode"], 3)}))


if __name__ == "__main__":
    main()
