from pathlib import Path

import numpy as np
import pytest

from voxray.datasets.decathlon import read_decathlon
from voxray.errors import ScanError
from voxray.scans.masks import check_label
from voxray.scans.read import open_scan
from voxray.volume import Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
CLASSES = ("background", "edema", "core")
RNG = np.random.default_rng(0)


def image_of(dtype: str = "float32", channels: int = 2) -> Volume:
    return Volume(RNG.integers(0, 90, (channels, 5, 6, 7)).astype(dtype), AFFINE)


def label_of(dtype: str = "uint8", affine: np.ndarray = AFFINE) -> Volume:
    return Volume(RNG.integers(0, 3, (1, 5, 6, 7)).astype(dtype), affine)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_a_mask_that_fits_gives_its_classes_whatever_its_dtype(dtype: str) -> None:
    label = label_of(dtype)
    classes = check_label(image_of(), label, CLASSES, "a")
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, label.array[0])


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        (
            "uint8",
            3,
            r"has the value 3 at voxel \(1, 2, 3\), which has no name \(known: 0 background, 1 edema, 2 core\)",
        ),
        ("int16", -1, "has the value -1 at voxel"),
        ("int16", 256, "has the value 256 at voxel"),
        ("float32", 1.5, r"has the value 1\.5 at voxel"),
        ("float32", np.nan, "has the value nan at voxel"),
        ("float64", 257.0, r"has the value 257\.0 at voxel"),
    ],
)
def test_a_value_without_a_name_is_named(dtype: str, value: float, words: str) -> None:
    label = label_of(dtype)
    label.array[0, 1, 2, 3] = value
    with pytest.raises(ScanError, match=words) as caught:
        check_label(image_of(), label, CLASSES, "imagesTr/a.nii.gz")
    assert str(caught.value).startswith("imagesTr/a.nii.gz: ")
    assert "1 voxels are such" in str(caught.value)


def test_another_shape_is_named() -> None:
    label = Volume(np.zeros((1, 5, 6, 8), np.uint8), AFFINE)
    with pytest.raises(ScanError, match="its mask has 5x6x8 voxels, got an image of 5x6x7"):
        check_label(image_of(), label, CLASSES, "a")


@pytest.mark.parametrize(
    ("change", "apart"),
    [
        (np.array([[0, 0, 0, 3.0], [0] * 4, [0] * 4, [0] * 4]), "3 mm"),
        (np.array([[0.1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]), r"0\.4 mm"),
        (np.full((4, 4), np.nan), "nan mm"),
    ],
)
def test_the_same_shape_in_another_place_is_named(change: np.ndarray, apart: str) -> None:
    with pytest.raises(ScanError, match=f"has the image's shape but another position: .* is {apart} apart"):
        check_label(image_of(), label_of(affine=AFFINE + change), CLASSES, "a")


def test_affines_that_differ_by_rounding_are_the_same() -> None:
    near = AFFINE + RNG.uniform(-1e-4, 1e-4, (4, 4))
    near[3] = [0, 0, 0, 1]
    check_label(image_of(), label_of(affine=near), CLASSES, "a")
    with pytest.raises(ScanError, match="another position"):
        check_label(image_of(), label_of(affine=near), CLASSES, "a", tolerance_mm=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_named_with_its_place(value: float) -> None:
    image = image_of()
    image.array[1, 4, 0, 6] = value
    with pytest.raises(ScanError, match=rf"voxel \(4, 0, 6\) of channel 1 is not finite, got {value}"):
        check_label(image, label_of(), CLASSES, "a")


def test_a_mask_of_several_channels_is_named() -> None:
    with pytest.raises(ScanError, match="its mask: expected one channel, got 2"):
        check_label(image_of(), image_of("uint8"), CLASSES, "a")


@pytest.mark.real_data
def test_the_real_masks_fit_their_images(real_data: Path) -> None:
    manifest = read_decathlon(real_data / "Task04_Hippocampus")
    # The first of them keeps its mask in floating point.
    for row in manifest.scans.to_pylist()[:12]:
        image, label = (open_scan(manifest.root / row[key]) for key in ("path", "label_path"))
        classes = check_label(image, label, manifest.classes, row["path"])
        assert set(np.unique(classes).tolist()) == {0, 1, 2}
