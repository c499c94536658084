from pathlib import Path

import numpy as np
import pytest
from arranged_folders import write_voxels

from voxray.config.labels import IGNORED, MaskLabels
from voxray.datasets.decathlon import read_decathlon
from voxray.errors import ScanError
from voxray.scans.masks import check_label, count_classes, is_labeled, label_numbers, label_values, open_mask
from voxray.scans.read import open_scan
from voxray.volume import Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
LABELS = MaskLabels(("background", "edema", "core"))
RNG = np.random.default_rng(0)


def image_of(dtype: str = "float32", channels: int = 2) -> Volume:
    return Volume(RNG.integers(0, 90, (channels, 5, 6, 7)).astype(dtype), AFFINE)


def label_of(dtype: str = "uint8", affine: np.ndarray = AFFINE) -> Volume:
    return Volume(RNG.integers(0, 3, (1, 5, 6, 7)).astype(dtype), affine)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_a_mask_that_fits_gives_its_classes_whatever_its_dtype(dtype: str) -> None:
    label = label_of(dtype)
    classes = check_label(image_of(), label, LABELS, "a")
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
        check_label(image_of(), label, LABELS, "imagesTr/a.nii.gz")
    assert str(caught.value).startswith("imagesTr/a.nii.gz: ")
    assert "1 voxels are such" in str(caught.value)


def test_another_shape_is_named() -> None:
    label = Volume(np.zeros((1, 5, 6, 8), np.uint8), AFFINE)
    with pytest.raises(ScanError, match="its mask has 5x6x8 voxels, got an image of 5x6x7"):
        check_label(image_of(), label, LABELS, "a")


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
        check_label(image_of(), label_of(affine=AFFINE + change), LABELS, "a")


def test_affines_that_differ_by_rounding_are_the_same() -> None:
    near = AFFINE + RNG.uniform(-1e-4, 1e-4, (4, 4))
    near[3] = [0, 0, 0, 1]
    check_label(image_of(), label_of(affine=near), LABELS, "a")
    with pytest.raises(ScanError, match="another position"):
        check_label(image_of(), label_of(affine=near), LABELS, "a", tolerance_mm=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_is_named_with_its_place(value: float) -> None:
    image = image_of()
    image.array[1, 4, 0, 6] = value
    with pytest.raises(ScanError, match=rf"voxel \(4, 0, 6\) of channel 1 is not finite, got {value}"):
        check_label(image, label_of(), LABELS, "a")


def test_a_mask_of_several_channels_is_named() -> None:
    with pytest.raises(ScanError, match="its mask: expected one channel, got 2"):
        check_label(image_of(), image_of("uint8"), LABELS, "a")


@pytest.mark.real_data
def test_the_real_masks_fit_their_images(real_data: Path) -> None:
    manifest = read_decathlon(real_data / "Task04_Hippocampus")
    # The first of them keeps its mask in floating point.
    for row in manifest.scans.to_pylist()[:12]:
        image, label = (open_scan(manifest.root / row[key]) for key in ("path", "label_path"))
        classes = check_label(image, label, manifest.labels, row["path"])
        assert set(np.unique(classes).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_values_have_the_numbers_of_their_classes(dtype: str) -> None:
    labels = MaskLabels(("background", "a", "b"), given_values=(0, 40, 9), ignored=200)
    values = np.random.default_rng(1).choice([0, 40, 9, 200], (1, 5, 6, 7)).astype(np.uint8)
    numbers = label_numbers(Volume(values.astype(dtype), AFFINE), labels, "a")
    expected = np.select([values[0] == 40, values[0] == 9, values[0] == 200], [1, 2, IGNORED], 0)
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_array_equal(is_labeled(numbers), np.isin(values[0], [40, 9]))
    assert count_classes(numbers, labels) == [int((values == value).sum()) for value in (0, 40, 9)]
    kept = np.where(numbers == IGNORED, 0, numbers).astype(np.uint8)
    np.testing.assert_array_equal(label_values(kept, labels), np.where(values[0] == 200, 0, values[0]))
    values[0, 1, 2, 3] = 8
    known = (
        r"has the value 8.* at voxel \(1, 2, 3\), which has no name \(known: 0 background, 40 a, 9 b, 200 not labeled"
    )
    with pytest.raises(ScanError, match=known):
        label_numbers(Volume(values.astype(dtype), AFFINE), labels, "a")


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf, 70_000.0])
def test_a_value_that_none_of_the_given_ones_is_named_whatever_it_is(value: float) -> None:
    mask = np.zeros((1, 5, 6, 7), np.float32)
    mask[0, 1, 2, 3] = value
    with pytest.raises(ScanError, match=r"at voxel \(1, 2, 3\), which has no name"):
        label_numbers(Volume(mask, AFFINE), MaskLabels(("background", "a"), (0, 255)), "a")


def test_values_above_those_of_a_byte_are_written_as_such() -> None:
    labels = MaskLabels(("background", "a"), (0, 1001))
    values = label_values(np.array([[[0, 1]]], np.uint8), labels)
    assert (values.dtype, values.tolist()) == (np.uint16, [[[0, 1001]]])


def test_a_file_for_each_class_is_one_mask_with_later_classes_over_earlier_ones(tmp_path: Path) -> None:
    liver, tumor = np.zeros((6, 5, 4), np.uint8), np.zeros((6, 5, 4), np.float32)
    liver[1:4], tumor[3:5] = 255, 1
    for name, voxels in (("liver", liver), ("tumor", tumor)):
        write_voxels(tmp_path / f"{name}.nii.gz", voxels)
    expected = np.where(tumor > 0, 3, liver // 255)
    both = open_mask(tmp_path / "{liver.nii.gz,,tumor.nii.gz}")
    np.testing.assert_array_equal(both.array[0], expected)
    assert open_mask(tmp_path / "{,tumor.nii.gz}").array.max() == 2
    write_voxels(tmp_path / "odd.nii.gz", np.full((6, 5, 4), 0.3, np.float32))
    with pytest.raises(ScanError, match=r"odd\.nii\.gz: expected whole numbers as labels, got 0\.3"):
        open_mask(tmp_path / "{liver.nii.gz,odd.nii.gz}")
    write_voxels(tmp_path / "small.nii.gz", liver[1:])
    with pytest.raises(ScanError, match="its files have different shapes"):
        open_mask(tmp_path / "{liver.nii.gz,small.nii.gz}")
