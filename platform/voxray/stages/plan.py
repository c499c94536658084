"""Planning: from a folder of scans to an experiment that fits them."""

import torch

from voxray.console.units import bytes_text
from voxray.executors.base import Executor
from voxray.planning.budget import PRESETS, Budget, parse_memory
from voxray.planning.classification import plan_classification
from voxray.planning.fingerprint import build_fingerprint, measure_scans
from voxray.planning.segmentation import plan_segmentation
from voxray.planning.speed import ASSUMED_GPU, measure_speed
from voxray.planning.understand import TaskName, understand
from voxray.planning.write import Planned, plan_name
from voxray.stages.common import OnStatus
from voxray.storage.machine import machine_memory
from voxray.storage.paths import AnyPath

USABLE = 0.8  # of the machine's memory


def plan(
    source: AnyPath,
    executor: Executor,
    on_status: OnStatus,
    *,
    task: TaskName | None = None,
    memory: str | None = None,
    gpu: bool | None = None,
    minutes: float = 60,
) -> Planned:
    """Derive experiments from a folder of scans; writes nothing.

    Parameters
    ----------
    source : AnyPath
        A folder, or a file that lists scans.
    executor : Executor
    on_status : callable
    task : {"classification", "segmentation"}, optional
        By default what the folder is made for.
    memory : str, optional
        Of training: a preset such as ``M``, or a size; by default ``M``, or what this machine has.
    gpu : bool, optional
        Whether training runs on a GPU; by default where there is one.
    minutes : float
        Time of training.

    Raises
    ------
    DataError
        The folder is not understood, or its scans are too small.
    ConfigError
        The memory is no size, or too little.
    """
    understood = understand(source, task)
    with executor.session():
        gpu = executor.has_gpu() if gpu is None else gpu
        scan_stats = measure_scans(understood.manifest, executor, lambda *_: None)
    budget = _budget(memory, gpu, minutes)
    on_status(f"plan: {scan_stats.num_rows:,} scans read, {bytes_text(budget.memory_bytes)} for training")
    data = build_fingerprint(understood.manifest, scan_stats, understood.channels)
    proposals = plan_segmentation(data, budget) if data.masks else plan_classification(data, budget)
    return Planned(plan_name(source.resolve()), understood, scan_stats, data, budget, tuple(proposals))


def _budget(memory: str | None, gpu: bool, minutes: float) -> Budget:
    there = int(USABLE * machine_memory())
    size = parse_memory(memory) if memory else PRESETS["M"] if gpu else min(PRESETS["M"], there)
    if gpu and not torch.cuda.is_available():
        return Budget(size, minutes, gpu, ASSUMED_GPU)
    speed = measure_speed(torch.device("cuda" if gpu else "cpu"))
    return Budget(size, minutes, gpu, speed.flops_per_s, "auto" if gpu else speed.precision, measured=True)
