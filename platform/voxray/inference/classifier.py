"""A trained classifier and whole scans: probabilities of the classes, and where the evidence for one lies."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from voxray.datasets.layouts import find_layout
from voxray.errors import ConfigError, ScanError
from voxray.inference.grad_cam import grad_cam
from voxray.inference.load import TrainedRun
from voxray.inference.mirrors import mirror_images, mirrors_of
from voxray.inference.sliding_window import Axes
from voxray.loader.normalize import scale_images
from voxray.patches.cut import Patch, choose_boxes, cut_patches, prepare_volume, scan_number, scan_statistics
from voxray.scans.geometry import canonical_volume
from voxray.volume import Volume


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The classes of a scan.

    Attributes
    ----------
    probabilities : ndarray of float64, (classes,)
        Mean over the scan's patches, calibrated where the run is.
    label : int
        The predicted class.
    threshold : float, optional
        Operating point of class 1 of two, for a scan; None where the most probable class is predicted.
    inputs : Tensor of float32, (n, channel, x, y[, z])
        The patches as the network is given them.
    """

    probabilities: NDArray[np.float64]
    label: int
    threshold: float | None
    inputs: torch.Tensor

    def __repr__(self) -> str:
        return f"<Prediction label {self.label}, probabilities {self.probabilities.round(4).tolist()}>"


@dataclass(frozen=True, eq=False)
class PatchesOfScan:
    """What a classifier sees of a scan.

    Attributes
    ----------
    images : ndarray, (n, channel, x, y, z)
        In the scan's own numbers.
    statistics : list of list of float, optional
        Of the whole scan, see `voxray.patches.cut.scan_statistics`.
    """

    images: NDArray[np.generic]
    statistics: list[list[float]] | None


class Classifier:
    """Classifies scans with a trained run.

    Raises
    ------
    ConfigError
        The run was not trained to classify scans as a whole.
    """

    def __init__(self, run: TrainedRun) -> None:
        if run.task != "classification":
            raise ConfigError(str(run.folder.path), "this run trained a segmentation", "Load it as a segmenter")
        if find_layout(run.experiment.data.layout).samples_points:
            problem = "this run classifies the candidates of a list, so a scan as a whole has no prediction"
            raise ConfigError(str(run.folder.path), problem, "Run voxray evaluate with a list of candidates")
        self.run = run

    def prepare(self, volume: Volume, mask: Volume | None = None, where: str = "volume") -> PatchesOfScan:
        """Cut the patches of a scan that it is evaluated with.

        Parameters
        ----------
        volume : Volume
            In any axes, with the channels of the scans of the training.
        mask : Volume, optional
            Chooses the slices, where those of the training were chosen by a mask.
        where : str
            Name of the scan in messages.

        Raises
        ------
        ScanError
            The scan cannot be used, or a mask is missing.
        """
        settings = self.run.cut_settings
        volume = canonical_volume(volume.array, volume.affine)
        mask = None if mask is None else canonical_volume(mask.array, mask.affine)
        number = scan_number(volume, settings)
        volume, mask = prepare_volume(volume, mask, settings, where)
        boxes = choose_boxes(volume, mask, settings, where, number=number)
        patches = cut_patches(volume, mask, boxes, settings, [where] * len(boxes))
        # A patch that cannot be had is quarantined by ingest too, and not evaluated.
        images = [patch.image for patch in patches if isinstance(patch, Patch)]
        if not images:
            raise next(patch for patch in patches if isinstance(patch, ScanError))
        return PatchesOfScan(np.stack(images), scan_statistics(volume, settings))

    def predict(self, patches: PatchesOfScan, where: str = "volume", *, tta: bool = False) -> Prediction:
        """Classify a scan by the mean of its patches' probabilities.

        Parameters
        ----------
        patches : PatchesOfScan
        where : str
            Name of the scan in messages.
        tta : bool
            Whether the mean is also over patches mirrored along the axes that training flipped.

        Raises
        ------
        ScanError
            The network gives it no probability.
        """
        inputs = self._inputs(patches)
        mirrors = mirrors_of(self.run.experiment, tta=tta)
        probabilities = np.mean([self._probabilities(inputs, axes) for axes in mirrors], axis=0)
        threshold = self.run.scan_threshold
        if not np.isfinite(probabilities).all():
            raise ScanError(where, "the network gives it no probability (NaN)", "Check it with voxray inspect")
        return Prediction(probabilities, predict_label(probabilities, threshold), threshold, inputs)

    def saliency(self, prediction: Prediction) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
        """What speaks for a class, by Grad-CAM.

        Returns
        -------
        int
            The class: 1 of two, or the predicted one where there are more.
        ndarray of float32, (n, x, y, z)
            First channel of the patches, as the network is given them.
        ndarray of float32, (n, x, y, z)
            The saliency in them; not scaled.
        """
        inputs = prediction.inputs
        label = 1 if len(self.run.classes) == 2 else prediction.label
        # One patch at a time: the gradients of many would not fit into memory together.
        saliency = torch.cat([grad_cam(self.run.model, patch[None], label) for patch in inputs])
        maps = (values[..., None] if inputs.ndim == 4 else values for values in (inputs[:, 0], saliency))
        images, heat = (values.float().cpu().numpy() for values in maps)
        return label, images, heat

    def _probabilities(self, inputs: torch.Tensor, axes: Axes) -> NDArray[np.float64]:
        """The mean over patches, mirrored along axes."""
        with torch.no_grad(), self.run.preprocessing.autocast():
            batches = inputs.split(self.run.experiment.training.batch_size)
            mirrored = (mirror_images(batch, axes, self.run.preprocessing.layout) for batch in batches)
            logits = torch.cat([self.run.model(batch).double().cpu() for batch in mirrored])
        probabilities: NDArray[np.float64] = self.run.calibration.apply(logits.numpy()).mean(axis=0)
        return probabilities

    def _inputs(self, patches: PatchesOfScan) -> torch.Tensor:
        preprocessing, statistics = self.run.preprocessing, patches.statistics
        raw = torch.from_numpy(patches.images).to(preprocessing.device)
        rows = None if statistics is None else torch.tensor([statistics] * len(raw), dtype=torch.float64)
        scaled = scale_images(raw, preprocessing.intensity, rows, None)
        flat = scaled[..., 0] if preprocessing.spatial_dims == 2 else scaled
        return flat.contiguous(memory_format=preprocessing.layout)


def predict_label(probabilities: NDArray[np.float64], threshold: float | None) -> int:
    """The class of probabilities (classes,): by the operating point where there is one, else the most probable."""
    if threshold is None or len(probabilities) != 2:
        return int(probabilities.argmax())
    return int(probabilities[1] >= threshold)
