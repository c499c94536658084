import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from nibabel.affines import from_matvec
from readers.nifti_files import QFORM, SFORM, SHEARED, TURNED, nifti, quaternion
from readers.reading import itk_affine

from voxray.config.labels import MaskLabels
from voxray.inference.ensemble import Segmentation
from voxray.prediction.files import Options, segment_file
from voxray.prediction.scans import InputScan
from voxray.scans.read import open_file
from voxray.scans.write import write_nifti
from voxray.volume import Volume

AFFINE = from_matvec(np.array([[0, -1.5, 0], [0.7, 0, 0], [0, 0, 3]]), [10, -20, 30])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (2, "int16"), (4, "float32")])
def test_another_reader_finds_the_voxels_and_their_place_by_either_form(
    tmp_path: Path, name: str, channels: int, dtype: str
) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, (channels, 5, 4, 3)).astype(dtype)
    write_nifti(tmp_path / "folder" / name, Volume(voxels, AFFINE))
    image = nibabel.load(tmp_path / "folder" / name)
    assert image.get_data_dtype() == np.dtype(dtype)
    found = np.asarray(image.dataobj)
    np.testing.assert_array_equal(found if channels == 1 else np.moveaxis(found, -1, 0), voxels.squeeze())
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(form, AFFINE, atol=1e-5)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [name]


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(np.ones((1, 5, 4, 3), np.uint8), AFFINE)
    write_nifti(tmp_path / "a.nii.gz", volume)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_nifti(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


CODES = [(sform, qform) for sform in (0, 1, 2, 4) for qform in (0, 1, 2, 4)]
HEADERS: dict[str, dict[str, Any]] = {
    **{f"codes {codes}": {"codes": codes} for codes in CODES},
    **{f"codes {codes}, different places": {"codes": codes, "qform": QFORM} for codes in CODES},
    **{f"codes {codes}, sheared": {"codes": codes, "sform": SHEARED} for codes in CODES},
    **{f"unit {unit}": {"xyzt_units": unit} for unit in (0, 1, 2, 3, 8, 10, 11)},
    **{f"unit {unit}, qform": {"xyzt_units": unit, "codes": (0, 1)} for unit in (1, 3)},
    "turned": {"sform": TURNED},
    "turned, qform": {"sform": TURNED, "codes": (0, 1)},
    "an all-zero sform": {"srow_x": 0, "srow_y": 0, "srow_z": 0},
    "a long quaternion": {"codes": (0, 1), **quaternion(1.001)},
    "qfac of 0": {"codes": (0, 1), "pixdim": [0, 2, 3, 4, 1, 1, 1, 1]},
    "a spacing below zero that nothing uses": {"codes": (1, 0), "pixdim": [1, -2, 3, 4, 1, 1, 1, 1]},
}


def label_map(scan: Path) -> Path:
    """What a prediction of a scan writes; the network is left out."""

    def segment_scan(_: object, volume: Volume, **__: bool) -> Segmentation:
        empty = Volume(np.zeros((1, *volume.shape), np.uint8), volume.affine)
        return Segmentation(empty, empty)

    labels = MaskLabels(("background", "tumor"))
    run: Any = SimpleNamespace(classes=labels.classes, labels=labels)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("voxray.prediction.files.segment_scan", segment_scan)
        patched.setattr("voxray.prediction.files.Segmenter", lambda run: run)
        given: Any = open_file(scan)
        segment_file([run], InputScan(scan, "a"), Options(scan.parent / "out", probabilities=True), given)
    assert {path.name for path in (scan.parent / "out").iterdir()} == {"a_seg.nii.gz", "a_prob.nii.gz", "a_seg.json"}
    return scan.parent / "out" / "a_seg.nii.gz"


@pytest.mark.parametrize("name", HEADERS)
def test_every_program_lays_a_label_map_on_its_scan(tmp_path: Path, name: str) -> None:
    scan = tmp_path / "a.nii"
    scan.write_bytes(nifti(**HEADERS[name]))
    labels = label_map(scan)
    contents = (scan.read_bytes(), gzip.decompress(labels.read_bytes()))
    headers = [nibabel.Nifti1Header(content[:348], check=False) for content in contents]
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d"):
        np.testing.assert_array_equal(headers[0][field], headers[1][field])
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units"):
        np.testing.assert_array_equal(headers[0][field], headers[1][field])
    np.testing.assert_array_equal(headers[0]["pixdim"][:4], headers[1]["pixdim"][:4])
    if name != "a long quaternion":
        np.testing.assert_array_equal(nibabel.load(scan).affine, nibabel.load(labels).affine)
    np.testing.assert_array_equal(open_file(scan).affine, open_file(labels).affine)
    try:
        expected = SimpleITK.ReadImage(str(scan))
    except RuntimeError:  # a sheared sform alone is no image of ITK
        assert "sheared" in name
        return
    found = SimpleITK.ReadImage(str(labels))
    for value in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(found, value)() == getattr(expected, value)()


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz"])
def test_a_label_map_of_another_format_lies_on_its_scan_too(tmp_path: Path, name: str) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1, -2, 3))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    image.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel().tolist())
    SimpleITK.WriteImage(image, str(tmp_path / name))
    found = SimpleITK.ReadImage(str(label_map(tmp_path / name)))
    np.testing.assert_allclose(itk_affine(found), itk_affine(image), rtol=1e-5, atol=1e-5)


def test_what_itk_would_lay_elsewhere_it_does_not_open(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", Volume(np.zeros((1, 4, 3, 2), np.uint8), SHEARED))
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii").affine, SHEARED)
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(str(tmp_path / "a.nii"))


def test_a_scan_of_the_second_version_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(SFORM / 1000, kind=nibabel.Nifti2Image, xyzt_units=1))
    labels = label_map(tmp_path / "a.nii")
    np.testing.assert_allclose(nibabel.load(labels).affine[:3], SFORM[:3] / 1000, rtol=1e-6)
    assert nibabel.load(labels).header.get_xyzt_units()[0] == "meter"


def test_a_volume_of_very_many_slices_is_written(tmp_path: Path) -> None:
    voxels = np.zeros((1, 2, 1, 2**15), np.uint8)
    write_nifti(tmp_path / "a.nii", Volume(voxels, AFFINE))
    np.testing.assert_array_equal(open_file(tmp_path / "a.nii").array, voxels)
