"""Predicted against measured memory of training, for every shipped architecture or for drawn networks.

    python benchmarks/cost.py [ARCHITECTURE …] [--precision bfloat16] [--batch 600]
    python benchmarks/cost.py --drawn 49 [--seed 0]

The measurement is the growth of peak resident memory over two training steps in a separate process; on a GPU,
`torch.cuda.max_memory_allocated`. The last line is JSON; `ratio` is the predicted over the measured memory that is
furthest from 1. Networks are drawn from the search spaces and from layers of all kinds (CPU); their memory is also
measured for prediction.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from _helpers.drawn_networks import DrawnNetwork, draw_networks

from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.config.training import TrainingSpec
from voxray.models.build import build_model
from voxray.models.cost.estimate import estimate_cost
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
STEPS = 4  # gradients of a step are in memory during the next one; the C library's heap grows for some steps
MIB = 2**20


def spec_of(batch_size: int, precision: str) -> TrainingSpec:
    """Training as it is measured."""
    return TrainingSpec(batch_size=batch_size, precision=precision, loss="dice_cross_entropy")  # type: ignore[arg-type]


def network_of(name: str, batch_size: int, precision: str) -> DrawnNetwork:
    """A shipped architecture as it is measured."""
    shape, classes = parse_input(CASES[name][0]), CASES[name][1]
    architecture, spec = load_architecture(FILES / f"{name}.json"), spec_of(batch_size, precision)
    cost = estimate_cost(architecture, shape, classes, spec, name, gpu=torch.cuda.is_available())
    return DrawnNetwork(name, architecture, shape, classes, spec, cost)


def train_steps(network: DrawnNetwork, batch_size: int, steps: int) -> None:
    """Steps as `training.step` does them, each with other images."""
    architecture, shape, classes, training = network.architecture, network.shape, network.classes, network.training
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    preprocessing = Preprocessing(IntensitySpec(), AugmentSpec(), len(shape) - 1, 0, device, training.precision)
    model = build_model(architecture, shape, classes, 0).to(device, memory_format=preprocessing.layout)
    optimizer = build_optimizer(model, training)
    of_voxels = isinstance(architecture, UNet)
    labels = torch.randint(0, classes, (batch_size, *(shape[1:] if of_voxels else ())), device=device)
    inside = torch.ones((batch_size, 1, *shape[1:]), dtype=torch.bool, device=device) if of_voxels else None
    for _ in range(steps):
        images = torch.rand(batch_size, *shape, device=device).contiguous(memory_format=preprocessing.layout)
        with preprocessing.autocast():
            output = model(images)
        if isinstance(architecture, UNet):
            combined, activation = LOSSES[training.loss], architecture.output.activation
            loss = local_loss(combined, output, labels, inside, batch_size, output=activation)
        else:
            loss = torch.nn.functional.cross_entropy(output, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def predict_batches(network: DrawnNetwork, batch_size: int, batches: int) -> None:
    """Predictions without gradients."""
    model = build_model(network.architecture, network.shape, network.classes, 0).eval()
    layout = torch.channels_last_3d if len(network.shape) == 4 else torch.channels_last
    model = model.to(memory_format=layout)  # type: ignore[call-overload]
    with torch.inference_mode():
        for _ in range(batches):
            model(torch.rand(batch_size, *network.shape).contiguous(memory_format=layout))


def measure(network: DrawnNetwork, *, training: bool) -> int:
    """Bytes by which the peak of memory grows."""
    run = train_steps if training else predict_batches
    batch_size = network.training.batch_size
    if torch.cuda.is_available():
        run(network, 2, 1)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(network, batch_size, STEPS)
        return torch.cuda.max_memory_allocated() - before
    # Kernels are loaded and compiled when they are first used.
    run(network, 1, 1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = resident("VmRSS")
    run(network, batch_size, STEPS)
    return resident("VmHWM") - before


def resident(key: str) -> int:
    """A memory value of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def in_process(*words: str) -> int:
    """What a process of its own measures."""
    done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    return int(done.stdout)


def cases_of(options: argparse.Namespace) -> Iterator[tuple[str, DrawnNetwork, tuple[str, ...]]]:
    """Name, network, and the options that name it to another process."""
    if options.drawn:
        for number, network in enumerate(draw_networks(options.drawn, options.seed)):
            size = "x".join(map(str, network.shape))
            words = ("--drawn", str(number + 1), "--seed", str(options.seed))
            yield f"{number} {network.kind} {size}", network, words
        return
    for name in options.names or sorted(path.stem for path in FILES.glob("*.json")):
        batch_size = options.batch or CASES[name][2]
        words = (name, "--precision", options.precision, "--batch", str(batch_size))
        yield name, network_of(name, batch_size, options.precision), words


def main() -> None:
    """Print predicted and measured memory and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--batch", type=int, help="patches, instead of each network's own number")
    parser.add_argument("--drawn", type=int, default=0, help="number of networks to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", choices=("train", "predict"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        *_, (_, network, _) = cases_of(options)
        print(measure(network, training=options.measure == "train"))
        return
    ratios, measured_mib, predictions = {}, {}, {}
    print(f"{'network':32} {'batch':>5} {'predicted':>11} {'measured':>11}  ratio  {'prediction':>11}   (MiB)")
    for name, network, words in cases_of(options):
        measured = in_process(*words, "--measure", "train")
        predicting = in_process(*words, "--measure", "predict") if options.drawn else 0
        predicted = network.cost.peak_bytes
        ratios[name], measured_mib[name] = round(predicted / measured, 3), round(measured / MIB, 1)
        predictions[name] = round(predicted / predicting, 3) if predicting else None
        amounts = f"{predicted / MIB:11,.1f} {measured / MIB:11,.1f}  {ratios[name]:.3f}  {predicting / MIB:11,.1f}"
        print(f"{name:32} {network.training.batch_size:5} {amounts}", flush=True)
    worst = max(ratios.values(), key=lambda ratio: abs(ratio - 1))
    result = {"benchmark": "cost", "ratios": ratios, "measured_mib": measured_mib, "of_prediction": predictions}
    print(json.dumps({**result, "ratio": worst}))


if __name__ == "__main__":
    main()
