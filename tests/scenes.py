"""Small data sets in the exact public formats, whose voxels say where they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import tomli_w
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.storage.paths import AnyPath

SHAPE = (40, 36, 14)
SPACING = (0.7, 0.7, 2.0)


def write_metaimage(path: Path, voxels: NDArray[Any], **geometry: Any) -> SimpleITK.Image:
    """Write (x, y, z) voxels with SimpleITK; `geometry` holds spacing, origin and direction."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    image.SetSpacing(geometry.get("spacing", SPACING))
    image.SetOrigin(geometry.get("origin", (-12.0, 8.0, -90.0)))
    image.SetDirection(geometry.get("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), geometry.get("compressed", False))
    return image


def write_luna(
    root: Path,
    scans: int = 6,
    *,
    positives: int = 2,
    negatives: int = 14,
    seed: int = 0,
    shape: Sequence[int] = SHAPE,
    bright: int = 0,
) -> list[str]:
    """A LUNA16 folder of noise; `bright` HU are added in a ball around each positive."""
    rng = np.random.default_rng(seed)
    lines = ["seriesuid,coordX,coordY,coordZ,class"]
    names = [f"1.3.6.1.{seed}.{number:03d}" for number in range(scans)]
    for number, name in enumerate(names):
        voxels = rng.integers(-1000, 0, shape).astype(np.int16)
        flipped = (-1, 0, 0, 0, -1, 0, 0, 0, 1) if number % 3 == 2 else (1, 0, 0, 0, 1, 0, 0, 0, 1)
        points = rng.uniform(0, np.array(shape) - 1, (positives + negatives, 3))
        for x, y, z in np.rint(points[:positives]).astype(int):
            ball = voxels[max(x - 4, 0) : x + 5, max(y - 4, 0) : y + 5, max(z - 2, 0) : z + 3]
            ball += np.int16(bright)
        path = root / f"subset{number % 10}" / f"{name}.mhd"
        image = write_metaimage(path, voxels, direction=flipped)
        for order, point in enumerate(points):
            world = image.TransformContinuousIndexToPhysicalPoint(point.tolist())
            lines.append(",".join([name, *(f"{value:.5f}" for value in world), str(int(order < positives))]))
    (root / "candidates.csv").write_text("\n".join(lines) + "\n")
    return names


def write_annotations(root: Path, diameter_mm: float = 6.0) -> None:
    """The positive candidates of a LUNA16 folder as nodules."""
    lines = (root / "candidates.csv").read_text().splitlines()[1:]
    nodules = [f"{line[:-2]},{diameter_mm}" for line in lines if line.endswith(",1")]
    (root / "annotations.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *nodules]) + "\n")


def experiment(root: AnyPath, out: AnyPath, **changes: Any) -> Experiment:
    """A small experiment; `changes` replace whole sections or update them."""
    content: dict[str, Any] = {
        "name": "small",
        "out": str(out),
        "data": {"layout": "luna16", "root": str(root)},
        "split": {"val": 0.25, "test": 0.25},
        "patches": {"size": [16, 16, 6]},
        "store": {"chunk_bytes": 4 * 3072, "shard_bytes": 16 * 3072},
        "model": {"architecture": str(out.parent / "architecture.json")},
        "training": {"epochs": 2, "batch_size": 16, "device": "cpu"},
        "tracking": {"mode": "disabled"},
    }
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return Experiment.model_validate(content)


SMALL_UNET = {
    "type": "unet",
    "dimensions": 3,
    "down": [[4], [8]],
    "up": [[4]],
    "normalization": "instance",
    "output": {"activation": "softmax"},
}

SMALL_NET = """[
  {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3, 3], "stride": [1, 1, 1]},
  {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]},
  {"type": "FC", "activation": "relu", "num_output": 8, "drop_out": 10},
  {"type": "T", "activation": null}
]"""


def write_toml(path: Path, spec: Experiment) -> Path:
    """An experiment as the TOML file that a user would write."""
    path.write_text(tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True)))
    return path
