"""Scans and stores in object storage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_scenes import slices, stored_voxels, write_series
from ingesting import begin, contents, finish, ingest, write
from PIL import Image
from s3_server import CUT, S3
from scenes import experiment

from voxray.datasets.layouts import read_manifest
from voxray.errors import StoreError, WorkError
from voxray.phantom.brats2020 import write_brats2020
from voxray.phantom.decathlon import write_decathlon
from voxray.store.read import check_store, open_store


def test_a_store_in_storage_holds_the_same_bytes(s3: S3, luna: Path, tmp_path: Path) -> None:
    here = experiment(luna, tmp_path / "run")
    there = experiment(s3.put_folder(luna), s3.new_folder())
    ingest(here)
    store = ingest(there)
    assert s3.contents(there.store_path) == contents(here.store_path)
    assert len(list(check_store(store))) == sum(store.info.shards.values())


def test_each_shard_is_put_once(s3: S3, luna: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    store = ingest(there)
    shards = [path for path, _ in s3.asked("PUT") if "/image/c/" in path]
    assert sorted(shards) == sorted(set(shards))
    assert len(shards) == sum(store.info.shards.values())


def test_a_folder_of_many_scans_is_listed_once(s3: S3, luna: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    manifest = read_manifest(there.data)
    assert manifest.scans.num_rows == 8
    asked = [path for _, path, _ in s3.requests if ".mhd" in path or "list-type" in path]
    assert len(asked) <= 3  # whether the folder is there, and what lies in it


def test_ingest_goes_on_elsewhere(s3: S3, luna: Path, tmp_path: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    keys = begin(there)
    write(there, keys[:2])
    assert begin(there) == keys[2:]
    write(there, keys[2:])
    finish(there)
    whole = experiment(there.data.root, tmp_path / "run")
    ingest(whole)
    assert s3.contents(there.store_path) == contents(whole.store_path)


def test_storage_that_fails_now_and_then_changes_nothing(s3: S3, luna: Path, tmp_path: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    here = experiment(there.data.root, tmp_path / "run")
    count = 0

    def sometimes(method: str, path: str) -> int | None:
        nonlocal count
        count += 1
        return (503, 500, CUT)[count % 3] if count % 19 == 0 and method != "HEAD" else None

    s3.fault = sometimes
    ingest(there)
    s3.reset()
    ingest(here)
    assert s3.contents(there.store_path) == contents(here.store_path)


def test_storage_that_fails_for_good_stops_ingest_and_nothing_half_written_counts(
    s3: S3, luna: Path, tmp_path: Path
) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    keys = begin(there)
    write(there, keys[:1])
    s3.fault = lambda method, path: 503 if method == "PUT" and "/parts/" in path else None
    with pytest.raises(WorkError, match="object storage failed"):
        write(there, keys[1:2])
    s3.fault = lambda method, path: 503 if method == "GET" and path.endswith(".raw") else None
    with pytest.raises(WorkError, match="object storage failed"):
        write(there, keys[2:3])
    s3.reset()
    assert begin(there) == keys[1:]
    write(there, keys[1:])
    finish(there)
    whole = experiment(there.data.root, tmp_path / "run")
    ingest(whole)
    assert s3.contents(there.store_path) == contents(whole.store_path)


def test_a_shard_that_is_missing_is_found_when_the_store_is_opened(s3: S3, luna: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    store = ingest(there)
    shard = there.store_path / "train" / "image" / "c" / "0" / "0" / "0" / "0" / "0"
    shard.unlink()
    with pytest.raises(StoreError, match="this shard is missing"):
        open_store(store.path)


def test_something_else_at_the_place_of_a_store_is_refused(s3: S3, luna: Path) -> None:
    there = experiment(s3.put_folder(luna), s3.new_folder())
    (there.store_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds 'notes\.txt'"):
        begin(there)


def write_dicom(root: Path) -> dict[str, Any]:
    for number in range(6):
        write_series(root / f"scan{number}", slices(stored_voxels(number), PatientID=f"P{number}"))
    lines = [f"scan{number},{'ill' if number % 2 else 'well'}" for number in range(6)]
    (root / "labels.csv").write_text("\n".join(["folder,label", *lines]) + "\n")
    return {"patches": {"size": [8, 8, 4], "negatives_per_positive": "all"}}


def write_table(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(root / f"{number}.png")
    lines = [f"{number}.png,{number % 2}" for number in range(8)]
    (root / "manifest.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return {"patches": {"size": [8, 8], "negatives_per_positive": "all"}}


def write_npz(root: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (4, 6, 6, 6), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(4, dtype=np.uint8) % 2)[:, None]
    np.savez_compressed(root / "some.npz", **arrays)
    return {"data": {"root": "some.npz"}, "patches": {"size": [6, 6, 6], "negatives_per_positive": "all"}}


def write_tasks(root: Path) -> dict[str, Any]:
    write_decathlon(root, cases=6, shape=(24, 24, 24))
    return {"patches": {"size": [8, 8, 8], "sampling": "foreground", "patches_per_scan": 2}}


def write_brains(root: Path) -> dict[str, Any]:
    write_brats2020(root, patients=8, shape=(24, 24, 24))
    return {"patches": {"size": [16, 16], "sampling": "slices", "patches_per_scan": 2, "negatives_per_positive": "all"}}


@pytest.mark.parametrize(
    ("layout", "write_layout"),
    [
        ("dicom", write_dicom),
        ("table", write_table),
        ("medmnist", write_npz),
        ("decathlon", write_tasks),
        ("brats2020", write_brains),
    ],
)
def test_any_layout_in_storage_gives_the_same_store(
    s3: S3, tmp_path: Path, layout: str, write_layout: Callable[[Path], dict[str, Any]]
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    changes = write_layout(root)
    changes["patches"] = {"oversample_rotations": [], "pad_value": 0} | changes["patches"]
    inside = changes.pop("data", {}).get("root", "")
    here, there = (
        experiment(folder / inside, tmp_path / name, data={"layout": layout}, **changes)
        for folder, name in ((root, "here"), (s3.put_folder(root), "there"))
    )
    ingest(here)
    ingest(there)
    assert contents(there.store_path) == contents(here.store_path)
