"""A trained segmentation model and whole scans: label maps in the scans' own geometry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from voxray.errors import ConfigError
from voxray.inference.load import TrainedRun
from voxray.inference.sliding_window import slide_slabs, window_starts
from voxray.loader.normalize import scale_images, valid_voxels
from voxray.models.outputs import class_probabilities, foreground_probabilities, label_maps
from voxray.models.spec.unet import UNet
from voxray.patches.cut import check_channels, scan_statistics
from voxray.scans.geometry import canonical_volume, check_spacing, in_axes_of
from voxray.scans.masks import check_finite
from voxray.scans.resample import resample, resample_like
from voxray.volume import Volume, inside_extents

BATCH_WINDOWS = 2


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of a scan's voxels, on the grid and in the axes of the scan.

    Attributes
    ----------
    labels : Volume
        (1, i, j, k) uint8.
    probabilities : Volume
        (channels, i, j, k) float32.
    """

    labels: Volume
    probabilities: Volume


class Segmenter:
    """Segments scans with a trained run.

    Raises
    ------
    ConfigError
        The run trained a classifier.
    """

    def __init__(self, run: TrainedRun) -> None:
        if not isinstance(run.architecture, UNet):
            problem = "this run trained a classifier of patches"
            raise ConfigError(str(run.folder.path), problem, "Segmentation needs the run of a U-Net")
        self.run, self.network = run, run.architecture

    def predict(self, volume: Volume, where: str = "volume") -> Segmentation:
        """Segment a scan.

        Parameters
        ----------
        volume : Volume
            In any axes, of any size and spacing, with the channels of the scans of the training.
        where : str
            Name of the scan in messages.

        Raises
        ------
        ScanError
            It has other channels than the model, an implausible spacing, or voxels that are not finite.
        """
        scan = canonical_volume(volume.array, volume.affine)
        resampled = self._on_grid(scan, where)
        slabs = [slab.cpu().numpy() for slab in self._slabs(resampled)]
        probabilities = Volume(np.concatenate(slabs, axis=1), resampled.affine)
        if resampled is not scan:
            probabilities = resample_like(probabilities, scan, order=1)
        array = torch.from_numpy(np.asarray(probabilities.array))[None]
        labels = Volume(label_maps(array, self.network.output.activation).numpy(), scan.affine)
        return Segmentation(in_axes_of(labels, volume.affine), in_axes_of(probabilities, volume.affine))

    def foreground(self, volume: Volume, where: str = "volume") -> Volume:
        """The probability that a voxel is no background, (1, x, y, z) float32, on the grid of the patches.

        Parameters and errors are those of `predict`. The axes are canonical, the spacing is that of the training.
        """
        resampled = self._on_grid(canonical_volume(volume.array, volume.affine), where)
        activation = self.network.output.activation
        slabs = [foreground_probabilities(slab[None], activation).cpu().numpy() for slab in self._slabs(resampled)]
        return Volume(np.concatenate(slabs, axis=1), resampled.affine)

    def _on_grid(self, scan: Volume, where: str) -> Volume:
        """A scan in canonical axes with the spacing of the patches; the same object where that is its own."""
        patches = self.run.experiment.patches
        check_channels(scan, self.run.cut_settings.channels, where)
        check_finite(scan, where)
        check_spacing(scan, patches.spacing_range_mm, where)
        return scan if patches.spacing_mm is None else resample(scan, patches.spacing_mm, 1, where)

    def _slabs(self, volume: Volume) -> Iterator[torch.Tensor]:
        """Slabs along x of mean probabilities, (channels, x, y, z)."""
        spec, device = self.run.experiment, self.run.device
        flat = self.network.spatial_dims == 2
        scaled = self._scaling(volume)

        def predict(windows: torch.Tensor) -> torch.Tensor:
            images = scaled(windows)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits: Any = self.run.model(images[..., 0] if flat else images)
            probabilities = class_probabilities(logits.float(), self.network.output.activation)
            return probabilities[..., None] if flat else probabilities

        for _, slab in slide_slabs(
            volume.array,
            predict,
            spec.patches.size,
            spec.evaluation.overlap,
            batch_size=BATCH_WINDOWS,
            pad_value=spec.patches.pad_value,
            device=device,
        ):
            yield slab

    def _scaling(self, volume: Volume) -> Callable[[torch.Tensor], torch.Tensor]:
        """What turns windows in the scan's own numbers into the input that training made of patches."""
        spec, size = self.run.experiment.intensity, self.run.experiment.patches.size
        starts = [window_starts(extent, length, 0)[0] for extent, length in zip(volume.shape, size, strict=True)]
        # A volume is smaller than a window along an axis, or no window extends beyond it there: all are padded alike.
        inside = torch.from_numpy(inside_extents(np.array([starts]), volume.shape, size))
        valid = valid_voxels(inside.to(self.run.device), size)
        rows = scan_statistics(volume, self.run.cut_settings)
        statistics = None if rows is None else torch.tensor([rows])

        def scale(windows: torch.Tensor) -> torch.Tensor:
            count = len(windows)
            rows = None if statistics is None else statistics.expand(count, -1, -1)
            return scale_images(windows, spec, rows, valid.expand(count, -1, -1, -1, -1))

        return scale
