import errno
import os
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.compute as pc
import pytest
import zarr
from ingesting import begin, contents, finish, ingest, write
from PIL import Image
from scenes import SHAPE, experiment, write_luna, write_metaimage

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest
from voxray.errors import DataError, NotReadyError, StoreError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.patches.plan import plan_patches
from voxray.scans.read import open_scan, read_region
from voxray.stages.ingest import ingest as ingest_stage
from voxray.storage import atomic
from voxray.store.parts import shard_keys
from voxray.store.read import check_store, open_store
from voxray.volume import PatchBox


def test_every_patch_holds_the_voxels_of_its_box(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out))
    seen = 0
    for split in store.info.shards:
        images = store.open_images(split)
        for row in store.rows(split).to_pylist():
            volume = open_scan(luna / row["path"])
            box = PatchBox((row["x_start"], row["y_start"], row["z_start"]), (16, 16, 6))
            np.testing.assert_array_equal(np.asarray(images[row["slot"]]), read_region(volume, box, -1000))
            seen += 1
    assert seen == store.index.num_rows > 50


def test_the_store_is_plain_zarr_of_the_scans_own_numbers(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out))
    group = zarr.open_group(str(store.path), mode="r")
    assert group.attrs["format"] == "voxray-patch-store"
    array = group["train/image"]
    assert isinstance(array, zarr.Array)
    assert (array.dtype, array.shards, array.chunks) == (np.int16, (16, 1, 16, 16, 6), (4, 1, 16, 16, 6))
    assert store.rows("train")["slot"].to_numpy().max() < array.shape[0]


def test_training_positives_are_repeated_as_rows_with_other_rotations_and_nothing_else_is(
    luna: Path, out: Path
) -> None:
    index = ingest(experiment(luna, out)).index
    for row in index.group_by(["split", "slot", "label"]).aggregate([("rotation", "list")]).to_pylist():
        turned = row["split"] == "train" and row["label"] == 1
        assert row["rotation_list"] == ([0, 90, 180, 270] if turned else [0])


def test_rotations_are_a_setting(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out, patches={"oversample_rotations": [180]}))
    assert set(store.index["rotation"].to_pylist()) == {0, 180}


def test_shards_in_any_order_and_twice_give_the_same_bytes(luna: Path, out: Path, tmp_path: Path) -> None:
    ingest(experiment(luna, out))
    other = experiment(luna, out, store={"path": str(tmp_path / "other")})
    keys = begin(other)
    write(other, keys[::-1])
    write(other, keys[:2])
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def test_ingest_goes_on_where_it_stopped(luna: Path, out: Path, tmp_path: Path) -> None:
    ingest(experiment(luna, out))
    other = experiment(luna, out, store={"path": str(tmp_path / "other")})
    keys = begin(other)
    write(other, keys[:2])
    assert begin(other) == keys[2:]
    with pytest.raises(DataError, match="shards are not written yet"):
        finish(other)
    with pytest.raises(NotReadyError, match="not finished: it has no index"):
        open_store(other.store_path)
    write(other, begin(other))
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def test_a_store_of_another_recipe_is_not_touched(luna: Path, out: Path) -> None:
    ingest(experiment(luna, out))
    before = contents(out / "store")
    with pytest.raises(StoreError, match=r"other settings: seed was 0, now 1\. Give another folder with --set"):
        begin(experiment(luna, out, seed=1))
    assert contents(out / "store") == before


def test_changed_voxels_are_found_by_their_checksum(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out))
    assert len(list(check_store(store))) == len(shard_keys(store.info))
    array = zarr.open_array(str(store.path / "val" / "image"), mode="r+")
    array[1, 0, 3, 3, 3] = 12345
    with pytest.raises(
        StoreError, match=r"val/image/c/0/0/0/0/0: the voxels of slot 1 differ from their checksum .* --repair"
    ):
        list(check_store(store))


def broken_luna(root: Path) -> dict[str, str]:
    """Ten scans of which five have something wrong; the reasons."""
    names = write_luna(root, 10)
    paths = {name: root / f"subset{number}" / f"{name}.mhd" for number, name in enumerate(names)}
    with paths[names[0]].with_suffix(".raw").open("r+b") as file:
        file.truncate(1000)
    paths[names[1]].with_suffix(".raw").unlink()
    paths[names[2]].write_text("hello")
    write_metaimage(paths[names[3]], np.full(SHAPE, np.nan, np.float32))
    lines = (root / "candidates.csv").read_text().splitlines()
    outside = next(number for number, line in enumerate(lines) if line.startswith(names[4]) and line.endswith(",1"))
    lines[outside] = f"{names[4]},9999,0,0,1"
    lines.append("1.2.3.unknown,0,0,0,1")
    (root / "candidates.csv").write_text("\n".join(lines))
    return {
        names[0]: "bytes of voxels, expected",
        names[1]: "is missing",
        names[2]: "not a MetaImage header",
        names[3]: "cannot hold its value nan",
        names[4]: f"sample {outside - 1}: its center lies outside the scan",
        "1.2.3.unknown": "no subset folder holds 1.2.3.unknown.mhd",
    }


def test_broken_scans_and_samples_are_set_aside_with_reasons_and_the_others_go_on(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    reasons = broken_luna(root)
    store = ingest(experiment(root, out, store={"max_quarantined": 0.5}, patches={"negatives_per_positive": "all"}))
    aside = store.quarantine.to_pylist()
    for name, words in reasons.items():
        assert any(row["scan_id"] == name and words in row["reason"] for row in aside), words
    assert not any(str(root) in row["reason"] for row in aside)
    lost = sum(row["samples"] for row in aside)
    assert lost == 4 * 16 + 1 + 1
    used = store.index.filter(pc.equal(store.index["rotation"], 0)).num_rows
    assert used == 10 * 16 + 1 - lost
    assert set(store.index["scan_id"].to_pylist()).isdisjoint(list(reasons)[:4])


def test_too_many_broken_scans_fail_the_job_after_the_rest_and_mending_them_completes_it(
    out: Path, tmp_path: Path
) -> None:
    root = tmp_path / "luna"
    names = write_luna(root, 8)
    raw = root / "subset2" / f"{names[2]}.raw"
    whole = raw.read_bytes()
    raw.write_bytes(whole[:1000])
    spec = experiment(root, out)
    keys = begin(spec)
    write(spec, keys)
    with pytest.raises(DataError, match=r"1 of 8 scans cannot be used, more than store.max_quarantined = 0.05 allows"):
        finish(spec)
    raw.write_bytes(whole)
    again = begin(spec)
    assert 0 < len(again) < len(keys)
    write(spec, again)
    assert finish(spec).quarantined_scans == 0


@pytest.mark.parametrize("copy", ["file", "voxels"])
def test_identical_voxels_in_two_splits_are_an_error(out: Path, tmp_path: Path, copy: str) -> None:
    root = tmp_path / "luna"
    names = write_luna(root, 8)
    splits = {name: split for split, mine in scans_of(experiment(root, out)).items() for name in mine}
    train = next(name for name in names if splits[name] == "train")
    test = next(name for name in names if splits[name] == "test")
    twin = next(name for name in names if splits[name] == "train" and name != train)
    source, *targets = (next(root.glob(f"subset*/{name}.raw")) for name in (train, twin, test))
    for target in targets:
        shutil.copy(source, target)
    spec = experiment(root, out, store={"path": str(tmp_path / copy)})
    write(spec, begin(spec))
    with pytest.raises(DataError, match=r"identical voxels in two splits: .*patient_id") as error:
        finish(spec)
    assert set(re.findall(r"([\d.]+)\.mhd \((\w+)\)", str(error.value))) <= set(splits.items())
    assert re.search(r"\(train\) and [^ ]+ \(test\), and", str(error.value))


def test_identical_voxels_in_a_published_split_are_kept_and_noted(out: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 6), dtype=np.uint8)
    arrays = {f"{split}_images": images[[0, number]] for number, split in enumerate(("train", "val", "test"), 1)}
    labels = {f"{split}_labels": np.array([[0], [1]], np.uint8) for split in ("train", "val", "test")}
    np.savez_compressed(tmp_path / "some.npz", **arrays, **labels)
    data = {"layout": "medmnist", "root": str(tmp_path / "some.npz")}
    patches = {"size": [6, 16, 16], "negatives_per_positive": "all", "oversample_rotations": [], "pad_value": 0}
    spec = experiment(tmp_path, out, data=data, patches=patches, store={"dtype": "uint8"})
    ingest_stage(spec, LocalExecutor(), print, verify=True)
    store = open_store(spec.store_path)
    assert store.index.num_rows == 6
    assert any("train_images/0 (train)" in note and "kept" in note for note in store.info.notes)


def scans_of(spec: Experiment) -> dict[str, list[str]]:
    table = plan_patches(read_manifest(spec.data), spec).table
    groups = table.group_by("split").aggregate([("scan_id", "distinct")])
    return {row["split"]: row["scan_id_distinct"] for row in groups.to_pylist()}


def test_air_that_looks_alike_in_all_patients_is_no_leak(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    for name in write_luna(root, 8):
        path = next(root.glob(f"subset*/{name}.mhd"))
        voxels = np.full(SHAPE, -1000, np.int16)
        voxels[20, 18, 7] = int(name[-3:])
        write_metaimage(path, voxels)
    spec = experiment(
        root, out, patches={"size": [4, 4, 2], "negatives_per_positive": "all"}, store={"max_quarantined": 1}
    )
    assert ingest(spec).index.num_rows > 100


def test_a_full_disk_stops_the_work_with_a_clear_line_and_loses_nothing(
    luna: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = experiment(luna, out)
    keys = begin(spec)
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(atomic, "publish", full)
        with pytest.raises(WorkError, match=r"the disk is full .*Free some space, then re-run the same command"):
            write(spec, keys)
    assert begin(spec) == keys
    write(spec, keys)
    finish(spec)


def test_a_folder_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"no patch store is here\. Run voxray ingest first"):
        open_store(tmp_path)
    zarr.create_group(str(tmp_path / "other"))
    with pytest.raises(StoreError, match="is a Zarr group, but not a patch store"):
        open_store(tmp_path / "other")


@pytest.mark.real_data
def test_real_crops_come_back_as_the_pictures_they_were(real_data: Path, out: Path, tmp_path: Path) -> None:
    lines = (real_data / "luna16_crops" / "manifest.csv").read_text().splitlines()
    chosen = [lines[0], *lines[1:40], *[line for line in lines if line.endswith(",val")][:20]]
    (tmp_path / "manifest.csv").write_text(
        "\n".join(dict.fromkeys([*chosen, *[line for line in lines if ",1," in line][:5]]))
    )
    (tmp_path / "images").symlink_to(real_data / "luna16_crops" / "images")
    spec = experiment(
        tmp_path,
        out,
        data={"layout": "table", "root": str(tmp_path)},
        patches={"size": [50, 50], "pad_value": 0, "negatives_per_positive": "all"},
        store={"dtype": "uint8"},
    )
    store = ingest(spec)
    row = store.rows("val").to_pylist()[3]
    patch = np.asarray(store.open_images("val")[row["slot"]])
    np.testing.assert_array_equal(patch, open_scan(tmp_path / row["path"]).array)


def test_a_folder_of_something_else_is_never_written_into(luna: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "train" / "image").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "image" / "precious.png").write_text("mine")
    with pytest.raises(
        StoreError,
        match=r"expected an empty or new folder, got one that holds 'train'\. Give another folder with --set",
    ):
        begin(experiment(luna, out, store={"path": str(tmp_path / "mine")}))
    assert (tmp_path / "mine" / "train" / "image" / "precious.png").read_text() == "mine"


def test_a_store_that_was_only_begun_is_begun_again(luna: Path, out: Path, tmp_path: Path) -> None:
    ingest(experiment(luna, out))
    other = experiment(luna, out, store={"path": str(tmp_path / "other")})
    begin(other)
    (other.store_path / "zarr.json").unlink()  # killed before the last step of preparing
    write(other, begin(other))
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def test_what_killed_tasks_left_half_written_does_not_stay(luna: Path, out: Path, tmp_path: Path) -> None:
    ingest(experiment(luna, out))
    other = experiment(luna, out, store={"path": str(tmp_path / "other")})
    keys = begin(other)
    write(other, keys)
    shard = other.store_path / "train" / "image" / "c" / "0" / "0" / "0" / "0"
    (shard / ".unfinished.host.1234.0").write_bytes(b"half")
    os.utime(shard / ".unfinished.host.1234.0", (0, 0))
    (other.store_path / "parts" / ".unfinished.host.1234.0.parquet").write_bytes(b"half")
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def test_a_scan_that_was_mended_between_two_tries_is_not_set_aside(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    names = write_luna(root, 4)
    raw = root / "subset1" / f"{names[1]}.raw"
    whole = raw.read_bytes()
    raw.write_bytes(b"")
    spec = experiment(root, out)
    keys = begin(spec)
    write(spec, keys)
    for part in (spec.store_path / "parts").glob("[!.]*-*.parquet"):
        part.unlink()  # killed after the quarantine part and before the index part
    raw.write_bytes(whole)
    write(spec, begin(spec))
    assert finish(spec).quarantined_scans == 0


def test_samples_that_all_lie_outside_are_no_finished_store(out: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    write_luna(root, 4)
    lines = (root / "candidates.csv").read_text().splitlines()
    moved = [",".join([*line.split(",")[:3], "9999", line[-1]]) for line in lines[1:]]
    (root / "candidates.csv").write_text("\n".join([lines[0], *moved]))
    spec = experiment(root, out)
    write(spec, begin(spec))
    with pytest.raises(DataError, match="4 of 4 scans cannot be used"):
        finish(spec)


def test_one_odd_scan_does_not_decide_on_the_channels(out: Path, tmp_path: Path) -> None:
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels if number == 0 else pixels[..., 0]).save(tmp_path / f"{number:02d}.png")
    rows = [f"{number:02d}.png,{number % 2}" for number in range(12)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    data = {"layout": "table", "root": str(tmp_path)}
    patches = {"size": [16, 16], "pad_value": 0, "negatives_per_positive": "all"}
    store = ingest(
        experiment(tmp_path, out, data=data, patches=patches, store={"dtype": "uint8", "max_quarantined": 0.1})
    )
    assert store.info.channels == 1
    assert "expected 1 channel, got 3" in store.quarantine["reason"][0].as_py()


def test_a_damaged_store_says_what_to_do(luna: Path, out: Path) -> None:
    store = ingest(experiment(luna, out))
    whole = (store.path / "index.parquet").read_bytes()
    (store.path / "index.parquet").write_bytes(whole[:100])
    with pytest.raises(StoreError, match=r"index\.parquet: cannot be read"):
        open_store(store.path)
    (store.path / "zarr.json").write_text("")
    with pytest.raises(StoreError, match=r"zarr\.json: cannot be read"):
        open_store(store.path)


def test_float_scans_of_double_precision_are_kept_to_that_of_the_store(out: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        nibabel.save(nibabel.Nifti1Image(rng.normal(size=(12, 12, 6)), np.eye(4)), tmp_path / f"{number}.nii.gz")
    rows = [f"{number}.nii.gz,{number % 2}" for number in range(4)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    spec = experiment(
        tmp_path,
        out,
        data={"layout": "table", "root": str(tmp_path)},
        store={"dtype": "float32"},
        patches={"size": [12, 12, 6], "pad_value": 0, "negatives_per_positive": "all"},
    )
    store = ingest(spec)
    row = store.rows("train").to_pylist()[0]
    image = np.asarray(store.open_images("train")[row["slot"]])
    np.testing.assert_array_equal(image, open_scan(tmp_path / row["path"]).array.astype(np.float32))


def test_a_shard_of_zeros_is_a_shard_and_not_a_lost_file(out: Path, tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(np.full((16, 16), number // 7, np.uint8)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{number % 2}" for number in range(8)]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    spec = experiment(
        tmp_path,
        out,
        data={"layout": "table", "root": str(tmp_path)},
        patches={"size": [16, 16], "pad_value": 0, "negatives_per_positive": "all"},
        store={"dtype": "uint8", "chunk_bytes": 256, "shard_bytes": 256},
    )
    assert len(list(check_store(ingest(spec)))) == 8
