"""A trained segmentation model and whole scans: label maps in the scans' own geometry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxray.config.experiment import Experiment
from voxray.config.load import read_experiment
from voxray.errors import ConfigError, ScanError
from voxray.inference.sliding_window import slide_slabs, window_starts
from voxray.loader.normalize import scale_images, valid_voxels
from voxray.models.build import build_model
from voxray.models.outputs import class_probabilities, label_maps
from voxray.models.spec.load import parse_architecture
from voxray.models.spec.unet import UNet
from voxray.patches.plan import NEEDS_STATISTICS
from voxray.runs.folder import RunFolder
from voxray.scans.geometry import canonical_volume, in_axes_of
from voxray.scans.intensity import statistics_rows, volume_statistics
from voxray.scans.masks import check_finite
from voxray.scans.read import open_file
from voxray.scans.resample import resample, resample_like
from voxray.storage.paths import AnyPath
from voxray.training.checkpoint import load_model, read_metadata
from voxray.volume import Volume

BATCH_WINDOWS = 2


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A model that is ready to segment scans.

    Attributes
    ----------
    experiment : Experiment
        Of the run that trained it.
    network : UNet
    model : nn.Module
    channels : int
    classes : tuple of str
        Background first.
    device : torch.device
    """

    experiment: Experiment
    network: UNet
    model: nn.Module
    channels: int
    classes: tuple[str, ...]
    device: torch.device


def load_segmenter(run: AnyPath, device: torch.device) -> Segmenter:
    """Load the model of a run's folder.

    Raises
    ------
    ConfigError
        The run trained a classifier.
    """
    folder = RunFolder(run)
    metadata = read_metadata(folder.model)
    network = parse_architecture(metadata["architecture"], str(folder.model))
    if not isinstance(network, UNet):
        raise ConfigError(str(run), "this run trained a classifier of patches", "Segmentation needs a U-Net's run")
    classes = tuple(metadata["classes"])
    shape = tuple(metadata["input_shape"])
    model = build_model(network, shape, len(classes), 0)
    load_model(folder.model, model)
    model = model.to(device).eval()
    return Segmenter(read_experiment(folder.experiment), network, model, shape[0], classes, device)


def segment_scan(segmenter: Segmenter, path: AnyPath) -> tuple[Volume, Volume]:
    """Segment one scan.

    Parameters
    ----------
    segmenter : Segmenter
    path : Place
        Any scan that `voxray.scans.read.open_scan` reads, of any size and spacing.

    Returns
    -------
    Volume
        Label map, (1, i, j, k) uint8, on the grid and in the axes of the scan's file.
    Volume
        Probabilities, (channels, i, j, k) float32, on that grid.

    Raises
    ------
    ScanError
        It has other channels than the model, or voxels that are not numbers.
    """
    file = open_file(path)
    scan = canonical_volume(file.array, file.affine)
    if scan.array.shape[0] != segmenter.channels:
        problem = f"has {scan.array.shape[0]} channels, the model wants {segmenter.channels}"
        raise ScanError(str(path), problem, "Give scans like those of its training")
    check_finite(scan, str(path))
    spacing = segmenter.experiment.patches.spacing_mm
    volume = scan if spacing is None else resample(scan, spacing, order=1)
    slabs = list(_probabilities(segmenter, volume))
    probabilities = Volume(np.concatenate(slabs, axis=1), volume.affine)
    if spacing is not None:
        probabilities = resample_like(probabilities, scan, order=1)
    activation = segmenter.network.output.activation
    labels = label_maps(torch.from_numpy(np.asarray(probabilities.array))[None], activation)
    own = (in_axes_of(each, file.affine) for each in (Volume(labels.numpy(), scan.affine), probabilities))
    return next(own), next(own)


def _probabilities(segmenter: Segmenter, volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Slabs along x of mean probabilities, (channels, x, y, z)."""
    spec = segmenter.experiment
    activation = segmenter.network.output.activation
    flat = segmenter.network.spatial_dims == 2
    scaled = _scaling(segmenter, volume)

    def predict(windows: torch.Tensor) -> torch.Tensor:
        images = scaled(windows)
        with torch.autocast(segmenter.device.type, torch.bfloat16, enabled=segmenter.device.type == "cuda"):
            logits: Any = segmenter.model(images[..., 0] if flat else images)
        found = class_probabilities(logits.float(), activation)
        return found[..., None] if flat else found

    for slab in slide_slabs(
        volume.array,
        predict,
        spec.patches.size,
        spec.evaluation.overlap,
        batch_size=BATCH_WINDOWS,
        pad_value=spec.patches.pad_value,
        device=segmenter.device,
    ):
        yield slab.values.cpu().numpy()


def _scaling(segmenter: Segmenter, volume: Volume) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes of windows in the scan's own numbers the input that training made of patches."""
    spec, size = segmenter.experiment.intensity, segmenter.experiment.patches.size
    starts = [window_starts(extent, length, 0)[0] for extent, length in zip(volume.shape, size, strict=True)]
    low = [-start for start in starts]
    high = [min(extent - start, length) for extent, start, length in zip(volume.shape, starts, size, strict=True)]
    # A volume is smaller than a window along an axis, or no window reaches beyond it there: all have the same padding.
    valid = valid_voxels(torch.tensor([[low, high]], device=segmenter.device), size)
    known = torch.empty(0)
    if spec.kind in NEEDS_STATISTICS:
        known = torch.tensor([statistics_rows(volume_statistics(volume.array))])

    def scale(windows: torch.Tensor) -> torch.Tensor:
        count = len(windows)
        statistics = known.expand(count, -1, -1) if len(known) else None
        return scale_images(windows, spec, statistics, valid.expand(count, -1, -1, -1, -1))

    return scale
