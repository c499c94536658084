"""A grid of patches covers every scan, whatever its shape, and the store is the same however it was filled."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from ingesting import begin, contents, finish, ingest, write
from scenes import experiment

from voxray.config.experiment import Experiment
from voxray.errors import DataError
from voxray.scans.read import open_scan
from voxray.scans.resample import resample
from voxray.store.read import open_store

SIZE = (16, 16, 8)
SHAPES = [(20, 30, 9), (33, 12, 16), (16, 16, 8), (17, 40, 20)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four pictures in three dimensions, each of its own shape, axes and spacing, listed in a table."""
    folder = tmp_path / "scans"
    folder.mkdir()
    lines = ["path,label"]
    for number, shape in enumerate(SHAPES):
        voxels = np.random.default_rng(number).integers(0, 999, shape).astype(np.int16)
        affine = np.diag([1.0 + number / 4, -1.0, 2.0, 1.0])[:, [0, 1, 2, 3] if number % 2 else [2, 0, 1, 3]]
        nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / f"{number}.nii.gz")
        lines.append(f"{number}.nii.gz,{number % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def spec_of(root: Path, out: Path, shard_bytes: int = 2**16, **patches: object) -> Experiment:
    return experiment(
        root,
        out,
        data={"layout": "table"},
        split={"val": 0.25, "test": 0.0},
        patches={
            "size": SIZE,
            "sampling": "grid",
            "negatives_per_positive": "all",
            "oversample_rotations": [],
            **patches,
        },
        store={"chunk_bytes": 1, "shard_bytes": shard_bytes, "max_quarantined": 0.3},
    )


@pytest.mark.parametrize("spacing_mm", [None, (1.5, 1.0, 1.0)])
def test_the_patches_of_a_scan_put_together_are_the_scan(
    root: Path, out: Path, spacing_mm: tuple[float, float, float] | None
) -> None:
    store = ingest(spec_of(root, out, spacing_mm=spacing_mm))
    rows = store.index.to_pylist()
    for path in sorted({row["path"] for row in rows}):
        scan = open_scan(root / path)
        volume = scan if spacing_mm is None else resample(scan, spacing_mm, order=1)
        # Room for what reaches beyond a scan that is smaller than the patch.
        built = np.full([extent + 2 * size for extent, size in zip(volume.shape, SIZE, strict=True)], -1, np.int16)
        for row in rows:
            if row["path"] == path:
                place = [row[f"{axis}_start"] + size for axis, size in zip("xyz", SIZE, strict=True)]
                box = tuple(slice(start, start + size) for start, size in zip(place, SIZE, strict=True))
                built[box] = np.asarray(store.open_images(row["split"])[row["slot"]])[0]
        inside = tuple(slice(size, size + extent) for extent, size in zip(volume.shape, SIZE, strict=True))
        np.testing.assert_array_equal(built[inside], volume.array[0])
    assert len({row["path"] for row in rows}) == len(SHAPES)


def test_a_grid_over_several_shards_is_the_same_in_any_order(root: Path, out: Path, tmp_path: Path) -> None:
    # Two patches a shard: a scan fills several.
    ingest(spec_of(root, out, shard_bytes=8192))
    other = spec_of(root, tmp_path / "other", shard_bytes=8192)
    keys = begin(other)
    assert len(keys) > len(SHAPES)
    write(other, keys[::-1])
    write(other, keys[:2])
    finish(other)
    assert contents(other.store_path) == contents(out / "store")


def test_a_scan_whose_header_cannot_be_read_is_set_aside_before_the_others_are_planned(root: Path, out: Path) -> None:
    (root / "2.nii.gz").write_bytes(b"nothing")
    store = ingest(spec_of(root, out))
    (row,) = store.quarantine.to_pylist()
    assert (row["path"], row["kind"], row["samples"]) == ("2.nii.gz", "scan", 1)
    assert row["reason"].startswith("2.nii.gz: not a NIfTI file")
    assert set(store.index["path"].to_pylist()) == {"0.nii.gz", "1.nii.gz", "3.nii.gz"}
    for number in range(len(SHAPES)):
        (root / f"{number}.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no header of 4 scans can be read; the first: 0\.nii\.gz: not a NIfTI file"):
        begin(spec_of(root, out))


def test_a_scan_that_became_smaller_after_the_plan_is_set_aside(root: Path, out: Path) -> None:
    spec = spec_of(root, out)
    keys = begin(spec)
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4)), root / "3.nii.gz")
    write(spec, keys)
    finish(spec)
    (row,) = open_store(spec.store_path).quarantine.to_pylist()
    assert "has 8x8x8 voxels, fewer than its header had when its patches were planned" in row["reason"]
