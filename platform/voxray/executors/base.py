"""The protocol of executors: the work of stages, in this process or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.config.labels import MaskLabels
from voxray.config.training import TrainingSpec
from voxray.console.progress import OnProgress
from voxray.evaluation.scans import Case
from voxray.inference.find import Found
from voxray.prediction.files import Options
from voxray.prediction.scans import InputScan
from voxray.search.study import Study
from voxray.storage.paths import AnyPath
from voxray.store.write import ShardReport
from voxray.training.predictions import Part


class Executor(Protocol):
    """Runs the work of a stage; every executor gives the same store, weights and metrics.

    Each method may be called by itself; calls within one session share a cluster.
    """

    @property
    def max_workers(self) -> int | None:
        """Processes that can train together; None where the cluster decides."""

    @property
    def is_remote(self) -> bool:
        """Whether other machines than this one do the work."""

    def session(self) -> AbstractContextManager[None]:
        """Hold for the time of the block what the work needs, such as a cluster; sessions may be nested."""

    def has_gpu(self) -> bool:
        """Whether there is a GPU for the work; needs a session."""

    def write_shards(self, path: AnyPath, root: AnyPath, keys: Sequence[tuple[str, int]]) -> Iterator[ShardReport]:
        """Write shards of the store at `path` from the scans below `root`.

        Parameters
        ----------
        path, root : AnyPath
        keys : sequence of (split, shard)

        Yields
        ------
        ShardReport
            In the order in which the shards are finished.
        """

    def cut_digests(self, path: AnyPath, root: AnyPath, chunks: Sequence[pa.Table]) -> Iterator[pa.Table]:
        """Cut scans again and digest their patches, to compare them with those of the store at `path`.

        Parameters
        ----------
        path, root : AnyPath
        chunks : sequence of pyarrow.Table
            Rows of the plan, see `voxray.store.compare.chunk_scans`.

        Yields
        ------
        pyarrow.Table
            Schema `voxray.store.compare.DIGESTS`, in any order.
        """

    def fit(self, experiment: Experiment, on_progress: OnProgress, stop: Callable[[], bool]) -> None:
        """Train the experiment's network; checkpoints and results go to the run's folder.

        Parameters
        ----------
        experiment : Experiment
        on_progress : callable
        stop : callable
            Asked after each step; where it returns True, training writes a checkpoint and raises Interrupted.
        """

    def predict_splits(
        self, experiment: Experiment, splits: Sequence[str], on_progress: OnProgress
    ) -> dict[str, list[Part]]:
        """Rows and logits of all patches of each split, in one part for each process."""

    def evaluate_scans(self, experiment: Experiment, cases: Sequence[Case], on_progress: OnProgress) -> Iterator[Case]:
        """Segment scans and compare them with their masks; yields each case with its metrics, in any order."""

    def find_in_scans(
        self,
        experiment: Experiment,
        scans: Sequence[tuple[str, AnyPath]],
        on_progress: OnProgress,
        *,
        calibrated: bool = True,
    ) -> Iterator[Found]:
        """Search scans with the experiment's trained classifier of candidates.

        Parameters
        ----------
        experiment : Experiment
        scans : sequence of (scan_id, file)
        on_progress : callable
        calibrated : bool
            Whether probabilities are calibrated, where the run has been evaluated.

        Yields
        ------
        Found
            Of each scan, in any order; a scan that cannot be searched is one with a problem.
        """

    def predict_scans(
        self, run: AnyPath, scans: Sequence[InputScan], options: Options, on_progress: OnProgress
    ) -> Iterator[tuple[InputScan, str]]:
        """Predict scans with a trained run and write the predictions; yields each scan with its outcome in words."""

    def inspect_scans(
        self, root: AnyPath, chunks: Sequence[pa.Table], labels: MaskLabels | None, voxels: bool
    ) -> Iterator[pa.Table]:
        """Statistics of scans, a table for each chunk of inspection targets, in any order."""

    def check_trials(self, training: TrainingSpec) -> None:
        """Raise ConfigError where the trials of a search cannot run here; needs a session."""

    def run_trials(self, study: Study, on_progress: OnProgress) -> None:
        """Train the networks that a study asks for and report their metrics to it."""
