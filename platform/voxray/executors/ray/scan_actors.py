"""Evaluation, search and prediction of whole scans by a pool of actors: rows name scans, each actor holds a model."""

from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch
from ray.util import ActorPool

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress
from voxray.errors import WorkError
from voxray.evaluation.scans import Case, evaluate_scan
from voxray.executors.ray.connect import node_resources, predictors
from voxray.executors.ray.progress_actor import cause, failure_row, raise_failure
from voxray.executors.ray.split_actors import MAX_RESTARTS
from voxray.inference.find import Found, find_in_scan, load_detector
from voxray.inference.load import load_trained
from voxray.inference.segmenter import Segmenter
from voxray.prediction.files import Options
from voxray.prediction.predictor import Predictor
from voxray.prediction.scans import InputScan
from voxray.storage.paths import AnyPath, to_path
from voxray.training.loop import choose_device


def evaluate_on_ray(experiment: Experiment, cases: Sequence[Case], on_progress: OnProgress) -> Iterator[Case]:
    """Evaluate scans with an actor on each GPU, or else with as many actors as training has workers.

    Raises
    ------
    VoxrayError
        The first error of a scan.
    """
    training, arguments = experiment.training, (experiment.model_dump(mode="json"),)
    results = _map_scans(_EvaluateActor, arguments, cases, training.most_workers, training.device)
    for number, case in enumerate(results, 1):
        yield case
        on_progress(number, len(cases), case["scan_id"])


def find_on_ray(
    experiment: Experiment, scans: Sequence[tuple[str, AnyPath]], on_progress: OnProgress, *, calibrated: bool
) -> Iterator[Found]:
    """Search scans, (scan_id, file) each, with an actor on each GPU, or else with as many actors as training has."""
    training, arguments = experiment.training, (experiment.model_dump(mode="json"), calibrated)
    rows = [{"scan_id": name, "path": str(path)} for name, path in scans]
    results = _map_scans(_FindActor, arguments, rows, training.most_workers, training.device)
    for number, result in enumerate(results, 1):
        yield result["found"]
        on_progress(number, len(scans), result["found"].scan_id)


def predict_on_ray(
    run: AnyPath, scans: Sequence[InputScan], options: Options, on_progress: OnProgress
) -> Iterator[tuple[InputScan, str]]:
    """Predict scans with an actor on each GPU, or else on each node; yields each scan with its outcome in words."""
    rows = [{"path": str(scan.path), "name": scan.name} for scan in scans]
    results = _map_scans(_PredictActor, (run, options), rows, len(node_resources()), "auto")
    for number, result in enumerate(results, 1):
        scan = InputScan(to_path(result["path"]), result["name"])
        yield scan, result["outcome"]
        on_progress(number, len(scans), scan.path.name)


def _map_scans(
    actor: type["_Actor"], arguments: tuple[Any, ...], rows: Sequence[dict[str, Any]], on_cpus: int, device: str
) -> Iterator[dict[str, Any]]:
    """Map rows, one for each scan, with actors that hold a model each."""
    workers, cpus, gpus = predictors(device, on_cpus)
    # Not Ray Data: it passes references to constructors, which Ray warns of, as a restarted actor could lack them.
    actor_class: Any = ray.remote(
        num_cpus=cpus,
        num_gpus=gpus,
        max_restarts=MAX_RESTARTS,
        max_task_retries=MAX_RESTARTS,
        scheduling_strategy="SPREAD",
    )(actor)
    pool: Any = ActorPool([actor_class.remote(cpus, device, *arguments) for _ in range(min(workers, len(rows)))])
    try:
        for row in pool.map_unordered(lambda worker, row: worker.process.remote(row), rows):
            raise_failure(row)
            yield row["result"]
    except ray.exceptions.RayError as error:
        problem = f"an actor was lost: {cause(error)}"
        raise WorkError("whole scans", problem, "Re-run the same command to resume") from error


class _Actor:
    """Holds a model, and processes one row after another."""

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        """The result of a row."""
        raise NotImplementedError

    def process(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self.result(row), "error": ""}
        except Exception as error:  # noqa: BLE001  any error names its scan, and reaches the driver
            return {"result": row, "error": failure_row(error, str(row.get("scan_id", row.get("path"))))}


class _EvaluateActor(_Actor):
    def __init__(self, cpus: int, device: str, content: dict[str, Any]) -> None:
        torch.set_num_threads(cpus)
        run = load_trained(Experiment.model_validate(content).out_path, choose_device(device))
        self.segmenter = Segmenter(run)

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        return evaluate_scan(self.segmenter, row)


class _FindActor(_Actor):
    def __init__(self, cpus: int, device: str, content: dict[str, Any], calibrated: bool) -> None:
        torch.set_num_threads(cpus)
        self.detector = load_detector(Experiment.model_validate(content), choose_device(device), calibrated=calibrated)

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"found": find_in_scan(self.detector, row["scan_id"], to_path(row["path"]))}


class _PredictActor(_Actor):
    def __init__(self, cpus: int, device: str, run: AnyPath, options: Options) -> None:
        torch.set_num_threads(cpus)
        self.predictor = Predictor(run, options, choose_device(device))

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        scan = InputScan(to_path(row["path"]), row["name"])
        return {**row, "outcome": self.predictor.finish(scan, self.predictor.prepare(scan))}
