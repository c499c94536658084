"""Near duplicates among pictures against an exhaustive search: recall, precision and time.

The exhaustive search correlates the details of every pair of pictures of two splits at every shift at which they
overlap by 40 %: the same number with the same limit, without landmarks. Pictures are those of a data set in the table
layout that defines its splits, of one size; others are left out.
Usage: python benchmarks/near_duplicates.py FOLDER [--evaluated 224]
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxray.inspection.near_duplicates import ALIKE, OVERLAP, _details, find_near_duplicates
from voxray.inspection.signatures import signature
from voxray.inspection.target import read_target
from voxray.scans.read import open_scan

Pairs = set[tuple[int, int]]


def search_all(images: NDArray[np.uint8], first: list[int], second: list[int]) -> Pairs:
    """Pairs of two sets of images, by every shift of every pair."""
    details = torch.from_numpy(_details(images)[..., 0])
    width, height = details.shape[1:]
    best = torch.full((len(first), len(second)), -1.0)
    for x, y in product(range(1 - width, width), range(1 - height, height)):
        if (1 - abs(x) / width) * (1 - abs(y) / height) < OVERLAP:
            continue
        here = details[first, max(0, x) : width - max(0, -x), max(0, y) : height - max(0, -y)]
        there = details[second, max(0, -x) : width - max(0, x), max(0, -y) : height - max(0, y)]
        torch.maximum(best, unit(here) @ unit(there).T, out=best)
    rows, columns = np.nonzero(best.numpy() >= ALIKE)
    return {tuple(sorted((first[row], second[column]))) for row, column in zip(rows, columns, strict=True)}  # type: ignore[misc]


def unit(stack: torch.Tensor) -> torch.Tensor:
    """Rows with mean 0 and length 1."""
    rows = stack.flatten(1) - stack.flatten(1).mean(1, keepdim=True)
    return rows / (rows.norm(dim=1, keepdim=True) + 1e-9)


def main() -> None:
    """Search twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--evaluated", type=int, help="pictures outside of the training split, by default all")
    options = parser.parse_args()
    target = read_target(options.folder)
    signatures, training, labels = [], [], []
    for row in target.targets.to_pylist():
        signed = signature(open_scan(target.manifest.root / row["path"]).array)
        if signed is not None and (not signatures or signed.shape == signatures[0].shape):
            signatures.append(signed)
            training.append(row["split"] == "train")
            labels.append(row["label"])
    began = time.perf_counter(), time.process_time()
    found = {(pair.first, pair.second) for pair in find_near_duplicates(signatures, np.array(training, np.int64))}
    seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    train, others = ([n for n, each in enumerate(training) if each == wanted] for wanted in (True, False))
    # Those of rare classes first.
    others = sorted(others, key=lambda number: labels.count(labels[number]))[: options.evaluated]
    began = time.perf_counter(), time.process_time()
    truth = search_all(np.stack(signatures), others, train)
    compared = {pair for pair in found if set(pair) & set(others)}
    result = {
        "benchmark": "near_duplicates",
        "images": len(signatures),
        "evaluated": len(others),
        "exhaustive": len(truth),
        "found": len(compared),
        "recall": round(len(truth & compared) / max(len(truth), 1), 3),
        "precision": round(len(truth & compared) / max(len(compared), 1), 3),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "exhaustive_seconds": round(time.perf_counter() - began[0], 1),
        "exhaustive_cpu_seconds": round(time.process_time() - began[1], 1),
        "missed": sorted(truth - compared)[:10],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
