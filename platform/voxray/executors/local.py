"""All work in this process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import pyarrow as pa
import torch

from voxray.config.experiment import Experiment
from voxray.config.labels import MaskLabels
from voxray.config.training import TrainingSpec
from voxray.console.progress import OnProgress
from voxray.errors import ConfigError
from voxray.evaluation.patches import predict_split
from voxray.evaluation.scans import Case, evaluate_scans
from voxray.inference.find import Found, find_here
from voxray.inference.load import load_trained
from voxray.inspection.scan_stats import inspect_scans
from voxray.prediction.files import Options
from voxray.prediction.predictor import predict_here
from voxray.prediction.scans import InputScan
from voxray.search.study import Study
from voxray.storage.paths import AnyPath
from voxray.store.compare import cut_here
from voxray.store.write import ShardReport, write_shard
from voxray.training.fit import fit
from voxray.training.loop import choose_device
from voxray.training.predictions import Part


class LocalExecutor:
    """Works in this process, one piece after another; needs no Ray. The methods are those of `Executor`."""

    max_workers = 1
    is_remote = False

    def session(self) -> AbstractContextManager[None]:
        """Nothing has to be held."""
        return nullcontext()

    def has_gpu(self) -> bool:
        """Whether PyTorch sees a GPU."""
        return torch.cuda.is_available()

    def write_shards(self, path: AnyPath, root: AnyPath, keys: Sequence[tuple[str, int]]) -> Iterator[ShardReport]:
        """Write one shard after another."""
        return (write_shard(path, root, split, shard) for split, shard in keys)

    def cut_digests(self, path: AnyPath, root: AnyPath, chunks: Sequence[pa.Table]) -> Iterator[pa.Table]:
        """Cut the scans of one chunk after another again."""
        return cut_here(path, root, chunks)

    def fit(self, experiment: Experiment, on_progress: OnProgress, stop: Callable[[], bool]) -> None:
        """Train with one process, which takes the steps of all workers."""
        fit(experiment, device=choose_device(experiment.training.device), on_progress=on_progress, stop=stop)

    def predict_splits(
        self, experiment: Experiment, splits: Sequence[str], on_progress: OnProgress
    ) -> dict[str, list[Part]]:
        """Predict each split in one part."""
        trained = load_trained(experiment.out_path, choose_device(experiment.training.device))
        return {split: [predict_split(experiment, trained, split, (0, 1), on_progress)] for split in splits}

    def evaluate_scans(self, experiment: Experiment, cases: Sequence[Case], on_progress: OnProgress) -> Iterator[Case]:
        """Evaluate one scan after another."""
        return evaluate_scans(experiment, cases, choose_device(experiment.training.device), on_progress)

    def find_in_scans(
        self,
        experiment: Experiment,
        scans: Sequence[tuple[str, AnyPath]],
        on_progress: OnProgress,
        *,
        calibrated: bool = True,
    ) -> Iterator[Found]:
        """Search one scan after another."""
        device = choose_device(experiment.training.device)
        return find_here(experiment, scans, device, on_progress, calibrated=calibrated)

    def predict_scans(
        self, run: AnyPath, scans: Sequence[InputScan], options: Options, on_progress: OnProgress
    ) -> Iterator[tuple[InputScan, str]]:
        """Predict one scan after another."""
        return predict_here(run, scans, options, choose_device("auto"), on_progress)

    def inspect_scans(
        self, root: AnyPath, chunks: Sequence[pa.Table], labels: MaskLabels | None, voxels: bool
    ) -> Iterator[pa.Table]:
        """Inspect one chunk after another."""
        return (inspect_scans(root, chunk, labels, voxels) for chunk in chunks)

    def check_trials(self, training: TrainingSpec) -> None:  # noqa: ARG002
        """Raise ConfigError: a search needs Ray."""
        raise ConfigError("tune", "a search runs its trials on Ray, got the local executor", "Use the Ray executor")

    def run_trials(self, study: Study, on_progress: OnProgress) -> None:  # noqa: ARG002
        """Raise ConfigError: a search needs Ray."""
        self.check_trials(study.search.experiment.training)
