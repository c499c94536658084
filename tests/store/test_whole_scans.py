"""Patches of whole scans that have a class: resized volumes and axial slices."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from ingesting import begin, contents, finish, ingest, write
from scenes import experiment
from scipy.ndimage import zoom

from voxray.config.experiment import Experiment
from voxray.errors import DataError, StoreError
from voxray.phantom.brats2020 import write_brats2020
from voxray.phantom.mosmed import write_mosmed
from voxray.scans.intensity import volume_statistics
from voxray.scans.read import open_scan
from voxray.store import rows

SHAPE = (32, 32, 24)
RESIZED = {"sampling": "resized", "size": [16, 20, 12], "oversample_rotations": [], "negatives_per_positive": "all"}
SLICES = {
    "sampling": "slices",
    "size": [28, 32],
    "patches_per_scan": 3,
    "oversample_rotations": [],
    "negatives_per_positive": "all",
    "pad_value": 0,
}


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chests")
    write_mosmed(root, scans=10, matrix=40)
    return root


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brains")
    write_brats2020(root, patients=10, shape=SHAPE)
    return root


def of_chests(root: Path, out: Path, **changes: Any) -> Experiment:
    patches = RESIZED | changes.pop("patches", {})
    return experiment(root, out, data={"layout": "mosmed"}, patches=patches, **changes)


def of_brains(root: Path, out: Path, **changes: Any) -> Experiment:
    patches = SLICES | changes.pop("patches", {})
    intensity = {"kind": "zscore_nonzero"}
    return experiment(root, out, data={"layout": "brats2020"}, patches=patches, intensity=intensity, **changes)


def test_a_resized_patch_is_the_clipped_scan_as_scipy_zooms_it(chests: Path, out: Path) -> None:
    store = ingest(of_chests(chests, out, intensity={"window": [-900, 300]}))
    assert store.index.num_rows == 10
    assert not store.info.masks
    for split in store.info.shards:
        for row in store.rows(split).to_pylist():
            patch = store.read_patches(split, np.array([row["slot"]]))[0, 0]
            clipped = np.clip(open_scan(chests / row["path"]).array[0].astype(float), -900, 300)
            factors = [new / old for new, old in zip((16, 20, 12), clipped.shape, strict=True)]
            expected = zoom(clipped, factors, order=1, mode="nearest")
            assert np.abs(patch - expected).max() <= 0.5 + 1e-3
            assert patch.min() == -900
            assert row["label"] == int(row["path"].startswith("CT-23"))
            assert (row["x_start"], row["x_extent"], row["z_extent"]) == (0, 16, 12)


def test_the_window_is_part_of_the_recipe_where_voxels_are_clipped_to_it(chests: Path, out: Path) -> None:
    ingest(of_chests(chests, out))
    with pytest.raises(
        StoreError, match=r"other settings: intensity\.window was \[\[-1000\.0, 400\.0\]\], now \[\[-800\.0, 400"
    ):
        begin(of_chests(chests, out, intensity={"window": [-800, 400]}))


def test_scans_with_fractions_are_rounded_to_a_store_of_whole_numbers(chests: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(chests, tmp_path / "scans")
    for path in sorted((tmp_path / "scans").rglob("*.nii.gz")):
        image = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(image.get_fdata() + 0.3, image.affine), path)
    store = ingest(of_chests(tmp_path / "scans", out))
    assert store.index.num_rows == 10
    assert store.open_images("train").dtype == np.int16


def test_a_slice_is_that_of_its_scan_and_shows_the_tumor(brains: Path, out: Path) -> None:
    store = ingest(of_brains(brains, out))
    assert not store.info.masks
    assert store.info.channels == 4
    assert store.index.num_rows == 30
    for split in store.info.shards:
        for row in store.rows(split).to_pylist():
            patch = store.read_patches(split, np.array([row["slot"]]))[0]
            volume, mask = (open_scan(brains / row[key]) for key in ("path", "label_path"))
            np.testing.assert_array_equal(patch, volume.array[:, 2:30, :, row["z_start"], None])
            assert mask.array[0, :, :, row["z_start"]].any()
            np.testing.assert_allclose(row["statistics"][0], volume_statistics(volume.array).mean)


def test_all_slices_of_a_scan_cost_one_decode(
    brains: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()

    def counting(path: Path, **how: Any) -> Any:
        opened[path.name] += 1
        return open_scan(path, **how)

    monkeypatch.setattr(rows, "open_scan", counting)
    ingest(of_brains(brains, out))
    assert set(opened.values()) == {1}
    opened.clear()
    middle = {"slices": "middle"}
    store = ingest(of_brains(brains, out, patches=middle, store={"path": str(tmp_path / "middle")}))
    assert not any("_seg" in name for name in opened)
    assert set(store.index["z_start"].to_pylist()) == {10, 11, 12}


@pytest.mark.parametrize("layout", ["resized", "slices"])
def test_shards_in_any_order_and_twice_give_the_same_bytes(
    brains: Path, chests: Path, out: Path, tmp_path: Path, layout: str
) -> None:
    make, root = (of_chests, chests) if layout == "resized" else (of_brains, brains)
    # So small that the slices of a scan do not fit into one shard.
    sizes = {"chunk_bytes": 1, "shard_bytes": 2**13}
    ingest(make(root, out, store=sizes))
    other = make(root, out, store={**sizes, "path": str(tmp_path / "other")})
    keys = begin(other)
    assert len(keys) > 4
    write(other, keys[::-1])
    write(other, keys[:2])
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def damaged(brains: Path, root: Path) -> dict[str, str]:
    """Ten patients of which five have something wrong; the reasons."""
    shutil.copytree(brains, root)
    names = [f"BraTS20_Training_{number:03d}" for number in range(1, 11)]

    def replace(name: str, kind: str, shape: tuple[int, ...], scale: float = 1) -> None:
        path = root / name / f"{name}_{kind}.nii"
        affine = nibabel.load(path).affine * [[scale], [1], [1], [1]]
        nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.int16), affine), path)

    replace(names[0], "t1ce", (32, 32, 23))
    replace(names[1], "t2", SHAPE, scale=1.1)
    replace(names[2], "seg", (32, 30, 24))
    (root / names[3] / f"{names[3]}_seg.nii").unlink()
    (root / names[5] / f"{names[5]}_t1.nii").write_bytes(b"no NIfTI")
    return {
        names[0]: "its files have different shapes, got 32x32x24",
        names[1]: "_t2.nii has another position than",
        names[2]: "its mask has 32x30x24 voxels, got an image of 32x32x24",
        names[3]: "has no mask, which its patches are chosen by",
        names[5]: "_t1.nii: not a NIfTI file",
    }


def test_broken_patients_are_set_aside_with_the_reason_and_the_others_go_on(
    brains: Path, out: Path, tmp_path: Path
) -> None:
    reasons = damaged(brains, tmp_path / "brains")
    store = ingest(of_brains(tmp_path / "brains", out, store={"max_quarantined": 0.5}))
    aside = {row["scan_id"]: row for row in store.quarantine.to_pylist()}
    assert set(aside) == set(reasons)
    for name, words in reasons.items():
        assert words in aside[name]["reason"], words
        assert (aside[name]["kind"], aside[name]["samples"]) == ("scan", 3)
        assert str(tmp_path) not in aside[name]["reason"]
    assert store.index.num_rows == 15


def test_slices_that_a_scan_has_not_are_set_aside_one_by_one(brains: Path, out: Path) -> None:
    sizes = {"chunk_bytes": 2**20, "shard_bytes": 2**22}
    store = ingest(of_brains(brains, out, patches={"patches_per_scan": 26, "slices": "middle"}, store=sizes))
    assert store.index.num_rows == 240
    assert {row["kind"] for row in store.quarantine.to_pylist()} == {"sample"}
    assert "expected 26 slices or more for patches.patches_per_scan, got 24" in store.quarantine["reason"][0].as_py()


def test_masks_can_also_say_where_boxes_for_a_grade_are_drawn(brains: Path, out: Path) -> None:
    boxes = {"sampling": "foreground", "size": [12, 12, 8], "patches_per_scan": 2, "min_foreground": 0.0}
    store = ingest(of_brains(brains, out, patches=boxes))
    assert not store.info.masks
    for row in store.index.to_pylist():
        mask = open_scan(brains / row["label_path"]).array[0]
        starts = [(row[f"{axis}_start"], size) for axis, size in zip("xyz", (12, 12, 8), strict=True)]
        assert mask[tuple(slice(start, start + size) for start, size in starts)].any()


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        ({"sampling": "slices", "size": [16, 16]}, "needs scans with masks, got none. Set patches.slices = 'middle'"),
        ({"sampling": "foreground"}, "needs scans with masks, got none. Set it to 'random'"),
    ],
)
def test_a_data_set_without_masks_cannot_say_where_to_look(
    chests: Path, out: Path, patches: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        begin(of_chests(chests, out, patches=patches))
