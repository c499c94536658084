"""A trained run: its results, and predictions with its model."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from voxray.api import AnyText
from voxray.api.volumes import as_mask, as_volume
from voxray.errors import ConfigError, NotReadyError
from voxray.storage.paths import AnyPath, exists, to_path
from voxray.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn

    from voxray.config.experiment import Experiment
    from voxray.inference.classifier import Prediction
    from voxray.inference.detector import Findings
    from voxray.inference.ensemble import Segmentation
    from voxray.inference.load import TrainedRun


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
        Operating point of class 1 of two, for what ``evaluation.level`` names; the mean over folds. That of whole scans
        comes with each prediction.
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
        self,
        volume: "Volume | ArrayLike",
        *,
        affine: "ArrayLike | None" = None,
        mask: Volume | None = None,
        probabilities: bool = False,
        others: "Sequence[Run]" = (),
        tta: bool = False,
    ) -> "Prediction | Segmentation | Findings":
        """Predict a scan, exactly as ``voxray predict`` does; a cross-validation averages its folds' probabilities.

        Parameters
        ----------
        volume : Volume or array, (channel, x, y, z) or (x, y, z)
            In the scan's own numbers, in any axes.
        affine : array, (4, 4), optional
            Voxel index to world millimeters, RAS+; needed with an array.
        mask : Volume, optional
            Chooses the slices, where a classifier's training chose them by masks.
        probabilities : bool
            Whether a segmentation has its probabilities, a float32 for each class and voxel of the scan. Labels alone
            are made slab by slab, so that the memory hardly depends on the number of classes.
        others : sequence of Run
            Other runs, whose probabilities are averaged with those of this one; as ``voxray predict --with``.
        tta : bool
            Whether the mean is also over mirrors of the scan, along the axes that training flipped (``augment.flip``).
            Warns where it flipped none.

        Returns
        -------
        Prediction
            Of a classifier: ``probabilities`` (classes,), ``label``, and the ``threshold`` of class 1 of two.
        Segmentation
            Of a segmentation: the volumes ``labels`` and, where asked for, ``probabilities``, on the grid of the scan.
        Findings
            Of a classifier of candidates: ``centers_mm`` (n, 3) in world RAS, ``probabilities`` (n,) and
            ``diameters_mm`` (n,), the most probable first, and the ``threshold`` of the operating point.

        Raises
        ------
        ConfigError
            A path is given instead of a volume, an array instead of a mask, or a run of another task or other classes.
        ScanError
            The scan cannot be used.

        Examples
        --------
        >>> prediction = voxray.load_run(classifier_folder).predict(voxray.read_scan(chest))
        >>> prediction.probabilities.shape, prediction.label in (0, 1)
        ((2,), True)
        """
        from voxray.inference.load import check_members
        from voxray.inference.mirrors import NO_EFFECT, axes_in_words
        from voxray.inference.predict import predict_volume

        runs = [trained for run in (self, *others) for trained in run.trained]
        if others:
            check_members([run.folder.path for run in runs])
        if tta and not axes_in_words([run.experiment for run in runs]):
            warnings.warn(NO_EFFECT.replace("--tta", "tta"), stacklevel=2)
        return predict_volume(runs, as_volume(volume, affine), as_mask(mask), probabilities=probabilities, tta=tta)

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
    from voxray.inference.load import load_trained, trained_folders
    from voxray.runs.folder import RunFolder
    from voxray.runs.read import read_history, read_metrics, read_run_experiment
    from voxray.training.loop import choose_device

    files = RunFolder(to_path(folder))
    if not exists(files.experiment):
        raise NotReadyError(str(files.path), "no run is here", "Run voxray train first")
    config = read_run_experiment(files)
    metrics = read_metrics(files) if exists(files.metrics) else {}
    if config.split.is_cross_validation:
        folds = tuple(load_run(str(path), device) for path in trained_folders(files.path))
        tables = [fold.history.append_column("fold", pa.array([n] * len(fold.history))) for n, fold in enumerate(folds)]
        thresholds = np.array([fold.threshold for fold in folds], np.float64)  # NaN where a fold has none
        threshold = None if np.isnan(thresholds).any() else float(thresholds.mean())
        trained_folds = [fold.trained[0] for fold in folds]
        history = pa.concat_tables(tables, promote_options="default")
        return Run(files.path, config, metrics, history, folds[0].classes, threshold, trained_folds, folds)
    trained = load_trained(files.path, choose_device(device))
    history = read_history(files)
    return Run(files.path, config, metrics, history, trained.classes, trained.threshold, [trained])
