"""Read slots from the shards of one array; every chunk is compared with its checksum before it is decoded.

Zarr reads the same files. Its pipelines are slower or, where they decode a part of a shard, leave the checksums out.
Format: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import add

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from voxray.errors import StoreError
from voxray.storage.paths import AnyPath, read_range
from voxray.store.layout import ABSENT, CHECKSUM_BYTES, REPAIR, shard_file

PIECE_BYTES = 2**22  # of decoded voxels: what one thread reads at once
SPAN_BYTES = 16  # of the offset and the size of a chunk
LENGTH = slice(4, 8)  # of a Blosc chunk's header: the number of decoded bytes
blosc.use_threads = False  # Blosc's own are shared by the process; a piece is read by one thread


@dataclass(frozen=True)
class ShardedArray:
    """One array of a store; thread-safe.

    Attributes
    ----------
    folder : path
    shape : tuple of int
        Of one slot.
    dtype : numpy.dtype
    slots_per_chunk, slots_per_shard : int
    shards : frozenset of int
        Those that were written. Slots of other shards, and of chunks that were not written, are zeros.
    added : (int, path), optional
        Shards from this number on are those of another folder, where they are counted from 0.
    """

    folder: AnyPath
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    slots_per_chunk: int
    slots_per_shard: int
    shards: frozenset[int]
    added: tuple[int, AnyPath] | None = None

    def file(self, slot: int) -> AnyPath:
        """The shard that holds a slot."""
        shard, folder, first = slot // self.slots_per_shard, self.folder, 0
        if self.added is not None and shard >= self.added[0]:
            first, folder = self.added
        return shard_file(folder, shard - first, len(self.shape) + 1)

    def pieces(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Divide a range of slots into pieces of one shard and a few chunks each, which threads may read at once."""
        chunk_bytes = self.slots_per_chunk * int(np.prod(self.shape)) * self.dtype.itemsize
        step = self.slots_per_chunk * max(1, PIECE_BYTES // chunk_bytes)
        while low < high:
            end = min(high, *(low // size * size + size for size in (step, self.slots_per_shard)))
            yield low, end
            low = end

    def read(self, low: int, high: int) -> NDArray[np.generic]:
        """The slots from `low` to `high`, (slots, …); errors as `read_into`."""
        target = np.empty((high - low, *self.shape), self.dtype)
        for start, end in self.pieces(low, high):
            self.read_into(start, end, target[start - low : end - low])
        return target

    def read_into(self, low: int, high: int, target: NDArray[np.generic]) -> None:
        """Decode the slots from `low` to `high`, all of one shard, into a C-contiguous array.

        Raises
        ------
        StoreError
            The shard is missing, or a chunk of these slots differs from its checksum.
        WorkError
            Object storage failed.
        """
        if low // self.slots_per_shard not in self.shards:
            target[:] = 0
            return
        file = self.file(low)
        try:
            starts, offsets, sizes = self._chunks(file, low, high)
            begin, end = min(offsets, default=0), max(map(add, offsets, sizes), default=0)
            content = read_range(file, begin, end) if end else b""
            target[starts[-1] + self.slots_per_chunk - low if starts else 0 :] = 0
            for start, offset, size in zip(starts, offsets, sizes, strict=True):
                chunk = _checked(content[offset - begin : offset - begin + size], f"the chunk of slot {start}")
                self._decode(chunk, start, low, high, target)
        except FileNotFoundError:
            raise StoreError(str(file), "this shard is missing", REPAIR) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise StoreError(str(file), f"this shard cannot be read: {error}", REPAIR) from None

    def _chunks(self, file: AnyPath, low: int, high: int) -> tuple[list[int], list[int], list[int]]:
        """First slot, offset and size of each chunk of these slots; the last chunks of a shard may not be written."""
        count = self.slots_per_shard // self.slots_per_chunk
        table = _checked(read_range(file, -count * SPAN_BYTES - CHECKSUM_BYTES), "its index")
        spans = np.frombuffer(table, "<u8").reshape(count, 2)
        first = low // self.slots_per_chunk
        spans = spans[first % count : first % count - (-high // self.slots_per_chunk) - first]
        offsets, sizes = (column.tolist() for column in spans[spans[:, 0] != ABSENT].T)
        starts = [(first + number) * self.slots_per_chunk for number in range(len(offsets))]
        return starts, offsets, sizes

    def _decode(self, chunk: bytes, start: int, low: int, high: int, target: NDArray[np.generic]) -> None:
        """Decode the chunk that begins at slot `start`; slots outside [low, high) are not needed."""
        first, end = max(start, low), min(start + self.slots_per_chunk, high)
        whole = end - first == self.slots_per_chunk
        decoded = (
            target[first - low : end - low] if whole else np.empty((self.slots_per_chunk, *self.shape), self.dtype)
        )
        if int.from_bytes(chunk[LENGTH], "little") != decoded.nbytes:
            raise ValueError(f"the chunk of slot {start} has another size")
        blosc.decompress(chunk, decoded)
        if not whole:
            target[first - low : end - low] = decoded[first - start : end - start]


def _checked(content: bytes, what: str) -> bytes:
    """The content without the checksum at its end."""
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if len(checksum) < CHECKSUM_BYTES or google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise ValueError(f"{what} differs from its checksum")
    return body
