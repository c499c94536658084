"""The predicted cost against torch's own modules, counter of FLOPs and memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.models.build import build_model
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import load_architecture, parse_architecture

PROJECT = Path(__file__).parents[3]
FILES = PROJECT / "configs" / "architectures"
SHIPPED = {
    "adrenal_cnn3d": ((1, 28, 28, 28), 2),
    "arch": ((1, 64, 64), 2),
    "arch3d": ((1, 64, 64, 10), 2),
    "arch3dsm": ((1, 64, 64, 10), 2),
    "archsm": ((1, 64, 64), 2),
    "brats2020_resnet18": ((4, 240, 240), 2),
    "brats_unet3d": ((4, 160, 160, 16), 4),
    "crops_cnn2d": ((1, 50, 50), 2),
    "crops_resnet2d": ((1, 50, 50), 2),
    "hippocampus_unet3d": ((1, 32, 48, 32), 3),
    "lidc_cnn3d": ((2, 32, 32, 20), 2),
    "mosmed_cnn3d": ((1, 128, 128, 64), 2),
    "nodule_unet3d": ((1, 64, 64, 64), 2),
    "unet3d": ((1, 64, 64, 64), 3),
}
GIBIBYTE = 2**30


def cost(name: str, training: TrainingSpec, *, gpu: bool = False) -> Cost:
    return estimate_cost(load_architecture(FILES / f"{name}.json"), *SHIPPED[name], training, name, gpu=gpu)


def test_every_shipped_architecture_is_compared() -> None:
    assert sorted(SHIPPED) == sorted(path.stem for path in FILES.glob("*.json"))


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters_and_flops_are_those_that_torch_counts(name: str) -> None:
    shape, classes = SHIPPED[name]
    model = build_model(load_architecture(FILES / f"{name}.json"), shape, classes, 0)
    predicted = cost(name, TrainingSpec(batch_size=2))
    assert predicted.parameters == sum(parameter.numel() for parameter in model.parameters())
    # Without memory, and so without work.
    model.to("meta")
    with FlopCounterMode(display=False) as forward:
        output = model(torch.empty(2, *shape, device="meta"))
    with FlopCounterMode(display=False) as backward:
        sum(each.sum() for each in (output if isinstance(output, list) else [output])).backward()
    assert 2 * predicted.forward_flops == forward.get_total_flops()
    assert 2 * predicted.training_flops == forward.get_total_flops() + backward.get_total_flops()


def test_weights_statistics_and_moments_are_counted_in_bytes() -> None:
    model = build_model(load_architecture(FILES / "adrenal_cnn3d.json"), *SHIPPED["adrenal_cnn3d"], 0)
    tensors = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.ndim)]
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    found = cost("adrenal_cnn3d", TrainingSpec(batch_size=8, optimizer="adamw", ema_decay=0.99))
    assert found.weights_bytes == 4 * sum(tensor.numel() for tensor in tensors)
    assert found.gradients_bytes == weights
    assert found.optimizer_bytes == 3 * weights
    assert cost("adrenal_cnn3d", TrainingSpec(batch_size=8, optimizer="sgd")).optimizer_bytes == weights


def test_accumulated_gradients_stay_during_the_backward_pass() -> None:
    plain, accumulating = (
        cost("arch3d", TrainingSpec(batch_size=2, accumulate_steps=steps), gpu=True) for steps in (1, 4)
    )
    assert plain.peak_bytes < accumulating.peak_bytes <= plain.peak_bytes + plain.gradients_bytes
    assert accumulating.optimizer_bytes == plain.optimizer_bytes


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_kept_of_a_batch_is_what_autograd_saves(name: str) -> None:
    shape, classes = SHIPPED[name]
    model = build_model(load_architecture(FILES / f"{name}.json"), shape, classes, 0).to("meta")
    images = torch.empty(2, *shape, device="meta")
    known = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers(), images)}
    saved: dict[int, torch.UntypedStorage] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        output = model(images)
    for each in output if isinstance(output, list) else [output]:
        save(each)
    total = sum(storage.nbytes() for key, storage in saved.items() if key not in known)
    assert cost(name, TrainingSpec(batch_size=2)).activations_bytes == pytest.approx(total, rel=0.02)


def test_each_worker_has_its_share_of_a_batch() -> None:
    assert cost("archsm", TrainingSpec(batch_size=64, workers=4)) == cost("archsm", TrainingSpec(batch_size=16))


def test_memory_grows_with_the_batch_and_bfloat16_takes_less_of_it() -> None:
    peaks = [cost("arch3dsm", TrainingSpec(batch_size=size)).peak_bytes for size in (1, 2, 30, 300)]
    assert peaks == sorted(peaks)
    half = cost("arch3dsm", TrainingSpec(batch_size=30, precision="bfloat16"), gpu=True)
    assert (
        half.peak_bytes < 0.7 * cost("arch3dsm", TrainingSpec(batch_size=30, precision="float32"), gpu=True).peak_bytes
    )


def test_the_large_network_at_the_batch_of_the_small_one_is_why_costs_are_predicted() -> None:
    assert cost("arch3dsm", TrainingSpec(batch_size=300)).peak_bytes < 5 * GIBIBYTE
    assert cost("arch3d", TrainingSpec(batch_size=300)).peak_bytes > 12 * GIBIBYTE


def test_a_network_that_does_not_fit_its_input_has_no_cost() -> None:
    layers = [
        {"type": "C", "activation": None, "num_output": 2, "kernel_size": [3, 3], "stride": [9, 9]},
        {"type": "T", "activation": None},
    ]
    with pytest.raises(ConfigError, match="shrinks to nothing"):
        estimate_cost(parse_architecture(layers, "net"), (1, 8, 8), 2, TrainingSpec(), "net")


def measured(*words: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, str(PROJECT / "benchmarks" / "cost.py"), *words]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, dict[str, float]] = json.loads(lines[-1])
    return found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux' /proc")
@pytest.mark.skipif(torch.cuda.is_available(), reason="measures memory of the CPU")
def test_memory_of_large_blocks_is_as_measured_on_a_cpu() -> None:
    assert 1 <= measured("arch3dsm")["ratios"]["arch3dsm"] < 1.25


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux' /proc")
@pytest.mark.skipif(torch.cuda.is_available(), reason="measures memory of the CPU")
def test_no_drawn_network_takes_more_memory_than_predicted() -> None:
    found = measured("--drawn", "5", "--seed", "3")
    for name, ratio in found["ratios"].items():
        assert ratio >= 1, name
        assert found["of_prediction"][name] >= 1, name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_memory_is_as_measured_on_a_gpu(precision: str) -> None:
    for name, ratio in measured(*SHIPPED, "--precision", precision)["ratios"].items():
        assert ratio == pytest.approx(1, abs=0.15), name
