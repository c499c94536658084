import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from ingesting import ingest
from scenes import experiment

from voxray.errors import StoreError
from voxray.loader.loader import PatchLoader
from voxray.store.layout import shard_file
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.sharded import ShardedArray
from voxray.store.shards import write_shard_file

SHARD, CHUNK, SHAPE = 6, 2, (2, 5, 4, 3)


@pytest.fixture
def array(tmp_path: Path) -> ShardedArray:
    """Three full shards of noise."""
    block = noise()
    for shard in range(3):
        write_shard_file(
            shard_file(tmp_path, shard, block.ndim), block[shard * SHARD : (shard + 1) * SHARD], CHUNK, SHARD
        )
    return ShardedArray(tmp_path, SHAPE, np.dtype("int16"), CHUNK, SHARD, frozenset(range(3)))


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (3 * SHARD, *SHAPE)).astype(np.int16)


def test_any_range_of_slots_is_read(array: ShardedArray) -> None:
    for low in range(3 * SHARD):
        for high in range(low + 1, 3 * SHARD + 1):
            np.testing.assert_array_equal(array.read(low, high), noise()[low:high])


def test_pieces_cover_a_range_once_and_stay_in_one_shard(array: ShardedArray, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece_bytes in (1, 2 * CHUNK * 240, 2**20):
        monkeypatch.setattr("voxray.store.sharded.PIECE_BYTES", piece_bytes)
        for low, high in ((0, 18), (1, 17), (3, 4), (5, 13)):
            pieces = list(array.pieces(low, high))
            assert [slot for piece in pieces for slot in range(*piece)] == list(range(low, high))
            assert all(array.file(start) == array.file(end - 1) for start, end in pieces)


def test_chunks_and_shards_that_were_never_written_are_zeros_and_a_lost_shard_is_an_error(array: ShardedArray) -> None:
    write_shard_file(array.file(0), noise()[: 2 * CHUNK], CHUNK, SHARD)
    array.file(SHARD).unlink()
    expected = noise()
    expected[2 * CHUNK : 2 * SHARD] = 0
    with pytest.raises(StoreError, match=r"c/1/0/0/0/0: this shard is missing\. Re-run with voxray ingest … --repair"):
        array.read(0, SHARD + 1)
    gaps = replace(array, shards=frozenset({0, 2}))
    for low in range(3 * SHARD):
        np.testing.assert_array_equal(gaps.read(low, 3 * SHARD), expected[low:])
        np.testing.assert_array_equal(gaps.read(0, low + 1), expected[: low + 1])


def test_a_shard_of_other_patches_is_an_error(array: ShardedArray) -> None:
    block = np.zeros((SHARD, 1, *SHAPE[1:]), np.int16)
    write_shard_file(array.file(0), block, CHUNK, SHARD)
    with pytest.raises(StoreError, match="has another size"):
        array.read(0, SHARD)


@pytest.fixture(scope="module")
def store(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    return ingest(experiment(luna, tmp_path_factory.mktemp("sharded") / "run"))


def damage_bit(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_no_flipped_bit_trains(store: PatchStore) -> None:
    rng = random.Random(0)
    shards = sorted(path for path in (store.path / "train").rglob("c/*/*/*/*/*") if path.is_file())
    for _ in range(60):
        shard = rng.choice(shards)
        whole = shard.read_bytes()
        shard.write_bytes(damage_bit(whole, rng.randrange(8 * len(whole))))
        try:
            for read in (epoch, one_by_one, lambda store: list(check_store(store))):
                with pytest.raises(StoreError) as error:
                    read(open_store(store.path))
                assert str(error.value).startswith(f"{shard}: this shard cannot be read: ")
                assert "--repair" in str(error.value)
        finally:
            shard.write_bytes(whole)
    assert len(list(check_store(store))) == sum(store.info.shards.values())


def epoch(store: PatchStore) -> None:
    for _ in PatchLoader(store, "train", 16).epoch(0):
        pass


def one_by_one(store: PatchStore) -> None:
    store.read_patches("train", np.unique(store.rows("train")["slot"].to_numpy()))


@pytest.mark.parametrize("read", [epoch, lambda store: list(check_store(store))])
def test_a_shard_of_another_store_is_found_by_the_checksums_of_the_index(
    store: PatchStore, luna: Path, tmp_path: Path, read: Callable[[PatchStore], None]
) -> None:
    shutil.copytree(store.path, tmp_path / "store")
    other = ingest(experiment(luna, tmp_path / "other", seed=5))
    shard = shard_file(Path("train/image"), 1, 5)
    shutil.copy(other.path / shard, tmp_path / "store" / shard)
    with pytest.raises(StoreError, match=r"1/0/0/0/0: the voxels of slot \d+ differ from their checksum .*--repair"):
        read(open_store(tmp_path / "store"))


def test_zarr_reads_the_same_and_refuses_the_same(store: PatchStore, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "store")
    copy = open_store(tmp_path / "store")
    slots = np.unique(copy.rows("val")["slot"].to_numpy())
    np.testing.assert_array_equal(
        copy.open_images("val")[slots[0] : slots[-1]], copy.arrays("val")[0].read(slots[0], slots[-1])
    )
    shard = shard_file(copy.path / "val" / "image", 0, 5)
    shard.write_bytes(damage_bit(shard.read_bytes(), 1000))
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(str(copy.path / "val" / "image"), mode="r")[0]
    metadata = copy.path / "val" / "image" / "zarr.json"
    metadata.write_text(metadata.read_text().replace("int16", "uint16"))
    with pytest.raises(StoreError, match=r"zarr\.json: is missing or damaged"):
        copy.open_images("val")
