"""A trained segmentation model and whole scans: probabilities of the classes, slab by slab."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from voxray.errors import ConfigError
from voxray.inference.load import TrainedRun
from voxray.inference.mirrors import ONE_PASS
from voxray.inference.sliding_window import FLOAT_BYTES, Axes, Span, slide_slabs, window_starts
from voxray.loader.normalize import scale_images, valid_voxels
from voxray.models.outputs import class_probabilities, foreground_probabilities
from voxray.models.spec.unet import UNet
from voxray.patches.cut import check_channels, scan_statistics
from voxray.scans.geometry import canonical_volume, check_spacing
from voxray.scans.masks import check_finite
from voxray.scans.resample import resample
from voxray.volume import Volume, inside_extents

BATCH_WINDOWS = 2
BATCH_BYTES = 2**29  # of the values that a batch of windows gives, where that is more than one window


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A scan as a network is given it.

    Attributes
    ----------
    volume : Volume
        In canonical axes with the spacing of the patches, in the scan's own numbers.
    statistics : list of list of float, optional
        See `voxray.patches.cut.scan_statistics`.
    """

    volume: Volume
    statistics: list[list[float]] | None


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

    @property
    def channels(self) -> int:
        """Those of the probabilities: a class each, with sigmoid without the background."""
        return len(self.run.classes) - (self.network.output.activation == "sigmoid")

    def foreground(self, volume: Volume, where: str = "volume") -> Volume:
        """The probability that a voxel is no background, (1, x, y, z) float32, on the grid of the patches.

        The axes are canonical, the spacing is that of the training.

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
        scan = self.on_grid(canonical_volume(volume.array, volume.affine), where)
        activation = self.network.output.activation
        slabs = self.slabs(NetworkInput(scan, self.statistics(scan)))
        maps = [foreground_probabilities(slab[None], activation).cpu().numpy() for slab in slabs]
        return Volume(np.concatenate(maps, axis=1), scan.affine)

    def on_grid(self, scan: Volume, where: str) -> Volume:
        """A scan in canonical axes with the spacing of the patches; the same object where that is its own."""
        patches = self.run.experiment.patches
        check_channels(scan, self.run.cut_settings.channels, where)
        check_finite(scan, where)
        check_spacing(scan, patches.spacing_range_mm, where)
        return scan if patches.spacing_mm is None else resample(scan, patches.spacing_mm, 1, where)

    def statistics(self, volume: Volume) -> list[list[float]] | None:
        """The statistics of a scan on the grid of the patches, where the run normalizes by them."""
        return scan_statistics(volume, self.run.cut_settings)

    def slabs(
        self,
        scan: NetworkInput,
        across: tuple[Span, Span] | None = None,
        mirrors: Sequence[Axes] = ONE_PASS,
    ) -> Iterator[torch.Tensor]:
        """Slabs along x of mean probabilities, (channels, x, y, z); see `slide_slabs` for the arguments."""
        spec, device = self.run.experiment, self.run.device
        flat, activation = self.network.spatial_dims == 2, self.network.output.activation
        scaled = self._scaling(scan)

        def predict(windows: torch.Tensor) -> torch.Tensor:
            images = scaled(windows)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits: torch.Tensor = self.run.model(images[..., 0] if flat else images)
            return logits[..., None] if flat else logits

        window_bytes = FLOAT_BYTES * self.channels * int(np.prod(spec.input_size))
        for _, slab in slide_slabs(
            scan.volume.array,
            predict,
            spec.input_size,
            spec.evaluation.overlap,
            batch_size=max(1, min(BATCH_WINDOWS, BATCH_BYTES // window_bytes)),
            pad_value=spec.patches.pad_value,
            device=device,
            activate=lambda logits: class_probabilities(logits, activation),
            across=across,
            mirrors=mirrors,
        ):
            yield slab

    def _scaling(self, scan: NetworkInput) -> Callable[[torch.Tensor], torch.Tensor]:
        """What turns windows in the scan's own numbers into the input that training made of patches."""
        spec, size = self.run.experiment.intensity, self.run.experiment.input_size
        shape = scan.volume.shape
        starts = [window_starts(extent, length, 0)[0] for extent, length in zip(shape, size, strict=True)]
        # A volume is smaller than a window along an axis, or no window extends beyond it there: all are padded alike.
        inside = torch.from_numpy(inside_extents(np.array([starts]), shape, size))
        valid = valid_voxels(inside.to(self.run.device), size)
        statistics = None if scan.statistics is None else torch.tensor([scan.statistics])

        def scale(windows: torch.Tensor) -> torch.Tensor:
            count = len(windows)
            rows = None if statistics is None else statistics.expand(count, -1, -1)
            return scale_images(windows, spec, rows, valid.expand(count, -1, -1, -1, -1))

        return scale
