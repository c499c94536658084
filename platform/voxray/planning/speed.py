"""How fast a device trains, from a few steps of a small U-Net."""

import time
from typing import Literal, NamedTuple

import torch

from voxray.config.training import TrainingSpec
from voxray.models.build import build_model
from voxray.models.cost.estimate import estimate_cost
from voxray.models.spec.load import parse_architecture
from voxray.planning.unet_rules import fit_topology, unet_json

SIZE, FILTERS, BATCH, STEPS = 32, 16, 2, 3
ASSUMED_GPU = 1e13  # nnU-Net's own step on an A100 does twice that
FASTER = 1.2  # bfloat16 has to be, as it is less exact


class Speed(NamedTuple):
    """Floating-point operations in a second of training, and the precision that reaches them."""

    flops_per_s: float
    precision: Literal["bfloat16", "float32"]


def measure_speed(device: torch.device) -> Speed:
    """The speed of a device: the fastest of a few steps, in the faster precision."""
    topology = fit_topology((1.0,) * 3, (SIZE,) * 3)
    spec, shape = parse_architecture(unet_json(topology, FILTERS), "a U-Net"), (1, *topology.patch)
    flops = BATCH * estimate_cost(spec, shape, 2, TrainingSpec(), "a U-Net").training_flops
    model = build_model(spec, shape, 2, seed=0).to(device)
    images = torch.zeros((BATCH, *shape), device=device)
    exact, fast = (_step_seconds(model, images, half=half) for half in (False, True))
    return Speed(flops / fast, "bfloat16") if FASTER * fast < exact else Speed(flops / exact, "float32")


def _step_seconds(model: torch.nn.Module, images: torch.Tensor, *, half: bool) -> float:
    seconds = []
    for _ in range(1 + STEPS):
        began = time.perf_counter()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            outputs = model(images)
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
