"""The headers of compressed frames: JPEG, JPEG-LS and JPEG 2000.

Decoders fill what a cut stream lacks with gray, and take sizes from the DICOM header without a look at the stream's.

Source: ITU-T T.81 B.1 (JPEG), T.87 C.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000).
"""

import struct

SIZE_2000 = b"\xff\x4f\xff\x51"  # start of codestream, then the marker of its size
START, END = b"\xff\xd8", b"\xff\xd9"
# Markers of a frame's size; C4, C8 and CC among them mean something else.
SIZES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment


def stream_shape(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples of a compressed frame; None where its header is damaged or its end is missing."""
    if END not in stream[-4:]:  # a byte or two may pad it
        return None
    try:
        # JPEG 2000 may lie in the boxes of a JP2 file.
        return _shape_2000(stream) if SIZE_2000 in stream[:256] else _shape(stream)
    except (struct.error, IndexError):
        return None


def _shape_2000(stream: bytes) -> tuple[int, int, int]:
    at = stream.index(SIZE_2000) + 8
    right, bottom, left, top = struct.unpack_from(">4I", stream, at)
    (samples,) = struct.unpack_from(">H", stream, at + 32)
    return bottom - top, right - left, samples


def _shape(stream: bytes) -> tuple[int, int, int] | None:
    if stream[:2] != START:
        return None
    at = 2
    while stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in SIZES:
            rows, columns, samples = struct.unpack_from(">HHB", stream, at + 5)
            return rows, columns, samples
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in BARE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", stream, at + 2)[0]
    return None
