"""Write one shard of an array: compress its chunks into the one file that Zarr reads.

The bytes are those of zarr's own writer, which passes each chunk through dozens of coroutines, a thread and two copies:
for a patch of 80 kB this takes ten times as long as the compression.
Format: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

import google_crc32c
import numpy as np
from numcodecs import Blosc, blosc
from numpy.typing import NDArray

from voxray.storage.atomic import atomic_write
from voxray.storage.paths import AnyPath
from voxray.store.layout import ABSENT, CHECKSUM_BYTES, COMPRESSION, LEVEL

# With threads the order of the blocks would differ from run to run.
blosc.use_threads = False


def write_shard_file(path: AnyPath, block: NDArray[np.generic], slots_per_chunk: int, slots_per_shard: int) -> None:
    """Write a shard, whole or not at all.

    `block`, (slots, …) in C order, is a whole number of chunks; the other chunks of the shard stay absent.
    """
    codec = Blosc(COMPRESSION, LEVEL, Blosc.BITSHUFFLE, typesize=block.itemsize)
    # Offset and size of each chunk.
    index = np.full((slots_per_shard // slots_per_chunk, 2), ABSENT, "<u8")
    with atomic_write(path) as unfinished, unfinished.open("wb") as file:
        for number, start in enumerate(range(0, len(block), slots_per_chunk)):
            chunk = codec.encode(block[start : start + slots_per_chunk])
            index[number] = file.tell(), len(chunk) + CHECKSUM_BYTES
            file.writelines((chunk, _checksum(chunk)))
        file.writelines((index.tobytes(), _checksum(index.tobytes())))


def _checksum(content: bytes) -> bytes:
    """Zarr's codec ``crc32c``: the checksum that follows a chunk, and the index."""
    checksum: int = google_crc32c.value(content)
    return checksum.to_bytes(CHECKSUM_BYTES, "little")
