"""What stands behind the public names of ``voxray``: scans, stores, runs and the stages of an experiment.

Paths are `str` or `os.PathLike`, or URLs of object storage. What is slow to import is imported where it is used.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from voxray.errors import ConfigError, NotReadyError, ScanError
from voxray.storage.paths import AnyPath, exists, read_bytes, to_path
from voxray.store.layout import read_parquet
from voxray.store.read import PatchStore
from voxray.store.read import open_store as open_patch_store
from voxray.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn

    from voxray.config.experiment import Experiment
    from voxray.inference.classifier import Prediction
    from voxray.inference.load import TrainedRun
    from voxray.inference.segmenter import Segmentation
    from voxray.loader.dataset import BatchLoader, PatchDataset
    from voxray.stages.common import OnStatus

AnyText = str | os.PathLike[str]
ExecutorName = Literal["local", "ray"]


def read_scan(path: AnyText) -> Volume:
    """Read a scan of any format: MetaImage, NIfTI, NRRD, DICOM, a picture, or a row of an ``.npz`` file.

    Parameters
    ----------
    path : str or path
        A file, the folder of a DICOM series, or files that are the channels of one scan, ``scan_{t1,t2}.nii.gz``.

    Returns
    -------
    Volume
        (channel, x, y, z), RAS+, in the scan's own numbers.

    Raises
    ------
    ScanError
        The scan cannot be read.

    Examples
    --------
    >>> volume = voxray.read_scan(scan)
    >>> volume
    <Volume 1x40x36x14 int16, 0.7x0.7x2 mm>
    """
    from voxray.scans.read import open_scan

    file = to_path(path)
    return replace(open_scan(file), name=file.name)


def load_config(path: AnyText, settings: Mapping[str, Any] | None = None) -> "Experiment":
    """Read and check an experiment file.

    Parameters
    ----------
    path : str or path
        TOML file.
    settings : mapping, optional
        Key path → value, in place of those of the file.

    Raises
    ------
    ConfigError
        With every problem, each with its key path.

    Examples
    --------
    >>> config = voxray.load_config(experiment_file, {"training.epochs": 5})
    >>> config.training.epochs
    5
    """
    from voxray.config.load import load_experiment

    # A JSON value is a TOML value, but for null and objects, which no setting needs.
    texts = [f"{key}={json.dumps(value, default=os.fspath)}" for key, value in (settings or {}).items()]
    return load_experiment(Path(path), texts)


@dataclass(frozen=True, eq=False, repr=False)
class Store(PatchStore):
    """A finished patch store; made by `open_store`.

    Attributes
    ----------
    path : path
    info : StoreInfo
        Classes, size and dtype of the patches, and their provenance.
    index : pyarrow.Table
        A row for each patch: split, label, scan, patient, box, …; see ``docs/store.md``.
    quarantine : pyarrow.Table
        A row for each scan or patch that could not be used, with the reason.
    config : Experiment, optional
        Of the run that the store belongs to; it says how patches are normalized.

    Examples
    --------
    >>> store = voxray.open_store(run_folder + "/store")
    >>> store
    <Store 120 patches of 1x16x16x6 int16, train 72, val 24, test 24>
    >>> len(store), store.splits["train"], store.index["label"][0].as_py()
    (120, 72, 1)
    """

    config: "Experiment | None" = None

    def __len__(self) -> int:
        return int(self.index.num_rows)

    def __repr__(self) -> str:
        shape, splits = "x".join(map(str, self.info.patch_shape)), [f"{key} {n}" for key, n in self.splits.items()]
        return f"<Store {len(self)} patches of {shape} {self.info.dtype}, {', '.join(splits)}>"

    @property
    def splits(self) -> dict[str, int]:
        """Number of patches of each split; rotations that training repeats count."""
        return {split: self.rows(split).num_rows for split in self.info.shards}

    def dataset(self, split: str, *, normalize: bool = True) -> "PatchDataset":
        """A split as a map-style dataset of torch, in the order of the index.

        Parameters
        ----------
        split : str
        normalize : bool
            As the run does; else patches are in the scans' own numbers.

        Returns
        -------
        torch.utils.data.Dataset
            Of dictionaries: ``image`` (channel, x, y[, z]), ``label``, or ``mask`` and ``valid`` (1, x, y[, z], False
            in padding), ``scan_id``, ``patient_id``.

        Raises
        ------
        ConfigError
            Unknown split, or nothing says how to normalize.

        Examples
        --------
        >>> dataset = voxray.open_store(run_folder + "/store").dataset("train")
        >>> len(dataset), dataset[0]["image"].shape, int(dataset[0]["label"])
        (72, torch.Size([1, 16, 16, 6]), 1)
        """
        from voxray.loader.dataset import PatchDataset

        return PatchDataset(self, self._check(split), self._convert(normalize))

    def loader(
        self,
        split: str,
        batch_size: int = 32,
        seed: int = 0,
        *,
        shuffle: bool | None = None,
        normalize: bool = True,
    ) -> "BatchLoader":
        """The loader of training: reads whole chunks ahead in the background. Each iteration is the next epoch.

        Parameters
        ----------
        split : str
        batch_size, seed : int
        shuffle : bool, optional
            By default for ``train`` alone.
        normalize : bool
            As the run does; else patches are in the scans' own numbers.

        Returns
        -------
        BatchLoader
            Iterable of dictionaries as `dataset` has them, with a first axis for the patches of a batch.

        Raises
        ------
        ConfigError
            Unknown split, or nothing says how to normalize.

        Examples
        --------
        >>> loader = voxray.open_store(run_folder + "/store").loader("train", batch_size=32, seed=0)
        >>> [len(batch["label"]) for batch in loader]
        [32, 32, 8]
        """
        from voxray.loader.dataset import BatchLoader

        convert, shuffle = self._convert(normalize), split == "train" if shuffle is None else shuffle
        return BatchLoader(self, self._check(split), batch_size, convert, shuffle=shuffle, seed=seed)

    def _check(self, split: str) -> str:
        if split not in self.info.shards:
            splits = ", ".join(self.info.shards)
            raise ConfigError("split", f"expected a split of the store, got '{split}'", f"It has {splits}")
        return split

    def _convert(self, normalize: bool) -> Any:
        from voxray.training.tensors import NormalizeBatch, raw_batch

        if normalize and self.config is None:
            remedy = "Give open_store(path, config), or normalize=False for the scans' own numbers"
            raise ConfigError(str(self.path), "the store does not say how its patches are normalized", remedy)
        return raw_batch if self.config is None or not normalize else NormalizeBatch(self.config, self.info.patch_shape)


def open_store(path: AnyText, config: "Experiment | None" = None) -> Store:
    """Open a finished patch store. Neither torch nor a decoder of scans is imported.

    Parameters
    ----------
    path : str or path
    config : Experiment, optional
        Says how patches are normalized; by default the ``experiment.json`` beside the store, where there is one.

    Raises
    ------
    NotReadyError
        There is no store, or it is not finished.

    Examples
    --------
    >>> voxray.open_store(run_folder + "/store").info.classes
    ('other', 'nodule')
    """
    store = open_patch_store(to_path(path))
    if config is None:
        from voxray.config.load import read_experiment
        from voxray.runs.folder import RunFolder

        file = RunFolder(store.path.parent).experiment
        config = read_experiment(file) if exists(file) else None
    return Store(store.path, store.info, store.index, store.quarantine, config)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained run, or a cross-validation of several; made by `load_run`.

    Attributes
    ----------
    path : path
    config : Experiment
    metrics : dict
        Split → the content of ``metrics.json``; empty before the run is evaluated.
    history : pyarrow.Table
        A row for each epoch; with a column ``fold`` in a cross-validation.
    classes : tuple of str
    threshold : float, optional
        Operating point of class 1 of two; the mean over folds.
    folds : tuple of Run
        Those of a cross-validation, else empty.

    Examples
    --------
    >>> run = voxray.load_run(run_folder)
    >>> run
    <Run small: classification of other, nodule>
    >>> run.history.column_names[:2], sorted(run.metrics)
    (['epoch', 'learning_rate'], ['test', 'val'])
    """

    path: AnyPath
    config: "Experiment"
    metrics: dict[str, Any]
    history: pa.Table
    classes: tuple[str, ...]
    threshold: float | None
    trained: "Sequence[TrainedRun]"
    folds: "tuple[Run, ...]" = ()

    @property
    def model(self) -> "nn.Module":
        """The trained network, in evaluation mode; ConfigError in a cross-validation, which has several."""
        if self.folds:
            raise ConfigError(str(self.path), f"has a model for each of {len(self.folds)} folds", "Use run.folds[0]")
        return self.trained[0].model

    def predict(
        self, volume: "Volume | ArrayLike", *, affine: "ArrayLike | None" = None, mask: Volume | None = None
    ) -> "Prediction | Segmentation":
        """Predict a scan, exactly as ``voxray predict`` does; a cross-validation averages its folds' probabilities.

        Parameters
        ----------
        volume : Volume or array, (channel, x, y, z) or (x, y, z)
            In the scan's own numbers, in any axes.
        affine : array, (4, 4), optional
            Voxel index to world millimeters, RAS+; needed with an array.
        mask : Volume, optional
            Chooses the slices, where a classifier's training chose them by masks.

        Returns
        -------
        Prediction
            Of a classifier: ``probabilities`` (classes,) and ``label``.
        Segmentation
            Of a segmentation: the volumes ``labels`` and ``probabilities``, on the grid of the scan.

        Raises
        ------
        ScanError
            The scan cannot be used.

        Examples
        --------
        >>> prediction = voxray.load_run(classifier_folder).predict(voxray.read_scan(chest))
        >>> prediction.probabilities.shape, prediction.label in (0, 1)
        ((2,), True)
        """
        from voxray.inference.predict import predict_volume

        return predict_volume(self.trained, _as_volume(volume, affine), mask, self.threshold)

    def __repr__(self) -> str:
        folds = f", {len(self.folds)} folds" if self.folds else ""
        return f"<Run {self.config.name}: {self.trained[0].task} of {', '.join(self.classes)}{folds}>"


def load_run(folder: AnyText, device: str = "auto") -> Run:
    """Load a trained run, or all folds of a cross-validation as one.

    Parameters
    ----------
    folder : str or path
    device : {"auto", "cpu", "cuda"}

    Raises
    ------
    NotReadyError
        The run has not been trained.

    Examples
    --------
    >>> run = voxray.load_run(run_folder, device="cpu")
    >>> run.classes, type(run.model).__name__
    (('other', 'nodule'), 'SequentialModel')
    """
    from voxray.config.folds import fold_experiments
    from voxray.config.load import read_experiment
    from voxray.inference.load import load_trained
    from voxray.runs.folder import RunFolder
    from voxray.training.loop import choose_device

    files = RunFolder(to_path(folder))
    if not exists(files.experiment):
        raise NotReadyError(str(files.path), "no run is here", "Run voxray train first")
    config = read_experiment(files.experiment)
    metrics = json.loads(read_bytes(files.metrics)) if exists(files.metrics) else {}
    experiments = fold_experiments(config)
    if len(experiments) > 1:
        folds = tuple(load_run(f"{files.path}/{to_path(fold.out).name}", device) for fold in experiments)
        tables = [fold.history.append_column("fold", pa.array([n] * len(fold.history))) for n, fold in enumerate(folds)]
        thresholds = [fold.threshold for fold in folds if fold.threshold is not None]
        threshold = float(np.mean(thresholds)) if len(thresholds) == len(folds) else None
        trained_folds = [fold.trained[0] for fold in folds]
        history = pa.concat_tables(tables, promote_options="default")
        return Run(files.path, config, metrics, history, folds[0].classes, threshold, trained_folds, folds)
    trained = load_trained(files.path, choose_device(device))
    history = read_parquet(files.history)
    return Run(files.path, config, metrics, history, trained.classes, trained.threshold, [trained])


def run(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Run all stages of an experiment: ingest, train, evaluate and report. What is finished already is reused.

    Parameters
    ----------
    config : Experiment, or path of its TOML file
    executor : {"local", "ray"}
        In this process, or on a Ray cluster; both give the same store and metrics.
    on_status : callable, optional
        Takes each line of what happens; by default they go to the logger ``voxray``.

    Raises
    ------
    VoxrayError
        With the reason, see `voxray.errors`.

    Examples
    --------
    >>> run = voxray.run(experiment_file, executor="local")
    >>> run.metrics["test"]["samples"] > 0
    True
    """
    from voxray.executors import get_executor
    from voxray.stages.pipeline import run as run_all

    experiment = _as_config(config)
    run_all(experiment, get_executor(executor), on_status or _log)
    return load_run(experiment.out, experiment.training.device)


def ingest(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Store:
    """Fill the patch store of an experiment; parameters and errors are those of `run`.

    Examples
    --------
    >>> store = voxray.ingest(experiment_file)
    >>> list(store.splits)
    ['train', 'val', 'test']
    """
    from voxray.executors import get_executor
    from voxray.stages.ingest import ingest as ingest_stage

    experiment = _as_config(config)
    ingest_stage(experiment, get_executor(executor), on_status or _log)
    return open_store(str(experiment.store_path), experiment)


def train(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Train the network of an experiment on its finished store; parameters and errors are those of `run`.

    Examples
    --------
    >>> voxray.train(experiment_file).history.num_rows
    2
    """
    from voxray.executors import get_executor
    from voxray.stages.train import train as train_stage

    experiment = _as_config(config)
    train_stage(experiment, get_executor(executor), on_status or _log)
    return load_run(experiment.out, experiment.training.device)


def evaluate(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Evaluate the trained network of an experiment; parameters and errors are those of `run`.

    Examples
    --------
    >>> 0 <= voxray.evaluate(experiment_file).metrics["test"]["recall"] <= 1
    True
    """
    from voxray.executors import get_executor
    from voxray.stages.evaluate import evaluate as evaluate_stage

    experiment = _as_config(config)
    evaluate_stage(experiment, get_executor(executor), on_status or _log)
    return load_run(experiment.out, experiment.training.device)


def report(config: "Experiment | AnyText", *, on_status: "OnStatus | None" = None) -> AnyPath:
    """Write the report of an evaluated experiment; returns its path. Parameters and errors are those of `run`.

    Examples
    --------
    >>> voxray.report(experiment_file).name
    'report.html'
    """
    from voxray.stages.report import report as report_stage

    return report_stage(_as_config(config), on_status or _log)


def _as_config(config: "Experiment | AnyText") -> "Experiment":
    return load_config(config) if isinstance(config, str | os.PathLike) else config


def _log(line: str) -> None:
    logging.getLogger("voxray").info(line)


def _as_volume(volume: "Volume | ArrayLike", affine: "ArrayLike | None") -> Volume:
    if isinstance(volume, Volume):
        return volume
    array = np.asarray(volume)
    if affine is None:
        raise ScanError("volume", "an array was given without affine", "Give affine=, voxel index to world millimeters")
    if array.ndim not in (3, 4):
        problem = f"expected shape (channel, x, y, z) or (x, y, z), got {array.shape}"
        raise ScanError("volume", problem, "Give the array of one scan")
    from voxray.scans.geometry import check_affine

    matrix = np.asarray(affine, np.float64)
    if matrix.shape != (4, 4):
        raise ScanError("affine", f"expected shape (4, 4), got {matrix.shape}", "Give voxel index to world millimeters")
    check_affine(matrix, "affine")
    return Volume(array if array.ndim == 4 else array[None], matrix)
