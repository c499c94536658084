import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from dicom_scenes import (
    AXIAL,
    ENHANCED_CT,
    STEP_MM,
    changed,
    enhanced,
    expected_affine,
    image,
    save,
    slices,
    stored_voxels,
    write_series,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from voxray.errors import ScanError
from voxray.scans.geometry import canonical_volume, lps_affine
from voxray.scans.header import read_header
from voxray.scans.read import open_file, open_scan

HU = stored_voxels().astype(np.int16).transpose(2, 1, 0)[None] - 1024


def with_itk(folder: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """A series by SimpleITK's own reader: (column, row, slice) and affine."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    found = reader.Execute()
    direction = np.array(found.GetDirection()).reshape(3, 3)
    affine = lps_affine(np.array(found.GetOrigin()), direction, np.array(found.GetSpacing()))
    return SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0), affine


def compress(path: Path, target: Path, compressor: str) -> None:
    """Write a file once more, its pixels compressed by ITK."""
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(target))
    writer.KeepOriginalImageUIDOn()
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.Execute(SimpleITK.ReadImage(str(path)))


def turned(seed: int) -> tuple[float, ...]:
    """An oblique plane: two unit vectors at a right angle."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 2)))[0]
    return tuple(vectors.T.flatten().tolist())


planes = st.sampled_from([AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)]) | st.integers(
    0, 50
).map(turned)


@given(orientation=planes)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_series_is_what_the_formula_and_itk_make_of_it(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    shutil.rmtree(tmp_path / "series", ignore_errors=True)
    write_series(tmp_path / "series", slices(orientation=orientation))
    volume = open_file(tmp_path / "series")
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, expected_affine(orientation), atol=1e-6)
    voxels, affine = with_itk(tmp_path / "series")
    np.testing.assert_array_equal(volume.array[0], voxels)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    upright = canonical_volume(volume.array, volume.affine)
    np.testing.assert_array_equal(open_scan(tmp_path / "series").array, upright.array)


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    """As it must where a folder holds several."""
    first = write_series(tmp_path, slices(), "A{}.dcm")
    second = write_series(tmp_path, slices(stored_voxels(1)), "B{}")
    with pytest.raises(ScanError, match="expected one series, got 2"):
        open_file(tmp_path)
    np.testing.assert_array_equal(open_file(first[3]).array, HU)
    assert (open_file(second[0]).array != HU).any()


@pytest.mark.parametrize("slopes", [(), (0.5, 1.0, 2.25, 3.0, 4.0, 5.0, 6.5)])
@pytest.mark.parametrize("compressor", ["", "RLE", "JPEG", "JPEG2000"])
def test_multi_frame_objects_keep_the_place_and_numbers_of_each_frame(
    tmp_path: Path, slopes: tuple[float, ...], compressor: str
) -> None:
    stored, plane = stored_voxels(), turned(7)
    dataset = enhanced(stored, plane, slopes)
    if compressor == "RLE":
        dataset.compress(RLELossless)
    elif compressor:
        pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(stored.shape)
        frames = []
        for plane_pixels in pixels:
            compress(save(image(plane_pixels), tmp_path / "plain.dcm"), tmp_path / "packed.dcm", compressor)
            single = dcmread(tmp_path / "packed.dcm")
            frames.append(next(generate_frames(single.PixelData, number_of_frames=1)))
        dataset.PixelData = encapsulate(frames)
        dataset.file_meta.TransferSyntaxUID = single.file_meta.TransferSyntaxUID
    save(dataset, tmp_path / "one" / "frames")
    volume = open_file(tmp_path / "one")
    own = stored * np.array(slopes)[:, None, None] - 5 if slopes else stored - 1024.0
    np.testing.assert_allclose(volume.array[0], own.transpose(2, 1, 0), rtol=1e-6)
    np.testing.assert_allclose(volume.affine, expected_affine(plane), atol=1e-6)
    assert volume.array.dtype == (np.float32 if slopes else np.int16)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_byte_orders_and_explicitness_do_not_matter(tmp_path: Path, syntax: str) -> None:
    for dataset in slices():
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        save(dataset, tmp_path / f"{dataset.InstanceNumber}.dcm")
    np.testing.assert_array_equal(open_file(tmp_path).array, HU)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "RLE"])
def test_compressed_series_are_those_that_were_written(tmp_path: Path, compressor: str) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for path, dataset in zip(write_series(plain, slices()), slices(), strict=True):
        target = packed / path.name
        target.parent.mkdir(exist_ok=True)
        if compressor == "RLE":
            dataset.compress(RLELossless)
            save(dataset, target)
            continue
        compress(path, target, compressor)
    if compressor != "RLE":
        assert "1.2.840.10008.1.2.4" in next(packed.iterdir()).read_bytes()[:600].decode("latin1")
    np.testing.assert_array_equal(open_file(packed).array, HU)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE"])
def test_compressed_files_of_others_hold_what_the_plain_ones_hold(tmp_path: Path, name: str) -> None:
    for each in (name, "MR_small"):
        (tmp_path / each).mkdir()
        shutil.copy(get_testdata_file(f"{each}.dcm"), tmp_path / each)
    np.testing.assert_array_equal(open_file(tmp_path / name).array, open_file(tmp_path / "MR_small").array)


@pytest.mark.parametrize(
    ("slope", "intercept", "bits", "dtype"),
    [(1, 0, 12, "int16"), (1, -1024, 16, "int32"), (1, 0, 16, "uint16"), (2, 3, 12, "int16"), (0.1, 0, 12, "float32")],
)
def test_numbers_are_rescaled_into_the_smallest_type_that_holds_them(
    tmp_path: Path, slope: float, intercept: float, bits: int, dtype: str
) -> None:
    how = {"RescaleSlope": slope, "RescaleIntercept": intercept, "BitsStored": bits, "HighBit": bits - 1}
    write_series(tmp_path, slices(**how))
    voxels = open_file(tmp_path).array
    assert voxels.dtype == dtype
    np.testing.assert_array_equal(voxels, (slope * (HU + 1024.0) + intercept).astype(dtype))


def test_a_single_slice_takes_its_thickness(tmp_path: Path) -> None:
    write_series(tmp_path, slices()[:1])
    np.testing.assert_allclose(open_file(tmp_path).affine, expected_affine(step_mm=3.0), atol=1e-9)


def test_a_header_says_what_the_volume_will_be(tmp_path: Path) -> None:
    write_series(tmp_path, slices(orientation=turned(3)))
    header, volume = read_header(tmp_path), open_scan(tmp_path)
    assert (header.channels, header.shape, header.dtype) == (1, volume.shape, volume.array.dtype)
    np.testing.assert_allclose(header.affine, volume.affine)
    assert header.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def moved(number: int, by_mm: tuple[float, float, float]) -> list[Dataset]:
    found = slices()
    found[number].ImagePositionPatient = (np.array(found[number].ImagePositionPatient, float) + by_mm).tolist()
    return found


def tilted(degrees: float) -> list[Dataset]:
    found = slices()
    for number, each in enumerate(found):
        x, y, z = map(float, each.ImagePositionPatient)
        each.ImagePositionPatient = [x, y + number * STEP_MM * np.tan(np.radians(degrees)), z]
    return found


def replaced(number: int, **changes: Any) -> list[Dataset]:
    found = slices()
    changed(found[number], changes)
    return found


def of_another_size() -> list[Dataset]:
    found = slices()
    other = image(stored_voxels(shape=(8, 8)), SeriesInstanceUID=found[0].SeriesInstanceUID)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        setattr(other, name, found[2][name].value)
    return [*found[:2], other, *found[3:]]


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        (lambda: [each for number, each in enumerate(slices()) if number not in (2, 3, 5)], r"lacks 3 slices.*102\.5"),
        (lambda: moved(4, (0, 0, 1.0)), r"unequal slice distances, from 1\.5 to 3\.5 mm"),
        (lambda: moved(4, (0, 0, -STEP_MM)), "1 of 7 slices have the position of another one"),
        (lambda: moved(3, (4, 0, 0)), "are not stacked in one line"),
        (lambda: tilted(12.0), r"gantry tilt of 12\.0°"),
        (of_another_size, "mixes slices of 8x8 and 12x10 voxels"),
        (lambda: replaced(2, PixelSpacing=[0.8, 0.6]), "mixes pixel spacings from 0.5 to 0.8 mm"),
        (lambda: replaced(2, ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "face different directions"),
        (lambda: slices(ImageOrientationPatient=[1, 0, 0, 1, 1, 0]), "expected unit vectors at a right angle"),
        (lambda: replaced(6, ImagePositionPatient=None), "has no ImagePositionPatient"),
        (lambda: replaced(6, PixelSpacing=[1.0]), "PixelSpacing: expected 2 finite numbers, got 1"),
        (lambda: slices(SliceThickness=None)[:1], "a single slice without SliceThickness"),
        (lambda: slices(ImageType=["DERIVED", "PRIMARY", "LOCALIZER"]), "is a localizer, no scan"),
        (lambda: slices(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "is a secondary capture, no scan"),
        (lambda: slices(ModalityLUTSequence=[Dataset()]), "a Modality LUT is not supported"),
        (lambda: [image(stored_voxels(), ENHANCED_CT)], "holds 7 frames without a position for each"),
    ],
)
def test_what_makes_no_regular_grid_is_named(tmp_path: Path, spoiled: Callable[[], list[Dataset]], words: str) -> None:
    write_series(tmp_path, spoiled())
    with pytest.raises(ScanError, match=words):
        open_file(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.45, 0.9])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, share: float, compressed: bool) -> None:
    datasets = slices()
    for each in datasets if compressed else ():
        each.compress(RLELossless)
    path = write_series(tmp_path, datasets)[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ScanError, match=re.escape(path.name)) as caught:
        open_file(tmp_path)
    assert re.search("cut off|cannot be read|has no", str(caught.value))


def test_an_empty_file_beside_a_series_is_no_silent_loss(tmp_path: Path) -> None:
    write_series(tmp_path, slices())
    (tmp_path / "IM9999").touch()
    with pytest.raises(ScanError, match=r"IM9999: cannot be read, so that a slice"):
        open_file(tmp_path)


def test_other_files_and_captures_beside_a_series_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, slices())
    (tmp_path / "notes.txt").write_text("seen by a doctor")
    save(image(stored_voxels()[0], "1.2.840.10008.5.1.4.1.1.7"), tmp_path / "capture.dcm")
    np.testing.assert_array_equal(open_file(tmp_path).array, HU)


def test_messages_repeat_nothing_of_the_header(tmp_path: Path) -> None:
    for path in write_series(tmp_path, slices(PixelSpacing=["1.25", "1.25"])):
        path.write_bytes(path.read_bytes().replace(b"1.25\\1.25", b"DOE \\JOHN"))
    with pytest.raises(ScanError, match="PixelSpacing is not a number") as caught:
        open_file(tmp_path)
    assert not re.search("DOE|JOHN", str(caught.value))


def test_a_folder_without_dicom_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="holds no DICOM file"):
        open_file(tmp_path)
    with pytest.raises(ScanError, match=r"no such file\. Check the path"):
        open_file(tmp_path / "absent")
