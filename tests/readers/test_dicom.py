"""The DICOM reader against pydicom's numbers, SimpleITK and the formula of the standard: every transfer syntax, every
kind of number, every storage class, and all files that come with pydicom."""

import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_encoders import LOSSLESS, LOSSY, PLAIN, SYNTAXES, encode
from dicom_scenes import CT, enhanced, image, positions, save, slices, stored_voxels, write_series
from numpy.typing import NDArray
from pydicom._uid_dict import UID_dictionary
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, HTJ2KLossless, RLELossless

from voxray.datasets.dicom import find_series
from voxray.errors import ScanError
from voxray.scans.formats.dicom.objects import VOLUMES
from voxray.scans.geometry import canonical_volume, lps_affine
from voxray.scans.header import read_header
from voxray.scans.read import open_file, open_scan

STORAGE = "1.2.840.10008.5.1.4.1.1"
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
# BitsAllocated, BitsStored, PixelRepresentation.
NUMBERS = [(8, 8, 0), (16, 8, 0), (16, 12, 0), (16, 12, 1), (16, 16, 0), (16, 16, 1), (32, 32, 0)]
LOSSY_JPEG = {"JPEGBaselineProcess1": {(8, 8, 0)}, "JPEGExtendedProcess2_4": {(8, 8, 0), (16, 8, 0), (16, 12, 0)}}


def can_encode(syntax: str, numbers: tuple[int, int, int]) -> bool:
    if numbers[0] == 32:
        return syntax in ("RLELossless", *PLAIN) and syntax != "ExplicitVRBigEndian"  # a test of its own
    return syntax not in LOSSY_JPEG or numbers in LOSSY_JPEG[syntax]


def ramp(allocated: int, stored: int, signed: int) -> NDArray[Any]:
    """All of a type's range, smooth enough for lossy codecs, (row, column)."""
    low = -(2 ** (stored - 1)) if signed else 0
    share = np.add.outer(np.arange(24), np.arange(32)) / (23 + 31)
    return (low + np.rint(share * (2**stored - 1))).astype(f"{'i' if signed else 'u'}{allocated // 8}")


def with_numbers(stored: NDArray[Any], bits: int, **changes: Any) -> Dataset:
    """One slice of these stored numbers."""
    allocated = 8 * stored.dtype.itemsize
    described = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1}
    dataset = slices(stored[None], **{**described, **changes})[0]
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def read_plane(path: Path) -> NDArray[Any]:
    """What Voxray reads of a single slice, (row, column)."""
    plane: NDArray[Any] = open_file(path).array[0, :, :, 0].T
    return plane


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_stored_numbers_stay_in_every_transfer_syntax(tmp_path: Path, syntax: str, photometric: str) -> None:
    for numbers in filter(lambda numbers: can_encode(syntax, numbers), NUMBERS):
        stored = ramp(*numbers)
        dataset = with_numbers(stored, numbers[1], PhotometricInterpretation=photometric, RescaleSlope=2)
        path = tmp_path / "-".join(map(str, numbers)) / "one"
        path.parent.mkdir()
        written = encode(dataset, path, syntax)
        assert written.PhotometricInterpretation == photometric
        off = np.abs(read_plane(path) - (stored * 2.0 - 1024))
        assert off.max() <= (0 if syntax in (*PLAIN, *LOSSLESS) else 4), (numbers, off.max())
        if photometric == "MONOCHROME2":  # SimpleITK inverts the other one in some syntaxes
            found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
            np.testing.assert_array_equal(read_plane(path), found)


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "JPEG2000", "JPEGBaselineProcess1"])
def test_a_second_decoder_finds_the_same_numbers(tmp_path: Path, syntax: str) -> None:
    """Pillow's: libjpeg-turbo and OpenJPEG, both without GDCM."""
    for numbers in [(8, 8, 0)] if syntax in LOSSY_JPEG else [(8, 8, 0), (16, 12, 0), (16, 16, 0)]:
        written = encode(with_numbers(ramp(*numbers), numbers[1]), tmp_path / "one", syntax)
        found = pixel_array(written, raw=True, decoding_plugin="pillow")
        np.testing.assert_allclose(read_plane(tmp_path / "one"), found.astype(int) - 1024, atol=syntax in LOSSY)
        (tmp_path / "one").unlink()


def test_numbers_of_32_bits_are_swapped_as_a_whole_in_big_endian(tmp_path: Path) -> None:
    stored = ramp(32, 32, 0)
    dataset = with_numbers(stored, 32, PixelData=stored.astype(">u4").tobytes())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    np.testing.assert_array_equal(read_plane(save(dataset, tmp_path / "one")), stored - 1024.0)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, "1.2.840.10008.1.2.4.92", "1.2.840.10008.1.2.4.100", "1.2.3"])
def test_other_transfer_syntaxes_are_refused_by_name(tmp_path: Path, syntax: str) -> None:
    dataset = with_numbers(ramp(16, 12, 0), 12)
    dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    name = pydicom.uid.UID(syntax).name if syntax != "1.2.3" else "an unknown transfer syntax"
    pydicom.dcmwrite(tmp_path / "one", dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    with pytest.raises(ScanError, match=r"cannot be decoded\. Convert it") as caught:
        open_file(tmp_path / "one")
    assert name in str(caught.value)


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
@pytest.mark.parametrize("change", [{"Rows": 12}, {"Columns": 60000}, {"Rows": 48, "Columns": 16}])
def test_compressed_pixels_of_another_size_than_the_header_says_are_refused(
    tmp_path: Path, syntax: str, change: dict[str, int]
) -> None:
    written = encode(with_numbers(ramp(8, 8, 0), 8), tmp_path / "one", syntax)
    for key, value in change.items():
        setattr(written, key, value)
    if syntax == "RLELossless" and change == {"Rows": 48, "Columns": 16}:
        return  # as many voxels; nothing in RLE tells rows from columns
    save(written, tmp_path / "one")
    with pytest.raises(ScanError, match=r"its header describes|cut off|cannot be decoded"):
        open_file(tmp_path / "one")


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY])
def test_a_compressed_stream_without_its_end_is_refused(tmp_path: Path, syntax: str) -> None:
    """Decoders fill what is missing with gray."""
    written = encode(with_numbers(ramp(8, 8, 0), 8), tmp_path / "one", syntax)
    stream = next(generate_frames(written.PixelData, number_of_frames=1))
    for share in (0.1, 0.6, 0.9):
        written.PixelData = encapsulate([stream[: int(len(stream) * share)]])
        save(written, tmp_path / "one")
        with pytest.raises(ScanError, match=r"cut off|cannot be decoded"):
            open_file(tmp_path / "one")


def signed_12_bits() -> NDArray[np.int16]:
    return ramp(16, 12, 1)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("spoil", "changes", "expected"),
    [
        # Unused bits: copies of the sign, zeros, an overlay that the header names.
        (lambda numbers: numbers, {}, None),
        (lambda numbers: numbers & 0x0FFF, {}, None),
        (lambda numbers: (numbers & 0x0FFF) | 0x4000, {"overlay": 14}, None),
        (lambda numbers: (numbers & 0x0FFF) | 0x4000, {}, "holds numbers of more than its 12 bits"),
        (lambda numbers: numbers, {"BitsStored": 8, "HighBit": 7}, "holds numbers of more than its 8 bits"),
        (lambda numbers: numbers, {"HighBit": 15}, "HighBit: expected 11 for 12 bits, got 15"),
        (lambda numbers: numbers, {"BitsStored": 17, "HighBit": 16}, "BitsStored: expected 1 to 16, got 17"),
        (lambda numbers: numbers, {"BitsStored": 0}, "BitsStored: expected 1 to 16, got 0"),
        (lambda numbers: numbers, {"BitsAllocated": 12}, "BitsAllocated: expected 8, 16 or 32, got 12"),
        (lambda numbers: numbers, {"PixelRepresentation": 2}, "PixelRepresentation: expected 0 or 1, got 2"),
        (lambda numbers: numbers, {"PixelRepresentation": None}, "has no PixelRepresentation"),
        # A padding of -2000 in unsigned numbers of 12 bits would be 2096 without its high bits.
        (lambda numbers: numbers * 0 - 2000, {"PixelRepresentation": 0}, "holds numbers of more than its 12 bits"),
    ],
)
def test_unused_bits_are_understood_or_refused(
    tmp_path: Path,
    spoil: Callable[[NDArray[Any]], NDArray[Any]],
    changes: dict[str, Any],
    expected: str | None,
    compressed: bool,
) -> None:
    numbers = signed_12_bits()
    overlay = changes.get("overlay")
    dataset = with_numbers(numbers, 12, PixelData=spoil(numbers).astype(np.int16).tobytes())
    if compressed:
        dataset.compress(RLELossless)
    for key, value in changes.items():
        if key != "overlay":
            dataset.pop(key, None) if value is None else setattr(dataset, key, value)
    if overlay:
        dataset.add_new((0x6000, 0x0100), "US", 16)
        dataset.add_new((0x6000, 0x0102), "US", overlay)
    path = save(dataset, tmp_path / "one")
    if expected is None:
        np.testing.assert_array_equal(read_plane(path), numbers - 1024.0)
    else:
        with pytest.raises(ScanError, match=expected):
            open_file(path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"RescaleSlope": None}, "has no RescaleSlope"),
        ({"RescaleIntercept": None}, "has no RescaleIntercept"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"RescaleSlope": "1e300"}, "makes numbers too large"),
        ({"RescaleSlope": "nan"}, "RescaleSlope: expected 1 finite number"),
        ({"RescaleIntercept": "inf"}, "RescaleIntercept: expected 1 finite number"),
        ({"RescaleSlope": [1, 2]}, "RescaleSlope: expected 1 finite number"),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.5, 0.5]}, "has no PixelSpacing"),
        ({"PixelSpacing": [0, 0.5]}, "PixelSpacing: expected positive numbers, got 0"),
        ({"PixelSpacing": [-1, 0.5]}, "PixelSpacing: expected positive numbers, got -1"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 0]}, "expected unit vectors at a right angle"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "expected unit vectors at a right angle"),
        ({"ImagePositionPatient": ["0", "0", "nan"]}, "ImagePositionPatient: expected 3 finite numbers"),
        ({"NumberOfFrames": 3}, "holds 3 frames without a position for each"),
        ({"Rows": 0}, "is cut off, or its header is damaged"),
        ({"Rows": 65535, "Columns": 65535}, "is cut off: it holds"),
        ({"Columns": 11}, "bytes of pixels, but its header describes"),
        ({"Rows": 9}, "bytes of pixels, but its header describes"),
        ({"Columns": 13}, "is cut off: it holds"),
        ({"PixelData": None}, "is cut off before the end of its pixels"),
        ({"SeriesInstanceUID": None}, "is cut off, or its header is damaged"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "is a color picture, no scan"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "is a color picture, no scan"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, "is a Siemens mosaic"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "is a screen save, no scan"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer, no scan"),
    ],
)
def test_a_header_that_is_not_understood_is_refused_with_its_file(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    """In one slice of a series, or all slices where it is their size, beside a good series that can still be read."""
    for dataset in write_two(tmp_path):
        if dataset.InstanceNumber == 4 or {"Rows", "Columns"} & changes.keys():
            for key, value in changes.items():
                dataset.pop(key, None) if value is None else setattr(dataset, key, value)
            bad = save(dataset, tmp_path / "bad" / f"{dataset.InstanceNumber}.dcm")
    with pytest.raises(ScanError, match=expected) as caught:
        open_file(bad if "no scan" in expected or "mosaic" in expected else tmp_path / "bad")
    assert re.search(r"bad/\d.dcm: " if {"Rows", "Columns"} & changes.keys() else "bad/4.dcm: ", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1
    assert open_file(tmp_path / "good").shape == (12, 10, 7)


def write_two(root: Path) -> list[Dataset]:
    """A good series of another seed, and one to be spoiled, whose datasets are returned."""
    write_series(root / "good", slices(stored_voxels(1)))
    spoiled = slices()
    for dataset in spoiled:
        save(dataset, root / "bad" / f"{dataset.InstanceNumber}.dcm")
    return spoiled


def test_slices_have_their_own_slopes_signs_and_bits(tmp_path: Path) -> None:
    stored = [ramp(16, 12, 0), ramp(16, 12, 1), ramp(16, 16, 1), ramp(8, 8, 0)]
    series = slices(np.stack([plane.astype(np.int16) for plane in stored]))
    expected = []
    for number, (dataset, plane) in enumerate(zip(series, stored, strict=True)):
        dataset.PixelData = plane.tobytes()
        dataset.BitsAllocated = 8 * plane.dtype.itemsize
        dataset.BitsStored = (12, 12, 16, 8)[number]
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(plane.dtype.kind == "i")
        dataset.RescaleSlope, dataset.RescaleIntercept = (1, 0.5, 2, 3.25)[number], (-1024, 0, 7, 0)[number]
        expected.append(plane * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept))
    write_series(tmp_path, series)
    np.testing.assert_allclose(open_file(tmp_path).array[0], np.stack(expected).transpose(2, 1, 0), rtol=1e-6)


def test_padding_keeps_its_number(tmp_path: Path) -> None:
    stored = stored_voxels().astype(np.int16)
    stored[:, :2] = -2000
    write_series(tmp_path, slices(stored, BitsStored=16, HighBit=15, PixelPaddingValue=-2000))
    voxels = open_file(tmp_path).array
    np.testing.assert_array_equal(voxels[0], stored.transpose(2, 1, 0).astype(int) - 1024)
    assert voxels.min() == -3024


def objects_of_all_classes() -> dict[str, str]:
    """Every storage class of the standard that makes no volume, and its name."""
    classes = {uid: name for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class"}
    return {uid: name for uid, name in classes.items() if "Storage" in name and uid not in VOLUMES}


def test_no_other_class_of_the_standard_becomes_a_scan(tmp_path: Path) -> None:
    write_series(tmp_path, slices())
    classes = objects_of_all_classes()
    known = ("66.4", "481.2", "481.3", "30", "104.1", "88.67", "11.1", "7", "20")  # SEG, RTDOSE, RTSTRUCT, …
    assert {f"{STORAGE}.{end}" for end in known} < {*classes}
    for number, kind in enumerate(classes):
        # With the pixels and place of a slice, which most of them never have.
        save(slices(SOPClassUID=kind)[number % 7], tmp_path / f"X{number:03d}")
    np.testing.assert_array_equal(open_file(tmp_path).array[0], stored_voxels().astype(int).transpose(2, 1, 0) - 1024)
    scans, skipped, _ = find_series(tmp_path)
    assert len(scans) == 1
    assert len(skipped) == len(classes)
    for name, row in zip(classes.values(), skipped, strict=True):
        words = {"Media Storage Directory Storage": "DICOMDIR"}.get(name, name.removesuffix(" Storage"))
        assert ("secondary capture" if "Secondary Capture" in name else words) in str(row["reason"])
    with pytest.raises(ScanError, match=r"is an object of the class .*, no scan\. Name the folder of a CT"):
        open_file(tmp_path / "X010")


def test_objects_in_the_series_of_the_slices_are_skipped_and_listed(tmp_path: Path) -> None:
    """As some exporters put segmentations, captures and dose reports into the series itself."""
    series = slices()
    uid = series[0].SeriesInstanceUID
    write_series(tmp_path / "ct", series)
    others = {
        "seg": image(stored_voxels()[0], f"{STORAGE}.66.4", SeriesInstanceUID=uid),
        "report": slices(SeriesInstanceUID=uid, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])[0],
        "map": image(stored_voxels()[0], f"{STORAGE}.30", SeriesInstanceUID=uid, PixelData=None),
        "directory": image(stored_voxels()[0], "1.2.840.10008.1.3.10", SeriesInstanceUID=None),
    }
    for name, dataset in others.items():
        save(dataset, tmp_path / "ct" / name)
    assert open_file(tmp_path / "ct").shape == (12, 10, 7)
    scans, skipped, _ = find_series(tmp_path)
    assert [scan.path for scan in scans] == ["ct"]
    assert {row["path"]: str(row["reason"]).partition(": ")[2] for row in skipped} == {
        "ct/seg": "is an object of the class Segmentation, no scan",
        "ct/report": "is a screen save, no scan",
        "ct/map": "is an object of the class Parametric Map, no scan",
        "ct/directory": "is a DICOMDIR, no scan",
    }


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("little", [False, True])
def test_slices_without_preamble_and_suffix_are_found(tmp_path: Path, implicit: bool, little: bool) -> None:
    if implicit and not little:
        return  # no such syntax
    for dataset in slices():
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        number, meta = dataset.InstanceNumber, dataset.file_meta
        del dataset.file_meta
        (tmp_path / "series").mkdir(exist_ok=True)
        pydicom.dcmwrite(tmp_path / "series" / f"I{number}", dataset, implicit_vr=implicit, little_endian=little)
        dataset.file_meta = meta
    assert (tmp_path / "series" / "I1").read_bytes()[128:132] != b"DICM"
    expected = stored_voxels().astype(int).transpose(2, 1, 0) - 1024
    np.testing.assert_array_equal(open_file(tmp_path / "series").array[0], expected)
    np.testing.assert_array_equal(open_file(tmp_path / "series" / "I3").array[0], expected)
    assert [scan.path for scan in find_series(tmp_path)[0]] == ["series"]


def test_a_slice_that_was_linked_but_never_fetched_is_no_silent_loss(tmp_path: Path) -> None:
    last = write_series(tmp_path, slices())[-1]
    last.unlink()
    last.symlink_to(tmp_path / "annex" / "object")
    with pytest.raises(ScanError, match="so that a slice beside it may be missing") as caught:
        open_file(tmp_path)
    assert last.name in str(caught.value)


def test_copies_of_a_slice_are_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, slices())
    shutil.copy(paths[2], tmp_path / "copy")
    with pytest.raises(ScanError, match=r"holds an image twice \(same SOPInstanceUID\), in .*copy") as caught:
        open_file(tmp_path)
    assert paths[2].name in str(caught.value)


def test_several_times_at_each_position_are_no_volume(tmp_path: Path) -> None:
    first = slices()
    second = slices(stored_voxels(1), SeriesInstanceUID=first[0].SeriesInstanceUID, TemporalPositionIdentifier=2)
    write_series(tmp_path / "4d", [*first, *second])
    with pytest.raises(ScanError, match="7 of 14 slices have the position of another one"):
        open_file(tmp_path / "4d")
    frames = enhanced(stored_voxels(shape=(6, 10, 12)))
    for number, frame in enumerate(frames.PerFrameFunctionalGroupsSequence):
        frame.PlanePositionSequence[0].ImagePositionPatient = positions(3)[number % 3].tolist()
    save(frames, tmp_path / "enhanced" / "one")
    with pytest.raises(ScanError, match="3 of 6 slices have the position of another one"):
        open_file(tmp_path / "enhanced")


@pytest.mark.parametrize("count", [1, 6, 8])
def test_an_enhanced_object_with_another_number_of_frames_is_refused(tmp_path: Path, count: int) -> None:
    dataset = enhanced(stored_voxels())
    dataset.NumberOfFrames = count
    save(dataset, tmp_path / "one")
    with pytest.raises(ScanError, match=f"expected {count} positions of frames, got 7"):
        open_file(tmp_path / "one")


READ, DAMAGED = "read", "cannot be read, so that a slice"
CAPTURE, CLASS = "is a secondary capture, no scan", "is an object of the class "

# What becomes of every file that comes with pydicom: it is read, or refused with these words.
OUTCOMES = {
    **dict.fromkeys(("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm"), READ),
    **dict.fromkeys(
        (
            *("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm"),
            *("MR_small_implicit.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
            "MR_small_padded.dcm",
        ),
        READ,
    ),
    "MR_truncated.dcm": r"is cut off: it holds 8,130 of 8,192 bytes",
    "dicomdirtests/77654033/CT2/*": READ,
    "dicomdirtests/77654033/CR*/*": f"{CLASS}Computed Radiography Image",
    "dicomdirtests/98892001/CT2N/*": "is a localizer, no scan",
    "dicomdirtests/98892001/CT5N/*": READ,
    "dicomdirtests/98892003/MR*/*": READ,
    "dicomdirtests/DICOMDIR*": "is a DICOMDIR, no scan",
    "dicomdirtests/TINY_ALPHA/DICOMDIR": "is a DICOMDIR, no scan",
    "dicomdirtests/TINY_ALPHA/PT000000/*/*/*": DAMAGED,  # CT headers without an image
    **dict.fromkeys(("ExplVR_BigEnd.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm"), f"{CLASS}Ultrasound Image"),
    **dict.fromkeys(("examples_rgb_color.dcm", "examples_ybr_color.dcm"), f"{CLASS}Ultrasound"),
    **dict.fromkeys(("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"), f"{CLASS}RT Ion Plan"),
    **dict.fromkeys(("GDCMJ2K_TextGBR.dcm", "JPEG*.dcm", "JPGExtended.dcm", "SC_*.dcm", "image_dfl.dcm"), CAPTURE),
    "liver_*1frame.dcm": "the series that it refers to is neither in its folder nor in one beside it",
    "rtdose*.dcm": f"{CLASS}RT Dose",
    "badVR.dcm": f"{CLASS}RT Dose",
    "rtplan*.dcm": f"{CLASS}RT Plan",
    "rtstruct.dcm": f"{CLASS}RT Structure Set",
    "no_meta_group_length.dcm": f"{CLASS}RT Image",
    "reportsi*.dcm": f"{CLASS}Basic Text SR",
    "test-SR.dcm": f"{CLASS}Comprehensive SR",
    "waveform_ecg.dcm": f"{CLASS}12-lead ECG Waveform",
    # Without a class, or not DICOM at all.
    **dict.fromkeys(("UN_sequence.dcm", "empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm"), DAMAGED),
    **dict.fromkeys(("nested_priv_SQ.dcm", "priv_SQ.dcm", "no_meta.dcm"), DAMAGED),
    "zipMR.gz": "unknown file format",
}
NO_DICOM = (".txt", ".json", ".dump", ".icc")


def shipped() -> list[str]:
    paths = (path for path in SHIPPED.rglob("*") if path.is_file() and path.suffix not in NO_DICOM)
    return sorted(path.relative_to(SHIPPED).as_posix() for path in paths if path.name != "README")


def outcome_of(name: str) -> str:
    matching = {outcome for pattern, outcome in OUTCOMES.items() if Path(name).match(pattern)}
    assert len(matching) == 1, f"{name}: expected one outcome in the table, got {matching}"
    return matching.pop()


def check_equal(path: Path) -> None:
    """A single slice against pydicom, the formula of the standard, and SimpleITK."""
    dataset = pydicom.dcmread(path)
    plugin = "pillow" if "JPEG 2000" in dataset.file_meta.TransferSyntaxUID.name else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one file has padding
        stored = pixel_array(dataset, raw=True, decoding_plugin=plugin).astype(np.float64)
    numbers = stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * dataset.PixelSpacing[1], column * dataset.PixelSpacing[0]
    affine[:3, 2] = np.cross(row, column) * float(dataset.SliceThickness)
    affine[:3, 3] = dataset.ImagePositionPatient
    affine[:2] *= -1
    volume, header, upright = open_file(path), read_header(path), open_scan(path)
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, numbers)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert (header.shape, header.dtype) == (upright.shape, upright.array.dtype)
    np.testing.assert_array_equal(upright.array, canonical_volume(volume.array, volume.affine).array)
    found = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array[0], SimpleITK.GetArrayFromImage(found).transpose(2, 1, 0))
    direction = np.array(found.GetDirection()).reshape(3, 3)
    itk = lps_affine(np.array(found.GetOrigin()), direction, np.array(found.GetSpacing()))
    np.testing.assert_allclose(volume.affine[:3, [0, 1, 3]], itk[:3, [0, 1, 3]], atol=1e-3)


@pytest.mark.parametrize("name", shipped())
def test_every_file_of_pydicom_is_read_right_or_refused(tmp_path: Path, name: str) -> None:
    path = shutil.copy(SHIPPED / name, tmp_path / Path(name).name)
    outcome = outcome_of(name)
    if outcome == READ:
        check_equal(path)
        return
    for read in (open_scan, read_header):
        with pytest.raises(ScanError, match=outcome) as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1


def test_the_folders_of_pydicom_are_listed_as_what_they_are() -> None:
    """All at once: nothing is lost without a word, and nothing ends the listing."""
    scans, skipped, others = find_series(SHIPPED)
    classes = {str(row["reason"]).partition(": ")[2] for row in skipped}
    assert {f"{CLASS}Segmentation, no scan", f"{CLASS}RT Dose, no scan", "is a localizer, no scan"} < classes
    folders = {scan.folder for scan in scans if scan.path.startswith("dicomdirtests")}
    assert folders == {
        *("dicomdirtests/77654033/CT2", "dicomdirtests/98892001/CT5N", "dicomdirtests/98892003/MR1"),
        *("dicomdirtests/98892003/MR2", "dicomdirtests/98892003/MR700"),
    }
    assert others > 0


def test_captures_of_pydicom_decode_as_elsewhere(tmp_path: Path) -> None:
    """Streams of other encoders, in the header of a CT."""
    for name in ("JPGExtended.dcm", "JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "JPEG2000.dcm"):
        path = get_testdata_file(name)
        assert isinstance(path, str)
        dataset, place = pydicom.dcmread(path), slices()[0]
        expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).reshape(dataset.Rows, dataset.Columns)
        dataset.SOPClassUID, dataset.SeriesInstanceUID = CT, place.SeriesInstanceUID
        for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            setattr(dataset, key, place[key].value)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        save(dataset, tmp_path / name / "one")
        np.testing.assert_array_equal(read_plane(tmp_path / name / "one"), expected)
