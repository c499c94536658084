"""Crops of stored patches: where they lie, what they show, and that nothing but seed, epoch, row and number matters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scenes import SMALL_UNET, experiment

from voxray.errors import ConfigError
from voxray.executors.local import LocalExecutor
from voxray.loader.crops import Crops, GridCrops, Place, RandomCrops, draw_foreground
from voxray.loader.loader import Batch, PatchLoader
from voxray.loader.normalize import valid_voxels
from voxray.phantom.decathlon import write_decathlon
from voxray.stages.ingest import ingest
from voxray.store.read import PatchStore, open_store
from voxray.training.tasks import check_settings

CROP = (12, 10, 8)
CLASSES = 4


@st.composite
def tiles(draw: st.DrawFn) -> tuple[tuple[int, int, int], tuple[int, int, int], NDArray[np.int64]]:
    """Size of a crop, size of a patch, and the part of the patch inside its scan."""
    crop = [draw(st.integers(1, 6)) for _ in range(3)]
    tile = [length + draw(st.integers(0, 9)) for length in crop]
    low = [draw(st.integers(0, length - 1)) for length in tile]
    high = [draw(st.integers(start + 1, length)) for start, length in zip(low, tile, strict=True)]
    return (crop[0], crop[1], crop[2]), (tile[0], tile[1], tile[2]), np.array([low, high])


@given(tiles(), st.integers(0, 99), st.floats(0, 1))
def test_every_crop_lies_in_its_patch_and_in_the_scan_or_holds_all_of_it(
    scene: tuple[tuple[int, int, int], tuple[int, int, int], NDArray[np.int64]], seed: int, share: float
) -> None:
    size, tile, inside = scene
    mask = np.zeros(tile, np.uint8)
    region = tuple(slice(*ends) for ends in inside.T.tolist())
    mask[region] = np.random.default_rng(seed).integers(0, CLASSES, mask[region].shape)
    ways: list[Crops] = [RandomCrops(size, 3, share, CLASSES, seed), GridCrops(size)]
    for crops in ways:
        for number in range(int(crops.counts(inside[None])[0])):
            start = crops.start(Place(seed, 2, number, inside), tile, mask)
            assert (start >= 0).all()
            assert (start + size <= tile).all()
            covered = np.minimum(start + size, inside[1]) - np.maximum(start, inside[0])
            assert covered.tolist() == np.minimum(size, inside[1] - inside[0]).tolist()


@given(tiles())
def test_crops_of_a_grid_cover_the_scan_and_no_fewer_would(
    scene: tuple[tuple[int, int, int], tuple[int, int, int], NDArray[np.int64]],
) -> None:
    size, tile, inside = scene
    crops, seen = GridCrops(size), np.zeros(tile, bool)
    count = int(crops.counts(inside[None])[0])
    for number in range(count):
        x, y, z = crops.start(Place(0, 0, number, inside), tile, None)
        seen[x : x + size[0], y : y + size[1], z : z + size[2]] = True
    assert seen[tuple(slice(*ends) for ends in inside.T.tolist())].all()
    assert count == np.prod(np.ceil((inside[1] - inside[0]) / np.array(size)))


@given(st.floats(0, 1), st.integers(0, 99), st.integers(0, 50), st.integers(1, 60))
@settings(max_examples=30)
def test_any_stretch_of_an_epoch_has_its_share_of_crops_on_foreground(
    share: float, seed: int, first: int, length: int
) -> None:
    crops, nothing = RandomCrops(CROP, 4, share, CLASSES, seed), np.zeros((2, 3), np.int64)
    places = [Place(3, *divmod(order, 4), nothing) for order in range(first, first + length)]
    assert abs(sum(map(crops.is_on_foreground, places)) - share * length) < 1 + 1e-9


def test_a_crop_on_foreground_is_centered_on_a_voxel_of_any_class_alike() -> None:
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[2:28, 3:27, 10:20] = 1
    mask[20, 21, 22] = 3
    mask[5, 5, 5] = 200  # a value that is no class
    inside, crops = np.array([[0, 0, 0], [30, 30, 30]]), RandomCrops((9, 9, 9), 1, 1.0, CLASSES, 0)
    labels = []
    for row in range(200):
        x, y, z = (crops.start(Place(0, row, 0, inside), mask.shape, mask) + 4).tolist()
        # Moved away from the border, a crop is no longer centered.
        labels.append(int(mask[x, y, z]) if min(x, y, z) > 4 and max(x, y, z) < 25 else 1)
    assert set(labels) == {1, 3}
    assert 70 <= labels.count(3) <= 130
    assert draw_foreground(np.zeros((3, 3, 3), np.uint8), CLASSES, np.random.default_rng(0)) is None


def test_crops_anywhere_reach_every_place_alike() -> None:
    inside, crops = np.array([[1, 0, 0], [6, 4, 9]]), RandomCrops((4, 4, 8), 1, 0.0, CLASSES, 0)
    starts = [tuple(crops.start(Place(row, row, 0, inside), (7, 4, 9), None).tolist()) for row in range(400)]
    counts = {start: starts.count(start) for start in starts}
    assert set(counts) == {(x, 0, z) for x in (1, 2) for z in (0, 1)}
    assert min(counts.values()) > 70


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    folder = tmp_path_factory.mktemp("crops")
    write_decathlon(folder / "brains", cases=6, seed=1, shape=(28, 24, 24))
    spec = experiment(
        folder / "brains",
        folder / "run",
        data={"layout": "decathlon"},
        split={"val": 0.2, "test": 0.0},
        patches={"size": [20, 28, 18], "sampling": "random", "patches_per_scan": 2, "oversample_rotations": []},
        store={"dtype": "float32", "chunk_bytes": 2**16, "shard_bytes": 2**18},
        training={"loss": "dice", "monitor": "dice"},
    )
    (folder / "architecture.json").write_text(json.dumps(SMALL_UNET))
    ingest(spec, LocalExecutor(), lambda line: None)
    return open_store(spec.store_path)


Crop = tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]


def epoch_crops(store: PatchStore, epoch: int, ranks: int = 1, first: int = 0, **kw: Any) -> list[Crop]:
    """Row, voxels, mask and part inside the scan of each crop, in the order of the global batches."""
    crops = RandomCrops(CROP, 3, 0.4, len(store.info.classes), seed=7)
    found: dict[tuple[int, int], Crop] = {}
    for rank in range(ranks):
        loader = PatchLoader(store, "train", 4, rank=rank, ranks=ranks, streams=3, seed=7, crops=crops, **kw)
        for batch in loader.epoch(epoch, first):
            parts = zip(batch.rows.tolist(), batch.images, _masks(batch), batch.inside, strict=True)
            places = [(batch.step, position) for position in batch.positions.tolist()]
            found |= dict(zip(places, parts, strict=True))
    return [found[place] for place in sorted(found)]


def _masks(batch: Batch) -> torch.Tensor:
    assert batch.masks is not None
    return batch.masks


def same(one: list[Crop], other: list[Crop]) -> bool:
    return all(a[0] == b[0] and all(map(torch.equal, a[1:], b[1:])) for a, b in zip(one, other, strict=True))


def test_crops_are_parts_of_the_stored_patches_with_their_masks_and_padding(store: PatchStore) -> None:
    rows, size = store.rows("train"), np.array(store.info.size)
    images, masks = np.asarray(store.open_images("train")), np.asarray(store.open_masks("train"))
    crops = RandomCrops(CROP, 3, 0.4, len(store.info.classes), seed=7)
    loaded = [(row, image.numpy().tobytes(), mask, inside) for row, image, mask, inside in epoch_crops(store, 2)]
    loaded.sort(key=lambda each: each[:2])
    expected = []
    for row, slot in enumerate(rows["slot"].to_pylist()):
        corner, extent = (
            np.array([rows[f"{axis}_{name}"][row].as_py() for axis in "xyz"]) for name in ("start", "extent")
        )
        inside = np.array([np.maximum(-corner, 0), np.minimum(extent - corner, size)])
        for number in range(3):
            start = crops.start(Place(2, row, number, inside), store.info.size, masks[slot])
            x, y, z = (slice(low, low + length) for low, length in zip(start.tolist(), CROP, strict=True))
            valid = np.zeros(size, bool)
            valid[tuple(slice(*ends) for ends in inside.T.tolist())] = True
            parts = images[slot][:, x, y, z].tobytes(), masks[slot][x, y, z], valid[x, y, z]
            expected.append((row, *parts))
    expected.sort(key=lambda each: each[:2])
    assert [each[:2] for each in loaded] == [each[:2] for each in expected]
    for (_, _, mask, inside), (_, _, true_mask, valid) in zip(loaded, expected, strict=True):
        np.testing.assert_array_equal(mask.numpy(), true_mask)
        np.testing.assert_array_equal(valid_voxels(inside[None], CROP)[0, 0].numpy(), valid)


def test_each_row_has_all_its_crops_in_an_epoch(store: PatchStore) -> None:
    crops = epoch_crops(store, 0)
    rows = [row for row, *_ in crops]
    assert sorted(rows) == sorted(list(range(store.rows("train").num_rows)) * 3)
    assert {tuple(image.shape) for _, image, _, _ in crops} == {(4, *CROP)}


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_crops_of_an_epoch_do_not_depend_on_the_number_of_ranks(store: PatchStore, ranks: int) -> None:
    assert same(epoch_crops(store, 1, ranks), epoch_crops(store, 1))


@pytest.mark.parametrize("buffer_bytes", [1, 2**28])
def test_an_epoch_from_a_step_on_has_the_crops_of_the_whole_epoch(store: PatchStore, buffer_bytes: int) -> None:
    whole = epoch_crops(store, 1)
    resumed = epoch_crops(store, 1, first=3, buffer_bytes=buffer_bytes)
    assert 0 < len(resumed) < len(whole)
    if buffer_bytes > 1:  # which sets the order of the patches
        assert same(resumed, whole[len(whole) - len(resumed) :])


def test_every_epoch_has_other_crops(store: PatchStore) -> None:
    first, second = ({image.numpy().tobytes() for _, image, _, _ in epoch_crops(store, epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 4


def test_a_share_of_the_crops_of_an_epoch_shows_foreground(store: PatchStore) -> None:
    def with_foreground(share: float) -> float:
        crops = RandomCrops((4, 4, 4), 20, share, len(store.info.classes), seed=7)
        loader = PatchLoader(store, "train", 8, seed=7, crops=crops)
        return float(np.mean([bool(mask.any()) for batch in loader.epoch(0) for mask in _masks(batch)]))

    rows = store.rows("train")
    nonempty = np.mean([store.open_masks("train")[slot].any() for slot in rows["slot"].to_pylist()])
    assert with_foreground(1.0) == pytest.approx(nonempty)
    anywhere = with_foreground(0.0)
    assert with_foreground(0.5) == pytest.approx((nonempty + anywhere) / 2, abs=0.1)


def test_validation_has_the_same_crops_each_time_and_every_voxel(store: PatchStore) -> None:
    loader = PatchLoader(store, "val", 4, crops=GridCrops(CROP))
    assert loader.count == 2 * 3 * 3 * store.rows("val").num_rows
    images = [torch.cat([batch.images for batch in loader.epoch(None)]) for _ in range(2)]
    assert torch.equal(*images)
    inside = np.asarray(store.open_images("val"))[:, :, :, 2:-2]  # 24 of 28 voxels
    assert set(np.unique(images[0])) == set(np.unique(inside))


def test_a_crop_of_the_size_of_a_patch_is_the_patch(store: PatchStore) -> None:
    plain = PatchLoader(store, "train", 4, seed=7)
    cropped = PatchLoader(store, "train", 4, seed=7, crops=RandomCrops(store.info.size, 1, 0.5, CLASSES, seed=7))
    for one, other in zip(plain.epoch(0), cropped.epoch(0), strict=True):
        assert one.images.equal(other.images)
        assert one.inside.equal(other.inside)


def test_crops_that_do_not_fit_are_refused(store: PatchStore, tmp_path: Path) -> None:
    patches = {"size": [20, 20, 4], "oversample_rotations": [90]}
    spec = experiment(tmp_path, tmp_path / "run", patches=patches, augment={"crop": [16, 16]})
    assert spec.input_size == (16, 16, 1)
    with pytest.raises(
        ValueError, match=r"augment\.crop: larger than patches\.size 20 x 20 x 4, got 16 x 16 x 8; make"
    ):
        experiment(tmp_path, tmp_path / "run", patches=patches, augment={"crop": [16, 16, 8]})
    with pytest.raises(ValueError, match=r"oversample_rotations: 90 and 270 need a square patch, got 16x8"):
        experiment(tmp_path, tmp_path / "run", patches=patches, augment={"crop": [16, 8, 4]})
    with pytest.raises(
        ConfigError, match=r"augment\.crop: only patches with masks are cropped, this is a classification"
    ):
        check_settings(spec, "classification", ("no", "yes"))
