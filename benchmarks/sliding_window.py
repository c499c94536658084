"""The sliding window against MONAI's: same network, scan, windows, overlap, weights and batch.

The network is a shipped U-Net, as `voxray predict` runs it: nothing is prepared for either side, each is given the
module and cuts its own windows. Time: both sides in turn in one process; a ratio is the median over rounds of theirs
through ours. It is also taken with a network that costs nothing, which leaves the windows' own cost, and of processor
time, which what else runs on the machine disturbs less. Memory: each side in a process of its own, the peak above what
that process held before (libraries, scan and network).
Usage: python benchmarks/sliding_window.py [--repeats 5] [--batch 4] [--threads 2]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from monai.inferers import sliding_window_inference

from voxray.inference.sliding_window import Predict, slide_slabs
from voxray.models.build import build_model
from voxray.models.spec.load import load_architecture

ARCHITECTURE = Path(__file__).parents[1] / "configs" / "architectures" / "hippocampus_unet3d.json"
SIZE = (128, 128, 64)
WINDOW = (64, 64, 32)
OVERLAP = 0.5
CLASSES = 3
MEMORY_RUNS = 3
MIB = 2**20
# What getrusage counts in.
RSS_BYTES = 1 if sys.platform == "darwin" else 1024

WALL, PROCESSOR = 0, 1

Times = dict[str, list[tuple[float, float]]]
Side = Callable[[torch.Tensor, Predict, int], torch.Tensor]


def ours(volume: torch.Tensor, predict: Predict, batch: int) -> torch.Tensor:
    """Voxray's."""
    return torch.cat([values for _, values in slide_slabs(volume, predict, WINDOW, OVERLAP, batch_size=batch)], dim=1)


@torch.no_grad()
def monai(volume: torch.Tensor, predict: Predict, batch: int) -> torch.Tensor:
    """MONAI's."""
    whole = sliding_window_inference(volume[None], WINDOW, batch, predict, OVERLAP, "gaussian")
    assert isinstance(whole, torch.Tensor)
    return whole[0]


SIDES: dict[str, Side] = {"ours": ours, "monai": monai}


def make_scan() -> torch.Tensor:
    """Noise."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=(1, *SIZE)).astype(np.float32))


def make_network() -> Predict:
    """A U-Net as it starts, in inference."""
    return build_model(load_architecture(ARCHITECTURE), (1, *WINDOW), CLASSES, seed=0).eval()


def make_idle_network(batch: int) -> Predict:
    """A network that costs nothing: it has its answer ready."""
    answer = torch.rand(batch, CLASSES, *WINDOW)
    # A copy, because MONAI's multiplies what it is given in place.
    return lambda windows: answer[: len(windows)].clone()


def own_peak(side: Side, volume: torch.Tensor, network: Predict, batch: int) -> float:
    """MiB that this process needs for one run, above what it holds before."""
    before = psutil.Process().memory_info().rss
    side(volume, network, batch)
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_BYTES - before) / MIB


def measure_peak(side: str, options: argparse.Namespace) -> float:
    """The same, in a process of its own; the median of several."""
    settings = [f"--{name}={getattr(options, name)}" for name in ("batch", "threads")]
    command = [sys.executable, __file__, f"--peak-of={side}", *settings]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(MEMORY_RUNS)]
    return statistics.median(map(float, runs))


def measure_times(volume: torch.Tensor, network: Predict, options: argparse.Namespace) -> Times:
    """Wall and processor seconds of each side, in turn, the first of a round being the last of the next."""
    times: Times = {name: [] for name in SIDES}
    for number in range(options.repeats):
        for name in sorted(SIDES, reverse=number % 2 == 1):
            wall, processor = time.perf_counter(), time.process_time()
            SIDES[name](volume, network, options.batch)
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def ratio(times: Times, clock: int) -> float:
    """Median over rounds of theirs through ours: what else the machine does changes from round to round."""
    pairs = zip(times["monai"], times["ours"], strict=True)
    return round(statistics.median(theirs[clock] / mine[clock] for theirs, mine in pairs), 3)


def main() -> None:
    """Measure both sides, print medians and end with a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    volume, network = make_scan(), make_network()
    if options.peak_of:
        print(own_peak(SIDES[options.peak_of], volume, network, options.batch))
        return
    peaks = {name: measure_peak(name, options) for name in SIDES}
    # This warms up, too.
    results = [side(volume, network, options.batch) for side in SIDES.values()]
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)
    times = measure_times(volume, network, options)
    own_times = measure_times(volume, make_idle_network(options.batch), options)
    for name in SIDES:
        whole, own = (statistics.median(wall for wall, _ in each[name]) for each in (times, own_times))
        print(f"{name:6} {whole:6.2f} s, of which the windows {own:6.3f} s, peak {peaks[name]:5.0f} MiB")
    result = {"benchmark": "sliding_window", "memory_ratio": round(peaks["monai"] / peaks["ours"], 3)}
    result |= {"windows_ratio": ratio(own_times, WALL), "windows_processor_ratio": ratio(own_times, PROCESSOR)}
    result |= {"processor_ratio": ratio(times, PROCESSOR), "ratio": ratio(times, WALL)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
