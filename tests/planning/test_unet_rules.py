"""The rules of nnU-Net. The expected values are those of its own planner (2.8.1, 8 GB) for the same fingerprints."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError, DataError
from voxray.models.cost.estimate import estimate_cost
from voxray.models.spec.load import parse_architecture
from voxray.planning.budget import PRESETS
from voxray.planning.unet_rules import (
    Topology,
    filters_by_level,
    fit_patch,
    fit_topology,
    largest_batch,
    resampled_extents,
    target_spacing,
    unet_json,
)

PLANE, SPACE = (2, 2, 1), (2, 2, 2)
FLAT, CUBE = (3, 3, 1), (3, 3, 3)


class Case(NamedTuple):
    """A data set, and what nnU-Net derives for it."""

    spacings: list[list[float]]
    extents: list[list[int]]
    channels: int
    classes: int
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    batch: int


CASES = {
    "hippocampus": Case(
        [[1.0, 1.0, 1.0]] * 190,
        [[35, 50, 35], [37, 51, 36]] * 95,
        1,
        3,
        (1, 1, 1),
        (40, 56, 40),
        (SPACE,) * 3,
        (CUBE,) * 4,
        7,
    ),
    "ACDC": Case(
        [[1.56, 1.56, 10.0]] * 160 + [[1.56, 1.56, 5.0]] * 40,
        [[216, 256, 9]] * 160 + [[216, 256, 18]] * 40,
        1,
        4,
        (1.56, 1.56, 5.0),
        (224, 256, 20),
        (PLANE, SPACE, SPACE, PLANE, PLANE),
        (FLAT, *(CUBE,) * 5),
        3,  # nnU-Net rounds 3.6 up to 4; here the batch fits
    ),
    "left atrium": Case(
        [[0.625] * 3] * 80,
        [[229, 215, 88]] * 80,
        1,
        2,
        (0.625,) * 3,
        (192, 192, 64),
        (SPACE,) * 4 + (PLANE,),
        (CUBE,) * 6,
        2,
    ),
    "BraTS": Case(
        [[1.0] * 3] * 484, [[138, 169, 138]] * 484, 4, 4, (1, 1, 1), (128, 128, 128), (SPACE,) * 5, (CUBE,) * 6, 2
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_plan_of_a_data_set_is_that_of_nnunet(case: Case) -> None:
    spacings, extents = np.array(case.spacings), np.array(case.extents, np.float64)
    spacing = target_spacing(spacings, extents)
    assert spacing == case.spacing

    median = tuple(np.median(resampled_extents(extents, spacings, spacing), axis=0).tolist())

    def fits(topology: Topology, batch: int) -> bool:
        training = TrainingSpec(batch_size=batch, optimizer="adamw", ema_decay=0.99, loss="dice_cross_entropy")
        spec = parse_architecture(unet_json(topology), "a U-Net")
        cost = estimate_cost(spec, (case.channels, *topology.patch), case.classes, training, "a U-Net", gpu=True)
        return cost.peak_bytes <= PRESETS["M"]

    topology = fit_patch(spacing, median, lambda topology: fits(topology, 2))
    assert topology == (case.patch, case.strides, case.kernels)
    voxels = math.prod(median) * len(spacings)
    assert largest_batch(topology.patch, voxels, lambda batch: fits(topology, batch)) == case.batch


def test_an_axis_of_distant_slices_has_the_tenth_percentile_of_its_spacing_and_others_have_the_median() -> None:
    spacings = np.array([[1.0, 1.0, z] for z in np.linspace(4, 8, 11)])
    assert target_spacing(spacings, np.full((11, 3), [200, 200, 20.0])) == pytest.approx((1, 1, 4.4))
    # As many slices as voxels in plane: a long field of view, not a coarse one.
    assert target_spacing(spacings, np.full((11, 3), [200, 200, 180.0])) == pytest.approx((1, 1, 6))


def test_the_axis_of_distant_slices_stays_no_finer_than_the_plane() -> None:
    spacings = np.array([[1.0, 1.0, z] for z in [0.5, 0.5, *[5.0] * 9]])
    assert target_spacing(spacings, np.full((11, 3), [200, 200, 20.0])) == pytest.approx((1, 1, 1))


def test_a_plane_has_a_network_of_two_axes() -> None:
    topology = fit_patch((0.625, 0.625), (320, 320), lambda _: True)
    assert topology == ((320, 320), ((2, 2),) * 6, ((3, 3),) * 7)
    assert filters_by_level(7, 2) == (32, 64, 128, 256, 512, 512, 512)
    assert filters_by_level(6, 3) == (32, 64, 128, 256, 320, 320)


sizes = st.integers(4, 300)
spacings_mm = st.sampled_from([0.3, 0.5, 1.0, 1.5, 3.0, 5.0, 8.0])


@settings(max_examples=60)
@given(st.lists(st.tuples(spacings_mm, sizes), min_size=2, max_size=3))
def test_a_patch_covers_the_size_divides_by_its_strides_and_leaves_four_voxels(axes: list[tuple[float, int]]) -> None:
    spacing, size = zip(*axes, strict=True)
    topology = fit_topology(spacing, size)
    for extent, patch, divisor in zip(size, topology.patch, topology.divisors, strict=True):
        assert patch >= extent
        assert patch - extent < divisor
        assert patch % divisor == 0
        assert patch // divisor >= 4
    assert len(topology.kernels) == len(topology.strides) + 1
    assert topology.kernels[-1] == (3,) * len(size)


@settings(max_examples=25)
@given(st.tuples(spacings_mm, spacings_mm, spacings_mm), st.tuples(*[st.integers(16, 200)] * 3), st.integers(14, 24))
def test_a_patch_is_shortened_until_it_fits(spacing: tuple[float, ...], median: tuple[int, ...], exponent: int) -> None:
    def fits(topology: Topology) -> bool:
        return math.prod(topology.patch) <= 2**exponent

    whole = fit_patch(spacing, median, lambda _: True)
    try:
        patch = fit_patch(spacing, median, fits).patch
    except ConfigError:
        return
    assert math.prod(patch) <= 2**exponent
    assert all(shorter <= longer for shorter, longer in zip(patch, whole.patch, strict=True))


def test_memory_below_the_smallest_network_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--memory: training does not fit, not even with patches of .* voxels"):
        fit_patch((1, 1, 1), (64, 64, 64), lambda _: False)


def test_scans_of_few_voxels_are_refused() -> None:
    with pytest.raises(DataError, match=r"axes of 8 voxels or more, the median scan has 6x7x5"):
        fit_patch((1, 1, 1), (6, 7, 5), lambda _: True)


def test_a_batch_has_two_patches_or_more_and_at_most_a_twentieth_of_the_voxels() -> None:
    assert largest_batch((10, 10), 100_000, lambda _: True) == 50
    assert largest_batch((10, 10), 100_000, lambda batch: batch <= 7) == 7
    assert largest_batch((10, 10), 100, lambda _: True) == 2
    assert largest_batch((10, 10), 100_000, lambda _: False) == 2
