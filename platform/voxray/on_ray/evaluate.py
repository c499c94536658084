"""Predictions of splits, one task for each part of them."""

from typing import Any

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.errors import VoxrayError, WorkError
from voxray.on_ray.board import Writer, followed, in_own_words
from voxray.on_ray.connect import share_of_cluster
from voxray.progress import Show
from voxray.runs.judge import predict_split
from voxray.training.loop import choose_device
from voxray.training.step import Part


def predict_on_ray(experiment: Experiment, splits: list[str], show: Show) -> dict[str, list[Part]]:
    """Predict splits with as many tasks as training has workers.

    Raises
    ------
    WorkError
        A task was lost.
    """
    ranks = experiment.training.workers
    cpus, gpus = share_of_cluster(ranks, experiment.training.device)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(_predict)
    content = experiment.model_dump(mode="json")
    with followed(show) as board:
        waiting = {
            split: [task.remote(content, split, rank, ranks, cpus, board) for rank in range(ranks)] for split in splits
        }
        try:
            return {split: ray.get(tasks) for split, tasks in waiting.items()}
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            lost = WorkError("evaluate", f"a task failed: {last}", "Run voxray evaluate again")
            raise in_own_words(board, lost) from error


def _predict(content: dict[str, object], split: str, rank: int, ranks: int, cpus: int, board: Any) -> Part:
    torch.set_num_threads(cpus)
    experiment = Experiment.model_validate(content)
    writer = Writer(board, f"{split} {rank}")
    try:
        device = choose_device(experiment.training.device)
        return predict_split(experiment, split, device, (rank, ranks), writer)
    except VoxrayError as error:
        writer.complain(error)
        raise
