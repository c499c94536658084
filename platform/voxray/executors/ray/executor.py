"""All work on a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import pyarrow as pa
import ray

from voxray.config.experiment import Experiment
from voxray.config.labels import MaskLabels
from voxray.config.training import TrainingSpec
from voxray.console.progress import OnProgress
from voxray.evaluation.scans import Case
from voxray.executors.ray.connect import cluster
from voxray.inference.find import Found
from voxray.prediction.files import Options
from voxray.prediction.scans import InputScan
from voxray.search.study import Study
from voxray.storage.paths import AnyPath
from voxray.store.write import ShardReport
from voxray.training.predictions import Part


class RayExecutor:
    """Works on the cluster that ``RAY_ADDRESS`` names, or on one of this machine. The methods are those of `Executor`.

    The parts of Ray are imported where they are used: together they take seconds.
    """

    max_workers = None

    @property
    def is_remote(self) -> bool:
        """Whether the cluster is one that was started elsewhere."""
        return bool(os.environ.get("RAY_ADDRESS"))

    def session(self) -> AbstractContextManager[None]:
        """Connect to the cluster, or start one, for the time of the block."""
        return cluster()

    def has_gpu(self) -> bool:
        """Whether the connected cluster has a GPU."""
        return bool(ray.cluster_resources().get("GPU", 0))

    def write_shards(self, path: AnyPath, root: AnyPath, keys: Sequence[tuple[str, int]]) -> Iterator[ShardReport]:
        """Write shards with Ray Data, a task for each."""
        from voxray.executors.ray.shard_tasks import write_shards

        with cluster():
            yield from write_shards(path, root, keys)

    def cut_digests(self, path: AnyPath, root: AnyPath, chunks: Sequence[pa.Table]) -> Iterator[pa.Table]:
        """Cut scans again with Ray Data, a task for each chunk."""
        from voxray.executors.ray.digest_tasks import digest_on_ray

        with cluster():
            yield from digest_on_ray(path, root, chunks)

    def fit(self, experiment: Experiment, on_progress: OnProgress, stop: Callable[[], bool]) -> None:
        """Train with Ray Train, a worker for each rank."""
        from voxray.executors.ray.train_workers import train_on_ray

        with cluster():
            train_on_ray(experiment, on_progress, stop=stop)

    def predict_splits(
        self, experiment: Experiment, splits: Sequence[str], on_progress: OnProgress
    ) -> dict[str, list[Part]]:
        """Predict each split with a pool of actors, a part for each."""
        from voxray.executors.ray.split_actors import predict_on_ray

        with cluster():
            return predict_on_ray(experiment, splits, on_progress)

    def evaluate_scans(self, experiment: Experiment, cases: Sequence[Case], on_progress: OnProgress) -> Iterator[Case]:
        """Evaluate scans with a pool of actors."""
        from voxray.executors.ray.scan_actors import evaluate_on_ray

        with cluster():
            yield from evaluate_on_ray(experiment, cases, on_progress)

    def find_in_scans(
        self,
        experiment: Experiment,
        scans: Sequence[tuple[str, AnyPath]],
        on_progress: OnProgress,
        *,
        calibrated: bool = True,
    ) -> Iterator[Found]:
        """Search scans with a pool of actors."""
        from voxray.executors.ray.scan_actors import find_on_ray

        with cluster():
            yield from find_on_ray(experiment, scans, on_progress, calibrated=calibrated)

    def predict_scans(
        self, run: AnyPath, scans: Sequence[InputScan], options: Options, on_progress: OnProgress
    ) -> Iterator[tuple[InputScan, str]]:
        """Predict scans with a pool of actors."""
        from voxray.executors.ray.scan_actors import predict_on_ray

        with cluster():
            yield from predict_on_ray(run, scans, options, on_progress)

    def inspect_scans(
        self, root: AnyPath, chunks: Sequence[pa.Table], labels: MaskLabels | None, voxels: bool
    ) -> Iterator[pa.Table]:
        """Inspect scans with Ray Data, a task for each chunk."""
        from voxray.executors.ray.inspection_tasks import inspect_on_ray

        with cluster():
            yield from inspect_on_ray(root, chunks, labels, voxels)

    def check_trials(self, training: TrainingSpec) -> None:
        """Raise ConfigError where the connected cluster is too small for one trial."""
        from voxray.executors.ray.tune_trials import cluster_resources

        cluster_resources(training)

    def run_trials(self, study: Study, on_progress: OnProgress) -> None:
        """Run trials with Ray Tune, several at a time."""
        from voxray.executors.ray.tune_trials import search_on_ray

        with cluster():
            search_on_ray(study, on_progress)
