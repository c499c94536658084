"""Gzip streams of known length, inflated in bounded memory and with their checksums."""

import deflate
from isal import isal_zlib

from voxray.errors import ScanError

MAGIC = b"\x1f\x8b"
MOST_GROWTH = 1032  # of the deflate format: a byte cannot become more
STEP_BYTES = 2**20


def is_gzip(start: bytes) -> bool:
    """Whether a file that starts like this is a gzip stream."""
    return start.startswith(MAGIC)


def inflate(packed: bytes, size: int, where: str) -> bytes | bytearray:
    """The first `size` bytes of a gzip stream, or fewer if it ends before.

    Checksums are verified, unless the stream continues. Bytes after the stream do not matter.

    Raises
    ------
    ScanError
        No stream of this length can have so many bytes.
    isal_zlib.error
        It is damaged.
    """
    most = len(packed) * MOST_GROWTH
    if size > most:
        problem = f"holds {len(packed):,} compressed bytes, which cannot be {size:,} bytes as its header says"
        raise ScanError(where, problem, "Fetch it again")
    # In one go, into memory of known size, takes half the time.
    try:
        plain = deflate.gzip_decompress(packed, size)
    except deflate.DeflateError:
        plain = bytearray()
    # libdeflate stops after the first member of a stream, and does not name what is wrong with a damaged one.
    return plain if len(plain) >= size else inflate_start(packed, size)


def inflate_start(packed: bytes, size: int) -> bytes:
    """The first `size` bytes of a gzip stream of any number of members that may be cut off."""
    parts, left, position, view = [], size, 0, memoryview(packed)
    while left > 0 and is_gzip(packed[position : position + 2]):
        member = isal_zlib.decompressobj(wbits=31)
        while not member.eof and position < len(packed):
            # One byte more than needed, so that the end of the stream and its checksum are reached.
            chunk = view[position : position + STEP_BYTES]
            part = member.decompress(chunk, left + 1)
            position += len(chunk) - len(member.unused_data) - len(member.unconsumed_tail)
            parts.append(part[:left])
            if len(part) > left:
                return b"".join(parts)
            left -= len(part)
    return b"".join(parts)
