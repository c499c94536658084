"""How a DICOM file begins.

Source: DICOM PS3.10, 7.1 (preamble and mark), PS3.5, 7.1 (elements).
"""

import struct

SUFFIXES = (".dcm", ".dicom", ".ima")
START = 512  # bytes that show whether a file is DICOM
PREAMBLE, MARK = 128, b"DICM"
STANDARD = b"1.2.840.10008."
FIRST_GROUPS, LAST_FIRST_ELEMENT = (0x0002, 0x0008), 0x0018
VALUE_TYPES = (b"CS", b"DA", b"LO", b"OB", b"SH", b"UI", b"UL")  # of the elements that can come first


def begins_as_dicom(start: bytes) -> bool:
    """Whether a file that starts with these bytes is DICOM: by the mark after its preamble, or by its first element.

    Old files have neither preamble nor mark, and begin with an element of the groups 0002 or 0008.
    """
    # A damaged file is DICOM too: it has the mark elsewhere, or names a class of the standard in binary.
    is_damaged = MARK in start[: 2 * PREAMBLE] or (STANDARD in start and b"\0" in start)
    return is_damaged or any(_begins_with_element(start, order) for order in "<>")


def _begins_with_element(start: bytes, order: str) -> bool:
    if len(start) < 8:
        return False
    group, element = struct.unpack_from(f"{order}HH", start)
    if group not in FIRST_GROUPS or element > LAST_FIRST_ELEMENT:
        return False
    if start[4:6] in VALUE_TYPES:
        return True
    # Without a type a length follows, and behind the value an element of the same group.
    (length,) = struct.unpack_from(f"{order}I", start, 4)
    following = start[8 + length : 10 + length]
    return len(following) == 2 and bool(struct.unpack(f"{order}H", following)[0] == group)
