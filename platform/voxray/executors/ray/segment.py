"""Whole scans on Ray Data: rows that name scans, one model per actor."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import VoxrayError, WorkError
from voxray.evaluation.scans import Case, evaluate_scan
from voxray.executors.ray.connect import configure_ray_data, node_resources, predictors
from voxray.executors.ray.progress_actor import failure_row, raise_failure
from voxray.inference.load import load_trained
from voxray.inference.predict import Options, load_predictor
from voxray.inference.segmenter import Segmenter
from voxray.storage.paths import AnyPath, to_path
from voxray.training.loop import choose_device


def evaluate_on_ray(experiment: Experiment, cases: Sequence[Case], on_progress: OnProgress) -> Iterator[Case]:
    """Judge scans with an actor on each GPU, or else as many as training has workers.

    Raises
    ------
    VoxrayError
        The first error of a scan, in its own words.
    """
    spec = experiment.training
    arguments = (experiment.model_dump(mode="json"),)
    for number, row in enumerate(_spread(_Judge, arguments, cases, spec.most_workers, spec.device), 1):
        yield row["result"]
        on_progress(number, len(cases), row["result"]["scan_id"])


def predict_on_ray(
    run: AnyPath, paths: Sequence[AnyPath], options: Options, on_progress: OnProgress
) -> Iterator[tuple[AnyPath, str]]:
    """Predict loose scans, one model on each GPU or else on each node; yields what came of each."""
    rows = [{"path": str(path)} for path in paths]
    for number, row in enumerate(_spread(_Predict, (run, options), rows, len(node_resources()), "auto"), 1):
        yield to_path(row["result"]["path"]), row["result"]["outcome"]
        on_progress(number, len(paths), to_path(row["result"]["path"]).name)


def _spread(
    kind: type["_Actor"], arguments: tuple[Any, ...], rows: Sequence[dict[str, Any]], on_cpus: int, device: str
) -> Iterator[dict[str, Any]]:
    """Map rows with actors of a kind; each holds one model."""
    workers, cpus, gpus = predictors(device, on_cpus)
    configure_ray_data()
    dataset = ray.data.from_items(list(rows), override_num_blocks=max(1, len(rows))).map(
        kind,  # type: ignore[arg-type]  # the annotation knows functions only
        fn_constructor_args=(cpus, device, *arguments),
        num_cpus=cpus,
        num_gpus=gpus,
        concurrency=workers,
    )
    try:
        for row in dataset.iter_rows():
            raise_failure(row)
            yield row
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise WorkError("segmentation", f"an actor was lost: {last}", "The same command goes on") from error


class _Actor:
    """Holds a model, and takes one row after the other."""

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        """What comes of a row."""
        raise NotImplementedError

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self.work(row), "error": ""}
        except VoxrayError as error:
            return {"result": row, "error": failure_row(error)}


class _Judge(_Actor):
    def __init__(self, cpus: int, device: str, content: dict[str, Any]) -> None:
        torch.set_num_threads(cpus)
        self.experiment = Experiment.model_validate(content)
        self.segmenter = Segmenter(load_trained(self.experiment.out_path, choose_device(device)))

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        return evaluate_scan(self.segmenter, row)


class _Predict(_Actor):
    def __init__(self, cpus: int, device: str, run: AnyPath, options: Options) -> None:
        torch.set_num_threads(cpus)
        self.predict = load_predictor(run, options, choose_device(device))

    def work(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"path": row["path"], "outcome": self.predict(to_path(row["path"]))}
