"""Predictions of splits by a pool of actors that hold the model."""

from collections.abc import Sequence
from typing import Any

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import WorkError
from voxray.evaluation.patches import predict_split
from voxray.executors.ray.connect import predictors
from voxray.executors.ray.progress_actor import ProgressReporter, cause, follow_progress, original_error
from voxray.inference.load import load_trained
from voxray.training.loop import choose_device
from voxray.training.predictions import Part

MAX_RESTARTS = 3  # of an actor that was lost


def predict_on_ray(experiment: Experiment, splits: Sequence[str], on_progress: OnProgress) -> dict[str, list[Part]]:
    """Predict splits with an actor on each GPU, or else with as many actors as training has workers.

    Raises
    ------
    WorkError
        An actor was lost too often.
    """
    spec = experiment.training
    actors, cpus, gpus = predictors(spec.device, spec.most_workers)
    actor_class: Any = ray.remote(
        num_cpus=cpus, num_gpus=gpus, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS
    )(_Predictor)
    content = experiment.model_dump(mode="json")
    with follow_progress(on_progress) as progress:
        pool = [actor_class.remote(content, (rank, actors), cpus) for rank in range(actors)]
        pending = {split: [actor.predict.remote(split, progress) for actor in pool] for split in splits}
        try:
            return {split: ray.get(parts) for split, parts in pending.items()}
        except ray.exceptions.RayError as error:
            lost = WorkError("evaluate", f"an actor failed: {cause(error)}", "Run voxray evaluate again")
            raise original_error(progress, lost) from error


class _Predictor:
    """Holds the model, and predicts its part of each split."""

    def __init__(self, content: dict[str, Any], part: tuple[int, int], cpus: int) -> None:
        torch.set_num_threads(max(1, cpus))
        self.experiment = Experiment.model_validate(content)
        self.part = part
        self.trained = load_trained(self.experiment.out_path, choose_device(self.experiment.training.device))

    def predict(self, split: str, progress: Any) -> Part:
        # Not an argument of the constructor: Ray warns of references there, which a restarted actor could lack.
        reporter = ProgressReporter(progress, f"{split} {self.part[0]}")
        try:
            return predict_split(self.experiment, self.trained, split, self.part, reporter)
        except Exception as error:
            reporter.report_error(error, f"evaluate, split {split}")
            raise
