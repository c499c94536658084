"""The synthetic LUNA16: its layout, its truth, and that only neighboring slices tell a nodule from a vessel."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.phantom.chest import Grid, add_noise, draw_chest, lung_depth_mm
from voxray.phantom.findings import ELSEWHERE, NODULE, VESSEL, Findings, place_findings
from voxray.phantom.luna16 import PhantomScan, draw_scan, write_luna16
from voxray.phantom.trees import draw_trees

sitk: Any = SimpleITK  # it has no types
SCANS = 4
MATRIX = 96
HEADER_KEYS = [
    *(
        "ObjectType",
        "NDims",
        "BinaryData",
        "BinaryDataByteOrderMSB",
        "CompressedData",
        "TransformMatrix",
        "Offset",
    ),
    *(
        "CenterOfRotation",
        "AnatomicalOrientation",
        "ElementSpacing",
        "DimSize",
        "ElementType",
        "ElementDataFile",
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set; its scan number 2 has the flipped direction."""
    folder = tmp_path_factory.mktemp("luna16")
    write_luna16(folder, scans=SCANS, matrix=MATRIX, nodules_per_scan=(2, 4))
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _world(row: dict[str, str]) -> tuple[float, float, float]:
    return float(row["coordX"]), float(row["coordY"]), float(row["coordZ"])


def _headers(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(root.glob("subset*/*.mhd"))}


def _image(header: Path) -> Any:
    return sitk.ReadImage(str(header))


def _digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _chance_of_higher(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The area under the ROC curve of a number that should tell two groups apart: 0.5 when it cannot."""
    difference = one[:, np.newaxis] - other
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def test_scans_are_dealt_to_ten_subsets_with_the_files_of_luna16(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == sorted(
        ["annotations.csv", "annotations_excluded.csv", "candidates.csv", *(f"subset{number}" for number in range(10))]
    )
    for number in range(10):
        names = sorted(path.suffix for path in (root / f"subset{number}").iterdir())
        assert names == ([".mhd", ".raw"] if number < SCANS else [])
    for uid in _headers(root):
        prefix, _, digits = uid.rpartition(".")
        assert prefix == "1.3.6.1.4.1.14519.5.2.1.6279.6001"
        assert len(digits) == 30
        assert digits.isdigit()


def test_excluded_findings_are_candidates_that_are_no_nodules(root: Path) -> None:
    labels = {(row["seriesuid"], _world(row)): row["class"] for row in _rows(root / "candidates.csv")}
    excluded = _rows(root / "annotations_excluded.csv")
    assert [labels[row["seriesuid"], _world(row)] for row in excluded] == ["0"] * 3 * SCANS
    diameters = np.array([float(row["diameter_mm"]) for row in excluded])
    assert ((diameters == -1) | ((diameters >= 3) & (diameters <= 8))).all()
    assert (diameters == -1).any()


def test_tables_and_headers_have_the_columns_and_keys_of_the_public_files(root: Path) -> None:
    assert (root / "candidates.csv").read_text().startswith("seriesuid,coordX,coordY,coordZ,class\n")
    assert (root / "annotations.csv").read_text().startswith("seriesuid,coordX,coordY,coordZ,diameter_mm\n")
    for path in _headers(root).values():
        fields = [line.split(" = ") for line in path.read_text().splitlines()]
        assert [key for key, _ in fields] == HEADER_KEYS
        values = dict(fields)
        assert values["ElementDataFile"] == f"{path.stem}.raw"
        assert (values["AnatomicalOrientation"], values["ElementType"]) == ("RAI", "MET_SHORT")
        voxels = np.prod([int(size) for size in values["DimSize"].split()])
        assert path.with_suffix(".raw").stat().st_size == 2 * voxels


@pytest.mark.parametrize("number", [1, 2])
def test_simpleitk_reads_back_the_scan_that_was_drawn(root: Path, number: int) -> None:
    scan = draw_scan(0, number, matrix=MATRIX, nodules_per_scan=(2, 4))
    image = _image(root / f"subset{number}" / f"{scan.seriesuid}.mhd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), scan.voxels)
    np.testing.assert_allclose(image.GetSpacing(), np.array(scan.spacing_mm))
    np.testing.assert_allclose(image.GetOrigin(), np.array(scan.origin_mm))
    np.testing.assert_array_equal(np.reshape(image.GetDirection(), (3, 3)), scan.direction)


def test_one_scan_in_six_has_a_flipped_direction() -> None:
    first = [draw_scan(1, number, matrix=48, nodules_per_scan=(0, 0)).direction[0][0] for number in range(12)]
    assert first.count(-1) == 2
    assert first.count(1) == 10


def test_an_annotation_is_a_bright_voxel_of_its_scan_in_either_direction(root: Path) -> None:
    headers, directions = _headers(root), set()
    rows = _rows(root / "annotations.csv")
    for row in rows:
        image = _image(headers[row["seriesuid"]])
        directions.add(image.GetDirection()[0])
        assert image.GetPixel(image.TransformPhysicalPointToIndex(_world(row))) > -300
    assert len(rows) >= 2 * SCANS
    assert directions == {1.0, -1.0}


def test_a_candidate_of_class_one_lies_on_an_annotated_nodule(root: Path) -> None:
    annotations: dict[str, list[tuple[float, float, float]]] = {uid: [] for uid in _headers(root)}
    for row in _rows(root / "annotations.csv"):
        annotations[row["seriesuid"]].append(_world(row))
    positives = [row for row in _rows(root / "candidates.csv") if row["class"] == "1"]
    for row in positives:
        away = np.linalg.norm(np.subtract(annotations[row["seriesuid"]], _world(row)), axis=1)
        nearest = int(away.argmin())
        assert away[nearest] <= 1.0
        annotations[row["seriesuid"]].pop(nearest)  # each nodule is proposed once
    assert not any(annotations.values())


def test_a_candidate_of_class_zero_lies_on_no_nodule(root: Path) -> None:
    nodules = _rows(root / "annotations.csv")
    negatives = [row for row in _rows(root / "candidates.csv") if row["class"] == "0"]
    assert 10 * len(nodules) <= len(negatives) <= 15 * len(nodules)
    for row in negatives:
        for nodule in nodules:
            if nodule["seriesuid"] == row["seriesuid"]:
                away = np.linalg.norm(np.subtract(_world(nodule), _world(row)))
                assert away > float(nodule["diameter_mm"]) / 2


def test_no_negative_lies_on_a_nodule_in_a_crowded_chest() -> None:
    for number in range(12):
        rng = np.random.default_rng([5, number])
        grid = Grid((96, 96, 40), (0.7, 0.7, 1.25))
        chest = draw_chest(rng, grid)
        findings = place_findings(rng, grid, chest, 12, draw_trees(rng, chest).forks_mm)
        negatives = findings.candidates[findings.kinds != NODULE]
        away = np.linalg.norm(negatives[:, np.newaxis] - findings.nodules[:, :3], axis=-1)
        assert (away > findings.nodules[:, 3] / 2).all()


def test_a_vessel_candidate_is_as_bright_as_a_nodule() -> None:
    scan = draw_scan(0, 0, matrix=192)
    hu = np.array([_patch(scan, point)[5, 16, 16] for point in scan.candidates[scan.kinds == VESSEL]])
    assert (hu > -300).mean() > 0.95


@pytest.mark.parametrize("number", [1, 2])
def test_the_back_and_the_left_of_the_patient_are_where_lps_says(root: Path, number: int) -> None:
    name = draw_scan(0, number, matrix=MATRIX, nodules_per_scan=(2, 4)).seriesuid
    oriented: Any = sitk.DICOMOrient(_image(_headers(root)[name]), "LPS")
    voxels = sitk.GetArrayFromImage(oriented)
    voxels = voxels[len(voxels) // 4 : len(voxels) // 2]  # where the heart is

    def hu(left: float, back: float) -> float:
        """The lower quartile around a place, given as parts of the width: a vessel there does not matter."""
        x, y = round((0.5 + left) * MATRIX), round((0.5 + back) * MATRIX)
        return float(np.quantile(voxels[:, y - 4 : y + 5, x - 4 : x + 5], 0.25))

    assert hu(0, 0.20) > 70  # the spine
    assert -100 < hu(0.10, -0.09) < 80  # the heart
    assert hu(-0.22, 0.02) < -700  # the right lung
    assert hu(0.22, 0.02) < -700  # the left lung


def test_the_files_do_not_depend_on_the_number_of_workers(root: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_luna16(
        tmp_path,
        scans=SCANS,
        matrix=MATRIX,
        nodules_per_scan=(2, 4),
        workers=2,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert _digests(tmp_path) == _digests(root)
    assert calls == [(done, SCANS) for done in range(1, SCANS + 1)]


def test_another_seed_gives_other_scans() -> None:
    one, other = (draw_scan(seed, 0, matrix=48, nodules_per_scan=(1, 1)) for seed in (0, 1))
    assert one.seriesuid != other.seriesuid
    assert not np.array_equal(one.candidates[0], other.candidates[0])


def test_compressed_files_hold_the_same_voxels(tmp_path: Path) -> None:
    write_luna16(tmp_path, scans=1, matrix=64, nodules_per_scan=(1, 1), compressed=True)
    scan = draw_scan(0, 0, matrix=64, nodules_per_scan=(1, 1))
    header = tmp_path / "subset0" / f"{scan.seriesuid}.mhd"
    stored = header.with_suffix(".zraw")
    text = header.read_text()
    assert f"CompressedData = True\nCompressedDataSize = {stored.stat().st_size}\n" in text
    assert stored.stat().st_size < scan.voxels.nbytes
    np.testing.assert_array_equal(sitk.GetArrayFromImage(_image(header)), scan.voxels)


def _patch(scan: PhantomScan, point_mm: NDArray[np.float64]) -> NDArray[np.int16]:
    """32×32 pixels × 10 slices (z, y, x) around a point, shifted in z so that it lies inside the scan."""
    offset = np.array(scan.direction).T @ (point_mm - scan.origin_mm)
    x, y, z = np.rint(offset / scan.spacing_mm).astype(int)
    first = int(np.clip(z - 5, 0, scan.voxels.shape[0] - 10))
    # The center slice is slice 5 of the patch except at the ends, where tests here do not look.
    return scan.voxels[first : first + 10, y - 16 : y + 16, x - 16 : x + 16]


def test_one_slice_cannot_tell_a_nodule_from_a_vessel_but_ten_slices_can() -> None:
    middle = slice(10, 23)
    bright_area: dict[int, list[float]] = {NODULE: [], VESSEL: []}
    contrast: dict[int, list[float]] = {NODULE: [], VESSEL: []}
    least_area: dict[int, list[float]] = {NODULE: [], VESSEL: []}
    for number in range(9):
        scan = draw_scan(3, number, matrix=192, nodules_per_scan=(6, 8))
        for kind in (NODULE, VESSEL):
            points = scan.candidates[scan.kinds == kind]
            for index, point in enumerate(points[:25]):
                patch = _patch(scan, point)[:, middle, middle]
                if kind == NODULE and scan.nodules[index, 3] >= 10:
                    continue
                areas = (patch > -400).sum(axis=(1, 2))
                bright_area[kind].append(float(areas[5]))
                contrast[kind].append(float(patch[5].max()))
                least_area[kind].append(float(areas.min()))

    def told_apart(feature: dict[int, list[float]]) -> float:
        return _chance_of_higher(np.array(feature[VESSEL]), np.array(feature[NODULE]))

    assert len(bright_area[NODULE]) > 40
    assert abs(told_apart(bright_area) - 0.5) < 0.1
    assert abs(told_apart(contrast) - 0.5) < 0.1
    assert told_apart(least_area) > 0.8


@pytest.fixture(scope="module")
def many_findings() -> list[tuple[Findings, NDArray[np.floating]]]:
    """Findings of full-size chests, each with the depth in the lung of its stacks' anchors; no voxels are painted."""
    found = []
    for number in range(8):
        rng = np.random.default_rng([11, number])
        grid = Grid((512, 512, 120), (0.7, 0.7, 2.0))
        chest = draw_chest(rng, grid)
        findings = place_findings(rng, grid, chest, 12, draw_trees(rng, chest).forks_mm)
        anchors = np.array([stack.anchor_mm for stack in findings.stacks])
        found.append((findings, lung_depth_mm(chest, *anchors.T)))
    return found


def test_nodules_and_vessels_have_the_same_sections_and_places(
    many_findings: list[tuple[Findings, NDArray[np.floating]]],
) -> None:
    rows: dict[bool, list[tuple[float, ...]]] = {True: [], False: []}
    for findings, depth in many_findings:
        for stack, deep in zip(findings.stacks, depth, strict=True):
            section = stack.section
            if section.lobes > 0 and section.radius_mm < 4.5:  # neither twigs nor large nodules
                row = (section.radius_mm, section.aspect, section.edge_mm, section.hu, float(deep))
                rows[stack.is_vessel].append(row)
    vessels, nodules = np.array(rows[True]), np.array(rows[False])
    assert len(nodules) > 60
    for column in range(nodules.shape[1]):
        assert abs(_chance_of_higher(nodules[:, column], vessels[:, column]) - 0.5) < 0.1


def test_most_nodules_are_small_and_none_is_outside_3_to_30_mm(
    many_findings: list[tuple[Findings, NDArray[np.floating]]],
) -> None:
    diameters = np.concatenate([findings.nodules[:, 3] for findings, _ in many_findings])
    assert diameters.min() >= 3
    assert diameters.max() <= 30
    assert (diameters > 10).any()
    assert (diameters < 10).mean() > 0.6


def test_nodules_come_in_three_sizes_and_a_third_of_them_touches_the_wall(
    many_findings: list[tuple[Findings, NDArray[np.floating]]],
) -> None:
    diameters = np.concatenate([findings.nodules[:, 3] for findings, _ in many_findings])
    shares = np.histogram(diameters, [4, 6, 12, 25])[0] / len(diameters)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() > 0.08
    at_wall = [
        depth < stack.section.radius_mm
        for findings, depths in many_findings
        for stack, depth in zip(findings.stacks, depths, strict=True)
        if not stack.is_vessel
    ]
    assert 0.2 < np.mean(at_wall) < 0.5


def test_half_of_the_other_candidates_are_forks_airways_and_fissures() -> None:
    rng = np.random.default_rng(2)
    grid = Grid((256, 256, 60), (0.7, 0.7, 2.0))
    chest = draw_chest(rng, grid)
    forks = draw_trees(rng, chest).forks_mm
    findings = place_findings(rng, grid, chest, 8, forks)
    others = findings.candidates[findings.kinds == ELSEWHERE]
    nearest = np.linalg.norm(others[:, np.newaxis] - forks, axis=-1).min(axis=1)
    assert (nearest < 1).mean() == pytest.approx(0.5, abs=0.1)


def test_slices_are_0_6_to_3_mm_apart() -> None:
    spacings = {draw_scan(4, number, matrix=48, nodules_per_scan=(0, 0)).spacing_mm[2] for number in range(20)}
    assert min(spacings) == 0.6
    assert max(spacings) == 3.0
    assert len(spacings) > 3


def test_seven_in_ten_negatives_lie_on_vessels(
    many_findings: list[tuple[Findings, NDArray[np.floating]]],
) -> None:
    kinds = np.concatenate([findings.kinds for findings, _ in many_findings])
    vessels, elsewhere = (kinds == VESSEL).sum(), (kinds == ELSEWHERE).sum()
    assert vessels / (vessels + elsewhere) == pytest.approx(0.7, abs=0.02)


def test_a_vessel_stays_within_35_degrees_and_goes_on_beyond_ten_slices(
    many_findings: list[tuple[Findings, NDArray[np.floating]]],
) -> None:
    for findings, _ in many_findings:
        vessels = [stack for stack in findings.stacks if stack.is_vessel and stack.section.lobes > 0]
        for stack in vessels:
            assert np.hypot(*stack.slope) <= np.tan(np.radians(35)) + 1e-9
            assert stack.below_mm + stack.above_mm >= 30
            assert min(stack.below_mm, stack.above_mm) > 5 * 2.5


def test_noise_has_the_asked_deviation_and_is_smooth_in_a_plane_only() -> None:
    voxels = np.zeros((12, 128, 128), np.int16)
    add_noise(np.random.default_rng(0), voxels, 22.0)
    noise = voxels.astype(float)
    assert noise.std() == pytest.approx(22.0, rel=0.05)
    assert np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1] > 0.5
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("scans", "matrix", "nodules_per_scan", "words"),
    [
        (0, 96, (1, 2), "got 0"),
        (1, 32, (1, 2), "matrix: expected 48 or more, got 32"),
        (1, 96, (3, 2), r"got \(3, 2\)"),
    ],
)
def test_senseless_numbers_are_refused_by_value(
    tmp_path: Path, scans: int, matrix: int, nodules_per_scan: tuple[int, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_luna16(tmp_path, scans=scans, matrix=matrix, nodules_per_scan=nodules_per_scan)
    assert not list(tmp_path.iterdir())
