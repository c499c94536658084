from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.datasets.medmnist import read_medmnist
from voxray.errors import DataError
from voxray.scans.read import open_scan

COUNTS = {"train": 5, "val": 2, "test": 3}


def write(path: Path, shape: tuple[int, ...] = (6, 6, 6), **arrays: NDArray[Any] | None) -> Path:
    """An official-looking file; `arrays` replace or, if None, remove what it would hold."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for split, count in COUNTS.items():
        content[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    content |= arrays
    np.savez_compressed(path, **{name: array for name, array in content.items() if array is not None})
    return path


def labels_of(manifest: Manifest, split: str) -> NDArray[np.int64]:
    joined = manifest.samples.join(manifest.scans, "scan_id")
    return joined.filter(pc.equal(joined["split"], split))["label"].to_numpy()


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (7, 6, 5)])
def test_every_image_is_found_again_under_its_path(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write(tmp_path / "some.npz", shape)
    manifest = read_manifest(DataSpec(layout="medmnist", root=str(path)))
    with np.load(path) as arrays:
        for scan in manifest.scans.to_pylist():
            stack, row = scan["path"].split("/")
            expected = arrays[stack][int(row)]
            volume = open_scan(manifest.root / scan["path"])
            assert volume.array.shape[0] == len(manifest.channels)
            read = volume.array.transpose(3, 2, 1, 0)  # z, y, x, channel
            np.testing.assert_array_equal(read.reshape(shape), expected)
            np.testing.assert_array_equal(volume.affine, np.eye(4))


def test_splits_and_labels_are_those_of_the_file(tmp_path: Path) -> None:
    manifest = read_medmnist(write(tmp_path / "some.npz"))
    assert {split: labels_of(manifest, split).tolist() for split in COUNTS} == {
        "train": [0, 1, 0, 1, 0],
        "val": [0, 1],
        "test": [0, 1, 0],
    }
    assert manifest.classes == ("0", "1")
    assert manifest.published_split


def test_class_names_may_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "some.npz", test_labels=np.array([[2], [1], [0]], np.uint8))
    assert read_medmnist(path).classes == ("0", "1", "2")
    assert read_medmnist(path, ("a", "b", "c")).classes == ("a", "b", "c")
    with pytest.raises(DataError, match=r"run from 0 to 2, but data\.classes names 2"):
        read_medmnist(path, ("a", "b"))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train_labels": np.zeros((5, 14), np.uint8)}, "14 columns: an image of this file may be of several classes"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, "val_labels: expected 2 integers, one for each image"),
        ({"test_labels": np.zeros((3, 1))}, "test_labels: expected 3 integers"),
        ({"val_images": None}, r"has no array 'val_images.npy' \(did you mean"),
        ({"val_images": np.zeros((2, 9, 9), np.uint8)}, "images of different shapes"),
        ({"train_images": np.zeros((5, 2, 2, 2, 2), np.uint8)}, r"train_images: expected \(n, y, x\)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_medmnist(write(tmp_path / "some.npz", **arrays))


def test_a_file_that_is_missing_or_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        read_medmnist(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.npz: cannot be read"):
        read_medmnist(tmp_path / "text.npz")


@pytest.mark.real_data
def test_adrenal_mnist_has_the_counts_of_its_paper(real_data: Path) -> None:
    manifest = read_medmnist(real_data / "adrenalmnist3d.npz")
    splits = manifest.scans["split"].to_pylist()
    assert [splits.count(split) for split in ("train", "val", "test")] == [1188, 98, 298]
    # The majority class gives the accuracy .768 that the paper's table is to be read against.
    assert round(np.mean(labels_of(manifest, "test") == 0), 3) == 0.768
