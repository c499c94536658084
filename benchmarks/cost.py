"""Predicted against measured memory of training, for every shipped architecture.

    python benchmarks/cost.py [ARCHITECTURE …] [--precision bfloat16] [--batch 600]

The measurement is the growth of peak resident memory over two training steps in a separate process; on a GPU,
`torch.cuda.max_memory_allocated`. The last line is JSON; `ratio` is the predicted over the measured memory that is
furthest from 1.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.config.training import TrainingSpec
from voxray.models.build import build_model
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.shapes import parse_input
from voxray.models.spec.load import load_architecture
from voxray.models.spec.unet import UNet
from voxray.training.inputs import Preprocessing
from voxray.training.loop import build_optimizer
from voxray.training.losses import LOSSES
from voxray.training.losses.base import local_loss

FILES = Path(__file__).resolve().parents[1] / "configs" / "architectures"
# Patches, classes and batch size of each: large enough that the libraries' own memory is small in comparison, and small
# enough for a machine with 4 GiB.
CASES = {
    "adrenal_cnn3d": ("1x28x28x28", 2, 128),
    "arch": ("1x64x64", 2, 100),
    "arch3d": ("1x64x64x10", 2, 16),
    "arch3dsm": ("1x64x64x10", 2, 60),
    "archsm": ("1x64x64", 2, 300),
    "brats2020_resnet18": ("4x240x240", 2, 6),
    "brats_unet3d": ("4x160x160x16", 4, 1),
    "crops_cnn2d": ("1x50x50", 2, 400),
    "crops_resnet2d": ("1x50x50", 2, 400),
    "hippocampus_unet3d": ("1x32x48x32", 3, 6),
    "lidc_cnn3d": ("2x32x32x20", 2, 128),
    "mosmed_cnn3d": ("1x128x128x64", 2, 1),
    "unet3d": ("1x64x64x64", 3, 1),
}
STEPS = 2  # gradients of the first are in memory during the second


def spec_of(batch_size: int, precision: str) -> TrainingSpec:
    """Training as it is measured."""
    return TrainingSpec(batch_size=batch_size, precision=precision, loss="dice_cross_entropy")  # type: ignore[arg-type]


def train_steps(name: str, batch_size: int, precision: str, steps: int) -> None:
    """Steps as `training.step` does them."""
    architecture = load_architecture(FILES / f"{name}.json")
    shape, classes = parse_input(CASES[name][0]), CASES[name][1]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    preprocessing = Preprocessing(IntensitySpec(), AugmentSpec(), len(shape) - 1, 0, device, precision)
    model = build_model(architecture, shape, classes, 0).to(device, memory_format=preprocessing.layout)
    optimizer = build_optimizer(model, spec_of(batch_size, precision))
    images = torch.rand(batch_size, *shape, device=device).contiguous(memory_format=preprocessing.layout)
    of_voxels = isinstance(architecture, UNet)
    labels = torch.randint(0, classes, (batch_size, *(shape[1:] if of_voxels else ())), device=device)
    inside = torch.ones((batch_size, 1, *shape[1:]), dtype=torch.bool, device=device) if of_voxels else None
    for _ in range(steps):
        with preprocessing.autocast():
            output = model(images)
        if isinstance(architecture, UNet):
            combined, activation = LOSSES["dice_cross_entropy"], architecture.output.activation
            loss = local_loss(combined, output, labels, inside, batch_size, output=activation)
        else:
            loss = torch.nn.functional.cross_entropy(output, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def measure(name: str, batch_size: int, precision: str) -> int:
    """Bytes by which the peak of memory grows."""
    if torch.cuda.is_available():
        train_steps(name, 2, precision, 1)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train_steps(name, batch_size, precision, STEPS)
        return torch.cuda.max_memory_allocated() - before
    # Kernels are loaded and compiled when they are first used.
    train_steps(name, 1, precision, 1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = resident("VmRSS")
    train_steps(name, batch_size, precision, STEPS)
    return resident("VmHWM") - before


def resident(key: str) -> int:
    """A memory value of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def predict(name: str, batch_size: int, precision: str) -> Cost:
    """The estimate of `voxray describe`."""
    shape, classes, _ = CASES[name]
    spec = spec_of(batch_size, precision)
    architecture = load_architecture(FILES / f"{name}.json")
    return estimate_cost(architecture, parse_input(shape), classes, spec, name, gpu=torch.cuda.is_available())


def main() -> None:
    """Print predicted and measured memory and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, help="patches, instead of each network's own number")
    parser.add_argument("--measure", type=int, metavar="BATCH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.names[0], options.measure, options.precision))
        return
    ratios = {}
    print(f"{'architecture':20} {'batch':>5} {'predicted':>11} {'measured':>11}  ratio   (MiB, {options.precision})")
    for name in options.names or sorted(path.stem for path in FILES.glob("*.json")):
        batch_size = options.batch or CASES[name][2]
        words = [sys.executable, __file__, name, "--precision", options.precision, "--measure", str(batch_size)]
        measured = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        predicted = predict(name, batch_size, options.precision).peak_bytes
        ratios[name] = round(predicted / measured, 3)
        mebibytes = f"{predicted / 2**20:11,.1f} {measured / 2**20:11,.1f}"
        print(f"{name:20} {batch_size:5} {mebibytes}  {ratios[name]:.3f}", flush=True)
    worst = max(ratios.values(), key=lambda ratio: abs(ratio - 1))
    print(json.dumps({"benchmark": "cost", "precision": options.precision, "ratios": ratios, "ratio": worst}))


if __name__ == "__main__":
    main()
