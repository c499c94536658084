"""Predictions of splits by a pool of actors, each of which holds the model."""

from collections.abc import Sequence
from typing import Any

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import VoxrayError, WorkError
from voxray.evaluation.patches import predict_split
from voxray.executors.ray.connect import predictors
from voxray.executors.ray.progress_actor import ProgressReporter, follow_progress, original_error
from voxray.inference.load import load_trained
from voxray.training.loop import choose_device
from voxray.training.predictions import Part

LOSSES = 3  # of an actor, after each of which another takes its place


def predict_on_ray(experiment: Experiment, splits: Sequence[str], on_progress: OnProgress) -> dict[str, list[Part]]:
    """Predict splits with an actor on each GPU, or else as many as training has workers.

    Raises
    ------
    WorkError
        An actor was lost again and again.
    """
    spec = experiment.training
    ranks, cpus, gpus = predictors(spec.device, spec.most_workers)
    kind: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=LOSSES, max_task_retries=LOSSES)(_Predictor)
    content = experiment.model_dump(mode="json")
    with follow_progress(on_progress) as board:
        actors = [kind.remote(content, (rank, ranks), cpus, board) for rank in range(ranks)]
        waiting = {split: [actor.predict.remote(split) for actor in actors] for split in splits}
        try:
            return {split: ray.get(parts) for split, parts in waiting.items()}
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            lost = WorkError("evaluate", f"an actor failed: {last}", "Run voxray evaluate again")
            raise original_error(board, lost) from error


class _Predictor:
    """Holds the model, and predicts its part of each split."""

    def __init__(self, content: dict[str, Any], part: tuple[int, int], cpus: int, board: Any) -> None:
        torch.set_num_threads(max(1, cpus))
        self.experiment = Experiment.model_validate(content)
        self.part, self.board = part, board
        self.trained = load_trained(self.experiment.out_path, choose_device(self.experiment.training.device))

    def predict(self, split: str) -> Part:
        writer = ProgressReporter(self.board, f"{split} {self.part[0]}")
        try:
            return predict_split(self.experiment, self.trained, split, self.part, writer)
        except VoxrayError as error:
            writer.report_error(error)
            raise
