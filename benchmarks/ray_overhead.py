"""An epoch in Ray Train against one in the plain loop: same store, network, patches and threads.

Both sides train in turn, several times, so that other processes disturb both. The time of an epoch is measured from one
checkpoint to the next, so it includes training, validation, checkpoint and report; the first epoch of a training is
left out. Ray does not run while the plain loop trains. Both sides use one thread less than there are cores: Ray's dozen
processes take about a sixth of a core, and all threads of a step wait for an interrupted one. `--threads` sets another
number. `ratio` is the plain loop's time over Ray's.
Usage: python benchmarks/ray_overhead.py [--scans 10] [--epochs 5] [--rounds 3] [--threads N]
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import torch
from _helpers.chests import chest_experiment, fill_store, prepare, write_chests
from _helpers.clusters import local_cluster
from _helpers.watching import watching

from voxray.config.experiment import Experiment
from voxray.executors import get_executor
from voxray.stages.train import train as train_stage

PROJECT = Path(__file__).resolve().parents[1]
EVERY_S = 0.05
PER_SCAN = 48


def epoch_times(spec: Experiment, train: Callable[[], None]) -> list[float]:
    """Seconds of each epoch of a training but the first, by when its checkpoint was replaced."""
    folder = spec.out_path / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint, seen = folder / "last.safetensors", list[int]()

    def look() -> None:
        if checkpoint.exists() and (now := checkpoint.stat().st_mtime_ns) not in seen[-1:]:
            seen.append(now)

    with watching(look, EVERY_S):
        train()
    return [(end - begin) / 1e9 for begin, end in pairwise(seen)]


def main() -> None:
    """Measure both sides in turn and print medians and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    options = parser.parse_args()
    # Ray would lower the priority of its workers.
    os.environ.update({"RAY_worker_niceness": "0", "OMP_NUM_THREADS": str(options.threads)})
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_chests(Path(folder) / "scans", options.scans, patches=PER_SCAN)
        spec = chest_experiment(
            Path(folder) / "scans",
            Path(folder) / "run",
            split={"val": 0.2, "test": 0},
            model={"architecture": str(PROJECT / "configs" / "architectures" / "arch3dsm.json")},
            training={"epochs": options.epochs, "batch_size": 32, "device": "cpu"},
            tracking={"mode": "disabled"},
        )
        fill_store(spec, prepare(spec))
        times: dict[str, list[float]] = {"plain": [], "ray": []}
        for _ in range(options.rounds):
            for name, seconds in times.items():
                # A finished stage would be reused.
                (spec.out_path / "stages.json").unlink(missing_ok=True)
                with local_cluster(options.threads) if name == "ray" else nullcontext():
                    executor = get_executor("ray" if name == "ray" else "local")
                    seconds += epoch_times(spec, lambda executor=executor: train_stage(spec, executor, print))  # type: ignore[misc]
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in times.items():
        print(f"{name:6} {middle[name]:6.2f} s an epoch, of {', '.join(f'{second:.2f}' for second in seconds)}")
    print(json.dumps({"benchmark": "ray_overhead", "ratio": round(middle["plain"] / middle["ray"], 3)}))


if __name__ == "__main__":
    main()
