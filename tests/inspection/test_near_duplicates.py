import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scenes import experiment
from scipy.ndimage import gaussian_filter, zoom

from voxray.executors.local import LocalExecutor
from voxray.inspection.issues import find_issues
from voxray.inspection.near_duplicates import NearPair, find_near_duplicates
from voxray.inspection.patch_duplicates import patch_row, read_patch_duplicates
from voxray.inspection.scan_stats import inspect_scans
from voxray.inspection.signatures import CELLS, common_grid, grid_shape, signature
from voxray.inspection.summary import finish_inspection
from voxray.inspection.target import read_target
from voxray.reporting.inspection.montage import draw_pairs
from voxray.runs.folder import run_folder
from voxray.stages.ingest import ingest
from voxray.store.read import open_store

ARCHITECTURE = Path(__file__).parents[2] / "configs" / "architectures" / "archsm.json"
COUNT = 60


def texture(seed: int, shape: tuple[int, ...] = (64, 64)) -> NDArray[np.uint8]:
    """Blobs on a ramp that all images share, other ones for each seed."""
    blobs = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    ramp = np.linspace(0, 12, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    gray = blobs / blobs.std() + ramp
    return np.asarray(255 * (gray - gray.min()) / np.ptp(gray), np.uint8)


def pairs_of(images: list[NDArray[np.uint8]], groups: NDArray[np.int64]) -> list[NearPair]:
    signatures = [signature(image[None] if image.ndim == 3 else image[None, ..., None]) for image in images]
    return find_near_duplicates([each for each in signatures if each is not None], groups)


def jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=60)
    return np.asarray(Image.open(content))


def test_shifted_reencoded_and_resized_copies_in_another_split_are_found_and_nothing_else() -> None:
    large = [texture(seed, (84, 84)) for seed in range(COUNT)]
    train = [image[10:74, 10:74] for image in large]
    copies = [
        large[0][17:81, 4:68],
        jpeg(train[1]),
        np.asarray(zoom(train[2], 0.75, order=1), np.uint8),
        (train[3] // 2 + 40).astype(np.uint8),
        jpeg(large[4][12:76, 1:65]),
    ]
    others = [texture(1000 + seed) for seed in range(COUNT)]
    groups = np.repeat([0, 1], [COUNT, COUNT + len(copies)])
    found = pairs_of([*train, *copies, *others], groups)
    assert {pair[:2] for pair in found} == {(number, COUNT + number) for number in range(len(copies))}
    assert [pair.correlation for pair in found] == sorted((pair.correlation for pair in found), reverse=True)


def test_volumes_are_compared_too_and_copies_within_a_split_are_no_finding() -> None:
    large = [texture(seed, (40, 40, 16)) for seed in range(20)]
    volumes = [*(image[:32, :32] for image in large), large[3][4:36, 2:34], large[5][1:33, :32]]
    groups = np.array([0] * 20 + [1, 0])
    assert [pair[:2] for pair in pairs_of(volumes, groups)] == [(3, 20)]
    assert pairs_of(volumes, np.zeros(22, np.int64)) == []


def test_the_work_grows_with_the_number_of_images_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    from voxray.inspection import near_duplicates

    compared = []
    candidates = near_duplicates._candidates

    def count(landmarks: near_duplicates.Landmarks, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        found = candidates(landmarks, groups)
        compared.append(len(found))
        return found

    monkeypatch.setattr(near_duplicates, "_candidates", count)
    for size in (100, 400):
        images = [texture(seed, (24, 24)) for seed in range(size)]
        pairs_of(images, np.arange(size) % 2)
    assert compared[1] < 6 * max(compared[0], 100)


def test_a_signature_is_small_whatever_the_scan_and_means_of_its_voxels() -> None:
    assert grid_shape((512, 512, 1)) == (64, 64, 1)
    assert grid_shape((50, 47, 1)) == (50, 47, 1)
    assert np.prod(grid_shape((512, 512, 133))) <= CELLS
    image = np.kron(texture(0, (32, 32, 4)), np.ones((4, 4, 4)))[None]
    small = signature(image.astype(np.float32))
    assert small is not None
    assert small.dtype == np.uint8
    assert small.min() == 0
    assert small.max() == 255
    assert signature(np.full((1, 64, 64, 1), 7)) is None
    assert signature(np.arange(200).reshape(1, 20, 10, 1)) is None
    assert common_grid([small, small]).shape == (2, *small.shape)


def test_images_without_detail_have_no_near_duplicates() -> None:
    ramps = [np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8) for _ in range(4)]
    assert pairs_of(ramps, np.arange(4) % 2) == []
    assert find_near_duplicates([], np.zeros(0, np.int64)) == []


def test_a_near_duplicate_across_splits_is_a_warning_with_both_pictures(tmp_path: Path) -> None:
    large = [texture(seed, (84, 84)) for seed in range(12)]
    lines = ["path,label,split"]
    for number, image in enumerate(large):
        split = "train" if number < 8 else "val"
        Image.fromarray(image[10:74, 10:74]).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{split}")
    Image.fromarray(jpeg(large[2][16:80, 3:67])).save(tmp_path / "copy.jpg")
    Image.fromarray(jpeg(large[2][12:76, 3:67])).save(tmp_path / "same_split.jpg")
    lines += ["copy.jpg,0,val", "same_split.jpg,0,train"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    target = read_target(tmp_path)
    scan_stats = inspect_scans(tmp_path, target.targets, None, voxels=True)
    (issue,) = find_issues(target, scan_stats).to_pylist()
    assert (issue["kind"], issue["severity"], issue["path"]) == ("near", "warning", "copy.jpg")
    assert issue["detail"].startswith("almost the same as ")
    assert issue["detail"].endswith("and 1 more")
    assert issue["score"] > 0.85
    ((here, other),) = draw_pairs(finish_inspection(target, scan_stats, voxels=True), 5)
    assert here.path == "copy.jpg"
    assert other.path in ("2.png", "same_split.jpg")


def test_a_verified_store_says_which_patches_are_in_two_splits(tmp_path: Path) -> None:
    large = [texture(seed, (84, 84)) for seed in range(12)]
    lines = ["path,label,split"]
    for number, image in enumerate(large):
        Image.fromarray(image[10:74, 10:74]).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{'train' if number < 8 else 'val'}")
    settings: dict[str, Any] = {"data": {"layout": "table"}, "patches": {"size": [64, 64], "pad_value": 0}}
    settings["model"] = {"architecture": str(ARCHITECTURE)}
    said: list[str] = []
    for copy in ("", "copy.png,1,val"):
        (tmp_path / "manifest.csv").write_text("\n".join([*lines, copy]) + "\n")
        Image.fromarray(large[1][14:78, 5:69]).save(tmp_path / "copy.png")
        spec = experiment(tmp_path, tmp_path / f"run{len(copy)}", **settings)
        ingest(spec, LocalExecutor(), said.append, verify=True)
    first, note = [line for line in said if "almost the same" in line]
    assert first == "ingest: no patch of val and test looks almost the same as a patch of another split"
    assert note.startswith("note: 1 of 5 patches of val and test look almost the same as a patch of another split")
    assert "first 1.png (train) and copy.png (val)" in note
    store, file = open_store(spec.store_path), run_folder(spec).near_duplicates
    found = read_patch_duplicates(file, store)
    assert found is not None
    ((first_place, second_place),) = [(pair.first, pair.second) for pair in found.pairs]
    assert [patch_row(store, place)["path"] for place in (first_place, second_place)] == ["1.png", "copy.png"]
    other = open_store(experiment(tmp_path, tmp_path / "run0", **settings).store_path)
    assert read_patch_duplicates(file, other) is None, "of other patches"
    file.write_text("{")
    assert read_patch_duplicates(file, store) is None


DATA = Path(os.environ.get("VOXRAY_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.skipif(not (DATA / "luna16_crops").is_dir(), reason="the real LUNA16 crops are not here")
def test_nodules_of_real_crops_that_are_in_both_splits_are_found() -> None:
    target = read_target(DATA / "luna16_crops")
    nodules = target.targets.filter([label == "1" for label in target.targets["label"].to_pylist()])
    images = [np.asarray(Image.open(DATA / "luna16_crops" / path)).T for path in nodules["path"].to_pylist()]
    split = np.array([name == "val" for name in nodules["split"].to_pylist()], np.int64)
    found = pairs_of(images, split)
    evaluated = {number for pair in found for number in pair[:2] if split[number]}
    assert len(images) == 1069
    assert len(evaluated) >= 15
    assert found[0].correlation > 0.98


def test_images_that_are_all_alike_are_no_copies_and_a_copy_among_them_stands_out() -> None:
    anatomy = texture(0).astype(np.float64)
    images = [(0.8 * anatomy + 0.1 * texture(seed)).astype(np.uint8) for seed in range(1, COUNT)]
    groups = np.arange(len(images))
    details = [image.astype(np.float64) - gaussian_filter(image.astype(np.float64), 2) for image in images[:2]]
    assert np.corrcoef(details[0].ravel(), details[1].ravel())[0, 1] > 0.9
    assert pairs_of(images, groups) == []
    pairs = pairs_of([*images, images[7]], np.append(groups, len(images)))
    assert [pair[:2] for pair in pairs] == [(7, len(images))]
