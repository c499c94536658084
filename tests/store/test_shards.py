from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import blosc
from zarr.codecs import BloscCodec, Crc32cCodec

from voxray.store.layout import COMPRESSION, LEVEL, shard_file
from voxray.store.shards import write_shard_file


def open_array(folder: Path, dtype: str, slots: int, per_chunk: int, shape: tuple[int, ...]) -> zarr.Array:
    """Two shards of `slots`, as zarr makes them."""
    return zarr.create_array(
        store=str(folder),
        shape=(2 * slots, *shape),
        chunks=(per_chunk, *shape),
        shards=(slots, *shape),
        dtype=dtype,
        compressors=[BloscCodec(cname=COMPRESSION, clevel=LEVEL, shuffle="bitshuffle"), Crc32cCodec()],
        fill_value=0,
        config={"write_empty_chunks": True},
    )


def voxels(dtype: str, *shape: int) -> np.ndarray:
    """Half noise, which does not shrink, and half zeros."""
    values = np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)
    values[len(values) // 2 :] = 0
    return values


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
@pytest.mark.parametrize(("per_chunk", "filled"), [(1, 6), (1, 4), (2, 6), (2, 2), (6, 6)])
def test_a_shard_has_the_bytes_that_zarr_writes(tmp_path: Path, dtype: str, per_chunk: int, filled: int) -> None:
    block = voxels(dtype, filled, 2, 9, 8, 7)
    array = open_array(tmp_path / "zarr", dtype, 6, per_chunk, block.shape[1:])
    array[6 : 6 + filled] = block
    path = shard_file(tmp_path / "own", 1, block.ndim)
    write_shard_file(path, block, per_chunk, 6)
    theirs = shard_file(tmp_path / "zarr", 1, block.ndim)
    assert path.read_bytes() == theirs.read_bytes()
    theirs.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(array[6 : 6 + filled], block)
    assert not np.any(array[6 + filled :])


def test_any_number_of_threads_writes_the_same_bytes(tmp_path: Path) -> None:
    block = voxels("int16", 1, 1, 100, 100, 100)
    before, written = blosc.set_nthreads(1), set()
    try:
        for threads in (1, 4, 4, 4, 4):
            blosc.set_nthreads(threads)
            write_shard_file(tmp_path / "0", block, 1, 1)
            written.add((tmp_path / "0").read_bytes())
    finally:
        blosc.set_nthreads(before)
    assert len(written) == 1


def test_a_shard_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = shard_file(tmp_path, 0, 2)
    write_shard_file(path, np.ones((2, 3), "uint8"), 1, 2)
    before = path.read_bytes()
    with pytest.raises(IndexError):
        write_shard_file(path, np.ones((3, 3), "uint8"), 1, 2)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["0"]
