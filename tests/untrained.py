"""Runs with a real network that was not trained, in memory."""

from pathlib import Path
from typing import Any

import torch
from scenes import experiment

from voxray.inference.load import TrainedRun
from voxray.metrics.calibration import Calibration
from voxray.models.build import build_model
from voxray.models.spec.load import parse_architecture
from voxray.patches.cut import CutSettings
from voxray.patches.plan import store_provenance
from voxray.runs.folder import run_folder
from voxray.training.fit import make_preprocessing

CPU = torch.device("cpu")
UNET = {"type": "unet", "dimensions": 3, "down": [[4], [4]], "up": [[4]], "normalization": "none"}


def untrained_unet(
    patch: list[int],
    classes: int = 3,
    *,
    spacing_mm: list[float] | None = None,
    activation: str = "softmax",
    seed: int = 0,
    overlap: float = 0.5,
    **sections: Any,
) -> TrainedRun:
    """A segmentation whose logits are spread enough for labels of all classes."""
    dimensions = 2 if patch[2] == 1 else 3
    content = {**UNET, "dimensions": dimensions, "output": {"activation": activation}}
    patches = {"size": patch, "sampling": "grid", "oversample_rotations": [], "pad_value": 0, "spacing_mm": spacing_mm}
    sections = {"intensity": {"kind": "zscore"}, "evaluation": {"overlap": overlap}, "seed": seed, **sections}
    spec = experiment(Path("data"), Path("run"), data={"layout": "decathlon"}, patches=patches, **sections)
    network = parse_architecture(content, "net")
    names = tuple(f"class {number}" for number in range(classes))
    model = build_model(network, (1, *patch[:dimensions]), classes, seed).eval()
    with torch.no_grad():
        list(model.parameters())[-2].mul_(20)
    return TrainedRun(
        run_folder(spec),
        "segmentation",
        spec,
        network,
        names,
        None,
        None,
        None,
        Calibration(),
        model,
        make_preprocessing(spec, dimensions, CPU),
        CutSettings.from_provenance(store_provenance(spec, ""), 1, names, masks=True),
    )
