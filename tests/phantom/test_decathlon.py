import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from voxray.datasets.decathlon import read_decathlon
from voxray.errors import ConfigError
from voxray.phantom.brain import SIGNAL, smooth_field
from voxray.phantom.decathlon import draw_case, write_decathlon
from voxray.scans.masks import check_label
from voxray.scans.read import open_scan

SHAPE = (48, 48, 32)
CASES = 3
FLAIR, T1W, T1GD, T2W = range(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decathlon")
    write_decathlon(root, cases=CASES, seed=4, shape=SHAPE)
    return root


def test_the_layout_is_read_without_a_complaint(folder: Path) -> None:
    manifest = read_decathlon(folder)
    assert manifest.classes == ("background", "edema", "non-enhancing tumor", "enhancing tumour")
    assert manifest.channels == ("FLAIR", "T1w", "t1gd", "T2w")
    assert manifest.quarantine.num_rows == 0
    assert manifest.scans["scan_id"].to_pylist() == ["BRATS_001", "BRATS_002", "BRATS_003"]
    for row in manifest.scans.to_pylist():
        image, mask = (open_scan(folder / row[key]) for key in ("path", "label_path"))
        assert image.array.shape[0] == 4
        classes = check_label(image, mask, manifest.labels, row["path"])
        assert set(np.unique(classes).tolist()) == {0, 1, 2, 3}


def test_files_and_description_are_in_the_public_form(folder: Path) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    assert list(content) == [
        "name", "description", "reference", "licence", "release", "tensorImageSize", "modality", "labels",
        "numTraining", "numTest", "training", "test",
    ]  # fmt: skip
    assert content["training"][0] == {
        "image": "./imagesTr/BRATS_001.nii.gz",
        "label": "./labelsTr/BRATS_001.nii.gz",
    }
    assert (content["tensorImageSize"], content["numTraining"], content["test"]) == ("4D", CASES, [])
    image = nibabel.load(folder / "imagesTr" / "BRATS_001.nii.gz")
    mask = nibabel.load(folder / "labelsTr" / "BRATS_001.nii.gz")
    assert image.shape == (*SHAPE, 4)
    assert mask.shape == SHAPE
    assert (image.get_data_dtype(), mask.get_data_dtype()) == (np.int16, np.uint8)
    np.testing.assert_array_equal(image.affine, mask.affine)
    np.testing.assert_array_equal(np.diag(image.affine), [-1, -1, 1, 1])
    assert sorted(path.name for path in folder.rglob("*") if path.name.startswith(".")) == []


def test_the_same_seed_gives_the_same_files_whatever_the_number_of_cases(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_decathlon(tmp_path / "a", cases=2, seed=4, shape=SHAPE, progress=lambda *step: calls.append(step))
    assert calls == [(1, 2), (2, 2)]
    write_decathlon(tmp_path / "b", cases=1, seed=5, shape=SHAPE)

    def digests(root: Path) -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.glob("*Tr/*001.nii.gz"))]

    assert digests(tmp_path / "a") == digests(folder)
    assert digests(tmp_path / "b") != digests(folder)


def test_the_files_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    write_decathlon(tmp_path, cases=CASES, seed=4, shape=SHAPE, workers=2)
    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


@pytest.mark.parametrize("number", range(6))
def test_the_parts_of_a_tumor_lie_in_each_other_and_in_the_brain(number: int) -> None:
    case = draw_case(0, number, shape=SHAPE)
    brain = (case.voxels > 0).all(axis=-1)
    np.testing.assert_array_equal(brain, (case.voxels != 0).any(axis=-1))
    assert 0.1 < brain.mean() < 0.3
    assert label(brain)[1] == 1
    assert brain[case.label > 0].all()
    assert set(np.unique(case.label).tolist()) == {0, 1, 2, 3}
    tumor = (case.label > 0).sum() / brain.sum()
    assert 0.015 < tumor < 0.15
    # What touches a part from outside is the part around it, but for voxels that only touch by a corner.
    for part in (2, 3):
        ring = binary_dilation(case.label >= part) & (case.label < part) & brain
        assert (case.label[ring] == part - 1).mean() > 0.8


def test_parts_have_the_contrasts_of_real_sequences() -> None:
    case = draw_case(0, 3, shape=(96, 96, 64))
    tissue = {part: np.median(case.voxels[case.label == part], axis=0) for part in (1, 2, 3)}
    healthy = np.median(case.voxels[(case.label == 0) & (case.voxels[..., 0] > 0)], axis=0)
    assert tissue[1][FLAIR] > 1.3 * healthy[FLAIR]
    assert tissue[1][T2W] > 1.3 * healthy[T2W]
    assert (tissue[2] < healthy)[[T1W, T1GD]].all()
    assert tissue[3][T1GD] > 1.3 * healthy[T1GD]
    assert tissue[3][T1W] < healthy[T1W]
    assert all(len(signal) == 4 for signal in SIGNAL.values())


def test_intensities_have_another_scale_in_each_case_and_sequence() -> None:
    medians = np.array(
        [
            [np.median(channel[channel > 0]) for channel in np.moveaxis(draw_case(0, n, shape=SHAPE).voxels, -1, 0)]
            for n in range(8)
        ]
    )
    assert (medians.max(axis=0) / medians.min(axis=0) > 2).all()
    assert np.abs(np.corrcoef(np.log(medians).T) - np.eye(4)).max() < 0.95


def test_fewer_channels_are_the_first_of_four(tmp_path: Path) -> None:
    write_decathlon(tmp_path, cases=1, shape=SHAPE, channels=1)
    manifest = read_decathlon(tmp_path)
    assert manifest.channels == ("FLAIR",)
    assert json.loads((tmp_path / "dataset.json").read_text())["tensorImageSize"] == "3D"
    assert nibabel.load(tmp_path / "imagesTr" / "BRATS_001.nii.gz").shape == SHAPE
    four = draw_case(0, 0, shape=SHAPE).voxels
    np.testing.assert_array_equal(draw_case(0, 0, shape=SHAPE, channels=1).voxels[..., 0], four[..., 0])


def test_a_smaller_grid_shows_the_same_brain_coarser() -> None:
    fine, coarse = draw_case(0, 1, shape=(96, 96, 64)), draw_case(0, 1, shape=SHAPE)
    seen = [(case.voxels[..., 0] > 0).mean() for case in (fine, coarse)]
    assert seen[0] == pytest.approx(seen[1], rel=0.1)
    halves = fine.label[::2, ::2, ::2] > 0
    both = (halves & (coarse.label > 0)).sum() * 2 / (halves.sum() + (coarse.label > 0).sum())
    assert both > 0.7


def test_smooth_fields_have_about_unit_deviation_and_are_smooth() -> None:
    field = smooth_field(np.random.default_rng(0), (60, 50, 40), 6)
    assert field.shape == (60, 50, 40)
    assert field.std() == pytest.approx(1, abs=0.3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cases": 0}, "cases: expected 1 or more, got 0"),
        ({"shape": (48, 48, 20)}, "24 voxels or more, got 48x48x20"),
        ({"shape": (48, 48)}, "three axes"),
        ({"channels": 5}, "channels: expected 1 to 4, got 5"),
        ({"channels": 0}, "channels: expected 1 to 4, got 0"),
    ],
)
def test_numbers_of_which_no_data_set_can_be_made_are_refused(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_decathlon(tmp_path, **options)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())
