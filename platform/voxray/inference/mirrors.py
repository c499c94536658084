"""Predictions of mirrored scans (test-time augmentation): along the axes that training flipped, and no others."""

import itertools
from collections.abc import Sequence

import torch

from voxray.config.experiment import Experiment
from voxray.inference.sliding_window import Axes

AXES = "xyz"
ONE_PASS: tuple[Axes, ...] = ((),)
NO_EFFECT = "--tta has no effect: no network was trained with augment.flip"


def flipped_axes(experiment: Experiment) -> str:
    """The axes that training flipped, of those along which the input has more than one voxel, such as ``xy``."""
    sizes = zip(AXES, experiment.input_size, strict=True)
    return "".join(axis for axis, size in sizes if axis in experiment.augment.flip and size > 1)


def mirrors_of(experiment: Experiment, *, tta: bool = True) -> tuple[Axes, ...]:
    """The axes of each pass: every combination of those that training flipped, first none.

    Without `tta`, and where training flipped none, there is one pass.
    """
    axes = [AXES.index(axis) for axis in flipped_axes(experiment)] if tta else []
    return tuple(part for count in range(len(axes) + 1) for part in itertools.combinations(axes, count))


def axes_in_words(experiments: Sequence[Experiment]) -> str:
    """Along which axes the networks of experiments are mirrored; empty where none is."""
    found = dict.fromkeys(axes for experiment in experiments if (axes := flipped_axes(experiment)))
    return " or ".join(" and ".join(axes) for axes in found)


def mirror_images(images: torch.Tensor, axes: Axes, layout: torch.memory_format) -> torch.Tensor:
    """Images (n, channel, x, y[, z]) mirrored along axes; the same object where there are none."""
    return images.flip([2 + axis for axis in axes]).contiguous(memory_format=layout) if axes else images
