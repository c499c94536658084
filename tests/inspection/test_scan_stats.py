from pathlib import Path

import nibabel
import numpy as np
import pytest
from inspection_scenes import SHAPE, image_of, mask_of, write_cases, write_nifti
from readers.nifti_files import nifti

from voxray.errors import WorkError
from voxray.inspection.scan_stats import RANKS, SCAN_STATS, chunk_targets, inspect_scans
from voxray.inspection.target import TARGETS, read_target


def test_statistics_are_those_of_numpy_and_nibabel(tmp_path: Path) -> None:
    write_cases(tmp_path, 2)
    affine = nibabel.orientations.inv_ornt_aff([[1, -1], [0, 1], [2, -1]], SHAPE) @ np.diag([2.0, 3, 4, 1])
    image, mask = image_of(7), mask_of()
    write_nifti(tmp_path / "imagesTr" / "good_001.nii.gz", image, affine)
    write_nifti(tmp_path / "labelsTr" / "good_001.nii.gz", mask, affine)
    target = read_target(tmp_path)
    scan_stats = inspect_scans(tmp_path, target.targets, target.labels, voxels=True).to_pylist()[1]
    assert scan_stats["issues"] == []
    assert scan_stats["axes"] == "".join(nibabel.aff2axcodes(affine))
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(image, affine))
    assert [scan_stats[f"{axis}_extent"] for axis in "xyz"] == list(canonical.shape)
    np.testing.assert_allclose(np.reshape(scan_stats["affine"], (4, 4)), canonical.affine)
    zooms = canonical.header.get_zooms()
    assert [scan_stats[f"{axis}_spacing_mm"] for axis in "xyz"] == pytest.approx(zooms)
    np.testing.assert_allclose(scan_stats["percentiles"], [np.percentile(image, RANKS)])
    assert scan_stats["mean"] == pytest.approx([image.mean()])
    assert scan_stats["deviation"] == pytest.approx([image.std()])
    assert scan_stats["mask_voxels"] == np.bincount(mask.ravel()).tolist()
    files = [tmp_path / folder / "good_001.nii.gz" for folder in ("imagesTr", "labelsTr")]
    assert scan_stats["size_bytes"] == sum(file.stat().st_size for file in files)


def test_the_same_voxels_have_one_checksum_whatever_their_axes_in_the_file(tmp_path: Path) -> None:
    image = image_of(3)
    write_nifti(tmp_path / "a.nii.gz", image)
    turned = nibabel.Nifti1Image(image, np.eye(4)).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nibabel.save(turned, tmp_path / "b.nii")
    write_nifti(tmp_path / "c.nii", image + np.int16(1))
    target = read_target(tmp_path)
    first, same, other = inspect_scans(tmp_path, target.targets, None, voxels=True)["checksum"].to_pylist()
    assert first == same != other


def test_headers_alone_leave_the_voxels_columns_empty(tmp_path: Path) -> None:
    write_cases(tmp_path, 1)
    target = read_target(tmp_path)
    scan_stats = inspect_scans(tmp_path, target.targets, target.labels, voxels=False)
    assert scan_stats.schema == SCAN_STATS
    assert scan_stats["x_extent"].to_pylist() == [SHAPE[0]]
    for name in ("percentiles", "mean", "deviation", "checksum", "mask_voxels"):
        assert scan_stats[name].null_count == 1


@pytest.mark.parametrize(("voxels", "longest"), [(False, 32), (True, 3)])
def test_chunks_hold_every_target_once(voxels: bool, longest: int) -> None:
    rows = [{"number": number, "scan_id": str(number), "patient_id": "p", "path": "a"} for number in range(2345)]
    targets = TARGETS.empty_table().from_pylist(rows, schema=TARGETS)
    chunks = chunk_targets(targets, voxels)
    assert len(chunks) <= 1000
    assert max(chunk.num_rows for chunk in chunks) == longest
    assert [number for chunk in chunks for number in chunk["number"].to_pylist()] == list(range(2345))
    assert chunk_targets(TARGETS.empty_table(), voxels) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("odd"), ZeroDivisionError("division by zero"), OSError(5, "I/O error")]
)
def test_any_failure_within_a_scan_is_an_issue_of_that_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_cases(tmp_path, 2)
    target = read_target(tmp_path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("voxray.inspection.scan_stats.volume_statistics", fail)
    rows = inspect_scans(tmp_path, target.targets, target.labels, voxels=True).to_pylist()
    assert len(rows) == 2
    for row in rows:
        (issue,) = row["issues"]
        assert (str(error) or "MemoryError") in issue["detail"]


@pytest.mark.parametrize("voxels", [False, True])
@pytest.mark.parametrize(
    "fields", [{"datatype": 128, "bitpix": 24}, {"datatype": 2304, "bitpix": 32}, {"datatype": 32, "bitpix": 64}]
)
def test_colors_and_complex_numbers_are_issues(tmp_path: Path, voxels: bool, fields: dict[str, int]) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(**fields) + bytes(300))
    target = read_target(tmp_path)
    (row,) = inspect_scans(tmp_path, target.targets, None, voxels).to_pylist()
    ((kind, detail),) = [issue.values() for issue in row["issues"]]
    assert kind == "unreadable"
    assert "expected real numbers as voxels" in detail


def test_object_storage_that_fails_is_no_issue_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cases(tmp_path, 1)
    target = read_target(tmp_path)

    def fail(*_: object) -> None:
        raise WorkError("s3://bucket", "object storage failed", "Check the network")

    monkeypatch.setattr("voxray.inspection.scan_stats.read_header", fail)
    with pytest.raises(WorkError):
        inspect_scans(tmp_path, target.targets, None, voxels=False)
