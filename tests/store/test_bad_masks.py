"""A Decathlon folder with one of each defect, from scans to figures: each is named and set aside, the rest goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.affines import from_matvec
from scenes import experiment

from voxray.config.experiment import Experiment
from voxray.errors import DataError, StoreError
from voxray.executors.local import LocalExecutor
from voxray.phantom.decathlon import write_decathlon
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train
from voxray.store.read import PatchStore, open_store

NET = {"type": "unet", "dimensions": 3, "down": [[2], [4]], "up": [[2]], "output": {"activation": "sigmoid"}}
CASES, SHAPE = 16, (28, 26, 24)
EMPTY = "BRATS_009"
REASONS = {
    "BRATS_001": "its mask has the value 7 at voxel (3, 4, 5), which has no name (known: 0 background, 1 edema, "
    "2 non-enhancing tumor, 3 enhancing tumour); 1 voxels are such. Name it or correct the mask.",
    "BRATS_002": "its mask has 28x26x22 voxels, got an image of 28x26x24. Give a mask of this image.",
    "BRATS_003": "is 4 mm apart, more than 0.05. Give both files the same affine.",
    "BRATS_004": "voxel (3, 4, 5) of channel 1 is not finite, got nan; 1 voxels are such. Fetch or convert it again.",
    "BRATS_005": "bytes of voxels, expected 139,776. The file is cut off",
    "BRATS_006": "bytes of voxels, expected 17,472. The file is cut off",
    "BRATS_007": "expected 4 channels, got 3. Give the channels that the other scans of the data set have.",
    "BRATS_008": "imagesTr/BRATS_008.nii.gz: not a NIfTI file",
}

Edit = Callable[[Any, Any], tuple[Any, Any]]


def rewrite(path: Path, edit: Edit) -> None:
    """Write a file again with what `edit` makes of its voxels and affine."""
    image: Any = nibabel.load(path)
    voxels, affine = edit(np.asarray(image.dataobj).copy(), image.affine)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def put(place: tuple[int, ...], value: float, dtype: type) -> Edit:
    """An edit of one voxel; its place is counted in RAS+, and the phantom's files point to the left and the back."""

    def edit(voxels: Any, affine: Any) -> tuple[Any, Any]:
        voxels = voxels.astype(dtype)
        voxels[::-1, ::-1][place] = value
        return voxels, affine

    return edit


def cut_off(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brains")
    write_decathlon(root, cases=CASES, seed=3, shape=SHAPE)
    images, labels = (
        [root / folder / f"BRATS_{number:03d}.nii.gz" for number in range(CASES + 1)]
        for folder in ("imagesTr", "labelsTr")
    )
    rewrite(labels[1], put((3, 4, 5), 7, np.uint8))
    rewrite(labels[2], lambda voxels, affine: (voxels[..., :-2], affine))
    rewrite(labels[3], lambda voxels, affine: (voxels, from_matvec(np.eye(3), [4, 0, 0]) @ affine))
    rewrite(images[4], put((3, 4, 5, 1), np.nan, np.float32))
    cut_off(images[5])
    cut_off(labels[6])
    rewrite(images[7], lambda voxels, affine: (voxels[..., :3], affine))
    images[8].write_text("<!doctype html><title>404 Not Found</title>")
    rewrite(labels[9], lambda voxels, affine: (0 * voxels, affine))
    return root


def spec_of(root: Path, folder: Path, allowed: float, **patches: object) -> Experiment:
    (folder / "architecture.json").write_text(json.dumps(NET))
    plain = {
        "size": [16, 16, 16],
        "sampling": "foreground",
        "patches_per_scan": 2,
        "oversample_rotations": [],
        "pad_value": 0,
    }
    return experiment(
        root,
        folder / "run",
        data={"layout": "decathlon"},
        seed=1,
        split={"val": 0.5, "test": 0.0},
        patches=plain | patches,
        store={"dtype": "float32", "max_quarantined": allowed},
        intensity={"kind": "zscore_nonzero"},
        training={"loss": "dice", "monitor": "dice", "batch_size": 4, "epochs": 1},
    )


def ingested(spec: Experiment) -> PatchStore:
    ingest(spec, LocalExecutor(), lambda line: None)
    return open_store(spec.store_path)


def test_each_defect_is_named_and_only_its_scan_is_set_aside(brains: Path, tmp_path: Path) -> None:
    store = ingested(spec_of(brains, tmp_path, 0.5))
    aside = {row["scan_id"]: row for row in store.quarantine.to_pylist()}
    assert set(aside) == set(REASONS)
    assert store.quarantine.num_rows == len(REASONS)
    for name, words in REASONS.items():
        assert words in aside[name]["reason"]
        assert aside[name]["reason"].startswith(("imagesTr/", "labelsTr/"))
        assert (aside[name]["kind"], aside[name]["samples"]) == ("scan", 2)
    used = {f"BRATS_{number:03d}" for number in range(1, CASES + 1)} - set(REASONS)
    assert set(store.index["scan_id"].to_pylist()) == used
    assert store.index.num_rows == 2 * len(used)


def test_more_defects_than_allowed_stop_the_job_after_the_rest_was_written(brains: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"8 of 16 scans cannot be used, more than store\.max_quarantined = 0\.4"):
        ingested(spec_of(brains, tmp_path, 0.4))


def test_a_scan_without_foreground_is_a_negative_or_left_out_as_the_setting_says(brains: Path, tmp_path: Path) -> None:
    store = ingested(spec_of(brains, tmp_path, 0.5))
    rows = [row for row in store.index.to_pylist() if row["scan_id"] == EMPTY]
    assert len(rows) == 2
    for row in rows:
        assert np.asarray(store.open_images(row["split"])[row["slot"]]).any()
        assert not np.asarray(store.open_masks(row["split"])[row["slot"]]).any()
    # Nothing is wrong with it: it does not count among the scans that cannot be used.
    spec = spec_of(brains, tmp_path, 0.5, keep_empty=False)
    store = ingested(spec.model_copy(update={"out": str(tmp_path / "without")}))
    (row,) = [row for row in store.quarantine.to_pylist() if row["scan_id"] == EMPTY]
    assert (row["kind"], row["samples"]) == ("empty", 2)
    assert row["reason"] == (
        f"imagesTr/{EMPTY}.nii.gz: has no foreground, and patches.keep_empty is off. "
        "Set patches.keep_empty = true to keep it as a negative."
    )
    assert EMPTY not in store.index["scan_id"].to_pylist()


def test_a_data_set_of_nothing_but_background_says_so(tmp_path: Path) -> None:
    root = tmp_path / "brains"
    write_decathlon(root, cases=3, shape=SHAPE)
    for path in (root / "labelsTr").iterdir():
        rewrite(path, lambda voxels, affine: (0 * voxels, affine))
    with pytest.raises(DataError, match=r"yet no patch is left:\n  imagesTr/BRATS_00\d\.nii\.gz: has no foreground"):
        ingested(spec_of(root, tmp_path, 0.5, keep_empty=False))


def test_what_is_left_is_trained_on_and_judged(brains: Path, tmp_path: Path) -> None:
    spec = spec_of(brains, tmp_path, 0.5)
    store = ingested(spec)
    train(spec, LocalExecutor(), lambda line: None)
    evaluate(spec, LocalExecutor(), lambda line: None)
    metrics = json.loads((spec.out_path / "metrics.json").read_text())
    judged = set(store.rows("val")["scan_id"].to_pylist())
    assert EMPTY in judged, "choose a seed that puts it there"
    assert metrics["val"]["scans"] == len(judged)
    assert 0 <= metrics["val"]["dice"] <= 1


def test_a_missing_shard_of_masks_is_found_when_the_store_is_opened(brains: Path, tmp_path: Path) -> None:
    spec = spec_of(brains, tmp_path, 1.0)
    ingested(spec)
    (spec.store_path / "train" / "label" / "c" / "0" / "0" / "0" / "0").unlink()
    with pytest.raises(StoreError, match="this shard is missing"):
        open_store(spec.store_path)
