"""Samples of a search space per second, drawn and estimated on one core.

    python benchmarks/space.py [SPACE …] [--samples 4200]

Each sample takes the steps of a search: draw the decisions, build the architecture, fit its strides, check it, and
estimate parameters, FLOPs and the memory of training. Rates are per second of processor time; the last line is JSON,
where `ratio` is the rate of cnn3d over the target of 2,000.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.search.constraints import Conditions, draw, estimate
from voxray.search.space.load import load_space
from voxray.search.space.sampling import at_random

FILES = Path(__file__).resolve().parents[1] / "configs" / "spaces"
PATCHES = {"cnn2d": (1, 64, 64, 1), "cnn3d": (1, 64, 64, 10), "resnet": (4, 240, 240, 1), "unet": (1, 32, 48, 32)}
ROUNDS = 7


def rates(name: str, samples: int) -> list[float]:
    """Samples per second in each of several rounds of new samples."""
    space, conditions = load_space(FILES / f"{name}.json"), Conditions(PATCHES[name], 2, TrainingSpec())
    suggest, rounds = at_random(np.random.default_rng(0)), []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(samples // ROUNDS):
            try:
                estimate(draw(space, conditions, suggest), conditions)
            except ConfigError:
                continue
        rounds.append(samples // ROUNDS / (time.process_time() - began))
    return rounds


def main() -> None:
    """Print the median rate of each space and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="SPACE")
    parser.add_argument("--samples", type=int, default=4200)
    options = parser.parse_args()
    medians = {}
    for name in options.names or sorted(PATCHES):
        rounds = rates(name, options.samples)
        medians[name] = round(statistics.median(rounds))
        print(f"{name:8} {medians[name]:6,} samples a second   (rounds: {min(rounds):,.0f} to {max(rounds):,.0f})")
    print(json.dumps({"benchmark": "space", "rates": medians, "ratio": round(medians.get("cnn3d", 0) / 2000, 2)}))


if __name__ == "__main__":
    main()
