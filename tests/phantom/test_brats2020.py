from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from voxray.datasets.brats2020 import read_brats2020
from voxray.errors import ConfigError
from voxray.phantom import brats2020
from voxray.phantom.brats2020 import draw_patient, grade_of, write_brats2020
from voxray.scans.read import open_scan

SHAPE = (48, 48, 32)
PATIENTS = 6
T1, T1CE = 1, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brats2020")
    write_brats2020(root, patients=PATIENTS, seed=4, shape=SHAPE)
    return root


def test_the_layout_is_read_without_a_complaint(folder: Path) -> None:
    manifest = read_brats2020(folder)
    assert manifest.quarantine.num_rows == 0
    assert manifest.scans["scan_id"].to_pylist() == [f"BraTS20_Training_00{number}" for number in range(1, 7)]
    assert manifest.samples["label"].to_pylist() == [1, 1, 1, 1, 0, 1]
    for row in manifest.scans.to_pylist():
        scan, mask = (open_scan(folder / row[key]) for key in ("path", "label_path"))
        assert scan.array.shape == (4, *SHAPE)
        np.testing.assert_array_equal(scan.affine, mask.affine)


def test_files_are_in_the_public_form(folder: Path) -> None:
    name = "BraTS20_Training_001"
    files = sorted(path.name for path in (folder / name).iterdir())
    assert files == [f"{name}_{kind}.nii" for kind in ("flair", "seg", "t1", "t1ce", "t2")]
    image = nibabel.load(folder / name / f"{name}_t1ce.nii")
    assert (image.shape, image.get_data_dtype()) == (SHAPE, np.int16)
    np.testing.assert_array_equal(np.diag(image.affine), [-1, -1, 1, 1])
    lines = (folder / "name_mapping.csv").read_text().splitlines()
    assert lines[0].split(",")[::5] == ["Grade", "BraTS_2020_subject_ID"]
    assert lines[5] == "LGG,NA,NA,NA,NA,BraTS20_Training_005"
    assert len(lines) == PATIENTS + 1


def test_the_mask_of_patient_355_has_its_public_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert brats2020.MASK_NAMES == {355: "W39_1998.09.19_Segm"}
    monkeypatch.setattr(brats2020, "MASK_NAMES", {2: "W39_1998.09.19_Segm"})
    write_brats2020(tmp_path, patients=2, shape=SHAPE)
    masks = read_brats2020(tmp_path).scans["label_path"].to_pylist()
    assert masks[1] == "BraTS20_Training_002/W39_1998.09.19_Segm.nii"


def test_every_fifth_tumor_is_of_low_grade() -> None:
    grades = [grade_of(number) for number in range(1, 101)]
    assert grades.count("LGG") == 20
    assert grades[:5] == ["HGG"] * 4 + ["LGG"]


@pytest.mark.parametrize("number", [1, 4, 5, 10])
def test_the_grade_is_seen_in_the_contrast_of_a_ring_around_a_necrosis(number: int) -> None:
    case = draw_patient(0, number, shape=SHAPE)
    high = grade_of(number) == "HGG"
    assert set(np.unique(case.label).tolist()) == ({0, 1, 2, 4} if high else {0, 1, 2})
    tissue = {part: np.median(case.voxels[case.label == part], axis=0) for part in np.unique(case.label).tolist()}
    healthy = np.median(case.voxels[(case.label == 0) & (case.voxels[..., 0] > 0)], axis=0)
    assert tissue[1][T1CE] < 0.8 * healthy[T1CE]
    if high:
        assert tissue[4][T1CE] > 1.3 * healthy[T1CE]
        assert tissue[4][T1] < healthy[T1]
        around = binary_dilation(case.label == 1) & (case.label != 1)
        assert (case.label[around] == 4).mean() > 0.8


def test_the_same_seed_gives_the_same_files_whatever_the_number_of_patients(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_brats2020(tmp_path, patients=1, seed=4, shape=SHAPE, progress=lambda *step: calls.append(step))
    assert calls == [(1, 1)]
    for path in sorted((tmp_path / "BraTS20_Training_001").iterdir()):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()
    other = draw_patient(5, 1, shape=SHAPE)
    assert not np.array_equal(other.voxels, draw_patient(4, 1, shape=SHAPE).voxels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patients": 0}, "patients: expected 1 or more, got 0"),
        ({"shape": (48, 48, 20)}, "24 voxels or more, got 48x48x20"),
    ],
)
def test_numbers_of_which_no_data_set_can_be_made_are_refused(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_brats2020(tmp_path, **options)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
