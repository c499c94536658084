from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import experiment

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import load_architecture
from voxray.training.fit import load_network
from voxray.training.memory_check import check_memory
from voxray.training.throughput import measure_throughput

CPU = torch.device("cpu")


@pytest.fixture
def cost(project: Path) -> Cost:
    architecture = load_architecture(project / "configs" / "architectures" / "archsm.json")
    return estimate_cost(architecture, (1, 64, 64), 2, TrainingSpec(batch_size=4), "net")


def test_a_network_that_cannot_fit_the_machine_is_refused_before_it_trains(cost: Cost) -> None:
    check_memory(cost, 4, CPU)
    with pytest.raises(ConfigError, match=r"batches of 4 need about .*TiB, the machine has"):
        check_memory(replace(cost, activations_bytes=2**45), 4, CPU)


def test_the_pace_is_timed_on_one_thread_and_leaves_the_number_of_threads(luna: Path, out: Path) -> None:
    spec = experiment(luna, out)
    network = load_network(Path(spec.model.architecture), (1, *spec.patches.size), 2)
    threads = torch.get_num_threads()
    pace = measure_throughput(spec, network, 2, network.cost(2, spec.training, gpu=False), CPU)
    assert 1e4 < pace < 1e13
    assert torch.get_num_threads() == threads
