"""Predictions of a split, one task for each part of it."""

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.errors import WorkError
from voxray.runs.judge import predict_split
from voxray.training.loop import choose_device
from voxray.training.step import Part


def predict_on_ray(experiment: Experiment, splits: list[str]) -> dict[str, list[Part]]:
    """Predict splits with as many tasks as training has workers."""
    ranks = experiment.training.workers
    resources = ray.cluster_resources()
    gpus = int(experiment.training.device != "cpu" and resources.get("GPU", 0) >= ranks)
    cpus = max(1, min(2, int(resources.get("CPU", 1) // ranks)) if gpus else int(resources.get("CPU", 1) // ranks))
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(_predict)
    content = experiment.model_dump(mode="json")
    waiting = {split: [task.remote(content, split, rank, ranks, cpus) for rank in range(ranks)] for split in splits}
    try:
        return {split: ray.get(tasks) for split, tasks in waiting.items()}
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise WorkError("evaluate", f"a task failed: {last}", "Run voxray evaluate again") from error


def _predict(content: dict[str, object], split: str, rank: int, ranks: int, cpus: int) -> Part:
    torch.set_num_threads(cpus)
    experiment = Experiment.model_validate(content)
    return predict_split(experiment, split, choose_device(experiment.training.device), rank, ranks)
