import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from voxray.datasets.mosmed import read_mosmed
from voxray.errors import ConfigError
from voxray.phantom.mosmed import draw_study, write_mosmed
from voxray.scans.read import open_scan

MATRIX = 48
SCANS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mosmed")
    write_mosmed(root, scans=SCANS, seed=3, matrix=MATRIX)
    return root


def test_the_layout_is_read_without_a_complaint(folder: Path) -> None:
    manifest = read_mosmed(folder)
    assert manifest.quarantine.num_rows == 0
    assert manifest.scans["path"].to_pylist() == [
        *(f"CT-0/study_000{number}.nii.gz" for number in (1, 2, 3)),
        *(f"CT-23/study_09{number}.nii.gz" for number in (39, 40, 41)),
    ]
    assert manifest.samples["label"].to_pylist() == [0, 0, 0, 1, 1, 1]


def test_files_are_in_the_public_form_and_the_patient_lies_upright_in_the_world(folder: Path) -> None:
    image = nibabel.load(folder / "CT-0" / "study_0001.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert image.shape[:2] == (MATRIX, MATRIX)
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
    assert image.header.get_zooms()[2] == 8
    volume = open_scan(folder / "CT-0" / "study_0001.nii.gz").array[0]
    middle = volume[:, :, volume.shape[2] // 4]
    # The heart is at the patient's left, the spine behind.
    air = middle < -500
    assert air[: MATRIX // 2].sum() < air[MATRIX // 2 :].sum()
    assert middle[MATRIX // 2, : MATRIX // 2].max() > middle[MATRIX // 2, MATRIX // 2 :].max()


def lungs(voxels: np.ndarray) -> np.ndarray:
    """Values inside the lungs, away from their border: dark voxels that are not connected with the air outside."""
    regions, count = label(voxels < -400)
    outside = regions[0, 0, 0]
    inside = binary_erosion((regions > 0) & (regions != outside), iterations=2)
    assert count > 1
    return voxels[inside]


def test_only_abnormal_lungs_hold_ground_glass_and_their_mean_alone_does_not_tell() -> None:
    values = [lungs(draw_study(0, number, matrix=96).voxels) for number in range(16)]
    hazy = [np.mean(lung > np.median(lung) + 120) for lung in values]
    assert max(hazy[::2]) < 0.005 < 0.01 < min(hazy[1::2])
    means = [lung.mean() for lung in values]
    assert max(means[::2]) > min(means[1::2])


def test_the_same_seed_gives_the_same_files_whatever_the_number_of_scans(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_mosmed(tmp_path / "a", scans=2, seed=3, matrix=MATRIX, progress=lambda *step: calls.append(step))
    assert calls == [(1, 2), (2, 2)]
    write_mosmed(tmp_path / "b", scans=2, seed=4, matrix=MATRIX)

    def digests(root: Path) -> list[str]:
        first = ("CT-0/study_0001.nii.gz", "CT-23/study_0939.nii.gz")
        return [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in first]

    assert digests(tmp_path / "a") == digests(folder)
    assert set(digests(tmp_path / "b")).isdisjoint(digests(folder))


def test_a_smaller_matrix_shows_the_same_chest_coarser() -> None:
    fine, coarse = draw_study(0, 1, matrix=96), draw_study(0, 1, matrix=48)
    assert fine.voxels.shape[2] == coarse.voxels.shape[2]
    assert np.mean(fine.voxels > -500) == pytest.approx(np.mean(coarse.voxels > -500), abs=0.01)
    corners = [study.affine @ [*(np.array(study.voxels.shape) / 2 - 0.5), 1] for study in (fine, coarse)]
    np.testing.assert_allclose(*corners, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "words"), [({"scans": 0}, "scans: expected 1 or more, got 0"), ({"matrix": 16}, "32 or more, got 16")]
)
def test_numbers_of_which_no_data_set_can_be_made_are_refused(
    tmp_path: Path, options: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_mosmed(tmp_path, **options)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
