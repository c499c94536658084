"""Peak memory of ingest on Ray, of workers and driver, for a small and a large set of scans.

The scans of the larger set are hard links to those of the smaller one under new names.
Usage: python benchmarks/memory.py [--scans 24] [--times 8]
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import psutil
from _helpers.chests import chest_experiment, prepare, write_chests
from _helpers.watching import watching

from voxray.executors.ray.connect import cluster
from voxray.executors.ray.shard_tasks import write_shards
from voxray.store.finish import finish_store
from voxray.store.parts import unfinished_shards

EVERY_S = 0.02


class Peaks:
    """Highest resident memory of this process and of its Ray workers."""

    def __init__(self) -> None:
        self.driver = self.worker = 0

    def look(self) -> None:
        """Read the current memory."""
        process = psutil.Process()
        self.driver = max(self.driver, process.memory_info().rss)
        for child in process.children(recursive=True):
            try:
                if child.name().startswith("ray::"):
                    self.worker = max(self.worker, child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


def link_copies(root: Path, target: Path, times: int) -> None:
    """The scans of `root` under several names each."""
    header, *lines = (root / "candidates.csv").read_text().splitlines()
    rows = [header]
    for copy in range(times):
        for path in root.glob("subset*/*.mhd"):
            folder = target / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            os.link(path, folder / f"{path.stem}.{copy}.mhd")
            # The header names its voxels, so that these need no copy of their own.
            raw = folder / f"{path.stem}.raw"
            if not raw.exists():
                os.link(path.with_suffix(".raw"), raw)
        rows += [f"{line.split(',')[0]}.{copy},{line.split(',', 1)[1]}" for line in lines]
    (target / "candidates.csv").write_text("\n".join(rows) + "\n")


def peak(root: Path, out: Path) -> dict[str, float]:
    """Peak memory in MiB of one ingest."""
    spec = chest_experiment(root, out)
    info = prepare(spec)
    peaks = Peaks()
    with watching(peaks.look, EVERY_S):
        for _ in write_shards(spec.store_path, root, unfinished_shards(spec.store_path, info)):
            pass
        finish_store(spec.store_path, info, (), 0.0)
    return {"scans": info.scans, "worker_mib": peaks.worker / 2**20, "driver_mib": peaks.driver / 2**20}


def main() -> None:
    """Measure both sets and print their peaks; `ratio` is 1 GiB over the worker's peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--times", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster():
        base = Path(folder)
        write_chests(base / "scans", options.scans)
        link_copies(base / "scans", base / "many", options.times)
        results = [peak(base / name, base / f"run-{name}") for name in ("scans", "many")]
    for result in results:
        print("  ".join(f"{key} {value:8,.0f}" for key, value in result.items()))
    growth = results[1]["driver_mib"] - results[0]["driver_mib"]
    summary = {"benchmark": "memory", "few": results[0], "many": results[1], "driver_growth_mib": round(growth, 1)}
    print(json.dumps({**summary, "ratio": round(1024 / results[1]["worker_mib"], 2)}))


if __name__ == "__main__":
    main()
