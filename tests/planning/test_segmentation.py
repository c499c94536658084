"""The plan of a segmentation, from fingerprints of its kinds of data."""

from dataclasses import replace

import numpy as np
import pytest
from planning.fingerprints import CPU, CT, GPU, MR, fingerprint

from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.planning.choices import Proposal
from voxray.planning.segmentation import FEWEST_PATCHES, plan_segmentation


def hippocampus() -> Proposal:
    (proposal,) = plan_segmentation(fingerprint((35, 50, 35), scans=190, classes=("background", "a", "p")), CPU)
    return proposal


def test_small_scans_are_cut_at_their_center_and_trained_within_the_time() -> None:
    proposal = hippocampus()
    assert proposal.value("patches.size") == [40, 56, 40]
    assert proposal.value("patches.sampling") == "center"
    assert proposal.value("patches.spacing_mm") is None
    assert proposal.value("augment.crop") is None
    assert proposal.value("intensity.kind") == "zscore"
    assert proposal.value("augment.dimensions") == 3
    # 16 filters: with 32, an hour at 100 GFLOP/s has fewer patches than a network needs.
    assert proposal.architecture["down"] == [[16, 16], [32, 32], [64, 64], [128, 128]]
    assert proposal.value("training.batch_size") * 4_000 <= 12_600
    assert proposal.value("training.precision") == "bfloat16"
    parse_architecture(proposal.architecture, "the plan")


def test_every_number_that_was_derived_has_a_reason() -> None:
    reasons = {choice.key: choice.reason for choice in hippocampus().choices}
    for key in ("patches.size", "patches.sampling", "store.dtype", "intensity.kind", "augment.dimensions"):
        assert reasons[key]
    assert "35 × 50 × 35 voxels" in reasons["patches.size"]
    assert f"{FEWEST_PATCHES:,} patches" in reasons["model.architecture"]
    assert "100 GFLOP/s, measured here" in reasons["training.epochs"]


def test_distant_slices_have_a_plane_beside_the_space() -> None:
    volumes, planes = plan_segmentation(fingerprint((216, 256, 10), (1.5, 1.5, 8)), GPU)
    assert volumes.architecture["dimensions"] == 3
    assert volumes.architecture["kernel_size"][0] == [3, 3, 1]
    assert volumes.value("augment.dimensions") == 2
    assert planes.suffix == "_2d"
    assert planes.architecture["dimensions"] == 2
    # Slices are cropped from whole scans.
    assert planes.value("augment.crop") == [224, 256]
    assert planes.value("patches.size") == [224, 256, 10]
    assert planes.value("patches.sampling") == "center"
    assert planes.value("model.architecture") == "architecture_2d.json"


def test_scans_of_one_slice_have_a_plane_only() -> None:
    (proposal,) = plan_segmentation(fingerprint((256, 256, 1)), GPU)
    assert (proposal.suffix, proposal.architecture["dimensions"]) == ("", 2)
    assert proposal.value("model.architecture") == "architecture.json"


def test_large_scans_are_cut_where_they_are_labeled_and_scans_that_differ_are_resampled() -> None:
    data = fingerprint((512, 512, 300), (0.8, 0.8, 1.5), channels=("CT",), intensities=(CT,))
    data = replace(data, spacings_mm=data.spacings_mm * np.linspace(0.9, 1.1, 100)[:, None])
    (proposal,) = plan_segmentation(data, GPU)
    assert proposal.value("patches.sampling") == "foreground"
    assert proposal.value("patches.patches_per_scan") == 8
    crop, tile = proposal.value("augment.crop"), proposal.value("patches.size")
    assert tile == [1.5 * length for length in crop]
    assert proposal.value("augment.crops_per_patch") == 4
    assert proposal.value("augment.foreground_share") == 0.33
    assert proposal.value("patches.spacing_mm") == pytest.approx([0.8, 0.8, 1.5])
    assert proposal.value("intensity.window") == [-81, 241]
    assert proposal.value("patches.pad_value") == -1000
    assert proposal.value("store.dtype") == "int16"


def test_brains_in_empty_space_are_standardized_over_their_own_voxels() -> None:
    data = fingerprint((240, 240, 155), contents=np.tile([138.0, 169, 138], (100, 1)), intensities=(MR,) * 4)
    (proposal,) = plan_segmentation(replace(data, channels=("t1", "t1c", "t2", "flair")), GPU)
    assert proposal.value("intensity.kind") == "zscore_nonzero"
    assert proposal.value("augment.crop") == [128, 128, 128]
    assert proposal.value("patches.size") == [240, 240, 155]  # whole scans, from which the network gets crops
    assert proposal.value("patches.sampling") == "center"
    assert proposal.value("training.buffer_bytes") == "2048MiB"


@pytest.mark.parametrize(
    ("patients", "folds"), [(30, 5), (190, None)], ids=["folds where they are few", "a test where they are many"]
)
def test_patients_are_split_into(patients: int, folds: int | None) -> None:
    (proposal,) = plan_segmentation(fingerprint((64, 64, 64), scans=patients), GPU)
    assert proposal.value("split.folds") == folds


def test_a_split_of_the_data_set_stays() -> None:
    (proposal,) = plan_segmentation(fingerprint((64, 64, 64), has_splits=True), GPU)
    assert not any(choice.key.startswith("split") for choice in proposal.choices)


def test_memory_that_no_network_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--memory: training does not fit"):
        plan_segmentation(fingerprint((64, 64, 64)), replace(GPU, memory_bytes=2**20))
