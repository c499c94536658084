"""Label maps of whole scans by one or several networks, in memory that does not grow with classes times voxels.

The probabilities of all networks are brought to the scan's own grid a few planes at a time, averaged, turned into
labels and dropped. Each label is the one that the probabilities of the whole scan would give.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voxray.inference.mirrors import mirrors_of
from voxray.inference.parts import Part, Windows, choose_parts
from voxray.inference.segmenter import NetworkInput, Segmenter
from voxray.inference.sliding_window import FLOAT_BYTES, Span
from voxray.models.outputs import label_maps
from voxray.scans.geometry import canonical_volume, in_axes_of
from voxray.scans.masks import label_values
from voxray.scans.resample import PartsLike
from voxray.volume import Volume

SUMS_BYTES = 2**30  # of all networks together
GPU_SHARE = 4  # on a GPU, one of so many parts of its free memory
PLANES_BYTES = 2**26  # of probabilities on the scan's own grid

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The classes of a scan's voxels, on the grid and in the axes of the scan.

    Attributes
    ----------
    labels : Volume
        (1, i, j, k), the values that masks have for the classes.
    probabilities : Volume, optional
        (channels, i, j, k) float32, where they were asked for.
    """

    labels: Volume
    probabilities: Volume | None = None


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan that is ready for the networks.

    Attributes
    ----------
    scan : Volume
        In canonical axes.
    affine : ndarray, (4, 4)
        Of the axes that it was given in.
    inputs : tuple of NetworkInput
        That of each network.
    """

    scan: Volume
    affine: NDArray[np.float64]
    inputs: tuple[NetworkInput, ...]


def prepare_scan(segmenters: Sequence[Segmenter], volume: Volume, where: str = "volume") -> PreparedScan:
    """Check a scan and bring it to the grid of each network; networks with the same spacing share a volume.

    Parameters
    ----------
    segmenters : sequence of Segmenter
    volume : Volume
        In any axes, of any size and spacing, with the channels of the scans of the training.
    where : str
        Name of the scan in messages.

    Raises
    ------
    ScanError
        It has other channels than a network, an implausible spacing, or voxels that are not finite.
    """
    scan = canonical_volume(volume.array, volume.affine)
    shared: dict[Any, NetworkInput] = {}
    inputs = []
    for segmenter in segmenters:
        settings, spec = segmenter.run.cut_settings, segmenter.run.experiment.patches
        key = (spec.spacing_mm, spec.spacing_range_mm, settings.channels, settings.statistics)
        if key not in shared:
            grid = segmenter.on_grid(scan, where)
            shared[key] = NetworkInput(grid, segmenter.statistics(grid))
        inputs.append(shared[key])
    return PreparedScan(scan, volume.affine, tuple(inputs))


def segment_scan(
    segmenters: Sequence[Segmenter],
    prepared: PreparedScan,
    *,
    probabilities: bool = False,
    tta: bool = False,
    sums_bytes: int | None = None,
) -> Segmentation:
    """Segment a scan by the mean of the networks' probabilities.

    Parameters
    ----------
    segmenters : sequence of Segmenter
        Of the same classes and activation.
    prepared : PreparedScan
        For these segmenters.
    probabilities : bool
        Whether the mean probabilities are returned, which takes the memory of a float32 per class and voxel.
    tta : bool
        Whether each network is also given windows mirrored along the axes that its training flipped.
    sums_bytes : int, optional
        Memory of the sums of windows; by default 1 GiB, on a GPU a quarter of what is free.
    """
    scan, activation = prepared.scan, segmenters[0].network.output.activation
    members = [_Member(*pair, scan, tta) for pair in zip(segmenters, prepared.inputs, strict=True)]
    meaning = segmenters[0].run.labels
    written = meaning.written if meaning.regions else ()
    most = sums_bytes or _sums_bytes(segmenters[0].run.device)
    labels = np.empty((1, *scan.shape), np.uint8)
    shares = np.empty((segmenters[0].channels, *scan.shape), np.float32) if probabilities else None
    for part in choose_parts(scan.shape, [member.windows for member in members], most):
        edges = _planes(scan.shape[0], part, segmenters[0].channels * len(members))
        streams = (member.parts(part, edges) for member in members)
        for span, parts in zip(edges, zip(*streams, strict=True), strict=True):
            mean = _mean(parts)
            place = tuple(slice(*each) for each in (span, *part))
            labels[(slice(None), *place)] = label_maps(torch.from_numpy(mean)[None], activation, written).numpy()
            if shares is not None:
                shares[(slice(None), *place)] = mean
    maps = [None if array is None else Volume(array, scan.affine) for array in (label_values(labels, meaning), shares)]
    first, second = (None if volume is None else in_axes_of(volume, prepared.affine) for volume in maps)
    assert first is not None
    return Segmentation(first, second)


def _sums_bytes(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // GPU_SHARE if device.type == "cuda" else SUMS_BYTES


def _planes(extent: int, part: Part, channels: int) -> list[Span]:
    """Spans along x whose probabilities are in memory together."""
    plane = FLOAT_BYTES * channels * int(np.prod([high - low for low, high in part]))
    step = max(1, PLANES_BYTES // plane)
    return [(low, min(low + step, extent)) for low in range(0, extent, step)]


def _mean(parts: Sequence[Floats]) -> Floats:
    if len(parts) == 1:
        return parts[0]
    mean = np.array(parts[0])
    for part in parts[1:]:
        mean += part
    mean /= len(parts)
    return mean


class _Member:
    """The probabilities of a network on the grid of a scan, part by part."""

    def __init__(self, segmenter: Segmenter, given: NetworkInput, scan: Volume, tta: bool) -> None:
        self.segmenter, self.given = segmenter, given
        self.mirrors = mirrors_of(segmenter.run.experiment, tta=tta)
        self.onto = None if given.volume is scan else PartsLike(given.volume, scan)
        spec = segmenter.run.experiment
        window, overlap = spec.input_size, spec.evaluation.overlap
        self.windows = Windows(segmenter.channels, given.volume.shape, window, overlap, self.needed)

    def needed(self, axis: int, span: Span) -> Span:
        """What a span of the scan's grid depends on, on the grid of the network."""
        return span if self.onto is None else self.onto.needed(axis, span)

    def parts(self, part: Part, edges: Sequence[Span]) -> Iterator[Floats]:
        """Probabilities (channels, x, y, z) of each span along x."""
        across = self.needed(1, part[0]), self.needed(2, part[1])
        slabs = self.segmenter.slabs(self.given, across, self.mirrors)
        held: list[tuple[int, Floats]] = []
        end = 0
        for span in edges:
            low, high = self.needed(0, span)
            while end < high:
                # What is needed again is copied, so that the memory of the rest is free.
                held = [_from(low, first, slab) for first, slab in held]
                slab = next(slabs).cpu().numpy()
                held.append((end, slab))
                end += slab.shape[1]
            held = [(first, slab) for first, slab in held if first + slab.shape[1] > low]
            pieces = [slab[:, max(low - first, 0) : high - first] for first, slab in held]
            values = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
            yield values if self.onto is None else self.onto.sample(values, (span, *part))


def _from(low: int, first: int, slab: Floats) -> tuple[int, Floats]:
    """A slab without its planes below `low`, and its first plane."""
    return (first, slab) if first >= low else (low, slab[:, low - first :].copy())
