from pathlib import Path

import nibabel
import numpy as np
import pytest
from inspection_scenes import SHAPE, image_of, mask_of, write_cases, write_nifti

from voxray.inspection.facts import FACTS, RANKS, cut_targets, look_at
from voxray.inspection.subject import TARGETS, read_subject


def test_facts_are_those_of_numpy_and_nibabel(tmp_path: Path) -> None:
    write_cases(tmp_path, 2)
    affine = nibabel.orientations.inv_ornt_aff([[1, -1], [0, 1], [2, -1]], SHAPE) @ np.diag([2.0, 3, 4, 1])
    image, mask = image_of(7), mask_of()
    write_nifti(tmp_path / "imagesTr" / "good_001.nii.gz", image, affine)
    write_nifti(tmp_path / "labelsTr" / "good_001.nii.gz", mask, affine)
    subject = read_subject(tmp_path)
    facts = look_at(tmp_path, subject.targets, subject.manifest.classes, voxels=True).to_pylist()[1]
    assert facts["problems"] == []
    assert facts["axes"] == "".join(nibabel.aff2axcodes(affine))
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(image, affine))
    assert [facts[f"{axis}_extent"] for axis in "xyz"] == list(canonical.shape)
    np.testing.assert_allclose(np.reshape(facts["affine"], (4, 4)), canonical.affine)
    zooms = canonical.header.get_zooms()
    assert [facts[f"{axis}_spacing_mm"] for axis in "xyz"] == pytest.approx(zooms)
    np.testing.assert_allclose(facts["percentiles"], [np.percentile(image, RANKS)])
    assert facts["mean"] == pytest.approx([image.mean()])
    assert facts["deviation"] == pytest.approx([image.std()])
    assert facts["mask_voxels"] == np.bincount(mask.ravel()).tolist()
    files = [tmp_path / folder / "good_001.nii.gz" for folder in ("imagesTr", "labelsTr")]
    assert facts["size_bytes"] == sum(file.stat().st_size for file in files)


def test_the_same_voxels_have_one_checksum_in_whatever_axes_they_are_kept(tmp_path: Path) -> None:
    image = image_of(3)
    write_nifti(tmp_path / "a.nii.gz", image)
    turned = nibabel.Nifti1Image(image, np.eye(4)).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nibabel.save(turned, tmp_path / "b.nii")
    write_nifti(tmp_path / "c.nii", image + np.int16(1))
    subject = read_subject(tmp_path)
    first, same, other = look_at(tmp_path, subject.targets, (), voxels=True)["checksum"].to_pylist()
    assert first == same != other


def test_headers_alone_leave_the_voxels_columns_empty(tmp_path: Path) -> None:
    write_cases(tmp_path, 1)
    subject = read_subject(tmp_path)
    facts = look_at(tmp_path, subject.targets, subject.manifest.classes, voxels=False)
    assert facts.schema == FACTS
    assert facts["x_extent"].to_pylist() == [SHAPE[0]]
    for name in ("percentiles", "mean", "deviation", "checksum", "mask_voxels"):
        assert facts[name].null_count == 1


@pytest.mark.parametrize(("voxels", "longest"), [(False, 32), (True, 3)])
def test_pieces_hold_every_target_once(voxels: bool, longest: int) -> None:
    rows = [{"number": number, "scan_id": str(number), "patient_id": "p", "path": "a"} for number in range(2345)]
    targets = TARGETS.empty_table().from_pylist(rows, schema=TARGETS)
    pieces = cut_targets(targets, voxels)
    assert len(pieces) <= 1000
    assert max(piece.num_rows for piece in pieces) == longest
    assert [number for piece in pieces for number in piece["number"].to_pylist()] == list(range(2345))
    assert cut_targets(TARGETS.empty_table(), voxels) == []
