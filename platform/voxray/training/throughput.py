"""Training throughput of this machine, from one short measurement."""

import time

import torch

from voxray.config.experiment import Experiment
from voxray.models.cost.estimate import Cost
from voxray.training.fit import Network, make_preprocessing
from voxray.training.loop import build_optimizer

STEP_FLOPS = 2e10  # of a measured step
STEPS = 3


def measure_throughput(
    experiment: Experiment, network: Network, classes: int, cost: Cost, device: torch.device
) -> float:
    """Floating-point operations per second of training a network: the fastest of a few steps.

    Parameters
    ----------
    experiment : Experiment
    network : Network
    classes : int
    cost : Cost
        Of the network.
    device : torch.device
        On a CPU one thread is used, as for a trial of a search.
    """
    size = max(1, min(experiment.training.batch_size, int(STEP_FLOPS / cost.training_flops)))
    preprocessing, threads = make_preprocessing(experiment, network.spatial_dims, device), torch.get_num_threads()
    model = network.build(classes, experiment.seed).to(device, memory_format=preprocessing.layout)  # type: ignore[call-overload]
    images = torch.zeros((size, *network.input_shape), device=device).contiguous(memory_format=preprocessing.layout)
    optimizer = build_optimizer(model, experiment.training)
    seconds = []
    torch.set_num_threads(1)
    try:
        for _ in range(1 + STEPS):
            began = time.perf_counter()
            with preprocessing.autocast():
                output = model(images)
            logits = output if isinstance(output, list) else [output]
            optimizer.zero_grad(set_to_none=True)
            torch.stack([scale.float().square().mean() for scale in logits]).sum().backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return size * cost.training_flops / min(seconds[1:])
